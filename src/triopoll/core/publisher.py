"""Publishing: messages are stored first, and then whoever waits is woken.

Once it has begun, a publish is carried through: a publisher that leaves in between must
not leave a message behind that nobody is woken for. It takes no longer than the limit
for the store and the limits for slock.

Where slock cannot be asked, messages are stored all the same. Readers in this process
are told without it, those in others find the messages within 5 s (see `wakes`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias, TypeVar

import trio

from trioslock import Client

from ..ops.metrics import Metrics
from ..settings import Settings
from ..store import Appended, MessageLog, NewMessage, StoreError, StoreUnreachable
from .backend_calls import ask_slock, counted, failure_of
from .log_notifier import LogNotifier
from .outcomes import Failure
from .parked_waits import Unserved
from .slock_backend import SlockMonitor, clear_group
from .wait_items import GROUP_LEASE

__all__ = [
    "ClearEvent",
    "Draft",
    "Published",
    "Publisher",
    "SetEvent",
    "Signalled",
    "Stored",
    "Unpublished",
    "WakeGroup",
]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SetEvent:
    """Set an event, for so many seconds."""

    key: str
    default: Literal["clear", "set"]
    ttl: float


@dataclass(frozen=True, slots=True)
class ClearEvent:
    """Clear an event; one that is set by default stays clear for so many seconds."""

    key: str
    default: Literal["clear", "set"]
    ttl: float


@dataclass(frozen=True, slots=True)
class WakeGroup:
    """Wake all who wait for a group event, and go on to its next version."""

    key: str


Draft: TypeAlias = NewMessage | SetEvent | ClearEvent | WakeGroup


@dataclass(frozen=True, slots=True)
class Stored:
    """A message is in its log.

    Attributes:
        id: Its id, which is the cursor after it.
        duplicate: It was there before, under the name that its publisher gave it.
        woken: Whether those who wait have been told.
        waiting: 0 if nobody was waiting; None if that is not known.
    """

    id: str
    duplicate: bool
    woken: bool
    waiting: int | None


@dataclass(frozen=True, slots=True)
class Signalled:
    """An event was set or cleared, or a group woken.

    Attributes:
        version: The group's new one.
    """

    version: int | None = None


@dataclass(frozen=True, slots=True)
class Unpublished:
    """Nothing is known to have been done."""

    failure: Failure


Published: TypeAlias = Stored | Signalled | Unpublished

_TYPES: dict[type[Draft], str] = {
    NewMessage: "message",
    SetEvent: "event",
    ClearEvent: "clear",
    WakeGroup: "group",
}


class Publisher:
    """Store messages, set events and wake groups."""

    def __init__(
        self,
        client: Client,
        log: MessageLog,
        wakes: LogNotifier,
        watch: SlockMonitor,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        """Use what others have opened.

        Args:
            client: For events and groups.
            log: For messages.
            wakes: Wakes those who wait for a log.
            watch: Knows whether slock answers.
            metrics: Where it is counted.
            settings: For the limits, of requests as well.
        """
        self.settings = settings
        self._client = client
        self._log = log
        self._wakes = wakes
        self._watch = watch
        self._metrics = metrics
        self._limit = settings.backend_limit

    def __repr__(self) -> str:
        return f"<Publisher: {self._log!r}, {self._watch!r}>"

    async def publish(self, drafts: Sequence[Draft]) -> list[Published]:
        """Store all messages, wake those who wait for them, then do the rest in order.

        A duplicate wakes as well: its first publisher may have died before it did.

        Returns:
            What became of each, in the order given.

        Cancellation:
            It is done all the same, and takes no longer than the limits.
        """
        results: list[Published] = []
        with trio.CancelScope(shield=True):
            stored = await self._store(
                [draft for draft in drafts if isinstance(draft, NewMessage)]
            )
            until = trio.current_time() + self._limit
            for draft in drafts:
                if isinstance(draft, NewMessage):
                    results.append(stored.pop(0))
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
            counted(self._metrics, result.failure)

    # --- messages -----------------------------------------------------------------

    async def _store(self, messages: list[NewMessage]) -> list[Published]:
        if not messages:
            return []
        appended = await self._append(messages)
        keys = {
            message.key
            for message, result in zip(messages, appended, strict=True)
            if isinstance(result, Appended)
        }
        woken = await self._wake_all(keys)
        return [
            _stored(result, woken.get(message.key))
            for message, result in zip(messages, appended, strict=True)
        ]

    async def _append(self, messages: list[NewMessage]) -> list[Appended | StoreError]:
        try:
            with trio.fail_after(self._limit):
                return await self._log.append(messages)
        except trio.TooSlowError:
            return [StoreUnreachable("it does not answer")] * len(messages)

    async def _wake_all(self, keys: set[str]) -> dict[str, bool | None]:
        """Wake those who wait for these logs.

        Returns:
            Whether there may have been anybody; None where they were not told.
        """
        woken: dict[str, bool | None] = {}
        until = trio.current_time() + self._limit

        async def wake(key: str) -> None:
            try:
                woken[key] = await self._ask_slock(
                    partial(self._wakes.publish, key), until
                )
            except Unserved as error:
                woken[key] = None
                counted(self._metrics, error.failure)
                await self._wakes.tell_here(key)

        if len(keys) == 1:
            await wake(*keys)
        else:
            async with trio.open_nursery() as nursery:
                for key in keys:
                    nursery.start_soon(wake, key)
        return woken

    # --- events and groups --------------------------------------------------------

    async def _signal(
        self, draft: SetEvent | ClearEvent | WakeGroup, until: float
    ) -> Published:
        try:
            if isinstance(draft, WakeGroup):
                wake = partial(self._wake_group, draft.key)
                return Signalled(await self._ask_slock(wake, until))
            event = self._client.event(draft.key, default=draft.default, ttl=draft.ttl)
            is_set = isinstance(draft, SetEvent)
            await self._ask_slock(event.set if is_set else event.clear, until)
        except Unserved as error:
            return Unpublished(error.failure)
        return Signalled()

    async def _wake_group(self, key: str) -> int:
        group = self._client.group_event(key, ttl=GROUP_LEASE)
        # Where it is set nobody waits, but the next one to ask with a version shall
        # learn that there is a newer one.
        await clear_group(group)
        return await group.wakeup()

    async def _ask_slock(
        self, operation: Callable[[], Awaitable[_T]], until: float
    ) -> _T:
        self._watch.check()
        return await ask_slock(max(0.0, until - trio.current_time()), operation)


def _stored(result: Appended | StoreError, woken: bool | None) -> Published:
    if isinstance(result, Appended):
        waiting = 0 if woken is False else None
        return Stored(result.id, result.duplicate, woken is not None, waiting)
    return Unpublished(failure_of(result))
