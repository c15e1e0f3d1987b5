"""Keys and databases: their holders, their waiters, and when a request fits.

A key exists while it has a holder or a waiter. One that has neither is made for the
time of a request and never enters its database, so it costs nothing afterwards. Its
value goes with it, a moment later if it was released: see ``_kept_values``.

Source: snower/slock 2.1.12, ``server/lock.go`` (``LockManager``),
``server/db.go`` (``doLock``).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..protocol import MAX_DATABASE, UNLIMITED_COUNT, LockCommand, TimeoutFlag
from ._peers import Peer
from ._queues import FifoQueue, PriorityQueue, QueueItem
from ._types import Counters
from ._values import Execute

_VERSION = int(TimeoutFlag.LOCK_ID_IS_VERSION)
_VERSION_SIZE = 8
_PRIORITY = int(TimeoutFlag.RCOUNT_IS_PRIORITY)
_UNLIMITED = int(UNLIMITED_COUNT)
_FREED_NAMES_KEPT = 256


class Claim(QueueItem):
    """One LOCK request that waits for its key or holds it.

    The same object moves from the waiters to the holders.

    Attributes:
        owner: The peer that results and notices are for.
        command: The request, or what replaced it on update and re-entry; its
            data frame is dropped once it has been applied.
        key: The key waited for or held.
        levels: Levels held; 0 while it waits.
        start: Wall second of the request, then of the grant or update.
        expires: Wall second at which the lease ends, or ``FOREVER``.
        due: Wall millisecond of the timer; set by ``Deadlines`` alone.
        exact: The timer is one of milliseconds.
        executes: ``EXECUTE`` entries for later stages.
    """

    __slots__ = (
        "due",
        "exact",
        "executes",
        "expires",
        "key",
        "levels",
        "owner",
        "start",
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
        # The links of a QueueItem, without a call for each request.
        self.prev = self.next = self.elder = self.younger = None


class Key:
    """One key of one database.

    Attributes:
        name: Its 16 bytes.
        levels: Levels held, summed over the holders.
        holders: In order of grant; the head decides for all.
        waiting: How many wait.
        waiters: The queue, made with the first waiter.
        data: The value, a whole data frame, or None.
        data_until: Wall millisecond at which the value of a free key ends; 0 once
            the key has a holder or a waiter.
    """

    __slots__ = (
        "data",
        "data_until",
        "db",
        "holders",
        "levels",
        "name",
        "waiters",
        "waiting",
    )

    def __init__(self, db: EngineDatabase, name: bytes) -> None:
        self.db = db
        self.name = name
        self.levels = 0
        self.holders: FifoQueue[Claim] = FifoQueue()
        self.waiting = 0
        self.waiters: PriorityQueue[Claim] | None = None
        self.data: bytes | None = None
        self.data_until = 0

    @property
    def first_holder(self) -> Claim | None:
        """The oldest holder still there."""
        return self.holders.head

    def fits(self, command: LockCommand) -> bool:
        """Return whether one more holder may take the key.

        The request's count and the *first* holder's must both allow it, and
        both are compared with levels, not with holders: a re-entered lock uses
        up capacity. A version newer than the first holder's does not fit.
        """
        first = self.holders.head
        if first is None:
            return True
        count = command.max_count
        if not count:
            return False
        first_count = first.command.max_count
        # Counts have 16 bits, and only two unlimited ones go on where levels have
        # outgrown them.
        if self.levels >= _UNLIMITED:
            if first_count != _UNLIMITED or count != _UNLIMITED:
                return False
        elif self.levels > first_count or self.levels > count:
            return False
        if command.timeout_flag & _VERSION:
            return version_of(command) <= version_of(first.command)
        return True

    def is_behind(self, command: LockCommand) -> bool:
        """Return whether a request's version is older than the first holder's."""
        first = self.holders.head
        return first is not None and version_of(command) < version_of(first.command)

    def may_pass(self, command: LockCommand) -> bool:
        """Return whether a request's priority is above that of the queue's head."""
        if not command.timeout_flag & _PRIORITY:
            return False
        priority = self.waiters.priority if self.waiters is not None else 0
        return command.rcount > priority

    def enqueue(self, claim: Claim) -> None:
        """Add a waiter to the queue."""
        if self.waiters is None:
            self.waiters = PriorityQueue()
        self.waiters.append(claim)
        self.waiting += 1

    def dequeue(self, claim: Claim) -> None:
        """Remove a waiter from the queue."""
        assert self.waiters is not None
        self.waiters.remove(claim)
        self.waiting -= 1


def version_of(command: LockCommand) -> int:
    """Return the version in the first eight bytes of a lock id."""
    return int.from_bytes(command.lock_id[:_VERSION_SIZE], "little")


def next_version(lock_id: bytes) -> bytes:
    """Return a lock id with its version one higher; it wraps at 64 bit."""
    version = int.from_bytes(lock_id[:_VERSION_SIZE], "little") + 1
    version &= (1 << 8 * _VERSION_SIZE) - 1
    return version.to_bytes(_VERSION_SIZE, "little") + lock_id[_VERSION_SIZE:]


class EngineDatabase:
    """The keys of one database and its counters.

    The counters are those of STATE. ``key_count`` there includes some hundred
    keys freed in this second and in the one before, as the real server collects
    keys late; only their names are kept for it.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.keys: dict[bytes, Key] = {}
        self.lock_count = 0
        self.unlock_count = 0
        self.locked_count = 0
        self.wait_count = 0
        self.timed_out_count = 0
        self.expired_count = 0
        self.unlock_error_count = 0
        self._freed: set[bytes] = set()
        self._freed_before: set[bytes] = set()
        self._freed_second = 0

    def free(self, key: Key, second: int) -> None:
        """Forget a key without holder and waiter."""
        del self.keys[key.name]
        if second != self._freed_second:
            self._roll(second)
        if len(self._freed) < _FREED_NAMES_KEPT:
            self._freed.add(key.name)

    def counters(self, second: int) -> Counters:
        """Return the counters as they are in wall second ``second``."""
        if second != self._freed_second:
            self._roll(second)
        freed = (self._freed | self._freed_before).difference(self.keys)
        return Counters(
            self.lock_count,
            self.unlock_count,
            self.locked_count,
            self.wait_count,
            self.timed_out_count,
            self.expired_count,
            self.unlock_error_count,
            len(self.keys) + len(freed),
        )

    def _roll(self, second: int) -> None:
        follows = second == self._freed_second + 1
        self._freed_before = self._freed if follows else set()
        self._freed = set()
        self._freed_second = second


class Keyspace:
    """The databases. One exists from its first LOCK or read on."""

    __slots__ = ("_databases",)

    def __init__(self) -> None:
        self._databases: dict[int, EngineDatabase] = {}

    def __len__(self) -> int:
        return len(self._databases)

    def __iter__(self) -> Iterator[EngineDatabase]:
        return iter(self._databases.values())

    def find(self, number: int) -> EngineDatabase | None:
        """Return a database that exists."""
        return self._databases.get(number)

    def find_key(self, number: int, name: bytes) -> Key | None:
        """Return a key that has a holder or a waiter."""
        db = self._databases.get(number)
        return db.keys.get(name) if db is not None else None

    def open(self, number: int) -> EngineDatabase | None:
        """Return a database, made if it is new; None for a number above 254."""
        db = self._databases.get(number)
        if db is None and number <= MAX_DATABASE:
            db = self._databases[number] = EngineDatabase(number)
        return db
