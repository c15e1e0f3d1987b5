"""Which member of a replica set gets the requests."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trioslock.link._topology import (
    MEMBER_LIMIT,
    Address,
    AskLeader,
    Connect,
    Disconnect,
    Order,
    Probe,
    Role,
    Topology,
)

A: Address = ("a", 5658)
B: Address = ("b", 5659)
C: Address = ("c", 5660)
LEADER = 0x0C
PUSHED_LEADER = 0x0D
FOLLOWER = 0x0A
PUSHED_FOLLOWER = 0x09
LEADERLESS = 0x01
LEAVING = 0x11


def topology_of(*addresses: Address) -> Topology:
    topology = Topology(probe_interval=5, fallback_delay=1, stale_after=5)
    for address in addresses:
        assert topology.add(address, 0) == [Connect(address)]
    return topology


def probes(orders: list[Order]) -> list[Address]:
    return [order.address for order in orders if isinstance(order, Probe)]


def probe_number(orders: list[Order]) -> int:
    [number] = [order.number for order in orders if isinstance(order, Probe)]
    return number


def forwarding(address: Address, now: float = 1) -> Topology:
    """A topology whose only member is a follower that forwards."""
    topology = topology_of(address)
    topology.connected(address, FOLLOWER, now - 1)
    topology.verified(address, probe_number(topology.advance(now)), now)
    assert topology.active == address
    return topology


def cuts(orders: list[Order]) -> list[Address]:
    return [order.address for order in orders if isinstance(order, Disconnect)]


def test_the_leader_is_active() -> None:
    """Followers are asked for its name."""
    topology = topology_of(A, B)
    assert topology.connected(B, FOLLOWER, 0) == [AskLeader(B)]
    assert topology.active is None
    assert topology.connected(A, LEADER, 0) == []
    assert topology.active == A
    assert topology.state.leader == A
    assert topology.next_deadline() is None


def test_a_demoted_leader_is_cut() -> None:
    """Waits sent to a node are void once it no longer leads."""
    topology = topology_of(A, B)
    topology.connected(A, LEADER, 0)
    assert cuts(topology.pushed(A, LEADERLESS, 1)) == [A]
    assert topology.active is None
    assert topology.state.member(A).role is Role.DOWN


def test_a_leader_that_leaves_is_cut() -> None:
    """A node that shuts down answers no waits."""
    topology = topology_of(A)
    topology.connected(A, LEADER, 0)
    assert cuts(topology.pushed(A, LEAVING, 1)) == [A]


def test_a_leader_that_repeats_itself_stays() -> None:
    """A push that changes nothing voids nothing."""
    topology = topology_of(A)
    topology.connected(A, LEADER, 0)
    assert topology.pushed(A, PUSHED_LEADER, 1) == []
    assert topology.active == A


def test_a_new_leader_takes_over_when_the_old_one_is_gone() -> None:
    """A follower's connection becomes active with the push."""
    topology = topology_of(A, B)
    topology.connected(A, LEADER, 0)
    topology.connected(B, FOLLOWER, 0)
    topology.disconnected(A, "closed", 1)
    assert topology.active is None
    assert topology.pushed(B, PUSHED_LEADER, 1.5) == []
    assert topology.active == B


def test_of_two_leaders_the_one_that_others_name_is_active() -> None:
    """A leader cut off from the others still reports to lead; votes decide."""
    topology = topology_of(A, B, C)
    topology.connected(A, LEADER, 0)
    topology.connected(C, FOLLOWER, 0)
    topology.connected(B, PUSHED_LEADER, 1)
    assert topology.active == A
    assert cuts(topology.named(C, B, 2)) == [A]
    assert topology.active == B
    topology.connected(A, LEADER, 3)
    assert topology.active == B
    assert topology.state.leader == B


def test_a_follower_forwards_only_after_the_delay_and_a_probe() -> None:
    """Naming a leader proves nothing: it may be frozen."""
    topology = topology_of(A, B)
    topology.connected(B, FOLLOWER, 0)
    assert topology.next_deadline() == 1
    assert topology.advance(0.5) == []
    number = probe_number(topology.advance(1))
    assert topology.active is None
    assert topology.advance(3) == []
    topology.verified(B, number, 3)
    assert topology.active == B


def test_a_forwarder_that_does_not_answer_its_probe_is_cut() -> None:
    """A frozen leader behind a follower is found by the follower's silence."""
    topology = forwarding(B)
    assert topology.next_deadline() == 6
    assert probes(topology.advance(6)) == [B]
    assert topology.next_deadline() == 11
    assert cuts(topology.advance(11)) == [B]
    assert topology.active is None


def test_a_forwarder_is_probed_again() -> None:
    """An answer in time keeps it active for another interval."""
    topology = forwarding(B)
    topology.verified(B, probe_number(topology.advance(6)), 7)
    assert topology.active == B
    assert topology.next_deadline() == 12


def test_a_second_forwarder_is_probed_anew() -> None:
    """When the active member is lost, an earlier answer of another counts nothing."""
    topology = topology_of(A, B)
    topology.connected(A, FOLLOWER, 0)
    topology.connected(B, FOLLOWER, 0)
    numbers = {
        order.address: order.number
        for order in topology.advance(1)
        if isinstance(order, Probe)
    }
    topology.verified(A, numbers[A], 1)
    topology.verified(B, numbers[B], 1)
    assert topology.active == A
    assert probes(topology.disconnected(A, "closed", 2)) == [B]
    assert topology.active is None


def test_the_leader_replaces_a_forwarder() -> None:
    """When the leader can be reached, nothing is forwarded any longer."""
    topology = forwarding(B)
    topology.add(A, 1)
    assert cuts(topology.connected(A, LEADER, 2)) == [B]
    assert topology.active == A


def test_a_refused_probe_is_repeated() -> None:
    """A follower of a dead leader answers 10, until it has a new one."""
    topology = topology_of(B)
    topology.connected(B, FOLLOWER, 0)
    topology.advance(1)
    assert topology.refused(B, 1.1) == []
    deadline = topology.next_deadline()
    assert deadline == pytest.approx(1.6)
    assert probes(topology.advance(deadline)) == [B]


@pytest.mark.parametrize("leads", [True, False])
def test_an_active_member_that_refuses_is_cut(leads: bool) -> None:
    """Result 10 or 11 means that its waits are void."""
    topology = topology_of(B) if leads else forwarding(B)
    if leads:
        topology.connected(B, LEADER, 0)
    assert topology.active == B
    assert cuts(topology.refused(B, 2)) == [B]
    assert topology.refused(B, 2) == []


def test_a_forwarder_whose_leader_changes_is_cut() -> None:
    """What it had forwarded is never answered."""
    topology = forwarding(B)
    assert cuts(topology.pushed(B, PUSHED_FOLLOWER, 2)) == [B]


def test_a_leaderless_follower_is_never_probed() -> None:
    """It would hold back everything that follows on its connection."""
    topology = topology_of(B)
    topology.connected(B, FOLLOWER, 0)
    topology.pushed(B, LEADERLESS, 0.5)
    assert topology.advance(2) == []
    assert topology.next_deadline() == 5.5


def test_a_member_that_stays_leaderless_is_connected_anew() -> None:
    """A node does not push its first role."""
    topology = topology_of(B)
    topology.connected(B, LEADERLESS, 0)
    assert cuts(topology.advance(5)) == [B]
    assert topology.next_deadline() is None


def test_a_late_answer_from_before_a_change_counts_nothing() -> None:
    """It came from the leader before."""
    topology = topology_of(B)
    topology.connected(B, FOLLOWER, 0)
    number = probe_number(topology.advance(1))
    assert probes(topology.pushed(B, PUSHED_FOLLOWER, 1.1)) == [B]
    assert topology.verified(B, number, 1.2) == []
    assert topology.active is None


def test_reports_of_a_cut_connection_are_ignored() -> None:
    """Between the cut and the end of the connection more may be read."""
    topology = topology_of(B)
    topology.connected(B, LEADER, 0)
    topology.pushed(B, LEADERLESS, 1)
    assert topology.pushed(B, PUSHED_LEADER, 1) == []
    assert topology.named(B, A, 1) == []
    assert topology.active is None
    assert A not in topology


def test_a_named_leader_becomes_a_member() -> None:
    """Members are learned from LEADER answers, up to a limit."""
    topology = topology_of(B)
    topology.connected(B, FOLLOWER, 0)
    assert topology.named(B, None, 0) == []
    assert topology.named(B, A, 0) == [Connect(A)]
    assert topology.state.member(A).learned
    assert topology.state.leader == A
    assert topology.add(A, 0) == []


def test_the_number_of_members_is_bounded() -> None:
    """Hostile LEADER answers cannot make a client connect everywhere."""
    topology = topology_of(*(("m", port) for port in range(MEMBER_LIMIT)))
    topology.connected(("m", 0), FOLLOWER, 0)
    assert topology.named(("m", 0), A, 0) == []
    with pytest.raises(ValueError, match="at most 64"):
        topology.add(A, 0)
    with pytest.raises(KeyError):
        topology.state.member(A)


def test_each_change_can_be_seen() -> None:
    """A state's number grows with each change, and errors are kept."""
    topology = topology_of(A)
    seen = [topology.state.changes]
    topology.disconnected(A, "refused", 0)
    seen.append(topology.state.changes)
    topology.disconnected(A, "refused", 1)
    assert topology.state.changes == seen[-1]
    topology.connected(A, LEADER, 1)
    seen.append(topology.state.changes)
    assert seen == sorted(set(seen))
    assert topology.state.member(A).connections == 1
    assert "a:5658 leader" in repr(topology)


class TopologyMachine(RuleBasedStateMachine):
    """Any events, in any order: what must hold after each of them."""

    addresses = st.sampled_from([A, B, C])
    init_types = st.sampled_from(
        [LEADER, PUSHED_LEADER, FOLLOWER, PUSHED_FOLLOWER, LEADERLESS, LEAVING, 0x1D]
    )

    def __init__(self) -> None:
        super().__init__()
        self.topology = topology_of(A, B, C)
        self.now = 0.0
        self.up: set[Address] = set()
        self.asked: dict[Address, int] = {}
        self.active: Address | None = None

    def execute(self, orders: list[Order]) -> None:
        """Execute orders, and check each."""
        cut: set[Address] = set()
        for order in orders:
            assert order.address in self.up
            match order:
                case Disconnect():
                    self.up.remove(order.address)
                    self.asked.pop(order.address, None)
                    cut.add(order.address)
                case Probe():
                    role = self.topology.state.member(order.address).role
                    assert role is Role.FOLLOWER
                    assert order.address not in self.asked
                    self.asked[order.address] = order.number
                case _:
                    assert isinstance(order, AskLeader)
        members = self.topology.state.members
        if any(member.role is Role.LEADER for member in members):
            self.asked.clear()  # what was asked before counts no longer
        old, self.active = self.active, self.topology.active
        if old is not None and old != self.active:
            assert old not in self.up, "an active member that was replaced was not cut"

    @rule(address=addresses, init_type=init_types)
    def connect(self, address: Address, init_type: int) -> None:
        if address not in self.up:
            self.up.add(address)
            self.execute(self.topology.connected(address, init_type, self.now))

    @rule(address=addresses)
    def lose(self, address: Address) -> None:
        self.up.discard(address)
        self.asked.pop(address, None)
        self.execute(self.topology.disconnected(address, "closed", self.now))

    @rule(address=addresses, init_type=init_types)
    def push(self, address: Address, init_type: int) -> None:
        if address in self.up:
            self.asked.pop(address, None)
            was_active = self.topology.active == address
            led = self.topology.state.member(address).role is Role.LEADER
            self.execute(self.topology.pushed(address, init_type, self.now))
            if was_active and not (led and init_type in (LEADER, PUSHED_LEADER)):
                assert address not in self.up

    @rule(address=addresses, leader=addresses)
    def name(self, address: Address, leader: Address) -> None:
        self.execute(self.topology.named(address, leader, self.now))

    @rule(address=addresses)
    def answer_probe(self, address: Address) -> None:
        number = self.asked.pop(address, 0)
        self.execute(self.topology.verified(address, number, self.now))

    @rule(address=addresses)
    def refuse(self, address: Address) -> None:
        self.asked.pop(address, None)
        self.execute(self.topology.refused(address, self.now))

    @rule(seconds=st.sampled_from([0.1, 1, 10]))
    def wait(self, seconds: float) -> None:
        """Let time pass as a timer does: deadline by deadline."""
        end = self.now + seconds
        while (deadline := self.topology.next_deadline() or inf) <= end:
            self.now = max(self.now, deadline)
            self.execute(self.topology.advance(self.now))
            assert (self.topology.next_deadline() or inf) > self.now
        self.now = end

    @precondition(lambda self: self.topology.active is None)
    @rule()
    def answer_all(self) -> None:
        """With a leader or follower and answered probes, a member becomes active."""
        for _ in range(3):
            self.wait(1)
            for address in list(self.asked):
                self.answer_probe(address)
        roles = {member.role for member in self.topology.state.members}
        if roles & {Role.LEADER, Role.FOLLOWER}:
            assert self.topology.active is not None

    @invariant()
    def the_active_member_can_send(self) -> None:
        state = self.topology.state
        leaders = {m.address for m in state.members if m.role is Role.LEADER}
        if leaders:
            assert state.active in leaders
        elif state.active is not None:
            assert state.member(state.active).role is Role.FOLLOWER
        down = {m.address for m in state.members if m.role is Role.DOWN}
        assert down.isdisjoint(self.up)
        assert len(down) + len(self.up) == 3


TopologyMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
TestAnyEvents = pytest.mark.slow(TopologyMachine.TestCase)
