"""Logs of messages in this process; they do what those in Redis do.

Everything that is kept counts against the budget, bookkeeping included: keys and names
of messages come from publishers. What has outlived its time is swept out when a message
is appended: in front of the log it goes to, and everywhere when the budget is used up.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TypeAlias

import trio

from ._base import StoreError, StoreFull
from ._budget import Budget
from ._log_base import (
    NEW,
    NO_TAG,
    Appended,
    Cursor,
    LogLimits,
    NewMessage,
    Page,
    StoredMessage,
    empty_number,
    new_epoch,
    parse_question,
)
from ._log_tail import EMPTY_TAIL, LogTail, TailMessage

__all__ = ["MemoryLog"]

# What Python keeps for an entry, a log and a name, roughly, besides their texts.
_ENTRY_COST = 256
_LOG_COST = 1024
_NAME_COST = 512
# Seconds between two sweeps through everything.
_SWEEP_PAUSE = 1.0

# The key of a log, and the publisher's own id of a message.
_Name: TypeAlias = tuple[str, str]


class _Entry(NamedTuple):
    n: int
    data: bytes
    ts: float
    expires: float
    tag: str
    is_json: bool

    @property
    def cost(self) -> int:
        return _ENTRY_COST + len(self.data)


class _Log:
    """One log: its numbers, and the entries that are left."""

    __slots__ = ("_secret", "base", "entries", "forgotten_at", "last")

    def __init__(self, base: int) -> None:
        self.base = base
        self.last = base
        self._secret = secrets.token_bytes(16)
        self.entries: deque[_Entry] = deque()
        self.forgotten_at = 0.0

    @property
    def tag(self) -> str:
        """The tag of the last message."""
        return self.tag_of(self.last)

    @property
    def start(self) -> int:
        """The number before the oldest entry's."""
        return self.entries[0].n - 1 if self.entries else self.last

    def after(self, n: int) -> Iterator[_Entry]:
        first = bisect_right(self.entries, n, key=_number)
        return islice(self.entries, first, None)

    def gave_out(self, place: Cursor) -> bool:
        """Return whether the place is in this log, be its message gone or not."""
        is_within = self.base < place.n <= self.last
        return is_within and place.tag == self.tag_of(place.n)

    def tag_of(self, n: int) -> str:
        """Return the tag of a message, which follows from its number and a secret.

        So it is known for as long as the log is, and no memory is needed for it.
        """
        number = n.to_bytes(8, "big")
        digest = hashlib.blake2b(number, key=self._secret, digest_size=8).digest()
        # Never the tag that stands for no message.
        return f"{1 + int.from_bytes(digest, 'big') % 0xFFFF:04x}"


class MemoryLog:
    """Keep logs in memory, bounded; for development and tests.

    Attributes:
        on_stored: Called with the key and the publisher's id of a message that was
            stored under one.
    """

    def __init__(
        self,
        limits: LogLimits | None = None,
        *,
        budget: Budget | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start empty.

        Args:
            limits: How much is kept.
            budget: Of the bytes of this process, shared with others.
            clock: Returns Unix seconds.
        """
        self._limits = limits or LogLimits()
        self._budget = budget or Budget()
        self._clock = clock
        self._epoch = new_epoch()
        # In both, the one that is forgotten first comes first.
        self._logs: OrderedDict[str, _Log] = OrderedDict()
        self._names: OrderedDict[_Name, tuple[str, float]] = OrderedDict()
        self._sweep_at = 0.0
        self.on_stored: Callable[[_Name], object] = _ignore

    def __repr__(self) -> str:
        return f"<MemoryLog: {len(self._logs)} logs, {self._budget.taken} bytes>"

    async def append(
        self, messages: Sequence[NewMessage]
    ) -> list[Appended | StoreError]:
        """Append messages; see `MessageLog.append`.

        Cancellation:
            Before all of them, or not at all.
        """
        await trio.lowlevel.checkpoint()
        now = self._clock()
        self._forget(now)
        return [self._append(message, now) for message in messages]

    def append_now(self, message: NewMessage) -> Appended | StoreError:
        """Append one message, without a checkpoint."""
        now = self._clock()
        self._forget(now)
        return self._append(message, now)

    def stored_as(self, key: str, name: str) -> str | None:
        """Return the id of the message that was stored under a publisher's id."""
        self._forget(self._clock())
        stored = self._names.get((key, name))
        return None if stored is None else stored[0]

    async def read(
        self, key: str, cursor: str, limit: int, *, share: int = 1, acks: bool = True
    ) -> Page:
        """Read on from a cursor; see `MessageLog.read`.

        Cancellation:
            Nothing is left behind.
        """
        place = parse_question(cursor, limit)
        await trio.lowlevel.checkpoint()
        now = self._clock()
        self._forget(now)
        log = self._logs.get(key)
        if log is not None:
            self._remember(key, log, now)
        if log is None or cursor == NEW:
            missed = place is not None and not self._is_fresh(place, now)
            return Page((), self._end(log, now), missed, None if missed else 0)
        page = self._page(log, place, (limit, self._limits.page_bytes // share), now)
        if acks and self._limits.of(key).trim_acked and place is not None:
            self._trim_acked(log, place)
        return page

    async def heads(self, keys: Sequence[str]) -> list[str]:
        """Return a mark for each log; see `MessageLog.heads`.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
        logs = map(self._logs.get, keys)
        return ["" if log is None else f"{log.last}.{log.tag}" for log in logs]

    async def tail(
        self, key: str, limit: int, most_bytes: int, before: int | None = None
    ) -> LogTail:
        """Return the end of a log; see `MessageLog.tail`.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
        now = self._clock()
        self._forget(now)
        log = self._logs.get(key)
        if log is None:
            return EMPTY_TAIL
        entries = reversed(log.entries)
        older = (each for each in entries if before is None or each.n < before)
        found = list(islice(older, limit))
        messages = [
            TailMessage(
                str(Cursor(self._epoch, each.n, each.tag)),
                *(each.data[:most_bytes], len(each.data), each.ts, each.is_json),
            )
            for each in found
            if each.expires > now
        ]
        before = found[-1].n if len(found) == limit else None
        stored = log.last - log.start
        return LogTail(self._end(log, now), stored, messages, before)

    # --- appending ----------------------------------------------------------------

    def _append(self, message: NewMessage, now: float) -> Appended | StoreError:
        name = None if message.id is None else (message.key, message.id)
        if name is not None and name in self._names:
            return Appended(self._names[name][0], duplicate=True)
        log = self._logs.get(message.key)
        try:
            self._make_room(message, now, is_first=log is None)
        except StoreFull as error:
            return error
        log = log or _Log(int(now * 1e6))
        self._remember(message.key, log, now)
        log.last += 1
        limits = self._limits.of(message.key)
        expires = now + limits.lifetime(message.ttl)
        log.entries.append(
            _Entry(log.last, message.data, now, expires, log.tag, message.is_json)
        )
        self._trim(log, limits.max_messages, now)
        cursor = self._end(log, now)
        if name is not None:
            self._names[name] = (cursor, now + self._limits.seen)
            self.on_stored(name)
        return Appended(cursor, duplicate=False)

    def _make_room(self, message: NewMessage, now: float, *, is_first: bool) -> None:
        size = _ENTRY_COST + len(message.data)
        if is_first:
            size += _log_cost(message.key)
        if message.id is not None:
            size += _name_cost((message.key, message.id))
        if not self._budget.has(size) and now >= self._sweep_at:
            self._sweep(now)
        self._budget.take(size)

    def _trim(self, log: _Log, max_messages: int, now: float) -> None:
        too_old = log.last - max_messages
        while log.entries and (
            log.entries[0].n <= too_old or log.entries[0].expires <= now
        ):
            self._budget.free(log.entries.popleft().cost)

    def _remember(self, key: str, log: _Log, now: float) -> None:
        log.forgotten_at = now + self._limits.memory
        self._logs[key] = log
        self._logs.move_to_end(key)

    def _forget(self, now: float) -> None:
        """Drop logs and names whose time is over."""
        while self._names:
            name, (_, expires) = next(iter(self._names.items()))
            if expires > now:
                break
            del self._names[name]
            self._budget.free(_name_cost(name))
        while self._logs:
            key, log = next(iter(self._logs.items()))
            if log.forgotten_at > now:
                break
            del self._logs[key]
            self._budget.free(_log_cost(key) + sum(e.cost for e in log.entries))

    def _sweep(self, now: float) -> None:
        """Drop every message whose time is over, wherever it is."""
        self._sweep_at = now + _SWEEP_PAUSE
        for log in self._logs.values():
            kept = deque(entry for entry in log.entries if entry.expires > now)
            gone = sum(e.cost for e in log.entries) - sum(e.cost for e in kept)
            self._budget.free(gone)
            log.entries = kept

    # --- reading ------------------------------------------------------------------

    def _page(
        self, log: _Log, place: Cursor | None, limits: tuple[int, int], now: float
    ) -> Page:
        start = log.start if place is None else self._start(log, place)
        is_sure = start is not None
        if start is None:
            start = log.start
        found, end = self._select(log, start, limits, now)
        tag = log.tag if end == log.last else found[-1].tag
        lost = end - start - len(found) if is_sure else None
        return Page(
            tuple(map(self._stored, found)),
            str(Cursor(self._epoch, end, tag)),
            place is not None and lost != 0,
            0 if place is None else lost,
        )

    def _trim_acked(self, log: _Log, place: Cursor) -> None:
        """Remove the messages up to a place, if that is known to be in this log."""
        if self._start(log, place) is not None:
            while log.entries and log.entries[0].n <= place.n:
                self._budget.free(log.entries.popleft().cost)

    def _start(self, log: _Log, place: Cursor) -> int | None:
        """Return the number to read on from, or None if the place is not known."""
        if place.n <= log.base:
            return log.base if self._is_fresh(place, log.base / 1e6) else None
        if place.epoch == self._epoch and log.gave_out(place):
            return place.n
        return None

    def _is_fresh(self, place: Cursor, time: float) -> bool:
        """Return whether nothing came between this place and that time.

        At that time the log was not known. Had there been a message after the place,
        it would have been; and if there was one at the place, then it was lost.
        """
        age = time - place.n / 1e6
        is_recent = age < self._limits.memory
        return place.epoch == self._epoch and place.tag == NO_TAG and is_recent

    def _select(
        self, log: _Log, start: int, limits: tuple[int, int], now: float
    ) -> tuple[list[_Entry], int]:
        """Return the entries of a page, and the number with which it ends."""
        limit, most_bytes = limits
        found: list[_Entry] = []
        size = 0
        for entry in log.after(start):
            if entry.expires <= now:
                continue
            found.append(entry)
            size += len(entry.data)
            if len(found) >= limit or size >= most_bytes:
                return found, entry.n
        return found, log.last

    def _end(self, log: _Log | None, now: float) -> str:
        if log is None:
            number = empty_number(now, self._limits.memory)
            return str(Cursor(self._epoch, number, NO_TAG))
        return str(Cursor(self._epoch, log.last, log.tag))

    def _stored(self, entry: _Entry) -> StoredMessage:
        cursor = Cursor(self._epoch, entry.n, entry.tag)
        return StoredMessage(str(cursor), entry.data, entry.ts, entry.is_json)


def _ignore(_: object) -> None:
    pass


def _number(entry: _Entry) -> int:
    return entry.n


def _log_cost(key: str) -> int:
    return _LOG_COST + len(key)


def _name_cost(name: _Name) -> int:
    return _NAME_COST + sum(map(len, name))
