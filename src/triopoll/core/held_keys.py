"""The keys that waits leave held on slock after they have ended.

Some waits change a key on slock, and the change ends with its lease, not with the wait:
a poll that resets an event which is set by default holds the event's key, and so does a
wait for a group or for a log. A client that names a new key in each request would fill
slock with them. So they are counted here until their leases end, for each visitor and
for this process, and a wait that would leave one too many is refused.
"""

from __future__ import annotations

import heapq
from collections import Counter

import trio

from .outcomes import Failure, OperationFailed
from .poll_query import GROUP_NAMES

__all__ = ["OVERTIME", "HeldKeys", "TooManyHeldKeys"]

# Seconds that slock may keep a key beyond its lease: it is sent in whole seconds,
# rounded up, and ends at the next tick of the server. Without them a wait of 10 ms
# would hold a key for a second that is not counted.
OVERTIME = 2.0


class TooManyHeldKeys(OperationFailed):
    """The waits of a visitor, or of this process, hold as many keys as they may."""

    def __init__(self) -> None:
        super().__init__(Failure.TOO_MANY_HELD_KEYS)


class HeldKeys:
    """Count held keys until their leases end, within limits."""

    def __init__(self, *, limit: int = 65536, per_visitor: int = 0) -> None:
        """Start without any.

        Args:
            limit: Keys of all waits of this process.
            per_visitor: Keys of the waits of one visitor; 0 is no limit.
        """
        self._limit = limit
        self._per_visitor = per_visitor
        # When the lease of a key ends, and which visitor it is counted for.
        self._held: dict[str, tuple[float, str | None]] = {}
        self._by_visitor: Counter[str] = Counter()
        # One entry for each key, with the end that it had when the entry was pushed.
        # An end that was extended since is pushed again when the entry comes up.
        self._ends: list[tuple[float, str]] = []

    def __repr__(self) -> str:
        return f"<HeldKeys: {len(self._held)} of {self._limit}>"

    def __len__(self) -> int:
        """Return how many keys are counted; some of their leases may have ended."""
        return len(self._held)

    def hold(self, visitor: str | None, kind: str, name: str, lease: float) -> None:
        """Count a key that a wait is about to hold, under a name that its client chose.

        Args:
            visitor: What limits by visitor are counted by; None is no visitor's.
            kind: What the key stands for. Keys of two kinds are two.
            name: Names the key.
            lease: Seconds for which it stays held from now on, with `OVERTIME`.

        Raises:
            TooManyHeldKeys: There is no room; nothing has been counted.
            OperationFailed: The key is one of the service's own: holding it would stop
                the senders of a group.
        """
        if name.startswith(GROUP_NAMES):
            raise OperationFailed(Failure.SLOCK_REFUSED)
        if not self.try_hold(visitor, f"{kind} {name}", lease):
            raise TooManyHeldKeys

    def try_hold(self, visitor: str | None, key: str, lease: float) -> bool:
        """Count a key, or return False if there is no room.

        A key that is counted already stays counted for its first visitor, for longer.
        """
        now = trio.current_time()
        self._remove_ended(now)
        known = self._held.get(key)
        if known is not None:
            self._held[key] = (max(known[0], now + lease), known[1])
            return True
        if not self._has_room(visitor):
            return False
        self._held[key] = (now + lease, visitor)
        heapq.heappush(self._ends, (now + lease, key))
        if visitor is not None:
            self._by_visitor[visitor] += 1
        return True

    def _has_room(self, visitor: str | None) -> bool:
        if len(self._held) >= self._limit:
            return False
        if visitor is None or not self._per_visitor:
            return True
        return self._by_visitor[visitor] < self._per_visitor

    def _remove_ended(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            _, key = heapq.heappop(self._ends)
            end, visitor = self._held[key]
            if end > now:
                heapq.heappush(self._ends, (end, key))
                continue
            del self._held[key]
            if visitor is not None:
                self._by_visitor[visitor] -= 1
                if not self._by_visitor[visitor]:
                    del self._by_visitor[visitor]
