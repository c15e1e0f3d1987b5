"""Which member of a replica set leads, and which one gets the requests: no I/O.

`Topology` takes events: what each member reports of itself (INIT answers, pushes,
LEADER answers), connections made and lost, and the time. It returns orders for the
caller, and ``active`` is the member whose connection gets the requests.

The rules, each from what real nodes do:

1. A member that reports to be the leader is active. If several do: the one that most
   others name as leader; then the one that is active; then the one that reported it
   last. (A leader cut off from the others goes on reporting it for a while.)
2. Where none has led for ``fallback_delay``, a follower that knows a leader may
   forward, once it is *verified* by the answer to a probe that only the leader can
   answer. A follower goes on naming a leader that froze, and accepts requests that it
   can only lose. A follower that knows no leader is never probed: it would hold back
   everything on that connection for up to two seconds.
3. A connection that stops being active is always cut. Its waits are void: a follower
   never answers what it had forwarded to a leader that is gone, and a leader that
   stepped down keeps its waiters and grants them later on its own, unknown to the new
   leader. These waits end with their connection, so cutting it withdraws them there.
4. A forwarding member is probed again every ``probe_interval``; without an answer
   within the next one it is cut.
5. A member that stays without a leader for ``stale_after`` is cut and connected anew:
   a node reports each change of leader, but not its first role.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from ..protocol import InitType

MEMBER_LIMIT = 64
"""Most members that are kept: LEADER answers add members without the caller."""

PROBE_RETRY = 0.5
"""Seconds until a follower that refused a probe is probed again."""

Address = tuple[str, int]


class Role(Enum):
    """What a member reported of itself last."""

    DOWN = "down"
    LEADER = "leader"
    FOLLOWER = "follower"
    LEADERLESS = "leaderless"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class MemberState:
    """One member at one moment.

    Attributes:
        address: Host and port.
        role: What it reported last, or ``DOWN`` without a connection.
        connections: Connections made to it so far.
        learned: It was named by another member, not by the caller.
        error: Why there is no connection, or why the last one ended.
    """

    address: Address
    role: Role
    connections: int = 0
    learned: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class SetState:
    """A replica set at one moment.

    Attributes:
        leader: The member that leads, as far as is known.
        active: The member that gets the requests: the leader, a follower that
            forwards, or None while requests wait.
        members: All members, in the order in which they became known.
        changes: How many changes there have been; grows with each state.
    """

    leader: Address | None
    active: Address | None
    members: tuple[MemberState, ...]
    changes: int

    def member(self, address: Address) -> MemberState:
        """Return the state of one member.

        Raises:
            KeyError: There is no such member.
        """
        for member in self.members:
            if member.address == address:
                return member
        raise KeyError(address)


@dataclass(frozen=True, slots=True)
class Connect:
    """Stay connected to a new member."""

    address: Address


@dataclass(frozen=True, slots=True)
class Disconnect:
    """End the connection to a member now, and make a new one."""

    address: Address
    reason: str


@dataclass(frozen=True, slots=True)
class AskLeader:
    """Ask a member for the address of its leader."""

    address: Address


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask, through a follower, what only the leader can answer.

    ``number`` goes back with the answer: the answer to an earlier probe may have
    come from a leader that is gone.
    """

    address: Address
    number: int


Order = Connect | Disconnect | AskLeader | Probe


@dataclass(slots=True)
class _Member:
    state: MemberState
    named: Address | None = None
    claim: int = 0
    verified: bool = False
    probed_at: float | None = None
    probe: int = 0
    probe_again_at: float = 0.0
    since: float = 0.0

    @property
    def address(self) -> Address:
        return self.state.address

    @property
    def role(self) -> Role:
        return self.state.role


class Topology:
    """Decide which member of a replica set gets the requests.

    Each method that takes an event returns the orders that follow from it. The
    caller executes them in order, and then reads ``active``.

    Args:
        probe_interval: Seconds between two probes of a forwarding member.
        fallback_delay: Seconds without a leader until followers may forward.
        stale_after: Seconds after which a member without a leader is connected anew.
    """

    def __init__(
        self,
        *,
        probe_interval: float = 5.0,
        fallback_delay: float = 1.0,
        stale_after: float = 5.0,
    ) -> None:
        self.active: Address | None = None
        self._probe_interval = probe_interval
        self._fallback_delay = fallback_delay
        self._stale_after = stale_after
        self._members: dict[Address, _Member] = {}
        self._claims = 0
        self._changes = 0
        self._probes = 0
        self._leaderless_since: float | None = None

    def __repr__(self) -> str:
        roles = ", ".join(
            f"{host}:{port} {member.role.value}"
            for (host, port), member in self._members.items()
        )
        return f"<Topology: {roles}; active {self.active}>"

    @property
    def state(self) -> SetState:
        """What is known now."""
        return SetState(
            leader=self._leader(),
            active=self.active,
            members=tuple(member.state for member in self._members.values()),
            changes=self._changes,
        )

    def __contains__(self, address: Address) -> bool:
        return address in self._members

    # Events.

    def add(
        self, address: Address, now: float, *, learned: bool = False
    ) -> list[Order]:
        """Add a member; nothing happens if it is known already.

        Raises:
            ValueError: There are `MEMBER_LIMIT` members.
        """
        if address in self._members:
            return []
        if len(self._members) >= MEMBER_LIMIT:
            raise ValueError(f"a replica set has at most {MEMBER_LIMIT} members")
        self._members[address] = _Member(
            MemberState(address, Role.DOWN, learned=learned)
        )
        return [Connect(address), *self._decide(now)]

    def connected(self, address: Address, init_type: int, now: float) -> list[Order]:
        """Note a connection, and the role that the member reported at its start."""
        member = self._members[address]
        connections = member.state.connections + 1
        member.state = replace(member.state, connections=connections, error=None)
        return [*self._set_role(member, init_type, now), *self._decide(now)]

    def pushed(self, address: Address, init_type: int, now: float) -> list[Order]:
        """Note a role that a member reported later, unasked."""
        member = self._members[address]
        if member.role is Role.DOWN:
            return []  # from a connection that has been cut
        role = member.role
        orders = self._set_role(member, init_type, now)
        still_leads = role is Role.LEADER and member.role is Role.LEADER
        # Rule 3. A forwarding follower with a new leader counts too: its waits are
        # with the old leader.
        if address == self.active and not still_leads:
            reason = f"it was {role.value} and is {member.role.value} now"
            orders = [self._disconnect(member, reason, now)]
        return [*orders, *self._decide(now)]

    def named(
        self, address: Address, leader: Address | None, now: float
    ) -> list[Order]:
        """Note the leader that a member named."""
        member = self._members[address]
        if member.role is Role.DOWN or leader is None:
            return []
        member.named = leader
        if leader in self._members or len(self._members) >= MEMBER_LIMIT:
            return self._decide(now)
        return self.add(leader, now, learned=True)

    def verified(self, address: Address, number: int, now: float) -> list[Order]:
        """Note that the leader has answered a probe through a follower."""
        member = self._members[address]
        if member.probed_at is None or member.probe != number:
            return []  # probed before the member's leader changed
        member.probed_at = None
        member.verified = True
        member.probe_again_at = now + self._probe_interval
        return self._decide(now)

    def refused(self, address: Address, now: float) -> list[Order]:
        """Note that a member could not do what only a leader can."""
        member = self._members[address]
        if member.role is Role.DOWN:
            return []
        if address == self.active:
            return [
                self._disconnect(member, "it cannot reach a leader", now),
                *self._decide(now),
            ]
        self._unverify(member, now + PROBE_RETRY)
        return self._decide(now)

    def disconnected(self, address: Address, error: str, now: float) -> list[Order]:
        """Note that there is no connection, and why."""
        member = self._members[address]
        changed = member.role is not Role.DOWN or member.state.error != error
        self._set_down(member, error, now)
        self._changes += changed
        return self._decide(now)

    def advance(self, now: float) -> list[Order]:
        """Note that time has passed: to be called at ``next_deadline``."""
        orders: list[Order] = []
        for member in self._members.values():
            reason = self._overdue(member, now)
            if reason is not None:
                orders.append(self._disconnect(member, reason, now))
        return [*orders, *self._decide(now)]

    def next_deadline(self) -> float | None:
        """Return when ``advance`` has something to do, or None."""
        return min(self._deadlines(), default=None)

    # Decisions.

    def _set_role(self, member: _Member, init_type: int, now: float) -> list[Order]:
        role = _role(init_type)
        if role is Role.LEADER and member.role is not Role.LEADER:
            self._claims += 1
            member.claim = self._claims
        if role is not member.role:
            self._changes += 1
        member.state = replace(member.state, role=role)
        member.since = now
        # What it named, and what a probe showed, was about its old role.
        member.named = None
        self._unverify(member, now)
        return [AskLeader(member.address)] if role is Role.FOLLOWER else []

    def _decide(self, now: float) -> list[Order]:
        """Choose the active member; cut the one that it replaces."""
        orders: list[Order] = []
        chosen: _Member | None
        leaders = self._with_role(Role.LEADER)
        if leaders:
            self._leaderless_since = None
            chosen = max(leaders, key=self._rank)
            # A probe that was answered while another member led proves nothing later.
            for member in self._with_role(Role.FOLLOWER):
                if member.address != self.active:
                    self._unverify(member, now)
        else:
            if self._leaderless_since is None:
                self._leaderless_since = now
            orders += self._probe_candidates(now)
            chosen = self._forwarder(now)
        return self._activate(chosen, now) + orders

    def _activate(self, chosen: _Member | None, now: float) -> list[Order]:
        address = chosen.address if chosen is not None else None
        if address == self.active:
            return []
        orders: list[Order] = []
        old = self._members[self.active] if self.active is not None else None
        if old is not None and old.role is not Role.DOWN:
            reason = "another member gets the requests"
            orders.append(self._disconnect(old, reason, now))
        self.active = address
        self._changes += 1
        return orders

    def _rank(self, member: _Member) -> tuple[int, bool, int]:
        """Order members that all report to lead: rule 1."""
        votes = sum(other.named == member.address for other in self._members.values())
        return votes, member.address == self.active, member.claim

    def _may_forward(self, now: float) -> bool:
        since = self._leaderless_since
        return since is not None and now >= since + self._fallback_delay

    def _forwarder(self, now: float) -> _Member | None:
        verified = [m for m in self._with_role(Role.FOLLOWER) if m.verified]
        if not verified or not self._may_forward(now):
            return None
        chosen = max(verified, key=lambda member: member.address == self.active)
        for member in verified:
            # Only the active member is probed again; the answers of others grow old.
            if member is not chosen:
                self._unverify(member, now)
        return chosen

    def _probe_candidates(self, now: float) -> list[Order]:
        if not self._may_forward(now):
            return []
        orders: list[Order] = []
        for member in self._candidates():
            if member.probed_at is None and now >= member.probe_again_at:
                self._probes += 1
                member.probe = self._probes
                member.probed_at = now
                orders.append(Probe(member.address, member.probe))
        return orders

    def _candidates(self) -> Iterator[_Member]:
        """Yield the members to probe: the active follower, else all followers."""
        for member in self._with_role(Role.FOLLOWER):
            if self._active_forwards() and member.address != self.active:
                continue
            yield member

    def _active_forwards(self) -> bool:
        active = self._members.get(self.active) if self.active is not None else None
        return active is not None and active.role is Role.FOLLOWER

    def _overdue(self, member: _Member, now: float) -> str | None:
        """Return why a member is to be cut now (rules 4 and 5), or None."""
        if member.role is Role.LEADERLESS and now >= member.since + self._stale_after:
            return f"it has had no leader for {self._stale_after:g} s"
        if (
            member.address == self.active
            and member.probed_at is not None
            and now >= member.probed_at + self._probe_interval
        ):
            return "the leader behind it does not answer"
        return None

    def _deadlines(self) -> Iterator[float]:
        for member in self._with_role(Role.LEADERLESS):
            yield member.since + self._stale_after
        if self._leaderless_since is None:
            return
        allowed_at = self._leaderless_since + self._fallback_delay
        for member in self._candidates():
            if member.probed_at is None:
                yield max(allowed_at, member.probe_again_at)
            elif member.address == self.active:
                yield member.probed_at + self._probe_interval

    def _leader(self) -> Address | None:
        leaders = self._with_role(Role.LEADER)
        if leaders:
            return max(leaders, key=self._rank).address
        names = [m.named for m in self._members.values() if m.named is not None]
        return max(names, key=names.count, default=None)

    def _with_role(self, role: Role) -> list[_Member]:
        return [member for member in self._members.values() if member.role is role]

    def _unverify(self, member: _Member, probe_again_at: float) -> None:
        member.verified = False
        member.probed_at = None
        member.probe_again_at = probe_again_at

    def _disconnect(self, member: _Member, reason: str, now: float) -> Disconnect:
        self._set_down(member, reason, now)
        self._changes += 1
        return Disconnect(member.address, reason)

    def _set_down(self, member: _Member, error: str, now: float) -> None:
        member.state = replace(member.state, role=Role.DOWN, error=error)
        member.named = None
        member.since = now
        self._unverify(member, now)
        # Requests wait until `_decide` has chosen another member.
        if member.address == self.active:
            self.active = None


def _role(init_type: int) -> Role:
    # In this order: a leader that shuts down still has the bit of a leader.
    if init_type & InitType.SHUTTING_DOWN:
        return Role.LEAVING
    if init_type & InitType.LEADER:
        return Role.LEADER
    if init_type & InitType.LEADER_KNOWN:
        return Role.FOLLOWER
    return Role.LEADERLESS
