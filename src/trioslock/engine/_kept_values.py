"""Values of keys that have been released, for a moment longer.

The real server keeps a key's value until it collects the key, mostly one to two
seconds after its release. A publisher that releases a key with a value (``set`` of an
event that is initially set) relies on it: its waiters read the value from the free key.

Source: snower/slock 2.1.12, ``server/db.go`` (``addWaitRemoveLockManager``).
"""

from __future__ import annotations

KEPT_MS = 2000
"""Milliseconds from the release of a key to the end of its value."""

KEPT_VALUES = 1024
"""Most values that are kept; the oldest go first."""

KEPT_BYTES = 4 * 1024 * 1024
"""Most bytes that they have in all."""

Place = tuple[int, bytes]


class KeptValues:
    """Values by database and key, each until the wall millisecond of its end."""

    __slots__ = ("_size", "_values")

    def __init__(self) -> None:
        # In the order of their release, which is nearly that of their ends.
        self._values: dict[Place, tuple[bytes, int]] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._values)

    def keep(self, place: Place, data: bytes, until: int, now: int) -> None:
        """Keep a value until a wall millisecond, unless that has come."""
        self.drop(place)
        self._drop_ended(now)
        if until <= now or len(data) > KEPT_BYTES:
            return
        self._values[place] = data, until
        self._size += len(data)
        while len(self._values) > KEPT_VALUES or self._size > KEPT_BYTES:
            self.drop(next(iter(self._values)))

    def take(self, place: Place, now: int) -> tuple[bytes, int] | None:
        """Return a value and its end, and forget it; None if it has ended."""
        kept = self._values.get(place)
        if kept is None:
            return None
        self.drop(place)
        return kept if kept[1] > now else None

    def peek(self, place: Place, now: int) -> bytes | None:
        """Return a value that has not ended."""
        kept = self._values.get(place)
        return kept[0] if kept is not None and kept[1] > now else None

    def drop(self, place: Place) -> None:
        """Forget a value."""
        kept = self._values.pop(place, None)
        if kept is not None:
            self._size -= len(kept[0])

    def drop_database(self, number: int) -> None:
        """Forget the values of one database."""
        for place in [place for place in self._values if place[0] == number]:
            self.drop(place)

    def _drop_ended(self, now: int) -> None:
        while self._values:
            place = next(iter(self._values))
            if self._values[place][1] > now:
                return
            self.drop(place)
