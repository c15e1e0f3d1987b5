"""The holders of a key in order of grant, and its waiters by priority.

A queue is linked through its items, so an item leaves from the middle in constant
time and leaves nothing behind. A long queue also has an index by lock id. Items with
the same lock id form a ring from the oldest over the younger ones back to the oldest,
so that both ends are at hand: a release takes the oldest, a cancel takes the newest.

Source: snower/slock 2.1.12, ``server/lock.go`` (``LockManagerWaitQueue``,
``LockManagerPriorityRingQueue``, ``LockManagerLockQueue``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Self, TypeVar

from ..protocol import LockCommand, TimeoutFlag

_INDEX_FROM = 8
_PRIORITY = int(TimeoutFlag.RCOUNT_IS_PRIORITY)


class QueueItem:
    """An item of one queue at a time, which alone sets the links to its neighbours.

    ``elder`` and ``younger`` are the neighbours in the ring of the same lock id, None
    in a queue without an index or for the only item of an id.
    """

    __slots__ = ("command", "elder", "next", "prev", "younger")

    command: LockCommand
    prev: Self | None
    next: Self | None
    elder: Self | None
    younger: Self | None


T = TypeVar("T", bound=QueueItem)


class FifoQueue(Generic[T]):
    """Items in order of arrival."""

    __slots__ = ("_index", "head", "priority", "size", "tail")

    def __init__(self, priority: int = 0) -> None:
        self.priority = priority
        self.head: T | None = None
        self.tail: T | None = None
        self.size = 0
        # Lock id to the oldest item of that id.
        self._index: dict[bytes, T] | None = None

    def __iter__(self) -> Iterator[T]:
        item = self.head
        while item is not None:
            yield item
            item = item.next

    def append(self, item: T) -> None:
        """Add an item at the end."""
        tail = self.tail
        if tail is None:
            self.head = item
        else:
            item.prev = tail
            tail.next = item
        self.tail = item
        self.size += 1
        if self._index is not None:
            _index_add(self._index, item)
        elif self.size > _INDEX_FROM:
            self._index = {}
            for each in self:
                _index_add(self._index, each)

    def remove(self, item: T) -> None:
        """Remove an item of this queue, wherever it stands."""
        before, after = item.prev, item.next
        if before is None:
            self.head = after
        else:
            before.next = after
            item.prev = None
        if after is None:
            self.tail = before
        else:
            after.prev = before
            item.next = None
        self.size -= 1
        if self._index is not None:
            _index_remove(self._index, item)
            # Kept while the queue shrinks: one around the size of `_INDEX_FROM`
            # would otherwise build it again and again.
            if not self.size:
                self._index = None

    def oldest(self, lock_id: bytes) -> T | None:
        """Return the first item with this lock id."""
        if self._index is not None:
            return self._index.get(lock_id)
        item = self.head
        while item is not None and item.command.lock_id != lock_id:
            item = item.next
        return item

    def newest(self, lock_id: bytes) -> T | None:
        """Return the last item with this lock id."""
        if self._index is not None:
            item = self._index.get(lock_id)
            return item if item is None or item.elder is None else item.elder
        item = self.tail
        while item is not None and item.command.lock_id != lock_id:
            item = item.prev
        return item


def _index_add(index: dict[bytes, T], item: T) -> None:
    oldest = index.setdefault(item.command.lock_id, item)
    if oldest is item:
        return
    # The ring: the oldest's elder is the newest.
    newest = oldest.elder or oldest
    newest.younger = item
    item.elder = newest
    item.younger = oldest
    oldest.elder = item


def _index_remove(index: dict[bytes, T], item: T) -> None:
    lock_id = item.command.lock_id
    elder, younger = item.elder, item.younger
    if elder is None or younger is None:
        del index[lock_id]
        return
    if index[lock_id] is item:
        index[lock_id] = younger
    if elder is younger:  # one is left, and its links are None
        elder.elder = elder.younger = None
    else:
        elder.younger = younger
        younger.elder = elder
    item.elder = item.younger = None


def priority_of(command: LockCommand) -> int:
    """Return the priority that a request asks for; higher goes first."""
    return command.rcount if command.timeout_flag & _PRIORITY else 0


class PriorityQueue(Generic[T]):
    """The waiters of a key: highest priority first, FIFO within a priority."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        # By falling priority, none of them empty.
        self._queues: list[FifoQueue[T]] = []

    def __iter__(self) -> Iterator[T]:
        for queue in self._queues:
            yield from queue

    @property
    def head(self) -> T | None:
        """The waiter that is served next."""
        return self._queues[0].head if self._queues else None

    @property
    def priority(self) -> int:
        """The priority of the head; 0 for an empty queue."""
        return self._queues[0].priority if self._queues else 0

    def append(self, item: T) -> None:
        """Add a waiter behind those of the same and of higher priority."""
        priority = priority_of(item.command)
        queues = self._queues
        place = 0
        while place < len(queues) and queues[place].priority > priority:
            place += 1
        if place == len(queues) or queues[place].priority != priority:
            queues.insert(place, FifoQueue(priority))
        queues[place].append(item)

    def remove(self, item: T) -> None:
        """Remove a waiter of this queue, wherever it stands."""
        priority = priority_of(item.command)
        for place, queue in enumerate(self._queues):
            if queue.priority == priority:
                queue.remove(item)
                if not queue.size:
                    del self._queues[place]
                return
        raise AssertionError("a waiter is in no queue")

    def newest(self, lock_id: bytes) -> T | None:
        """Return the waiter with this lock id that is served last."""
        for queue in reversed(self._queues):
            item = queue.newest(lock_id)
            if item is not None:
                return item
        return None
