"""Reads of message logs by cursor, and waits for logs, events and groups.

There is no HTTP here: endpoints and websockets call the same functions and serialize
what these return. A read removes nothing, so a wait may be cancelled anywhere; it
leaves nothing behind, here or on slock.

Messages are also found without slock, if some seconds later (see `log_notifier`).
Events and groups are not, so a wait that includes one is refused while slock is down.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial

import trio

import trioslock
from trioslock import Database

from ..ops.metrics import Kind, Metrics, WaitMeter
from ..settings import Settings
from ..store import NEW, MessageLog, Page
from .backend_calls import (
    MARGIN,
    SLOCK_ERRORS,
    call_slock,
    call_store,
    count_failure,
    slock_failure,
)
from .followed_log import FollowedLog
from .held_keys import OVERTIME
from .log_notifier import LogNotifier, LogSubscription, SharedRead, Wake
from .log_wait import LogReads, LogWait
from .outcomes import EventFired, Failure, OperationFailed
from .parked_waits import ParkedWait, ParkedWaits, WaitedKey
from .slock_backend import SlockMonitor, clear_group
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

__all__ = ["Reader"]


class Reader:
    """The waits of `/v1` and of websockets, over one slock database and one log."""

    def __init__(
        self,
        events: Database,
        log: MessageLog,
        notifier: LogNotifier,
        waits: ParkedWaits,
        monitor: SlockMonitor,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        """Use parts that are open already.

        Args:
            events: The database of events and groups.
            log: For messages.
            notifier: Wakes the waits for logs.
            waits: Where waits are parked.
            monitor: Knows whether slock answers.
            metrics: Counts wakes, gaps and failures.
            settings: For the limits.
        """
        self._events = events
        self._log = log
        self._notifier = notifier
        self._waits = waits
        self._monitor = monitor
        self._metrics = metrics
        self._limit = settings.backend_limit
        self._reads = LogReads(
            self._read_in_limit, self._observed, notifier, waits, metrics
        )

    def __repr__(self) -> str:
        return f"<Reader: {self._waits!r}, {self._notifier!r}>"

    async def read_messages(self, item: LogItem) -> ReadResult | Failure:
        """Read a log after a cursor, without waiting.

        Args:
            item: The log, the cursor, and how many messages may be returned.

        Raises:
            BadCursor: The text is no cursor.

        Cancellation:
            Nothing is left behind.
        """
        result = await self._read_in_limit(item.key, item.cursor, item.limit)
        if isinstance(result, Failure):
            return count_failure(self._metrics, result)
        return self._observed(result)

    async def begin_messages(
        self,
        item: LogItem,
        seconds: float,
        visitor: str | None = None,
    ) -> ReadResult | Failure | LogWait:
        """Read a log after a cursor; if there is nothing, wait for the first message.

        Args:
            item: The log, the cursor, and how many messages may be returned.
            seconds: Seconds to wait; 0 reads without waiting; may be infinite. It takes
                at most `MARGIN` longer, whatever the backends do.
            visitor: Who waits, as limits by visitor are counted; None for no visitor.

        Returns:
            What was read; it is not `ready` when the time is over or the server
            drains. The cursor of its page continues from there. Or the `Failure` that
            prevented the wait. Or a wait for one of these, to be parked or withdrawn.

        Raises:
            BadCursor: The text is no cursor.

        Cancellation:
            Nothing is left behind; the same cursor finds the same messages.
        """
        until = trio.current_time() + seconds
        try:
            wait = LogWait(self._reads, item, until, visitor)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        is_over = True
        try:
            within = min(self._limit, seconds + MARGIN)
            result = await self._read(item.key, item.cursor, item.limit, within)
            is_over = isinstance(result, Failure) or result.ready or seconds == 0
        finally:
            if is_over:
                wait.withdraw()
        if isinstance(result, Failure):
            return count_failure(self._metrics, result)
        if is_over:
            return self._observed(result)
        wait.found(result)
        return wait

    @contextmanager
    def follow(self, item: LogItem, visitor: str | None) -> Generator[FollowedLog]:
        """Subscribe to a log for the block, to read it with `next_page`.

        Args:
            item: What to read, and from where.
            visitor: As for `begin_messages`.

        Raises:
            OperationFailed: Too many logs are watched.

        Cancellation:
            Nothing is left behind.
        """
        with self._notifier.subscribe((item.key,), visitor) as subscription:
            where = item.key, item.cursor, item.limit
            yield FollowedLog(*where, self._limit, subscription, self._read)

    async def next_page(self, log: FollowedLog, seconds: float) -> ReadResult | Failure:
        """Read the next page of a log that is followed, or wait for it.

        A wait is parked, so the drain ends it. `begin_messages` does the same for one
        page, without a task.

        Args:
            log: From `follow`.
            seconds: As for `begin_messages`, but 0 reads nothing behind an empty page.

        Returns:
            As `begin_messages`, but no wait.

        Raises:
            BadCursor: The log is followed from a text that is no cursor.

        Cancellation:
            Nothing is left behind; the log's cursor is that of the last page.
        """
        try:
            result = await self._next_page(log, seconds)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        return self._observed(result)

    async def _next_page(self, log: FollowedLog, seconds: float) -> ReadResult:
        result = ReadResult(Page((), log.cursor))
        if not log.at_end:
            result = await log.read()
        if result.ready or seconds <= 0:
            return result
        with ParkedWait(
            self._waits,
            seconds,
            "sse",
            needs_slock=False,
            waited_keys=lambda: (WaitedKey(log.key, log.cursor),),
        ) as parked:
            meter = self._metrics.waits["sse"]
            while log.at_end:
                await log.wait()
                meter.wakes += 1
                result = await log.read()
                meter.empty_wakes += log.at_end
            result.woken = log.wake.at if log.wake is not None else None
            parked.outcome = EventFired()
        self._check(parked, ready=result.ready)
        return result

    async def wait_any(
        self,
        items: Sequence[Item],
        seconds: float,
        visitor: str | None = None,
        kind: Kind | None = None,
    ) -> list[ItemState] | Failure:
        """Return the state of all items; if none is ready, wait for the first.

        Args:
            items: What to wait for.
            seconds: As for `begin_messages`.
            visitor: As for `begin_messages`.
            kind: What waits, in the metrics; default: by the items.

        Returns:
            The state of each item, in the order given, ready or not; none is when the
            time is over or the server drains. Or the `Failure` that prevented the
            wait.

        Raises:
            BadCursor: The text is no cursor.

        Cancellation:
            Nothing is left behind; the same cursors and versions find the same.
        """
        wait_set = WaitSet(items, visitor)
        until = trio.current_time() + seconds
        try:
            with self._notifier.subscribe(wait_set.log_keys, visitor) as subscription:
                await self._read_all(wait_set, min(self._limit, seconds + MARGIN))
                if not wait_set.ready and seconds != 0:
                    kind = kind or wait_set.kind
                    left = until - trio.current_time()
                    await self._park(wait_set, subscription, left, kind)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        for state in wait_set.states:
            if isinstance(state, ReadResult):
                self._observed(state)
        return wait_set.states

    def _check(self, parked: ParkedWait, *, ready: bool) -> None:
        """Raise `OperationFailed` if a wait for logs did not end by itself.

        A store that is down at the end of a wait must not look like a timeout.
        """
        if isinstance(parked.outcome, Failure):
            raise OperationFailed(parked.outcome)
        if not (ready or self._notifier.store_up):
            raise OperationFailed(Failure.STORE_UNREACHABLE)

    def _observed(self, result: ReadResult) -> ReadResult:
        """Record gaps and latencies in the metrics."""
        if result.page.gap:
            self._metrics.gap(result.page.lost)
        if result.woken is not None and result.page.messages:
            age = time.time() - result.page.messages[-1].ts
            self._metrics.publish_to_wake.observe(age)
        return result

    # --- logs -------------------------------------------------------------------------

    async def _read(
        self,
        key: str,
        cursor: str,
        limit: int,
        within: float,
        share: int = 1,
        acks: bool = True,
    ) -> ReadResult | Failure:
        # A failure is returned, not raised, so that the tasks of one flight share it.
        read = partial(self._log.read, key, cursor, limit, share=share, acks=acks)
        try:
            page = await call_store(within, read)
        except OperationFailed as error:
            return error.failure
        # The sweep notices that the store is back only while a log is subscribed to.
        self._notifier.store_up = True
        return ReadResult(page)

    async def _read_in_limit(
        self, key: str, cursor: str, limit: int
    ) -> ReadResult | Failure:
        return await self._read(key, cursor, limit, self._limit)

    # --- several items ----------------------------------------------------------------

    async def _read_all(self, wait_set: WaitSet, within: float) -> None:
        """Read the state of all items, each in at most so many seconds."""
        read_log = partial(self._read_log, wait_set, within)
        reads = [partial(read_log, index) for index in wait_set.logs]
        if self._monitor.up:
            read_signal = partial(self._read_signal, wait_set, within)
            reads += [partial(read_signal, index) for index in wait_set.signals]
        if len(reads) == 1:
            await reads[0]()
        else:
            await _run_all(reads)
        if wait_set.ready and not wait_set.lacks_cursor:
            return
        if wait_set.failure is not None:
            raise OperationFailed(wait_set.failure)
        if wait_set.signals:
            self._monitor.raise_if_down()

    async def _read_log(self, wait_set: WaitSet, within: float, index: int) -> None:
        item = wait_set.log(index)
        share = len(wait_set.logs)
        result = await self._read(item.key, item.cursor, item.limit, within, share)
        if isinstance(result, Failure):
            wait_set.failure = result
            wait_set.lacks_cursor = wait_set.lacks_cursor or item.cursor == NEW
        else:
            wait_set.update(index, result)

    async def _read_signal(self, wait_set: WaitSet, within: float, index: int) -> None:
        item = wait_set.signal(index)
        try:
            if isinstance(item, EventItem):
                is_set = await call_slock(within, self._event(item).is_set)
                wait_set.update(index, EventState(is_set))
            else:
                self._hold_group(wait_set, item)
                state = await call_slock(within, self._read_group, item)
                wait_set.update(index, state)
        except OperationFailed as error:
            wait_set.failure = error.failure

    async def _park(
        self,
        wait_set: WaitSet,
        subscription: LogSubscription,
        seconds: float,
        kind: Kind,
    ) -> None:
        """Wait until one of the items is ready, for at most so many seconds."""
        needs_slock = bool(wait_set.signals)
        meter = self._metrics.waits[kind]
        with ParkedWait(
            self._waits,
            seconds,
            kind,
            needs_slock=needs_slock,
            waited_keys=wait_set.waited_keys,
        ) as parked:
            if needs_slock:
                await self._wait_for_all(wait_set, subscription, meter)
            else:
                await self._wait_for_logs(wait_set, subscription, meter)
            parked.outcome = EventFired()
        if wait_set.failure is not None and not wait_set.ready:
            raise OperationFailed(wait_set.failure)
        self._check(parked, ready=wait_set.ready or not wait_set.logs)

    async def _wait_for_logs(
        self, wait_set: WaitSet, subscription: LogSubscription, meter: WaitMeter
    ) -> None:
        while not wait_set.ready:
            for key, wake in (await subscription.wait()).items():
                for index in wait_set.indexes_of(key):
                    item, cursor = wait_set.log(index), wait_set.cursor(index)
                    args = key, cursor, item.limit, self._limit, len(wait_set.logs)
                    result = await _read_after(wake, partial(self._read, *args))
                    wait_set.update(index, result)
            meter.wakes += 1
            meter.empty_wakes += not wait_set.ready

    async def _wait_for_all(
        self, wait_set: WaitSet, subscription: LogSubscription, meter: WaitMeter
    ) -> None:
        """Wait for logs and signals at once; the first that is ready ends the rest."""

        async def end_with(wait: Callable[[], Awaitable[None]]) -> None:
            try:
                await wait()
            except OperationFailed as error:
                wait_set.failure = error.failure
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for index in wait_set.signals:
                wait = partial(self._wait_for_signal, wait_set, index)
                nursery.start_soon(end_with, wait)
            if wait_set.logs:
                wait = partial(self._wait_for_logs, wait_set, subscription, meter)
                nursery.start_soon(end_with, wait)

    # --- events and groups ------------------------------------------------------------

    async def _wait_for_signal(self, wait_set: WaitSet, index: int) -> None:
        item = wait_set.signal(index)
        try:
            if isinstance(item, EventItem):
                await self._event(item).wait()
                wait_set.update(index, EventState(ready=True))
                return
            known = wait_set.version(index)
            group = self._group(item.key, known)
            await group.wait()
            # Before the next await: another item may end this wait there, and the
            # wake must not be lost.
            wait_set.update(index, GroupState(ready=True, version=known + 1))
            # A wait that a wake ended does not return the version; a clear does.
            self._hold_group(wait_set, item)
            await clear_group(group)
            wait_set.update(index, GroupState(ready=True, version=group.version))
        except SLOCK_ERRORS as error:
            raise slock_failure(error) from None

    def _hold_group(self, wait_set: WaitSet, item: GroupItem) -> None:
        """Count the key that clearing the group holds.

        Raises:
            TooManyHeldKeys: The visitor, or this process, may hold no more.
        """
        held = self._waits.held
        held.hold(wait_set.visitor, "group", item.key, GROUP_LEASE + OVERTIME)

    async def _read_group(self, item: GroupItem) -> GroupState:
        """Clear the group, so that it can be waited for, and return its version."""
        known = item.version
        group = self._group(item.key, known or 0)
        await clear_group(group)
        return GroupState(known is not None and group.version != known, group.version)

    def _event(self, item: EventItem) -> trioslock.Event:
        return self._events.event(item.key, default=item.default, ttl=GROUP_LEASE)

    def _group(self, key: str, version: int) -> trioslock.GroupEvent:
        return self._events.group_event(key, version=version, ttl=GROUP_LEASE)


async def _read_after(wake: Wake, read: SharedRead) -> ReadResult:
    """Read a log after a wake, once for all tasks that it woke for the same."""
    result: ReadResult | Failure = await wake.flight(read).result()
    if isinstance(result, Failure):
        raise OperationFailed(result)
    result.woken = wake.at
    return result


async def _run_all(operations: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run all of these at once, and raise the first error afterwards."""
    errors: list[Exception] = []

    async def run(operation: Callable[[], Awaitable[None]]) -> None:
        try:
            await operation()
        except Exception as error:  # noqa: BLE001  # raised below
            errors.append(error)

    async with trio.open_nursery() as nursery:
        for operation in operations:
            nursery.start_soon(run, operation)
    if errors:
        raise errors[0]
