"""Reading logs of messages by cursor, and waiting for them, for events and for groups.

There is neither HTTP nor Quart in here: endpoints and websockets call the same
functions and put into words what comes back. Nothing is taken by reading, so a wait may
be cancelled anywhere; it leaves nothing behind here, and nothing on slock.

Messages are found without slock too, if some seconds late (see `wakes`). Events and
group events are not, so a wait that includes one is refused while slock is away.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio

import trioslock
from trioslock import Client

from ..ops.metrics import Kind, Metrics, WaitMeter
from ..settings import Settings
from ..store import NEW, MessageLog
from .backend_calls import ask_slock, ask_store, counted
from .log_notifier import LogNotifier, LogSubscription, Wake
from .outcomes import EventFired, Failure
from .parked_waits import ParkedWaits, TooManyWaits, Unserved
from .single_flight import SingleFlight
from .slock_backend import SlockMonitor, clear_group, translating
from .wait_items import (
    GROUP_LEASE,
    EventItem,
    EventState,
    GroupItem,
    GroupState,
    Item,
    ItemState,
    LogItem,
    ReadResult,
    WaitSet,
)

__all__ = [
    "EventItem",
    "EventState",
    "GroupItem",
    "GroupState",
    "Item",
    "LogItem",
    "ReadResult",
    "Reader",
    "ItemState",
]


class Reader:
    """The waits of `/v1`, over one client and one log."""

    def __init__(
        self,
        client: Client,
        log: MessageLog,
        wakes: LogNotifier,
        waits: ParkedWaits,
        watch: SlockMonitor,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        """Use what others have opened.

        Args:
            client: For events and groups.
            log: For messages.
            wakes: Tells when there may be news of a log.
            waits: Where waits are parked.
            watch: Knows whether slock answers.
            metrics: Where it is counted.
            settings: For the limits, of queries as well.
        """
        self.settings = settings
        self._client = client
        self._log = log
        self._wakes = wakes
        self._waits = waits
        self._watch = watch
        self._metrics = metrics
        self._limit = settings.backend_limit

    def __repr__(self) -> str:
        return f"<Reader: {self._waits!r}, {self._wakes!r}>"

    async def messages(
        self,
        key: str,
        cursor: str,
        limit: int,
        seconds: float,
        kind: Kind = "log",
    ) -> ReadResult | Failure:
        """Read on from a cursor; if nothing is there, wait for the first message.

        Args:
            key: The log.
            cursor: From an answer, or `store.NEW` or `store.ALL`.
            limit: Messages that may be returned.
            seconds: Seconds to wait; 0 looks without waiting; may be infinite.
            kind: What waits, in the metrics.

        Returns:
            What was found; it is not `ready` when the time is over or the server
            drains. Its page's cursor is the one to go on with. Or the `Failure` that
            kept the wait from being served.

        Raises:
            BadCursor: The cursor's text is not one.

        Cancellation:
            Nothing is left behind; the same cursor finds the same messages.
        """
        try:
            with self._wakes.watching((key,)) as watch:
                look = await self._look(key, cursor, limit)
                if look.ready or seconds == 0:
                    return self._found(look)
                with self._waits.parked(seconds, kind, needs_slock=False) as parked:
                    meter = self._metrics.waits[kind]
                    cursor = look.page.cursor
                    look = await self._next(watch, meter, key, cursor, limit)
                    parked.outcome = EventFired()
                if isinstance(parked.outcome, Failure):
                    raise Unserved(parked.outcome)
                self._check_store(look.ready)
        except (Unserved, TooManyWaits) as error:
            return self._failed(error)
        return self._found(look)

    async def wait_any(
        self, items: Sequence[Item], seconds: float, kind: Kind | None = None
    ) -> list[ItemState] | Failure:
        """Return what is ready of all these, or wait for the first that is.

        Args:
            items: What to wait for.
            seconds: Seconds to wait; 0 looks without waiting; may be infinite.
            kind: What waits, in the metrics; default: after the items.

        Returns:
            What was seen of each item, in the order given, whether it is ready or not;
            none is when the time is over or the server drains. Or the `Failure` that
            kept the wait from being served.

        Raises:
            BadCursor: A cursor's text is not one.

        Cancellation:
            Nothing is left behind; the same cursors and versions find the same.
        """
        wanted = WaitSet(items)
        try:
            with self._wakes.watching(wanted.log_keys) as watch:
                await self._look_at_all(wanted)
                if not wanted.ready and seconds != 0:
                    await self._park(wanted, watch, seconds, kind or wanted.kind)
                if wanted.log_keys:
                    self._check_store(wanted.ready)
        except (Unserved, TooManyWaits) as error:
            return self._failed(error)
        for seen in wanted.seen:
            if isinstance(seen, ReadResult):
                self._found(seen)
        return wanted.seen

    # --- endings ------------------------------------------------------------------

    def _check_store(self, is_ready: bool) -> None:
        """Let a store that is away not look like a timeout."""
        if not (is_ready or self._wakes.store_up):
            raise Unserved(Failure.STORE_UNREACHABLE)

    def _found(self, look: ReadResult) -> ReadResult:
        if look.page.gap:
            self._metrics.gap(look.page.lost)
        if look.woken is not None and look.page.messages:
            age = time.time() - look.page.messages[-1].ts
            self._metrics.publish_to_wake.observe(age)
        return look

    def _failed(self, error: Unserved | TooManyWaits) -> Failure:
        if isinstance(error, TooManyWaits):
            return Failure.TOO_MANY_WAITS
        return counted(self._metrics, error.failure)

    # --- logs ---------------------------------------------------------------------

    async def _look(self, key: str, cursor: str, limit: int) -> ReadResult:
        found = await self._read(key, cursor, limit)
        if isinstance(found, Failure):
            raise Unserved(found)
        return found

    async def _next(
        self,
        watch: LogSubscription,
        meter: WaitMeter,
        key: str,
        cursor: str,
        limit: int,
    ) -> ReadResult:
        while True:
            news = await watch.changed()
            meter.wakes += 1
            look = await self._look_after(news[key], key, cursor, limit)
            if look.ready:
                return look
            meter.empty_wakes += 1
            cursor = look.page.cursor

    async def _look_after(
        self, wake: Wake, key: str, cursor: str, limit: int, share: int = 1
    ) -> ReadResult:
        """Look after a wake, once for all whom it woke and who look for the same."""
        name = cursor, limit, share
        flight: SingleFlight[ReadResult | Failure] | None = wake.shared.get(name)
        if flight is None:
            flight = SingleFlight(partial(self._read, key, cursor, limit, share))
            wake.shared[name] = flight
        found = await flight.result()
        if isinstance(found, Failure):
            raise Unserved(found)
        found.woken = wake.at
        return found

    async def _read(
        self, key: str, cursor: str, limit: int, share: int = 1
    ) -> ReadResult | Failure:
        read = partial(self._log.read, key, cursor, limit, share=share)
        try:
            page = await ask_store(self._limit, read)
        except Unserved as error:
            return error.failure
        # The sweep does not find out as long as nothing is watched.
        self._wakes.store_up = True
        return ReadResult(page)

    # --- several at once ----------------------------------------------------------

    async def _look_at_all(self, wanted: WaitSet) -> None:
        looks = [partial(self._see_log, wanted, place) for place in wanted.logs]
        if self._watch.up:
            see = partial(self._see_signal, wanted)
            looks += [partial(see, place) for place in wanted.signals]
        if len(looks) == 1:
            await looks[0]()
        else:
            await _together(looks)
        if wanted.ready and not wanted.lacks_place:
            return
        if wanted.failure is not None:
            raise Unserved(wanted.failure)
        if wanted.signals:
            self._watch.check()

    async def _see_log(self, wanted: WaitSet, place: int) -> None:
        item = wanted.log(place)
        share = len(wanted.logs)
        found = await self._read(item.key, item.cursor, item.limit, share)
        if isinstance(found, Failure):
            wanted.failure = found
            # Who asked from "new" has no cursor yet, and would ask from there again.
            wanted.lacks_place = wanted.lacks_place or item.cursor == NEW
        else:
            wanted.see(place, found)

    async def _see_signal(self, wanted: WaitSet, place: int) -> None:
        item = wanted.signal(place)
        try:
            if isinstance(item, EventItem):
                is_set = await ask_slock(self._limit, self._event(item).is_set)
                wanted.see(place, EventState(is_set))
            else:
                look = partial(self._look_at_group, item)
                wanted.see(place, await ask_slock(self._limit, look))
        except Unserved as error:
            wanted.failure = error.failure

    async def _park(
        self, wanted: WaitSet, watch: LogSubscription, seconds: float, kind: Kind
    ) -> None:
        """Wait until one of all these is ready, or for the time."""
        needs_slock = bool(wanted.signals)
        meter = self._metrics.waits[kind]
        with self._waits.parked(seconds, kind, needs_slock=needs_slock) as parked:
            if needs_slock:
                await self._wait_for_signals_too(wanted, watch, meter)
            else:
                await self._wait_for_logs(wanted, watch, meter)
            parked.outcome = EventFired()
        if isinstance(parked.outcome, Failure):
            raise Unserved(parked.outcome)
        if wanted.failure is not None and not wanted.ready:
            raise Unserved(wanted.failure)

    async def _wait_for_logs(
        self, wanted: WaitSet, watch: LogSubscription, meter: WaitMeter
    ) -> None:
        while not wanted.ready:
            for key, wake in (await watch.changed()).items():
                for place in wanted.places_of(key):
                    item = wanted.log(place)
                    cursor = wanted.cursor(place)
                    look = await self._look_after(
                        wake, key, cursor, item.limit, len(wanted.logs)
                    )
                    wanted.see(place, look)
            meter.wakes += 1
            meter.empty_wakes += not wanted.ready

    async def _wait_for_signals_too(
        self, wanted: WaitSet, watch: LogSubscription, meter: WaitMeter
    ) -> None:
        async def end_with(wait: Callable[[], Awaitable[None]]) -> None:
            try:
                await wait()
            except Unserved as error:
                wanted.failure = error.failure
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for place in wanted.signals:
                wait = partial(self._wait_for_signal, wanted, place)
                nursery.start_soon(end_with, wait)
            if wanted.log_keys:
                wait = partial(self._wait_for_logs, wanted, watch, meter)
                nursery.start_soon(end_with, wait)

    # --- events and groups --------------------------------------------------------

    async def _wait_for_signal(self, wanted: WaitSet, place: int) -> None:
        item = wanted.signal(place)
        if isinstance(item, EventItem):
            await translating(self._event(item).wait)
            wanted.see(place, EventState(ready=True))
            return
        known = wanted.version(place)
        group = self._group(item.key, known)
        await translating(group.wait)
        # At once, lest the news be lost to a second one that ends this wait.
        wanted.see(place, GroupState(True, known + 1))
        # Who was woken from a wait is not told the version, but who clears is.
        await translating(partial(clear_group, group))
        wanted.see(place, GroupState(True, group.version))

    async def _look_at_group(self, item: GroupItem) -> GroupState:
        """Clear the group, so that it can be waited for, and see its version."""
        known = item.version
        group = self._group(item.key, known or 0)
        await clear_group(group)
        return GroupState(known is not None and group.version != known, group.version)

    def _event(self, item: EventItem) -> trioslock.Event:
        return self._client.event(item.key, default=item.default, ttl=GROUP_LEASE)

    def _group(self, key: str, version: int) -> trioslock.GroupEvent:
        return self._client.group_event(key, version=version, ttl=GROUP_LEASE)


async def _together(operations: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Do all of these at once, and raise the first error that there was."""
    errors: list[Exception] = []

    async def keep_error(operation: Callable[[], Awaitable[None]]) -> None:
        try:
            await operation()
        except Exception as error:  # noqa: BLE001  # raised below
            errors.append(error)

    async with trio.open_nursery() as nursery:
        for operation in operations:
            nursery.start_soon(keep_error, operation)
    if errors:
        raise errors[0]
