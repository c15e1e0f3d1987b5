"""Who carries the requests of a replica set."""

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
    AskProof,
    Connect,
    Cut,
    Order,
    Role,
    Roster,
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


def roster_of(*addresses: Address) -> Roster:
    roster = Roster(proof_interval=5, fallback_delay=1, stale_after=5)
    for address in addresses:
        assert roster.add(address, 0) == [Connect(address)]
    return roster


def proofs(orders: list[Order]) -> list[Address]:
    return [order.address for order in orders if isinstance(order, AskProof)]


def proof_number(orders: list[Order]) -> int:
    [number] = [order.number for order in orders if isinstance(order, AskProof)]
    return number


def forwarding(address: Address, now: float = 1) -> Roster:
    """A roster whose only member is a follower that forwards."""
    roster = roster_of(address)
    roster.connected(address, FOLLOWER, now - 1)
    roster.proved(address, proof_number(roster.advance(now)), now)
    assert roster.carrier == address
    return roster


def cuts(orders: list[Order]) -> list[Address]:
    return [order.address for order in orders if isinstance(order, Cut)]


def test_the_leader_carries() -> None:
    """Whoever says that it leads carries; followers are asked for its name."""
    roster = roster_of(A, B)
    assert roster.connected(B, FOLLOWER, 0) == [AskLeader(B)]
    assert roster.carrier is None
    assert roster.connected(A, LEADER, 0) == []
    assert roster.carrier == A
    assert roster.state.leader == A
    assert roster.next_deadline() is None


def test_a_demoted_leader_is_cut() -> None:
    """Waits sent to a node are void once it no longer leads."""
    roster = roster_of(A, B)
    roster.connected(A, LEADER, 0)
    assert cuts(roster.pushed(A, LEADERLESS, 1)) == [A]
    assert roster.carrier is None
    assert roster.state.member(A).role is Role.DOWN


def test_a_leader_that_leaves_is_cut() -> None:
    """A node that shuts down answers no waits, so it carries no longer."""
    roster = roster_of(A)
    roster.connected(A, LEADER, 0)
    assert cuts(roster.pushed(A, LEAVING, 1)) == [A]


def test_a_leader_that_repeats_itself_stays() -> None:
    """A push that changes nothing voids nothing."""
    roster = roster_of(A)
    roster.connected(A, LEADER, 0)
    assert roster.pushed(A, PUSHED_LEADER, 1) == []
    assert roster.carrier == A


def test_a_new_leader_takes_over_when_the_old_one_is_gone() -> None:
    """A follower's connection becomes the carrier with the push."""
    roster = roster_of(A, B)
    roster.connected(A, LEADER, 0)
    roster.connected(B, FOLLOWER, 0)
    roster.disconnected(A, "closed", 1)
    assert roster.carrier is None
    assert roster.pushed(B, PUSHED_LEADER, 1.5) == []
    assert roster.carrier == B


def test_of_two_leaders_the_one_that_others_name_carries() -> None:
    """A leader cut off from the others still says it leads; votes decide."""
    roster = roster_of(A, B, C)
    roster.connected(A, LEADER, 0)
    roster.connected(C, FOLLOWER, 0)
    roster.connected(B, PUSHED_LEADER, 1)
    assert roster.carrier == A
    assert cuts(roster.named(C, B, 2)) == [A]
    assert roster.carrier == B
    roster.connected(A, LEADER, 3)
    assert roster.carrier == B
    assert roster.state.leader == B


def test_a_follower_forwards_only_after_the_delay_and_a_proof() -> None:
    """Naming a leader is no proof: it may be frozen."""
    roster = roster_of(A, B)
    roster.connected(B, FOLLOWER, 0)
    assert roster.next_deadline() == 1
    assert roster.advance(0.5) == []
    number = proof_number(roster.advance(1))
    assert roster.carrier is None
    assert roster.advance(3) == []
    roster.proved(B, number, 3)
    assert roster.carrier == B


def test_a_forwarding_carrier_that_gives_no_proof_is_cut() -> None:
    """A frozen leader behind a follower is found by the follower's silence."""
    roster = forwarding(B)
    assert roster.next_deadline() == 6
    assert proofs(roster.advance(6)) == [B]
    assert roster.next_deadline() == 11
    assert cuts(roster.advance(11)) == [B]
    assert roster.carrier is None


def test_a_proof_is_renewed() -> None:
    """An answer in time keeps the carrier for another interval."""
    roster = forwarding(B)
    roster.proved(B, proof_number(roster.advance(6)), 7)
    assert roster.carrier == B
    assert roster.next_deadline() == 12


def test_a_second_forwarder_has_to_prove_itself_anew() -> None:
    """When the carrier is lost, what another proved before says nothing."""
    roster = roster_of(A, B)
    roster.connected(A, FOLLOWER, 0)
    roster.connected(B, FOLLOWER, 0)
    numbers = {
        order.address: order.number
        for order in roster.advance(1)
        if isinstance(order, AskProof)
    }
    roster.proved(A, numbers[A], 1)
    roster.proved(B, numbers[B], 1)
    assert roster.carrier == A
    assert proofs(roster.disconnected(A, "closed", 2)) == [B]
    assert roster.carrier is None


def test_the_leader_replaces_a_forwarder() -> None:
    """When the leader can be reached, nothing is forwarded any longer."""
    roster = forwarding(B)
    roster.add(A, 1)
    assert cuts(roster.connected(A, LEADER, 2)) == [B]
    assert roster.carrier == A


def test_a_refused_proof_is_asked_for_again() -> None:
    """A follower of a dead leader answers 10, until it has a new one."""
    roster = roster_of(B)
    roster.connected(B, FOLLOWER, 0)
    roster.advance(1)
    assert roster.refused(B, 1.1) == []
    deadline = roster.next_deadline()
    assert deadline == pytest.approx(1.6)
    assert proofs(roster.advance(deadline)) == [B]


@pytest.mark.parametrize("leads", [True, False])
def test_a_carrier_that_refuses_is_cut(leads: bool) -> None:
    """Result 10 or 11 from the carrier says that its waits are void."""
    roster = roster_of(B) if leads else forwarding(B)
    if leads:
        roster.connected(B, LEADER, 0)
    assert roster.carrier == B
    assert cuts(roster.refused(B, 2)) == [B]
    assert roster.refused(B, 2) == []


def test_a_forwarder_whose_leader_changes_is_cut() -> None:
    """What it had forwarded is never answered."""
    roster = forwarding(B)
    assert cuts(roster.pushed(B, PUSHED_FOLLOWER, 2)) == [B]


def test_a_leaderless_follower_is_never_asked_for_a_proof() -> None:
    """It would hold back all that comes behind on its connection."""
    roster = roster_of(B)
    roster.connected(B, FOLLOWER, 0)
    roster.pushed(B, LEADERLESS, 0.5)
    assert roster.advance(2) == []
    assert roster.next_deadline() == 5.5


def test_a_member_that_stays_leaderless_is_asked_anew() -> None:
    """A node does not tell of its first role."""
    roster = roster_of(B)
    roster.connected(B, LEADERLESS, 0)
    assert cuts(roster.advance(5)) == [B]
    assert roster.next_deadline() is None


def test_a_late_proof_from_before_a_change_counts_nothing() -> None:
    """It came from the leader before."""
    roster = roster_of(B)
    roster.connected(B, FOLLOWER, 0)
    number = proof_number(roster.advance(1))
    assert proofs(roster.pushed(B, PUSHED_FOLLOWER, 1.1)) == [B]
    assert roster.proved(B, number, 1.2) == []
    assert roster.carrier is None


def test_what_a_cut_connection_still_says_is_ignored() -> None:
    """Between the cut and the end of the connection more may be read."""
    roster = roster_of(B)
    roster.connected(B, LEADER, 0)
    roster.pushed(B, LEADERLESS, 1)
    assert roster.pushed(B, PUSHED_LEADER, 1) == []
    assert roster.named(B, A, 1) == []
    assert roster.carrier is None
    assert A not in roster


def test_a_named_leader_becomes_a_member() -> None:
    """Members are learned from LEADER answers, up to a limit."""
    roster = roster_of(B)
    roster.connected(B, FOLLOWER, 0)
    assert roster.named(B, None, 0) == []
    assert roster.named(B, A, 0) == [Connect(A)]
    assert roster.state.member(A).learned
    assert roster.state.leader == A
    assert roster.add(A, 0) == []


def test_the_number_of_members_is_bounded() -> None:
    """A hostile LEADER answer cannot make us connect everywhere."""
    roster = roster_of(*(("m", port) for port in range(MEMBER_LIMIT)))
    roster.connected(("m", 0), FOLLOWER, 0)
    assert roster.named(("m", 0), A, 0) == []
    with pytest.raises(ValueError, match="at most 64"):
        roster.add(A, 0)
    with pytest.raises(KeyError):
        roster.state.member(A)


def test_each_change_can_be_seen() -> None:
    """A state's number grows with each change, and errors are kept."""
    roster = roster_of(A)
    seen = [roster.state.changes]
    roster.disconnected(A, "refused", 0)
    seen.append(roster.state.changes)
    roster.disconnected(A, "refused", 1)
    assert roster.state.changes == seen[-1]
    roster.connected(A, LEADER, 1)
    seen.append(roster.state.changes)
    assert seen == sorted(set(seen))
    assert roster.state.member(A).connections == 1
    assert "a:5658 leader" in repr(roster)


class RosterMachine(RuleBasedStateMachine):
    """Any events, in any order: what must hold after each of them."""

    addresses = st.sampled_from([A, B, C])
    init_types = st.sampled_from(
        [LEADER, PUSHED_LEADER, FOLLOWER, PUSHED_FOLLOWER, LEADERLESS, LEAVING, 0x1D]
    )

    def __init__(self) -> None:
        super().__init__()
        self.roster = roster_of(A, B, C)
        self.now = 0.0
        self.up: set[Address] = set()
        self.asked: dict[Address, int] = {}
        self.carrier: Address | None = None

    def obey(self, orders: list[Order]) -> None:
        """Carry out orders, and check each."""
        cut: set[Address] = set()
        for order in orders:
            assert order.address in self.up
            match order:
                case Cut():
                    self.up.remove(order.address)
                    self.asked.pop(order.address, None)
                    cut.add(order.address)
                case AskProof():
                    role = self.roster.state.member(order.address).role
                    assert role is Role.FOLLOWER
                    assert order.address not in self.asked
                    self.asked[order.address] = order.number
                case _:
                    assert isinstance(order, AskLeader)
        members = self.roster.state.members
        if any(member.role is Role.LEADER for member in members):
            self.asked.clear()  # what was asked before counts no longer
        old, self.carrier = self.carrier, self.roster.carrier
        if old is not None and old != self.carrier:
            assert old not in self.up, "a carrier that was replaced was not cut"

    @rule(address=addresses, init_type=init_types)
    def connect(self, address: Address, init_type: int) -> None:
        if address not in self.up:
            self.up.add(address)
            self.obey(self.roster.connected(address, init_type, self.now))

    @rule(address=addresses)
    def lose(self, address: Address) -> None:
        self.up.discard(address)
        self.asked.pop(address, None)
        self.obey(self.roster.disconnected(address, "closed", self.now))

    @rule(address=addresses, init_type=init_types)
    def push(self, address: Address, init_type: int) -> None:
        if address in self.up:
            self.asked.pop(address, None)
            carried = self.roster.carrier == address
            led = self.roster.state.member(address).role is Role.LEADER
            self.obey(self.roster.pushed(address, init_type, self.now))
            if carried and not (led and init_type in (LEADER, PUSHED_LEADER)):
                assert address not in self.up

    @rule(address=addresses, leader=addresses)
    def name(self, address: Address, leader: Address) -> None:
        self.obey(self.roster.named(address, leader, self.now))

    @rule(address=addresses)
    def prove(self, address: Address) -> None:
        number = self.asked.pop(address, 0)
        self.obey(self.roster.proved(address, number, self.now))

    @rule(address=addresses)
    def refuse(self, address: Address) -> None:
        self.asked.pop(address, None)
        self.obey(self.roster.refused(address, self.now))

    @rule(seconds=st.sampled_from([0.1, 1, 10]))
    def wait(self, seconds: float) -> None:
        """Let time pass as a timer does: deadline by deadline."""
        end = self.now + seconds
        while (deadline := self.roster.next_deadline() or inf) <= end:
            self.now = max(self.now, deadline)
            self.obey(self.roster.advance(self.now))
            assert (self.roster.next_deadline() or inf) > self.now
        self.now = end

    @precondition(lambda self: self.roster.carrier is None)
    @rule()
    def answer_all(self) -> None:
        """With a willing member and proofs answered, a carrier is found."""
        for _ in range(3):
            self.wait(1)
            for address in list(self.asked):
                self.prove(address)
        roles = {member.role for member in self.roster.state.members}
        if roles & {Role.LEADER, Role.FOLLOWER}:
            assert self.roster.carrier is not None

    @invariant()
    def the_carrier_can_carry(self) -> None:
        state = self.roster.state
        leaders = {m.address for m in state.members if m.role is Role.LEADER}
        if leaders:
            assert state.carrier in leaders
        elif state.carrier is not None:
            assert state.member(state.carrier).role is Role.FOLLOWER
        down = {m.address for m in state.members if m.role is Role.DOWN}
        assert down.isdisjoint(self.up)
        assert len(down) + len(self.up) == 3


RosterMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
TestAnyEvents = pytest.mark.slow(RosterMachine.TestCase)
