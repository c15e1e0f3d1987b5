"""Who waits on a key in this process, as it is to be reported to the store.

A client polls again right after each answer, so a wait that ends leaves a lingering
place, which counts for some seconds. The next wait of the same subject on the same key
takes it over, so a client that polls in a loop counts once, and causes no report.

A report has the whole state of one key in this process, so a lost report is repaired by
the next one. A key is due for a report soon after a change, and regularly without one:
the store forgets the reports of a process that has died.

There is no I/O and no clock in here. Times are seconds of any monotonic clock.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ..store import Waiting

__all__ = ["Place", "PresenceLimits", "PresenceTable"]


@dataclass(frozen=True, slots=True)
class PresenceLimits:
    """How long and how much is remembered.

    Attributes:
        linger: Seconds for which a wait that has ended still counts.
        change_delay: Seconds from a change to its report.
        refresh: Seconds from one report of a key to the next, without a change.
        max_places: Waits that count, on all keys, those that linger included; one more
            does not count.
        max_subjects: Subjects of a key; waits of one more count as anonymous.
    """

    linger: float = 10.0
    change_delay: float = 1.0
    refresh: float = 8.0
    max_places: int = 65536
    max_subjects: int = 100


class Place(NamedTuple):
    """What `PresenceTable.join` has counted, for `PresenceTable.leave`."""

    key: str
    subject: str | None


@dataclass(slots=True)
class _Places:
    """The places of one subject on a key.

    Attributes:
        open: Of waits that are parked.
        ends: When each lingering place ends, in ascending order.
    """

    open: int = 0
    ends: deque[float] = field(default_factory=deque[float])


@dataclass(slots=True)
class _Key:
    """The places on one key.

    Attributes:
        due_at: When the next report is due; infinite before the first is planned.
        subjects: By subject.
    """

    due_at: float = math.inf
    subjects: dict[str | None, _Places] = field(
        default_factory=dict[str | None, _Places]
    )

    def waiting(self) -> Waiting:
        nameless = self.subjects.get(None, _Places())
        names = sorted(subject for subject in self.subjects if subject is not None)
        return Waiting(tuple(names), nameless.open + len(nameless.ends))


class PresenceTable:
    """Count the waits of this process by key and subject.

    Attributes:
        places: Waits that count, those that linger included.
    """

    def __init__(self, limits: PresenceLimits | None = None) -> None:
        """Start empty."""
        self.places = 0
        self._limits = limits or PresenceLimits()
        self._keys: dict[str, _Key] = {}
        # An entry counts if it has the `due_at` of its key: each change of that, which
        # makes it earlier, pushes another one.
        self._due: list[tuple[float, str]] = []

    def __repr__(self) -> str:
        return f"<PresenceTable: {self.places} places on {len(self._keys)} keys>"

    def __len__(self) -> int:
        return len(self._keys)

    def join(self, key: str, subject: str | None, now: float) -> Place | None:
        """Count a wait that begins.

        Args:
            key: What is waited for.
            subject: Of the ticket; None without one.
            now: The present time.

        Returns:
            What to give to `leave`. None if there is no room; the wait does not count
            then.
        """
        entry = self._keys.get(key) or _Key()
        if subject not in entry.subjects and self._is_full(entry):
            subject = None
        places = entry.subjects.get(subject)
        if places is not None and places.ends:
            # The number does not change, as the store knows it.
            places.ends.pop()
            places.open += 1
            return Place(key, subject)
        if self.places >= self._limits.max_places:
            return None
        self.places += 1
        if places is None:
            places = entry.subjects[subject] = _Places()
            self._keys[key] = entry
        if subject is None or not places.open:
            self._plan(key, entry, now + self._limits.change_delay)
        places.open += 1
        return Place(key, subject)

    def leave(self, place: Place, now: float) -> None:
        """Count a wait that has ended as a lingering place.

        Args:
            place: From `join`; each is left once.
            now: The present time.
        """
        entry = self._keys[place.key]
        places = entry.subjects[place.subject]
        end = now + self._limits.linger
        places.open -= 1
        places.ends.append(end)
        self._plan(place.key, entry, end)

    def due(self, now: float, most: int) -> dict[str, Waiting]:
        """Return the keys whose report is due, each with all who wait on it.

        Args:
            now: The present time.
            most: Keys that are returned at most; the others are due at the next call.

        Returns:
            The reports, by key. A key on which nothing waits is forgotten with it.
        """
        found: dict[str, Waiting] = {}
        while self._due and self._due[0][0] <= now and len(found) < most:
            due_at, key = heapq.heappop(self._due)
            entry = self._keys.get(key)
            if entry is None or entry.due_at != due_at:
                continue
            next_end = self._expire(entry, now)
            entry.due_at = math.inf
            if entry.subjects:
                self._plan(key, entry, min(now + self._limits.refresh, next_end))
            else:
                del self._keys[key]
            found[key] = entry.waiting()
        return found

    def repeat(self, keys: Iterable[str], now: float) -> None:
        """Let keys be due again soon, whose reports have failed.

        The store forgets by itself those on which nothing waits any more.
        """
        for key in keys:
            if (entry := self._keys.get(key)) is not None:
                self._plan(key, entry, now + self._limits.change_delay)

    def _is_full(self, entry: _Key) -> bool:
        named = len(entry.subjects) - (None in entry.subjects)
        return named >= self._limits.max_subjects

    def _plan(self, key: str, entry: _Key, due_at: float) -> None:
        """Let a key be due at a time, or earlier."""
        if due_at < entry.due_at:
            entry.due_at = due_at
            heapq.heappush(self._due, (due_at, key))

    def _expire(self, entry: _Key, now: float) -> float:
        """Drop the places whose time is over; return when the next one ends."""
        next_end = math.inf
        for subject, places in list(entry.subjects.items()):
            while places.ends and places.ends[0] <= now:
                places.ends.popleft()
                self.places -= 1
            if places.ends:
                next_end = min(next_end, places.ends[0])
            elif not places.open:
                del entry.subjects[subject]
        return next_end
