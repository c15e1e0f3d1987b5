"""Claims in line: the holders of a key in order of grant, and its waiters.

A claim is one LOCK request that waits for a key or holds it; the same object
passes from the queue to the holders. A line is linked through the claims
themselves, so a claim leaves from the middle at no cost and leaves nothing
behind. A long line also has an index by lock id. Several claims of one lock id
form a ring from the oldest over the younger ones back to the oldest, so that
both ends are at hand: releases take the oldest, a cancel takes the newest.

Source: snower/slock 2.1.12, ``server/lock.go`` (``LockManagerWaitQueue``,
``LockManagerPriorityRingQueue``, ``LockManagerLockQueue``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..protocol import LockCommand, TimeoutFlag

if TYPE_CHECKING:
    from ._keyspace import Key
    from ._peers import Peer
    from ._values import Execute

FOREVER = 1 << 62
"""``expires`` of a lease without end."""

_INDEX_FROM = 8
_PRIORITY = int(TimeoutFlag.RCOUNT_IS_PRIORITY)


class Claim:
    """One LOCK request that waits for its key or holds it.

    Attributes:
        owner: The peer that results and notices are for.
        command: The request, or what replaced it on update and re-entry; its
            data frame is dropped once it has been applied.
        key: The key waited for or held.
        levels: Levels held; 0 while it waits.
        start: Wall second of the request, then of the grant or update.
        expires: Wall second at which the lease ends, or ``FOREVER``.
        due: Wall millisecond of the timer; belongs to ``Deadlines``.
        exact: The timer is one of milliseconds.
        executes: ``EXECUTE`` entries for later stages.
    """

    __slots__ = (
        "command",
        "due",
        "elder",
        "exact",
        "executes",
        "expires",
        "key",
        "levels",
        "next",
        "owner",
        "prev",
        "start",
        "younger",
    )

    def __init__(self, owner: Peer, command: LockCommand, key: Key, start: int) -> None:
        self.owner = owner
        self.command = command
        self.key = key
        self.levels = 0
        self.start = start
        self.expires = 0
        self.due = 0
        self.exact = False
        self.executes: list[Execute] | None = None
        self.prev: Claim | None = None
        self.next: Claim | None = None
        self.elder: Claim | None = None
        self.younger: Claim | None = None


class Line:
    """Claims in order of arrival."""

    __slots__ = ("_index", "head", "priority", "size", "tail")

    def __init__(self, priority: int = 0) -> None:
        self.priority = priority
        self.head: Claim | None = None
        self.tail: Claim | None = None
        self.size = 0
        self._index: dict[bytes, Claim] | None = None

    def __iter__(self) -> Iterator[Claim]:
        claim = self.head
        while claim is not None:
            yield claim
            claim = claim.next

    def append(self, claim: Claim) -> None:
        """Put a claim at the end."""
        tail = self.tail
        if tail is None:
            self.head = claim
        else:
            claim.prev = tail
            tail.next = claim
        self.tail = claim
        self.size += 1
        if self._index is not None:
            _index_add(self._index, claim)
        elif self.size > _INDEX_FROM:
            self._index = {}
            for each in self:
                _index_add(self._index, each)

    def remove(self, claim: Claim) -> None:
        """Take a claim of this line out, wherever it stands."""
        before, after = claim.prev, claim.next
        if before is None:
            self.head = after
        else:
            before.next = after
            claim.prev = None
        if after is None:
            self.tail = before
        else:
            after.prev = before
            claim.next = None
        self.size -= 1
        if self._index is not None:
            _index_remove(self._index, claim)
            if not self.size:
                self._index = None

    def oldest(self, lock_id: bytes) -> Claim | None:
        """Return the first claim with this lock id."""
        if self._index is not None:
            return self._index.get(lock_id)
        claim = self.head
        while claim is not None and claim.command.lock_id != lock_id:
            claim = claim.next
        return claim

    def newest(self, lock_id: bytes) -> Claim | None:
        """Return the last claim with this lock id."""
        if self._index is not None:
            claim = self._index.get(lock_id)
            return claim if claim is None or claim.elder is None else claim.elder
        claim = self.tail
        while claim is not None and claim.command.lock_id != lock_id:
            claim = claim.prev
        return claim


def _index_add(index: dict[bytes, Claim], claim: Claim) -> None:
    oldest = index.setdefault(claim.command.lock_id, claim)
    if oldest is claim:
        return
    newest = oldest.elder or oldest
    newest.younger = claim
    claim.elder = newest
    claim.younger = oldest
    oldest.elder = claim


def _index_remove(index: dict[bytes, Claim], claim: Claim) -> None:
    lock_id = claim.command.lock_id
    elder, younger = claim.elder, claim.younger
    if elder is None or younger is None:
        del index[lock_id]
        return
    if index[lock_id] is claim:
        index[lock_id] = younger
    if elder is younger:  # one is left, and a ring of one is no ring
        elder.elder = elder.younger = None
    else:
        elder.younger = younger
        younger.elder = elder
    claim.elder = claim.younger = None


def priority_of(command: LockCommand) -> int:
    """Return the place in the queue that a request asks for; higher goes first."""
    return command.rcount if command.timeout_flag & _PRIORITY else 0


class WaitQueue:
    """The waiters of a key: highest priority first, FIFO inside a priority."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: list[Line] = []

    def __iter__(self) -> Iterator[Claim]:
        for line in self._lines:
            yield from line

    @property
    def head(self) -> Claim | None:
        """The waiter that is served next."""
        return self._lines[0].head if self._lines else None

    @property
    def priority(self) -> int:
        """The priority of the head; 0 for an empty queue."""
        return self._lines[0].priority if self._lines else 0

    def append(self, claim: Claim) -> None:
        """Put a waiter behind those of the same and of higher priority."""
        priority = priority_of(claim.command)
        lines = self._lines
        place = 0
        while place < len(lines) and lines[place].priority > priority:
            place += 1
        if place == len(lines) or lines[place].priority != priority:
            lines.insert(place, Line(priority))
        lines[place].append(claim)

    def remove(self, claim: Claim) -> None:
        """Take a waiter of this queue out, wherever it stands."""
        priority = priority_of(claim.command)
        for place, line in enumerate(self._lines):
            if line.priority == priority:
                line.remove(claim)
                if not line.size:
                    del self._lines[place]
                return
        raise AssertionError("a waiter is in no line")

    def newest(self, lock_id: bytes) -> Claim | None:
        """Return the waiter with this lock id that is furthest behind."""
        for line in reversed(self._lines):
            claim = line.newest(lock_id)
            if claim is not None:
                return claim
        return None
