"""What `chaos.py` counts: each message as each reader gets it, and all that went wrong.

A message's data says what it should be: its key, and its number within the key. So a
reader that stands at a number knows what has to come next.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


def data_of(key: str, number: int) -> str:
    return f"{key}/{number}"


class Place(NamedTuple):
    """Where a reader stands.

    Attributes:
        cursor: The server's word for it.
        number: That of the last message before it.
        told: How many messages after that are gone, as the server says; infinite
            where it does not know how many.
    """

    cursor: str
    number: int
    told: float = 0


class Arrived(NamedTuple):
    """A message as a reader got it."""

    id: str
    data: str


@dataclass
class Tally:
    """What came of all messages.

    Attributes:
        lost: Messages that a reader has neither got nor been told to be gone.
        disordered: Messages that came after a later one, from the same place.
        silent_gaps: Messages left out without a word, or told to be and not left out.
        strangers: Messages with another id than the first time, or of another key.
        duplicates: Messages that a reader got again, with the id it had seen.
        reported_gaps: Gaps that were told.
        gone: Messages that readers did not get because of them.
        faults: How often each fault happened.
        closes: At which points clients have closed.
        arrived: How messages came.
        deploys: With which codes servers ended that were asked to stop.
        published: What became of requests to publish.
        deaths: Programs that ended without being told to.
    """

    lost: int = 0
    disordered: int = 0
    silent_gaps: int = 0
    strangers: int = 0
    duplicates: int = 0
    reported_gaps: int = 0
    gone: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    closes: Counter[str] = field(default_factory=Counter)
    arrived: Counter[str] = field(default_factory=Counter)
    deploys: Counter[str] = field(default_factory=Counter)
    published: Counter[str] = field(default_factory=Counter)
    deaths: list[str] = field(default_factory=list)
    _ids: dict[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> dict[str, int]:
        """Return what has to be 0."""
        return {
            "lost": self.lost,
            "out of order within a key": self.disordered,
            "left out without a gap being reported": self.silent_gaps,
            "duplicates with an id not seen before": self.strangers,
        }

    @property
    def allowed(self) -> dict[str, int]:
        """Return what may happen, and is handled."""
        return {
            "duplicates with an id seen before": self.duplicates,
            "gaps reported": self.reported_gaps,
            "messages gone by them": self.gone,
        }

    def know(self, data: str, name: str) -> None:
        """Note the id of a message, which must always be the same."""
        if self._ids.setdefault(data, name) != name:
            self.strangers += 1


class Progress:
    """What one reader has got of its key."""

    def __init__(self, tally: Tally, key: str, total: int, transport: str) -> None:
        self.key = key
        # All that is kept: that says nothing of what is not.
        self.place = Place("all", -1, math.inf)
        self.transport = transport
        self._tally = tally
        self._total = total
        self._seen: set[int] = set()
        self._gone: set[int] = set()

    @property
    def is_complete(self) -> bool:
        return self.place.number >= self._total - 1

    def finish(self) -> None:
        """Count what this reader has not got."""
        self._tally.gone += len(self._gone - self._seen)
        self._tally.lost += self._total - len(self._gone | self._seen)

    def take(
        self, messages: Iterable[Arrived], cursor: str, gone: float | None = None
    ) -> None:
        """Take what came after the present place, and move on.

        Args:
            messages: In the order in which they came.
            cursor: The place after them.
            gone: How many have been left out, if a gap is told; else None.
        """
        _, number, told = self.place
        if gone is not None:
            self._tally.reported_gaps += 1
            told += gone
        for message in messages:
            number, told = self._take(message, number, told), 0
        self.place = Place(cursor, number, told)

    def _take(self, message: Arrived, before: int, told: float) -> int:
        key, _, digits = message.data.rpartition("/")
        if key != self.key:
            self._tally.strangers += 1
            return before
        number = int(digits)
        self._tally.know(message.data, message.id)
        self._tally.arrived[self.transport] += 1
        if number <= before:
            self._tally.disordered += 1
        else:
            self._leave_out(range(before + 1, number), told)
        if number in self._seen:
            self._tally.duplicates += 1
        self._seen.add(number)
        return number

    def _leave_out(self, numbers: range, told: float) -> None:
        if told:
            self._gone.update(numbers)
        if told != math.inf:
            self._tally.silent_gaps += abs(len(numbers) - int(told))
