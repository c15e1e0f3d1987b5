"""Messages that are due later, in this process."""

from __future__ import annotations

import secrets
import time
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import trio

from ._base import StoreError, StoreFull
from ._budget import Budget
from ._delayed_base import (
    DelayedMessage,
    Delivered,
    DueMessages,
    PendingLimits,
    Scheduled,
    TooManyPending,
)
from ._log_base import Appended, NewMessage
from ._memory_log import MemoryLog

__all__ = ["MemoryDelayed"]

# What Python keeps for a message, roughly, besides its texts.
_COST = 768
_MOST_DUE = 128
# Seconds for which a message is put off that its log does not take.
_PUT_OFF = 5.0

# The key of a log, and the publisher's id.
_Name: TypeAlias = tuple[str, str]


class _Pending(NamedTuple):
    # By these two the pending messages are sorted.
    due: float
    order: int
    message: NewMessage

    @property
    def cost(self) -> int:
        key, name = self.message.key, self.message.id or ""
        return _COST + len(key) + len(name) + len(self.message.data)


class MemoryDelayed:
    """Keep pending messages in memory, bounded; for development and tests."""

    def __init__(
        self,
        log: MemoryLog,
        limits: PendingLimits | None = None,
        *,
        budget: Budget | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start empty.

        Args:
            log: Where the messages will be. What is stored there under the id of a
                pending message replaces that.
            limits: How many messages may be pending.
            budget: Of the bytes of this process, shared with others.
            clock: Returns Unix seconds, as that of the log does.
        """
        self._log = log
        self._limits = limits or PendingLimits()
        self._budget = budget or Budget()
        self._clock = clock
        self._storage = ""
        self._by_name: dict[_Name, _Pending] = {}
        self._in_order: list[_Pending] = []
        self._counts: Counter[str] = Counter()
        self._orders = 0
        log.on_stored = self._remove

    def __repr__(self) -> str:
        return f"<MemoryDelayed: {len(self._by_name)} pending>"

    async def schedule(
        self, messages: Sequence[DelayedMessage]
    ) -> list[Scheduled | Appended | StoreError]:
        """Store or replace messages; see `DelayedStore.schedule`.

        Cancellation:
            Before all of them, or not at all.
        """
        await trio.lowlevel.checkpoint()
        self._storage = self._storage or secrets.token_hex(4)
        return list(map(self._schedule, messages))

    async def cancel(self, key: str, name: str) -> bool | str:
        """Remove a pending message; see `DelayedStore.cancel`.

        Cancellation:
            Before it is removed, or not at all.
        """
        await trio.lowlevel.checkpoint()
        return self._remove((key, name)) or self._log.stored_as(key, name) or False

    async def look(self) -> DueMessages:
        """Return what is due; see `DelayedStore.look`.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
        now = self._clock()
        due: dict[str, list[str]] = {}
        pause = float("inf")
        for place, (at, _, message) in enumerate(self._in_order):
            if at > now or place == _MOST_DUE:
                pause = max(0.0, at - now)
                break
            due.setdefault(message.key, []).append(message.id or "")
        return DueMessages(self._storage, len(self._by_name), due, pause)

    async def deliver(self, key: str, due: Sequence[str]) -> list[Delivered]:
        """Move messages into their log; see `DelayedStore.deliver`.

        Cancellation:
            Before all of them, or not at all.
        """
        await trio.lowlevel.checkpoint()
        now = self._clock()
        found = [self._by_name.get((key, name)) for name in due]
        ready = [each for each in found if each is not None and each.due <= now]
        for pending in ready:
            self._move(pending, now)
        return [Delivered(now - pending.due) for pending in ready]

    def _schedule(self, delayed: DelayedMessage) -> Scheduled | Appended | StoreError:
        if (stored := self._log.stored_as(delayed.key, delayed.name)) is not None:
            return Appended(stored, duplicate=True)
        due = delayed.not_before + (self._clock() if delayed.is_relative else 0.0)
        # What is due at the same time is delivered in the order given.
        self._orders += 1
        new = _Pending(due, self._orders, delayed.message)
        old = self._by_name.get((delayed.key, delayed.name))
        try:
            self._make_room(new, old)
        except StoreFull as error:
            return error
        is_first = not self._in_order or due < self._in_order[0].due
        self._remove((delayed.key, delayed.name))
        self._add(new)
        return Scheduled(due, old is not None, is_first)

    def _make_room(self, new: _Pending, old: _Pending | None) -> None:
        if old is None:
            key, limits = new.message.key, self._limits
            if self._counts[key] >= limits.per_key:
                raise TooManyPending(f"{limits.per_key} messages of it are pending")
            if len(self._by_name) >= limits.in_total:
                raise TooManyPending(f"{limits.in_total} messages are pending")
        # The old one is removed, which frees as much as it cost.
        self._budget.take(new.cost)

    def _add(self, pending: _Pending) -> None:
        self._by_name[pending.message.key, pending.message.id or ""] = pending
        insort(self._in_order, pending, key=_order)
        self._counts[pending.message.key] += 1

    def _remove(self, name: _Name) -> bool:
        pending = self._by_name.pop(name, None)
        if pending is None:
            return False
        del self._in_order[bisect_left(self._in_order, _order(pending), key=_order)]
        key = pending.message.key
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]
        self._budget.free(pending.cost)
        return True

    def _move(self, pending: _Pending, now: float) -> None:
        """Move a message into its log, or put it off."""
        name = pending.message.key, pending.message.id or ""
        self._remove(name)
        appended = self._log.append_now(pending.message)
        if isinstance(appended, StoreError):
            self._budget.take(pending.cost)
            self._add(pending._replace(due=now + _PUT_OFF))
            raise appended


def _order(pending: _Pending) -> tuple[float, int]:
    return pending.due, pending.order
