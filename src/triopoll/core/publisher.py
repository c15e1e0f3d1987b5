"""Publishing: store messages, then wake the waits for them; set events; wake groups.

A publish that has begun is completed: a publisher that disconnects in between must not
leave a message behind for which no wait is woken. It takes at most the limit for the
store plus the limits for slock.

Messages are stored even while slock is down. Readers in this process are then woken
without it; those in other processes find the messages within 5 s (see `log_notifier`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar, TypeVarTuple

import trio

from trioslock import Database

from ..ops.metrics import Metrics
from ..settings import Settings
from ..store import (
    Appended,
    DelayedMessage,
    MessageLog,
    NewMessage,
    Scheduled,
    StoreError,
    StoreUnreachable,
)
from .backend_calls import call_slock, count_failure, store_failure
from .delayed import DelayedMessages
from .log_notifier import LogNotifier
from .outcomes import Failure, OperationFailed
from .slock_backend import SlockMonitor, clear_group
from .wait_items import GROUP_LEASE

__all__ = [
    "ClearEvent",
    "Draft",
    "Pending",
    "Published",
    "Publisher",
    "SetEvent",
    "Signalled",
    "Stored",
    "Unpublished",
    "WakeGroup",
]

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")


@dataclass(frozen=True, slots=True)
class SetEvent:
    """Set an event for `ttl` seconds."""

    key: str
    default: Literal["clear", "set"]
    ttl: float


@dataclass(frozen=True, slots=True)
class ClearEvent:
    """Clear an event; one that is set by default stays clear for `ttl` seconds."""

    key: str
    default: Literal["clear", "set"]
    ttl: float


@dataclass(frozen=True, slots=True)
class WakeGroup:
    """Wake all waits for a group event, and advance it to its next version."""

    key: str


Draft: TypeAlias = NewMessage | DelayedMessage | SetEvent | ClearEvent | WakeGroup


@dataclass(frozen=True, slots=True)
class Stored:
    """A message is in its log.

    Attributes:
        id: Its id, which is the cursor after it.
        duplicate: The log had a message with this publisher's id already.
        woken: Whether the waits for the log have been woken.
        waiting: 0 if there were none; None if that is not known.
    """

    id: str
    duplicate: bool
    woken: bool
    waiting: int | None


@dataclass(frozen=True, slots=True)
class Pending:
    """A message will be in its log later.

    Attributes:
        key: The log.
        name: The publisher's id, or a random one.
        due: When it is due, in Unix seconds of the store's clock.
        replaced: It has replaced a pending message of this id.
    """

    key: str
    name: str
    due: float
    replaced: bool


@dataclass(frozen=True, slots=True)
class Signalled:
    """An event was set or cleared, or a group woken.

    Attributes:
        version: The new version of the group.
    """

    version: int | None = None


@dataclass(frozen=True, slots=True)
class Unpublished:
    """The item was not published, as far as is known."""

    failure: Failure


Published: TypeAlias = Stored | Pending | Signalled | Unpublished
_Kept: TypeAlias = Appended | Scheduled | StoreError

_TYPES: dict[type[Draft], str] = {
    NewMessage: "message",
    DelayedMessage: "delayed",
    SetEvent: "event",
    ClearEvent: "clear",
    WakeGroup: "group",
}


class Publisher:
    """Store messages, set events and wake groups."""

    def __init__(
        self,
        events: Database,
        log: MessageLog,
        notifier: LogNotifier,
        monitor: SlockMonitor,
        metrics: Metrics,
        settings: Settings,
        delayed: DelayedMessages,
    ) -> None:
        """Use parts that are open already.

        Args:
            events: The database of events and groups.
            log: For messages.
            notifier: Wakes the waits for a log.
            monitor: Knows whether slock answers.
            metrics: Counts items and failures.
            settings: For the limits.
            delayed: For messages that are due later.
        """
        self._events = events
        self._log = log
        self._notifier = notifier
        self._monitor = monitor
        self._metrics = metrics
        self._limit = settings.backend_limit
        self._delayed = delayed

    def __repr__(self) -> str:
        return f"<Publisher: {self._log!r}, {self._monitor!r}>"

    async def publish(self, drafts: Sequence[Draft]) -> list[Published]:
        """Store all messages, wake the waits for them, then do the rest in order.

        A duplicate wakes as well: its first publisher may have died before it did.

        Returns:
            The result of each draft, in the order given.

        Cancellation:
            It is completed all the same, and takes no longer than twice the limit: once
            for the store, once for slock.
        """
        results: list[Published] = []
        with trio.CancelScope(shield=True):
            kept = await self._store(drafts, trio.current_time() + self._limit)
            # One deadline for all calls: a slock that hangs costs the limit once.
            until = trio.current_time() + self._limit
            woken = await self._wake_all(_stored_keys(drafts, kept), until)
            if any(isinstance(e, Scheduled) and e.is_first for e in kept.values()):
                await self._delayed.announce(max(0.0, until - trio.current_time()))
            for place, draft in enumerate(drafts):
                if isinstance(draft, NewMessage | DelayedMessage):
                    results.append(_result(draft, kept[place], woken.get(draft.key)))
                else:
                    results.append(await self._signal(draft, until))
        for draft, result in zip(drafts, results, strict=True):
            self._count(draft, result)
        return results

    def _count(self, draft: Draft, result: Published) -> None:
        if not isinstance(result, Unpublished):
            name = _TYPES[type(draft)]
            published = self._metrics.published
            published[name] = published.get(name, 0) + 1
        else:
            count_failure(self._metrics, result.failure)

    # --- messages ---------------------------------------------------------------------

    async def _store(self, drafts: Sequence[Draft], until: float) -> dict[int, _Kept]:
        """Store messages, then delayed ones; return what became of each, by place."""
        now = {n: each for n, each in enumerate(drafts) if isinstance(each, NewMessage)}
        later = {
            n: each for n, each in enumerate(drafts) if isinstance(each, DelayedMessage)
        }
        kept: dict[int, _Kept] = {}
        if now:
            kept |= zip(now, await _store(self._log.append, now, until), strict=True)
        if later:
            schedule = self._delayed.schedule
            kept |= zip(later, await _store(schedule, later, until), strict=True)
        return kept

    async def _wake_all(self, keys: set[str], until: float) -> dict[str, bool | None]:
        """Wake the waits for these logs.

        Returns:
            Whether there may have been waits for a log; None if slock failed.
        """
        woken: dict[str, bool | None] = {}

        async def wake(key: str) -> None:
            try:
                woken[key] = await self._call_slock(until, self._notifier.notify, key)
            except OperationFailed as error:
                woken[key] = None
                count_failure(self._metrics, error.failure)
                await self._notifier.notify_local(key)

        if len(keys) == 1:
            await wake(*keys)
        else:
            async with trio.open_nursery() as nursery:
                for key in keys:
                    nursery.start_soon(wake, key)
        return woken

    # --- events and groups ------------------------------------------------------------

    async def _signal(
        self, draft: SetEvent | ClearEvent | WakeGroup, until: float
    ) -> Published:
        try:
            if isinstance(draft, WakeGroup):
                key = draft.key
                return Signalled(await self._call_slock(until, self._wake_group, key))
            event = self._events.event(draft.key, default=draft.default, ttl=draft.ttl)
            is_set = isinstance(draft, SetEvent)
            await self._call_slock(until, event.set if is_set else event.clear)
        except OperationFailed as error:
            return Unpublished(error.failure)
        return Signalled()

    async def _wake_group(self, key: str) -> int:
        group = self._events.group_event(key, ttl=GROUP_LEASE)
        # A group that is set has no waits to wake. Cleared, it gets a newer version,
        # which the next wait with an earlier one then finds.
        await clear_group(group)
        return await group.wakeup()

    async def _call_slock(
        self,
        until: float,
        operation: Callable[[*_Args], Awaitable[_T]],
        *args: *_Args,
    ) -> _T:
        self._monitor.raise_if_down()
        limit = max(0.0, until - trio.current_time())
        return await call_slock(limit, operation, *args)


async def _store(
    operation: Callable[[list[_T]], Awaitable[Sequence[_Kept]]],
    drafts: Mapping[int, _T],
    until: float,
) -> Sequence[_Kept]:
    try:
        with trio.fail_at(until):
            return await operation(list(drafts.values()))
    except trio.TooSlowError:
        return [StoreUnreachable("it does not answer")] * len(drafts)


def _stored_keys(drafts: Sequence[Draft], kept: Mapping[int, _Kept]) -> set[str]:
    """Return the keys of the logs that have a message of these, new or not."""
    return {drafts[n].key for n, each in kept.items() if isinstance(each, Appended)}


def _result(
    draft: NewMessage | DelayedMessage, kept: _Kept, woken: bool | None
) -> Published:
    if isinstance(kept, Scheduled):
        assert isinstance(draft, DelayedMessage)
        return Pending(draft.key, draft.name, kept.due, kept.replaced)
    if isinstance(kept, Appended):
        waiting = 0 if woken is False else None
        return Stored(kept.id, kept.duplicate, woken is not None, waiting)
    return Unpublished(store_failure(kept))
