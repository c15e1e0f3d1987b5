"""Deliver delayed messages: move those that are due into their logs, and wake readers.

The worker that holds a lock on slock does this, for all workers. It sleeps until the
next message is due, and a group event wakes it when an earlier one has been stored. If
it dies, its lease ends after some seconds and another worker gets the lock.

The lock saves work; correctness does not depend on it. A move is one step of the store,
so of two workers that move the same message one finds it. Therefore workers deliver
without the lock while slock does not answer: each of them looks once a second.

A worker waits for the lock only once it knows that the feature is used: it has stored
a delayed message itself, or it has found some. It looks for them when it starts, and
then every half minute; that is all that the feature costs where it is not used.

The group event stays clear for a few seconds only, after which the worker looks as
well. So a wake that was lost delays a message by these seconds at most.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence

import trio

from trioslock import Client, Flags, GroupEvent, NotHeld

from ..ops.metrics import Metrics
from ..settings import DELAYED_NAME, Settings
from ..store import (
    Appended,
    DelayedMessage,
    DelayedStore,
    Delivered,
    DueMessages,
    Scheduled,
    StoreError,
)
from .backend_calls import SLOCK_ERRORS, call_slock, call_store, count_failure
from .outcomes import Failure, OperationFailed
from .slock_backend import SlockMonitor, clear_group
from .waker import Waker, complete

__all__ = ["DelayedMessages"]

_log = logging.getLogger(__name__)

# Seconds after which another worker delivers if the one that did so was killed.
_LEASE = 3.0
# Seconds for which a worker waits for the lock before it looks whether slock answers.
_ROUND = 10.0
# Seconds from one look to the next: of the worker that has the lock, of one that knows
# of no delayed message, of one that delivers without slock, and after an error.
_LOOK = 10.0
_LOOK_UNUSED = 30.0
_LOOK_ALONE = 1.0
_RETRY = 1.0
# Seconds between two looks for which there were wakes.
_PACE = 0.02
# The lock of a worker need not outlive the server.
_UNLOGGED = Flags(log="never")


class DelayedMessages:
    """Store, cancel and deliver delayed messages.

    Attributes:
        pending: How many messages are pending, as the worker that delivers has found
            last; 0 in all others.
    """

    def __init__(
        self,
        store: DelayedStore,
        slock: Client,
        waker: Waker,
        monitor: SlockMonitor,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        """Use parts that are open already; `run` delivers.

        Args:
            store: Where the messages are.
            slock: For the lock, and to wake the worker that has it.
            waker: Wakes the readers of a log.
            monitor: Knows whether slock answers.
            metrics: Counts messages and failures.
            settings: For the limits.
        """
        self.pending = 0
        self._store = store
        self._slock = slock
        self._waker = waker
        self._monitor = monitor
        self._metrics = metrics
        self._limit = settings.backend_limit
        self._wake_name = f"{DELAYED_NAME}wake:{settings.redis_prefix}"
        self._is_used = trio.Event()
        # The place of the messages, as the last look has found it.
        self._storage = ""
        self._has_lock = False
        # An earlier message was stored by this worker since the last look began.
        self._has_news = False
        self._nap = trio.CancelScope()

    def __repr__(self) -> str:
        what = "delivers" if self._has_lock else "idle"
        return f"<DelayedMessages: {what}, {self.pending} pending>"

    async def schedule(
        self, messages: Sequence[DelayedMessage]
    ) -> list[Scheduled | Appended | StoreError]:
        """Store or replace messages; see `DelayedStore.schedule`.

        Cancellation:
            Any of the messages may have been stored.
        """
        results = await self._store.schedule(messages)
        for result in results:
            if isinstance(result, Scheduled):
                event = "replaced" if result.replaced else "scheduled"
                self._metrics.delayed[event] += 1
        return results

    async def announce(self, limit: float) -> None:
        """Let the worker that delivers know that an earlier message was stored.

        Args:
            limit: Seconds that slock may take.

        Cancellation:
            That worker may learn of it some seconds later.
        """
        self._is_used.set()
        self._has_news = True
        self._nap.cancel()
        if self._has_lock:
            await trio.lowlevel.checkpoint()
            return
        group = self._slock.group_event(self._wake_name, ttl=_LOOK)
        try:
            self._monitor.raise_if_down()
            await call_slock(limit, _wake, group)
        except OperationFailed as error:
            count_failure(self._metrics, error.failure)

    async def cancel(self, key: str, name: str) -> bool | str | Failure:
        """Cancel a pending message.

        Returns:
            Whether it was pending; the id of the message in the log, if it was
            delivered some minutes ago at most; or the `Failure` that prevented it.

        Cancellation:
            It may have been cancelled.
        """
        try:
            found = await call_store(self._limit, self._store.cancel, key, name)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        self._metrics.delayed["cancelled"] += found is True
        return found

    async def run(self) -> None:
        """Deliver messages whenever this worker is the one to do so.

        Cancellation:
            The only end. A delivery that has begun is completed.
        """
        await self._until_used()
        while True:
            try:
                if self._monitor.up:
                    await self._deliver_with_lock()
                    continue
            except (OperationFailed, *SLOCK_ERRORS) as error:
                _log.debug("delivering delayed messages without the lock: %s", error)
            await self._deliver_alone()

    async def _until_used(self) -> None:
        while not self._is_used.is_set():
            found = await self._look()
            if found is not None and found.pending:
                self._is_used.set()
            with trio.move_on_after(_LOOK_UNUSED * random.uniform(0.8, 1.0)):
                await self._is_used.wait()

    # --- with the lock, or without slock ----------------------------------------------

    async def _deliver_with_lock(self) -> None:
        """Wait for the lock, and deliver while it is held; return after some time."""
        if (found := await self._look()) is None:
            await trio.sleep(_RETRY)
            return
        # Not one name for all who use this slock: they may have another Redis.
        name = f"{DELAYED_NAME}lock:{found.storage}"
        lock = self._slock.lock(name, lease=_LEASE, flags=_UNLOGGED)
        grant = None
        with trio.move_on_after(_ROUND):
            grant = await lock.acquire()
        if grant is None:
            return
        async with grant:
            self._has_lock = True
            try:
                await self._deliver(found.storage)
            finally:
                self._has_lock = False
                self.pending = 0

    async def _deliver(self, storage: str) -> None:
        """Deliver until the lock is lost, or is that of another place.

        The order matters: the group is cleared before the look, so a wake that comes
        later ends the wait.
        """
        group = self._slock.group_event(self._wake_name, ttl=_LOOK)
        is_woken = True
        while self._storage == storage:
            if is_woken:
                await call_slock(self._limit, clear_group, group)
            pause = await self._move_due()
            is_woken = await self._sleep(pause, group)
            if is_woken:
                await trio.sleep(_PACE)

    async def _deliver_alone(self) -> None:
        while True:
            pause = await self._move_due()
            await self._sleep(min(pause, _LOOK_ALONE))
            if self._monitor.up:
                return

    async def _sleep(self, seconds: float, group: GroupEvent | None = None) -> bool:
        """Sleep until the time is over, or this worker has stored an earlier message.

        Returns:
            Whether the group has been woken.
        """
        deadline = trio.current_time() + seconds
        with trio.CancelScope(deadline=deadline) as self._nap:
            if self._has_news:
                self._nap.cancel()
            if group is None:
                await trio.sleep_forever()
            else:
                await group.wait()
                return True
        return False

    # --- moving -----------------------------------------------------------------------

    async def _move_due(self) -> float:
        """Move all that is due; return the seconds until the next message is."""
        while True:
            self._has_news = False
            found = await self._look()
            if found is None:
                return _RETRY
            self.pending = found.pending
            if not found.due:
                return found.pause
            if not await self._move(found.due):
                return _RETRY

    async def _look(self) -> DueMessages | None:
        """Return what is due; None if the store does not answer."""
        try:
            found = await call_store(self._limit, self._store.look)
        except OperationFailed as error:
            if self._is_used.is_set():
                count_failure(self._metrics, error.failure)
            return None
        self._storage = found.storage
        return found

    async def _move(self, due: Mapping[str, Sequence[str]]) -> bool:
        """Move messages into their logs; return whether all of that succeeded."""
        failures: list[Failure] = []

        async def move(key: str, names: Sequence[str]) -> None:
            try:
                await complete(self._move_to, key, names)
            except OperationFailed as error:
                failures.append(count_failure(self._metrics, error.failure))

        async with trio.open_nursery() as nursery:
            for key, names in due.items():
                nursery.start_soon(move, key, names)
        return not failures

    async def _move_to(self, key: str, names: Sequence[str]) -> None:
        delivered: list[Delivered] = []
        failed: OperationFailed | None = None
        try:
            args = key, names
            delivered = await call_store(self._limit, self._store.deliver, *args)
        except OperationFailed as error:
            failed = error
        for each in delivered:
            self._metrics.delayed["delivered"] += 1
            self._metrics.delayed_late.observe(each.late)
        # Before an error some may have been moved.
        if delivered or failed is not None:
            await self._waker.wake(key)
        if failed is not None:
            raise failed


async def _wake(group: GroupEvent) -> None:
    try:
        await group.wakeup()
    except NotHeld:
        pass  # no worker sleeps: one that begins to deliver looks first
