"""Who leads a replica set, and through which member requests go: no I/O.

`Roster` is told what each member said of itself (INIT answers, pushes, LEADER
answers), that a connection was made or lost, and the time. It answers with
orders, and with ``carrier``: the member whose connection carries the requests.

The rules, each from what real nodes do:

1. A member that says it leads is the carrier. If several say so, the one that
   most others name as leader; then the one that is the carrier; then the one
   that said so last. (A leader cut off from the others still says it for a
   while.)
2. Where none has led for ``fallback_delay``, a follower that knows a leader may
   forward, once it has *proved* it by an answer that came from the leader. A
   follower goes on naming a leader that froze, and accepts what it can only
   lose. A follower that knows no leader is never asked for a proof: it would
   hold back everything on that connection for up to two seconds.
3. A connection that stops being the carrier is cut, always. Its waits are void:
   a follower never answers what it had forwarded to a leader that is gone, and
   a leader that stepped down keeps its waiters and grants them later on its
   own, unknown to the new leader. They are waits that end with their
   connection, so cutting it is what withdraws them there.
4. A forwarding carrier proves itself again every ``proof_interval``; without an
   answer within the next one it is cut.
5. A member that stays without a leader for ``stale_after`` is cut, to be asked
   anew: a node tells of each change of leader, but not of its first role.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from ..protocol import InitType

MEMBER_LIMIT = 64
"""Most members that are kept; what LEADER answers can make us connect to."""

PROOF_RETRY = 0.5
"""Seconds until a follower that refused a proof is asked again."""

Address = tuple[str, int]


class Role(Enum):
    """What a member said of itself last."""

    DOWN = "down"
    LEADER = "leader"
    FOLLOWER = "follower"
    LEADERLESS = "leaderless"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class MemberState:
    """One member, as it is seen now.

    Attributes:
        address: Host and port.
        role: What it said last, or ``DOWN`` without a connection.
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
    """A replica set, as it is seen now.

    Attributes:
        leader: The member that leads, as far as is known.
        carrier: The member through which requests go: the leader, a follower
            that forwards, or None while requests wait.
        members: All members, in the order in which they became known.
        changes: How many changes there have been; grows with each state.
    """

    leader: Address | None
    carrier: Address | None
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
    """Stay connected to a member that is new."""

    address: Address


@dataclass(frozen=True, slots=True)
class Cut:
    """End the connection to a member now, and make a new one."""

    address: Address
    reason: str


@dataclass(frozen=True, slots=True)
class AskLeader:
    """Ask a member who its leader is."""

    address: Address


@dataclass(frozen=True, slots=True)
class AskProof:
    """Ask, through a follower, what only the leader can answer.

    ``number`` goes back with the answer: one to an earlier question may have
    come from a leader that is gone.
    """

    address: Address
    number: int


Order = Connect | Cut | AskLeader | AskProof


@dataclass(slots=True)
class _Member:
    state: MemberState
    named: Address | None = None
    claim: int = 0
    proved: bool = False
    asked_at: float | None = None
    question: int = 0
    ask_again_at: float = 0.0
    since: float = 0.0

    @property
    def address(self) -> Address:
        return self.state.address

    @property
    def role(self) -> Role:
        return self.state.role


class Roster:
    """Decide who carries the requests of a replica set.

    Each method that tells of an event returns the orders that follow from it;
    the caller carries them out, in order, and then looks at ``carrier``.

    Args:
        proof_interval: Seconds between two proofs of a forwarding carrier.
        fallback_delay: Seconds without a leader until followers may forward.
        stale_after: Seconds after which a member without a leader is asked
            anew.
    """

    def __init__(
        self,
        *,
        proof_interval: float = 5.0,
        fallback_delay: float = 1.0,
        stale_after: float = 5.0,
    ) -> None:
        self.carrier: Address | None = None
        self._proof_interval = proof_interval
        self._fallback_delay = fallback_delay
        self._stale_after = stale_after
        self._members: dict[Address, _Member] = {}
        self._claims = 0
        self._changes = 0
        self._questions = 0
        self._leaderless_since: float | None = None

    def __repr__(self) -> str:
        roles = ", ".join(
            f"{host}:{port} {member.role.value}"
            for (host, port), member in self._members.items()
        )
        return f"<Roster: {roles}; carrier {self.carrier}>"

    @property
    def state(self) -> SetState:
        """What is known now."""
        return SetState(
            leader=self._leader(),
            carrier=self.carrier,
            members=tuple(member.state for member in self._members.values()),
            changes=self._changes,
        )

    def __contains__(self, address: Address) -> bool:
        return address in self._members

    # Events.

    def add(
        self, address: Address, now: float, *, learned: bool = False
    ) -> list[Order]:
        """Take a member in; nothing happens if it is known already.

        Raises:
            ValueError: There are as many members as are kept.
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
        """Note a connection, and what the member said at its start."""
        member = self._members[address]
        connections = member.state.connections + 1
        member.state = replace(member.state, connections=connections, error=None)
        return [*self._hear(member, init_type, now), *self._decide(now)]

    def pushed(self, address: Address, init_type: int, now: float) -> list[Order]:
        """Note what a member said later, unasked."""
        member = self._members[address]
        if member.role is Role.DOWN:
            return []  # said on a connection that has been cut
        role = member.role
        orders = self._hear(member, init_type, now)
        still_leads = role is Role.LEADER and member.role is Role.LEADER
        if address == self.carrier and not still_leads:
            reason = f"it was {role.value} and is {member.role.value} now"
            orders = [self._cut(member, reason, now)]
        return [*orders, *self._decide(now)]

    def named(
        self, address: Address, leader: Address | None, now: float
    ) -> list[Order]:
        """Note whom a member named as its leader."""
        member = self._members[address]
        if member.role is Role.DOWN or leader is None:
            return []
        member.named = leader
        if leader in self._members or len(self._members) >= MEMBER_LIMIT:
            return self._decide(now)
        return self.add(leader, now, learned=True)

    def proved(self, address: Address, number: int, now: float) -> list[Order]:
        """Note that the leader has answered through a follower."""
        member = self._members[address]
        if member.asked_at is None or member.question != number:
            return []  # asked before the member's leader changed
        member.asked_at = None
        member.proved = True
        member.ask_again_at = now + self._proof_interval
        return self._decide(now)

    def refused(self, address: Address, now: float) -> list[Order]:
        """Note that a member could not do what only a leader can."""
        member = self._members[address]
        if member.role is Role.DOWN:
            return []
        if address == self.carrier:
            return [
                self._cut(member, "it cannot reach a leader", now),
                *self._decide(now),
            ]
        self._disprove(member, now + PROOF_RETRY)
        return self._decide(now)

    def disconnected(self, address: Address, error: str, now: float) -> list[Order]:
        """Note that there is no connection, and why."""
        member = self._members[address]
        changed = member.role is not Role.DOWN or member.state.error != error
        self._forget(member, error, now)
        self._changes += changed
        return self._decide(now)

    def advance(self, now: float) -> list[Order]:
        """Note that time has passed: to be called at ``next_deadline``."""
        orders: list[Order] = []
        for member in self._members.values():
            reason = self._overdue(member, now)
            if reason is not None:
                orders.append(self._cut(member, reason, now))
        return [*orders, *self._decide(now)]

    def next_deadline(self) -> float | None:
        """Return when ``advance`` has something to do, or None."""
        return min(self._deadlines(), default=None)

    # What follows from what is known.

    def _hear(self, member: _Member, init_type: int, now: float) -> list[Order]:
        role = _role(init_type)
        if role is Role.LEADER and member.role is not Role.LEADER:
            self._claims += 1
            member.claim = self._claims
        if role is not member.role:
            self._changes += 1
        member.state = replace(member.state, role=role)
        member.since = now
        member.named = None
        self._disprove(member, now)
        return [AskLeader(member.address)] if role is Role.FOLLOWER else []

    def _decide(self, now: float) -> list[Order]:
        """Choose the carrier; cut the one that it replaces."""
        orders: list[Order] = []
        chosen: _Member | None
        leaders = self._with_role(Role.LEADER)
        if leaders:
            self._leaderless_since = None
            chosen = max(leaders, key=self._rank)
            for member in self._with_role(Role.FOLLOWER):
                if member.address != self.carrier:
                    self._disprove(member, now)
        else:
            if self._leaderless_since is None:
                self._leaderless_since = now
            orders += self._ask_proofs(now)
            chosen = self._forwarder(now)
        return self._carry(chosen, now) + orders

    def _carry(self, chosen: _Member | None, now: float) -> list[Order]:
        address = chosen.address if chosen is not None else None
        if address == self.carrier:
            return []
        orders: list[Order] = []
        old = self._members[self.carrier] if self.carrier is not None else None
        if old is not None and old.role is not Role.DOWN:
            orders.append(self._cut(old, "another member carries the requests", now))
        self.carrier = address
        self._changes += 1
        return orders

    def _rank(self, member: _Member) -> tuple[int, bool, int]:
        votes = sum(other.named == member.address for other in self._members.values())
        return votes, member.address == self.carrier, member.claim

    def _may_forward(self, now: float) -> bool:
        since = self._leaderless_since
        return since is not None and now >= since + self._fallback_delay

    def _forwarder(self, now: float) -> _Member | None:
        proved = [m for m in self._with_role(Role.FOLLOWER) if m.proved]
        if not proved or not self._may_forward(now):
            return None
        chosen = max(proved, key=lambda member: member.address == self.carrier)
        for member in proved:
            # Only the carrier's proof is renewed; that of another grows old.
            if member is not chosen:
                self._disprove(member, now)
        return chosen

    def _ask_proofs(self, now: float) -> list[Order]:
        if not self._may_forward(now):
            return []
        orders: list[Order] = []
        for member in self._candidates():
            if member.asked_at is None and now >= member.ask_again_at:
                self._questions += 1
                member.question = self._questions
                member.asked_at = now
                orders.append(AskProof(member.address, member.question))
        return orders

    def _candidates(self) -> Iterator[_Member]:
        """Yield whom to ask for a proof: the carrier, else all followers."""
        for member in self._with_role(Role.FOLLOWER):
            if self._carrier_forwards() and member.address != self.carrier:
                continue
            yield member

    def _carrier_forwards(self) -> bool:
        carrier = self._members.get(self.carrier) if self.carrier is not None else None
        return carrier is not None and carrier.role is Role.FOLLOWER

    def _overdue(self, member: _Member, now: float) -> str | None:
        if member.role is Role.LEADERLESS and now >= member.since + self._stale_after:
            return "it has had no leader for long"
        if (
            member.address == self.carrier
            and member.asked_at is not None
            and now >= member.asked_at + self._proof_interval
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
            if member.asked_at is None:
                yield max(allowed_at, member.ask_again_at)
            elif member.address == self.carrier:
                yield member.asked_at + self._proof_interval

    def _leader(self) -> Address | None:
        leaders = self._with_role(Role.LEADER)
        if leaders:
            return max(leaders, key=self._rank).address
        names = [m.named for m in self._members.values() if m.named is not None]
        return max(names, key=names.count, default=None)

    def _with_role(self, role: Role) -> list[_Member]:
        return [member for member in self._members.values() if member.role is role]

    def _disprove(self, member: _Member, ask_again_at: float) -> None:
        member.proved = False
        member.asked_at = None
        member.ask_again_at = ask_again_at

    def _cut(self, member: _Member, reason: str, now: float) -> Cut:
        self._forget(member, reason, now)
        self._changes += 1
        return Cut(member.address, reason)

    def _forget(self, member: _Member, error: str, now: float) -> None:
        member.state = replace(member.state, role=Role.DOWN, error=error)
        member.named = None
        member.since = now
        self._disprove(member, now)
        if member.address == self.carrier:
            self.carrier = None


def _role(init_type: int) -> Role:
    if init_type & InitType.SHUTTING_DOWN:
        return Role.LEAVING
    if init_type & InitType.LEADER:
        return Role.LEADER
    if init_type & InitType.LEADER_KNOWN:
        return Role.FOLLOWER
    return Role.LEADERLESS
