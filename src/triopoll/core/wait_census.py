"""Counts of the parked waits, by kind, age, prefix and key, for operators.

Nothing is counted while waits come and go. The waits are walked over when an operator
looks: in slices, so that the event loop is never blocked for long, and with pauses, so
that all walks together take a small part of the time, however many operators look and
however often. A count that is a moment old is given out again.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from functools import partial
from heapq import nlargest
from itertools import chain, islice

import msgspec
import trio

from .kept_result import KeptResult
from .parked_waits import ParkedDetails, ParkedWaits

__all__ = [
    "AGES",
    "PREFIX_END",
    "TOP",
    "KeyWaits",
    "Waiter",
    "WaitCensus",
    "WaitCounts",
    "prefix_of",
]

# Lower bounds of the groups of waits by age, in seconds.
AGES = (0, 1, 5, 15, 60, 300)
# What a prefix of keys ends with.
PREFIX_END = ":/."
# Names that a count lists; the rest is only part of the totals.
TOP = 100
# Seconds for which a count is given out again.
_FRESH = 1.5
# Waits and their keys of one slice: about a millisecond. Names of one slice when those
# with most waits are chosen.
_SLICE, _NAMES_SLICE = 512, 4096
# Part of the time that walks may take.
_SHARE = 0.02
# Counts by key that are kept at once.
_KEPT = 16

_PREFIX = re.compile(f"[^{re.escape(PREFIX_END)}]*[{re.escape(PREFIX_END)}]")


class WaitCounts(msgspec.Struct, kw_only=True):
    """Counts of waits; those of several processes can be added up.

    Attributes:
        total: Parked waits.
        kinds: Waits by kind.
        ages: Waits by age, as many numbers as there are `AGES`.
        prefixes: Waits by prefix of a key, those with most; a wait for several keys
            counts once for each.
        keys: Waits by key, those with most.
        stages: Waits for states by the name of the state that they know, those with
            most.
        distinct_keys: How many keys are waited for.
    """

    total: int = 0
    kinds: dict[str, int] = {}  # msgspec copies it
    ages: list[int] = msgspec.field(default_factory=lambda: [0] * len(AGES))
    prefixes: dict[str, int] = {}
    keys: dict[str, int] = {}
    stages: dict[str, int] = {}
    distinct_keys: int = 0


class Waiter(msgspec.Struct, kw_only=True):
    """One wait on a key.

    Attributes:
        kind: Of the wait.
        age: Seconds for which it is parked.
        subject: Of its ticket; None without one.
        position: As in `WaitedKey`.
    """

    kind: str
    age: float
    subject: str | None
    position: str | None


class KeyWaits(msgspec.Struct, kw_only=True):
    """The waits on one key.

    Attributes:
        total: How many there are.
        positions: How many there are by position, those with most; "" for none.
        oldest: Age of the oldest in seconds; 0 without any.
    """

    total: int = 0
    positions: dict[str, int] = {}
    oldest: float = 0.0


class WaitCensus:
    """Walk over the waits of this process."""

    def __init__(
        self, waits: ParkedWaits, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Prepare it, and have the waits note their details from now on.

        Args:
            waits: What is counted.
            clock: Returns the seconds that a slice has taken.
        """
        waits.notes_details = True
        self._waits = waits
        self._clock = clock
        # One walk at a time.
        self._walking = trio.Lock()
        self._not_before = 0.0
        self._counts = KeptResult[WaitCounts](_FRESH)
        # By key, the one that was asked for last at the end.
        self._keys: dict[str, KeptResult[KeyWaits]] = {}

    def __repr__(self) -> str:
        return f"<WaitCensus: {self._waits!r}>"

    async def counts(self) -> WaitCounts:
        """Return the counts of all waits, at most a moment old.

        Cancellation:
            The walk ends.
        """
        return await self._counts.get(self._count_all)

    async def of_key(self, key: str) -> KeyWaits:
        """Return the counts of the waits on a key, at most a moment old.

        Cancellation:
            The walk ends.
        """
        kept = self._keys.pop(key, None) or KeptResult[KeyWaits](_FRESH)
        self._keys[key] = kept
        if len(self._keys) > _KEPT:
            del self._keys[next(iter(self._keys))]
        return await kept.get(partial(self._count_key, key))

    async def waiters(self, key: str, offset: int, limit: int) -> list[Waiter]:
        """Return some of the waits on a key, in the order of their arrival.

        Args:
            key: What they wait for.
            offset: How many are left out; a wait that has ended since they were
                returned moves all behind it.
            limit: How many are returned at most.

        Cancellation:
            The walk ends.
        """
        found: list[Waiter] = []
        now = trio.current_time()

        def add(wait: ParkedDetails) -> None:
            # Those behind the page are found as well: a walk cannot end early.
            if len(found) < offset + limit:
                found.extend(
                    Waiter(
                        kind=wait.kind,
                        age=round(max(0.0, now - wait.since), 3),
                        subject=wait.subject,
                        position=each.position,
                    )
                    for each in wait.keys
                    if each.key == key
                )

        await self._walk(add)
        return found[offset : offset + limit]

    async def _count_all(self) -> WaitCounts:
        tally = _Tally()
        await self._walk(tally.add)
        return await tally.counts()

    async def _count_key(self, key: str) -> KeyWaits:
        positions: Counter[str] = Counter()
        ages: list[float] = []
        now = trio.current_time()

        def add(wait: ParkedDetails) -> None:
            for each in wait.keys:
                if each.key == key:
                    positions[each.position or ""] += 1
                    ages.append(now - wait.since)

        await self._walk(add)
        return KeyWaits(
            total=positions.total(),
            positions=await _top(positions),
            oldest=round(max(ages, default=0.0), 3),
        )

    async def _walk(self, add: Callable[[ParkedDetails], None]) -> None:
        """Call a function for each wait; begin when the last walk is paid for."""
        async with self._walking:
            await trio.sleep_until(self._not_before)
            spent, began, size = 0.0, self._clock(), 0
            for wait in self._waits.details():
                add(wait)
                size += 1 + len(wait.keys)
                if size >= _SLICE:
                    spent += self._clock() - began
                    await trio.lowlevel.checkpoint()
                    began, size = self._clock(), 0
            spent += self._clock() - began
            self._not_before = trio.current_time() + spent / _SHARE


class _Tally:
    """The counts of one walk."""

    def __init__(self) -> None:
        self._now = trio.current_time()
        self._ages = [0] * len(AGES)
        self._kinds: Counter[str] = Counter()
        self._keys: Counter[str] = Counter()
        self._prefixes: Counter[str] = Counter()
        self._stages: Counter[str] = Counter()

    def add(self, wait: ParkedDetails) -> None:
        self._kinds[wait.kind] += 1
        self._ages[bisect_right(AGES, self._now - wait.since, 1) - 1] += 1
        for key, position in wait.keys:
            self._keys[key] += 1
            self._prefixes[prefix_of(key)] += 1
            if wait.kind == "state" and position is not None:
                self._stages[position] += 1

    async def counts(self) -> WaitCounts:
        return WaitCounts(
            total=self._kinds.total(),
            kinds=dict(self._kinds),
            ages=self._ages,
            prefixes=await _top(self._prefixes),
            keys=await _top(self._keys),
            stages=await _top(self._stages),
            distinct_keys=len(self._keys),
        )


def prefix_of(key: str) -> str:
    """Return a key up to its first `PREFIX_END`, included; "" if it has none."""
    found = _PREFIX.match(key)
    return found[0] if found else ""


async def _top(counter: Counter[str]) -> dict[str, int]:
    """Return the names that were counted most often, in slices."""
    best: list[tuple[str, int]] = []
    names = iter(counter.items())
    while some := list(islice(names, _NAMES_SLICE)):
        best = nlargest(TOP, chain(best, some), key=_count)
        await trio.lowlevel.checkpoint()
    return dict(best)


def _count(item: tuple[str, int]) -> int:
    return item[1]
