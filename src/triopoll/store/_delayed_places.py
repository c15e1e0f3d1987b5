"""Where messages are pending in Redis: in one place, or in the 1,024 of a cluster.

In a cluster a worker that looks for due messages remembers for each place when the next
one is due, and asks which places were changed since. It looks at all places when it
begins, after an error, when the node that knows of the changes may have lost writes,
and once in a while: a publisher may have died before it noted what it had stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import trio

from ._delayed_base import DueMessages
from ._delayed_scripts import CHANGED, COUNTED, LOOK, NOTE
from ._executors import Command
from ._history import HISTORY
from ._log_base import new_epoch
from ._names import Layout, Names
from ._pipeliner import Pipeliner

__all__ = ["Places", "places_of"]

# Names that one look returns: their messages are moved before the next look.
_MOST_DUE = 128
# Seconds after which all places are looked at.
_LOOK_AT_ALL = 300.0


class Places(Protocol):
    """The places of pending messages."""

    async def note(self, names: Names, count: int, *, look: bool) -> None:
        """Note that so many messages are pending in a place.

        Args:
            names: Of the place.
            count: How many.
            look: Whether the next one there may be due earlier than before.

        Raises:
            StoreError: It may not have been noted.

        Cancellation:
            It may have been noted.
        """
        ...

    async def has_room(self, limit: int) -> bool:
        """Return whether fewer messages than the limit are pending in all places.

        Raises:
            StoreError: That is not known.

        Cancellation:
            Nothing is left behind.
        """
        ...

    async def look(self) -> DueMessages:
        """Return what is due; see `DelayedStore.look`.

        Raises:
            StoreError: It cannot be looked at.

        Cancellation:
            The next call looks at all places.
        """
        ...


def places_of(pipeliner: Pipeliner, layout: Layout) -> Places:
    """Return the places of a Redis, or of a cluster."""
    if layout.is_spread:
        return _ManyPlaces(pipeliner, layout)
    return _OnePlace(pipeliner, layout.control)


class _OnePlace:
    """All messages are in one sorted set, whose scripts see how many there are."""

    def __init__(self, pipeliner: Pipeliner, names: Names) -> None:
        self._pipeliner = pipeliner
        self._names = names

    async def note(self, names: Names, count: int, *, look: bool) -> None:
        """Do nothing; see `Places.note`."""

    async def has_room(self, limit: int) -> bool:
        """Return True: the script that stores knows it; see `Places.has_room`."""
        return True

    async def look(self) -> DueMessages:
        """Return what is due; see `Places.look`."""
        found = await self._pipeliner.call(*_look_at(self._names))
        epoch, pending, pause, *due = found
        by_key = _by_key(self._names, due)
        return DueMessages(epoch.decode(), pending, by_key, _seconds(pause))


class _ManyPlaces:
    """A sorted set in each place, and one place that knows which were changed."""

    def __init__(self, pipeliner: Pipeliner, layout: Layout) -> None:
        self._pipeliner = pipeliner
        self._layout = layout
        control = layout.control
        self._keys = [control.epoch, control.due_places, control.due_counts]
        self._total = 0
        # What the last look has found: the number of the last change, where it was
        # read, and by trio's clock when a message is due in a place.
        self._last_change = 0
        self._source: tuple[bytes, bytes] | None = None
        self._due_at: dict[str, float] = {}
        self._all_at = -math.inf

    async def note(self, names: Names, count: int, *, look: bool) -> None:
        """Note how many are pending in a place; see `Places.note`."""
        tag = self._layout.tag_in(names)
        note = NOTE(self._keys, new_epoch(), tag, count, int(look))
        self._total = (await self._pipeliner.call(*note))[1]

    async def has_room(self, limit: int) -> bool:
        """Ask only where the last answer was that there is none; see `Places`."""
        if self._total >= limit:
            self._total = int((await self._ask())[3])
        return self._total < limit

    async def look(self) -> DueMessages:
        """Return what is due; see `Places.look`."""
        source, self._source = self._source, None
        epoch, history, change, total, *changed = await self._ask()
        now = trio.current_time()
        is_known = (epoch, history) == source and int(change) >= self._last_change
        if is_known and now < self._all_at:
            tags = {tag.decode() for tag in changed}
            tags |= {tag for tag, due_at in self._due_at.items() if due_at <= now}
        else:
            tags = set(self._layout.log_tags)
        due, counts = await self._look_at(sorted(tags))
        self._total = int(total)
        if len(tags) == len(self._layout.log_tags):
            self._total = await self._pipeliner.call(*self._counted(counts))
            self._all_at = now + _LOOK_AT_ALL
        self._source, self._last_change = (epoch, history), int(change)
        next_at = min(self._due_at.values(), default=math.inf)
        pause = max(0.0, next_at - trio.current_time())
        return DueMessages(epoch.decode(), self._total, due, pause)

    async def _ask(self) -> list[Any]:
        command = CHANGED(self._keys, self._last_change, HISTORY)
        reply: list[Any] = await self._pipeliner.call(*command)
        return reply

    async def _look_at(
        self, tags: Sequence[str]
    ) -> tuple[dict[str, list[str]], dict[str, int]]:
        """Look at some places; return what is due, and how many are pending in each."""
        places = [self._layout.of_tag(tag) for tag in tags]
        replies = await self._pipeliner.call_many(list(map(_look_at, places)))
        now = trio.current_time()
        due: dict[str, list[str]] = {}
        counts: dict[str, int] = {}
        for tag, names, reply in zip(tags, places, replies, strict=True):
            _, pending, pause, *found = reply
            due |= _by_key(names, found)
            self._due_at.pop(tag, None)
            if pending:
                counts[tag] = pending
                self._due_at[tag] = now if found else now + _seconds(pause)
        return due, counts

    def _counted(self, counts: dict[str, int]) -> Command:
        args = [str(each) for pair in counts.items() for each in pair]
        return COUNTED([self._layout.control.due_counts], *args)


def _look_at(names: Names) -> Command:
    return LOOK([names.epoch, names.due], _MOST_DUE)


def _by_key(names: Names, due: Sequence[bytes]) -> dict[str, list[str]]:
    by_key: dict[str, list[str]] = {}
    for name in map(bytes.decode, due):
        by_key.setdefault(names.key_of_seen(name), []).append(name)
    return by_key


def _seconds(microseconds: bytes | int) -> float:
    # Lua returns no integers of this size: they are texts.
    return math.inf if int(microseconds) < 0 else int(microseconds) / 1e6
