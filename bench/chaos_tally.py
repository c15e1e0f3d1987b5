"""What `chaos.py` counts: each message as each reader gets it, and all that went wrong.

A message's data says what it should be: its key, and its number within the key. So a
reader that stands at a number knows what has to come next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


def data_of(key: str, number: int) -> str:
    return f"{key}/{number}"


class Place(NamedTuple):
    """Where a reader stands: a cursor, and the number of the last message before it."""

    cursor: str
    number: int


class Arrived(NamedTuple):
    """A message as a reader got it."""

    id: str
    data: str


@dataclass
class Tally:
    """What came of all messages.

    Attributes:
        lost: Messages that a reader has never got.
        disordered: Messages that came after a later one, from the same place.
        silent_gaps: Messages left out without a word.
        strangers: Messages with another id than the first time, or of another key.
        duplicates: Messages that a reader got again, with the id it had seen.
        reported_gaps: Gaps that were told.
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

    def know(self, data: str, name: str) -> None:
        """Note the id of a message, which must always be the same."""
        if self._ids.setdefault(data, name) != name:
            self.strangers += 1


class Progress:
    """What one reader has got of its key."""

    def __init__(self, tally: Tally, key: str, total: int, transport: str) -> None:
        self.key = key
        self.place = Place("all", -1)
        self.transport = transport
        self._tally = tally
        self._total = total
        self._seen: set[int] = set()

    @property
    def is_complete(self) -> bool:
        return self.place.number >= self._total - 1

    @property
    def missing(self) -> int:
        return self._total - len(self._seen)

    def take(self, messages: Iterable[Arrived], cursor: str, *, gap: bool) -> None:
        """Take what came after the present place, and move on."""
        self._tally.reported_gaps += gap
        number = self.place.number
        for message in messages:
            number = self._take(message, number, gap=gap)
            gap = False
        self.place = Place(cursor, number)

    def _take(self, message: Arrived, before: int, *, gap: bool) -> int:
        key, _, digits = message.data.rpartition("/")
        if key != self.key:
            self._tally.strangers += 1
            return before
        number = int(digits)
        self._tally.know(message.data, message.id)
        self._tally.arrived[self.transport] += 1
        if number <= before:
            self._tally.disordered += 1
        elif not gap:
            self._tally.silent_gaps += number - before - 1
        if number in self._seen:
            self._tally.duplicates += 1
        self._seen.add(number)
        return number
