"""The counts of `chaos.py`: each message that each reader receives, and every fault.

The data of a message contains its key and its number within the key. A reader at a
number can therefore check which message must follow.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

# Seconds within which a gap has to report what an old primary took: each client asks
# the Sentinels once a second, and readers come and go.
LATEST_REPORT = 10.0


def print_counts(title: str, counts: Mapping[str, int]) -> None:
    """Print a title, and a line for each count."""
    print(f"{title}:")
    for name, count in counts.items():
        print(f"{count:>10,}  {name}")


def data_of(key: str, number: int) -> str:
    return f"{key}/{number}"


class Place(NamedTuple):
    """The position of a reader.

    Attributes:
        cursor: The server's cursor.
        number: The number of the last message before it.
        reported: How many messages after that are gone, as the server reports; infinite
            if the server does not know the number.
    """

    cursor: str
    number: int
    reported: float = 0


class _Skipped(NamedTuple):
    """Messages that were skipped otherwise than reported.

    Attributes:
        numbers: Those that were skipped.
        wrong: By how many the report differs.
        at: When, by the monotonic clock.
    """

    numbers: range
    wrong: int
    at: float


class Arrived(NamedTuple):
    """A message as a reader received it."""

    id: str
    data: str


@dataclass
class Tally:
    """The counts of a run.

    Attributes:
        lost: Messages that a reader did not receive and that no gap reported.
        disordered: Messages that followed a later one from the same position.
        silent_gaps: Messages skipped without a report, or reported and not skipped.
        late_gaps: Messages skipped, and reported as a gap with a later message.
        strangers: Messages with another id than the first time, or of another key.
        duplicates: Messages that a reader received again with the same id.
        read_again: Those of them that followed a gap of unknown size which begins at an
            earlier message.
        reported_gaps: Gaps that were reported.
        gone: Messages that readers did not receive because of these gaps.
        faults: How often each fault happened.
        closes: At which points clients disconnected.
        arrived: By which transport messages were received.
        deploys: The exit codes of servers that were stopped.
        published: The results of publish requests.
        deaths: Programs that exited without being stopped.
        losses: How often Redis may have lost what it had answered.
        stored_again: Messages that their publisher, without an answer, sent again after
            Redis had lost them: they have another id than before.
    """

    lost: int = 0
    disordered: int = 0
    silent_gaps: int = 0
    late_gaps: int = 0
    strangers: int = 0
    duplicates: int = 0
    read_again: int = 0
    reported_gaps: int = 0
    gone: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    closes: Counter[str] = field(default_factory=Counter)
    arrived: Counter[str] = field(default_factory=Counter)
    deploys: Counter[str] = field(default_factory=Counter)
    published: Counter[str] = field(default_factory=Counter)
    deaths: list[str] = field(default_factory=list)
    losses: int = 0
    stored_again: int = 0
    _ids: dict[str, set[str]] = field(default_factory=dict)

    @property
    def failures(self) -> dict[str, int]:
        """Return the counts that must be 0."""
        return {
            "lost": self.lost,
            "out of order within a key": self.disordered,
            "skipped without a reported gap": self.silent_gaps,
            "duplicates with another id": self.strangers,
        }

    @property
    def allowed(self) -> dict[str, int]:
        """Return the counts that may be above 0."""
        return {
            "duplicates with the same id": self.duplicates,
            "gaps reported": self.reported_gaps,
            "messages covered by gaps": self.gone,
            "messages covered by a later gap": self.late_gaps,
            "messages stored again after a loss": self.stored_again,
        }

    def know(self, data: str, name: str) -> None:
        """Note the id of a message: always the same, unless Redis has lost it."""
        ids = self._ids.setdefault(data, set())
        if name in ids:
            return
        ids.add(name)
        if len(ids) > 1 + self.losses:
            self.strangers += 1
        elif len(ids) > 1:
            self.stored_again += 1


class Progress:
    """The messages of its key that one reader has received."""

    def __init__(self, tally: Tally, key: str, total: int, transport: str) -> None:
        self.key = key
        # The cursor "all" reports no gap, so any number may be missing before it.
        self.place = Place("all", -1, math.inf)
        self.transport = transport
        self._tally = tally
        self.total = total
        self._seen: set[int] = set()
        # Up to this number, a gap has made the server give out messages once more.
        self._read_again_to = -1
        self._gone: set[int] = set()
        # What was skipped so far otherwise than reported: the numbers by the first of
        # them, and by how many the report is wrong.
        self._skipped: dict[int, _Skipped] = {}

    @property
    def is_complete(self) -> bool:
        return self.place.number >= self.total - 1

    def finish(self, kept: set[int]) -> None:
        """Count the messages that this reader has not received.

        Args:
            kept: The messages that Redis has at the end: no gap excuses their absence.
        """
        excused = self._gone - self._seen - kept
        self._tally.gone += len(excused)
        self._tally.silent_gaps += sum(each.wrong for each in self._skipped.values())
        self._tally.lost += self.total - len(excused | self._seen)

    def take(
        self, messages: Iterable[Arrived], cursor: str, gone: float | None = None
    ) -> None:
        """Process the messages after the present position, and move on.

        Args:
            messages: In the order in which they arrived.
            cursor: The position after them.
            gone: How many have been skipped, if a gap is reported; otherwise None.
        """
        _, number, reported = self.place
        if gone is not None:
            self._tally.reported_gaps += 1
            reported += gone
        for message in messages:
            number, reported = self._take(message, number, reported), 0
        self.place = Place(cursor, number, reported)

    def _take(self, message: Arrived, before: int, reported: float) -> int:
        key, _, digits = message.data.rpartition("/")
        if key != self.key:
            self._tally.strangers += 1
            return before
        number = int(digits)
        self._tally.know(message.data, message.id)
        self._tally.arrived[self.transport] += 1
        if reported == math.inf and number <= before:
            # The server gives out all that it has, since it cannot know the position.
            self._read_again_to = max(self._seen, default=-1)
            before = number - 1
            self._judge_again(number)
        elif reported == math.inf:
            self._excuse()
        if number <= before:
            self._tally.disordered += 1
        else:
            self._leave_out(range(before + 1, number), reported)
        if number in self._seen:
            self._tally.duplicates += 1
            self._tally.read_again += number <= self._read_again_to
        self._seen.add(number)
        return number

    def _leave_out(self, numbers: range, reported: float) -> None:
        for first in range(numbers.start, numbers.stop + 1):
            self._skipped.pop(first, None)
        if reported:
            self._gone.update(numbers)
        wrong = 0 if reported == math.inf else abs(len(numbers) - int(reported))
        if wrong:
            self._skipped[numbers.start] = _Skipped(numbers, wrong, time.monotonic())

    def _judge_again(self, number: int) -> None:
        """Forget what was skipped after a number: it is read once more from there."""
        for first in [each for each in self._skipped if each > number]:
            del self._skipped[first]

    def _excuse(self) -> None:
        """Count what was skipped a moment ago as reported now, after a failover.

        An old primary takes messages while the new one does already, which learns of
        that when the last client has left the old one.
        """
        since = time.monotonic() - LATEST_REPORT
        for first, skipped in list(self._skipped.items()):
            if self._tally.losses and skipped.at > since:
                self._tally.late_gaps += skipped.wrong
                self._gone.update(skipped.numbers)
                del self._skipped[first]
