"""When waits and leases end.

Most of them end on a full second, thousands together, and nearly all are disarmed
before. So items that end in the same millisecond share a bucket, an
insertion-ordered dict: arming and disarming cost O(1) and leave nothing behind.
Only the buckets are in a heap. An empty bucket stays until its time or until the
empty ones outnumber the others, so that a lock taken and released in turn does not
make and remove one each time. The cost of a sweep is amortised over the buckets that
it removes.

Times are whole wall milliseconds; 0 means "not armed".
"""

from __future__ import annotations

import heapq
from typing import Generic, Protocol, TypeVar

_EMPTY_BUCKETS_KEPT = 64


class Timed(Protocol):
    """Something with a deadline. `Deadlines` alone sets it."""

    due: int


T = TypeVar("T", bound=Timed)


class Deadlines(Generic[T]):
    """Items by the time at which they are due."""

    __slots__ = ("_buckets", "_empty", "_times")

    def __init__(self) -> None:
        self._buckets: dict[int, dict[T, None]] = {}
        self._times: list[int] = []
        self._empty = 0

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    @property
    def buckets(self) -> int:
        """Number of buckets, empty ones included."""
        return len(self._buckets)

    def arm(self, item: T, due: int) -> None:
        """Make ``item``, which is not armed, due at ``due``."""
        bucket = self._buckets.get(due)
        if bucket is None:
            bucket = self._buckets[due] = {}
            heapq.heappush(self._times, due)
        elif not bucket:
            self._empty -= 1
        bucket[item] = None
        item.due = due

    def disarm(self, item: T) -> None:
        """Remove ``item``; one that is not armed is left alone."""
        due = item.due
        if not due:
            return
        item.due = 0
        bucket = self._buckets.get(due)
        if bucket is None:  # `pop` has returned its bucket
            return
        del bucket[item]
        if not bucket:
            self._empty += 1
            if self._empty > _EMPTY_BUCKETS_KEPT + (len(self._buckets) >> 1):
                self._sweep()

    def next(self) -> int | None:
        """Return the time of the earliest item, or None without any."""
        times = self._times
        # Only at the front of the heap: others are removed by `_sweep`.
        while times and not self._buckets[times[0]]:
            del self._buckets[heapq.heappop(times)]
            self._empty -= 1
        return times[0] if times else None

    def pop(self) -> list[T]:
        """Remove the earliest bucket and return its items in order of arming.

        They keep their ``due``. The caller skips those whose ``due`` has changed by
        the time their turn comes: an earlier item of the bucket has disarmed them.
        """
        due = self.next()
        if due is None:
            return []
        heapq.heappop(self._times)
        return list(self._buckets.pop(due))

    def _sweep(self) -> None:
        self._buckets = {due: items for due, items in self._buckets.items() if items}
        self._times = list(self._buckets)
        heapq.heapify(self._times)
        self._empty = 0
