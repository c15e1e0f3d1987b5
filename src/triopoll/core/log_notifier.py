"""Who waits for news of a log, and how the news gets there.

A log has a group event on slock. All local waits of one log share one waiter there: a
task that waits for the group's next version and then wakes them. The order in which
things happen makes it impossible to miss a wake:

1. a local wait registers (`LogNotifier.watching`);
2. the group is cleared, which adopts its version, and whoever is registered is woken;
3. the local wait looks into the log;
4. the task waits for another version than the one it adopted in step 2.

A publisher appends first and then raises the version. If a look was too early to see a
message, that message's version comes after the one adopted, so step 4 ends, at once if
need be. When it does, everybody is woken before anything else is asked of slock: the
look follows a wake directly. The next clear then shows whether there has been more than
the one wake that was told; only then is it told again.

A wake may get lost all the same: a publisher dies between the two steps, or slock is
away. So every few seconds the heads of all watched logs are compared with those of the
last time (the sweep). While slock is away nothing fails here; the sweep is then all
that brings news.

A task stays for a while when the last local wait has left, because the next poll of the
same client is under way. While it stays, a poll costs slock nothing.
"""

from __future__ import annotations

import hashlib
import logging
import math
import random
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, NoReturn, Self

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from trioslock import Client, GroupEvent, NotHeld, SlockError

from ..ops.metrics import monotonic
from ..store import MessageLog, StoreError
from .parked_waits import TooManyWaits
from .slock_backend import clear_group

__all__ = ["Wake", "LogNotifier", "LogSubscription", "group_key"]

_log = logging.getLogger("triopoll.wakes")

# Seconds that a group stays cleared when nobody clears it again. When they are over,
# everybody looks once more.
_LEASE = 120.0
# Seconds that a task stays without local waits.
_LINGER = 5.0
# Seconds between two sweeps over the same log. Its place in the sweep may change, so
# twice this must stay below the promised 5 s.
_SWEEP = 2.2
_SWEEP_BATCH = 256
# Seconds after a failure; a server that is away costs no more than this.
_PAUSE = 1.0
# What a storm of wakes without messages may cost: so many at once, then one in so many
# seconds. A wake that has to wait for that is not lost, and those between are one.
_BURST = 10
_PACE = 0.02
# Logs that begin to be followed at once. A crowd that comes back brings thousands;
# until it is the turn of a log there is the sweep.
_STARTS = 32
# Local waits that are woken in one pass of the scheduler, lest a crowd on one log keep
# everybody else from running.
_CHUNK = 32


def group_key(prefix: str, key: str) -> bytes:
    """Return the slock key of a log's group event.

    Publishers and readers that share Redis, slock and the prefix agree on it.

    Returns:
        Exactly 16 bytes.
    """
    name = f"{prefix}log:{key}".encode()
    return hashlib.blake2b(name, digest_size=16).digest()


class Wake:
    """One wake of one log.

    Attributes:
        at: When it was, by `metrics.monotonic`.
        shared: What those who were woken together need not do twice. A look that
            begins after the wake will do for all of them.
    """

    __slots__ = ("at", "shared")

    def __init__(self) -> None:
        self.at = monotonic()
        self.shared: dict[Any, Any] = {}


class _Channel:
    """A log that is watched, or was until a moment ago."""

    __slots__ = ("allowed_at", "key", "mark", "scope", "watches")

    def __init__(self, key: str) -> None:
        self.key = key
        # In the order in which they came, which is the order in which they are woken.
        self.watches: dict[LogSubscription, None] = {}
        # Its deadline is the end of the linger; None before anybody has waited.
        self.scope: trio.CancelScope | None = None
        self.mark: str | None = None
        self.allowed_at = 0.0

    async def wake(self) -> None:
        """Wake all who are registered now.

        Cancellation:
            Some may have been woken; this happens only when nobody is left to wake.
        """
        wake = Wake()
        for position, watch in enumerate(list(self.watches), 1):
            if watch in self.watches:
                watch.wake(self.key, wake)
            if position % _CHUNK == 0:
                await trio.lowlevel.checkpoint()

    async def keep_pace(self) -> None:
        """Sleep if there have been too many wakes lately."""
        now = trio.current_time()
        self.allowed_at = max(self.allowed_at, now) + _PACE
        await trio.sleep(max(0.0, self.allowed_at - now - _BURST * _PACE))


class LogSubscription:
    """One task that waits for news of some logs. Made by `LogNotifier.watching`."""

    __slots__ = ("_hub", "_keys", "_news", "_task", "_topics")

    def __init__(self, hub: LogNotifier, keys: Iterable[str]) -> None:
        self._hub = hub
        self._keys = dict.fromkeys(keys)
        self._topics: list[_Channel] = []
        self._news: dict[str, Wake] = {}
        self._task: Task | None = None

    def __enter__(self) -> Self:
        self._topics = self._hub.join(self._keys, self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hub.leave(self._topics, self)

    async def changed(self) -> dict[str, Wake]:
        """Wait until there may be news since this was entered, or last returned.

        Returns at once if there has been a wake meanwhile, and once more when the
        wait on slock has begun. Look into the log after it, every time.

        Returns:
            The keys of the logs to look into, each with its wake.

        Cancellation:
            What has not been returned is returned by the next call.
        """
        self._hub.follow(self._topics)
        if self._news:
            await trio.lowlevel.checkpoint()
        else:
            self._task = current_task()
            await wait_task_rescheduled(self._abort)
        news, self._news = self._news, {}
        return news

    def wake(self, key: str, wake: Wake) -> None:
        """Note that there may be news of a log."""
        self._news[key] = wake
        if self._task is not None:
            task, self._task = self._task, None
            reschedule(task)

    def _abort(self, _raise_cancel: Any) -> Abort:
        self._task = None
        return Abort.SUCCEEDED


class LogNotifier:
    """The waits of this process for news of logs.

    Attributes:
        store_up: Whether the log answered the last sweep, or the last look since.
    """

    def __init__(
        self,
        client: Client,
        log: MessageLog,
        *,
        prefix: str,
        max_keys: int,
        limit: float,
    ) -> None:
        """Watch nothing yet; `run` does what is needed for those who wait.

        Args:
            client: For the group events.
            log: For the sweep.
            prefix: What the names of the group events begin with.
            max_keys: Logs that may be watched at once.
            limit: Seconds within which the log must answer.
        """
        self.store_up = True
        self._client = client
        self._log = log
        self._prefix = prefix
        self._max_keys = max_keys
        self._limit = limit
        self._nursery: trio.Nursery | None = None
        self._starts = trio.CapacityLimiter(_STARTS)
        self._topics: dict[str, _Channel] = {}
        # Those without local waits, the longest one first.
        self._lingering: dict[_Channel, None] = {}

    def __repr__(self) -> str:
        lingering = len(self._lingering)
        return f"<LogNotifier: {len(self._topics)} logs, {lingering} of them lingering>"

    def __len__(self) -> int:
        """Return how many logs are watched, or were until a moment ago."""
        return len(self._topics)

    def watching(self, keys: Iterable[str]) -> LogSubscription:
        """Return a context manager that registers for news of some logs.

        A log that nobody waits for is not asked for on slock before
        `LogSubscription.changed` is called: a look that finds something costs no more
        than itself.

        Returns:
            What to enter; it raises `TooManyWaits` if so many logs cannot be watched
            besides those that are.
        """
        return LogSubscription(self, keys)

    async def publish(self, key: str) -> bool:
        """Tell everybody, in whatever process, that there may be news of a log.

        Returns:
            False if nobody was waiting.

        Raises:
            SlockError: Those who wait may not have been told; the sweep tells them.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            They may have been told.
        """
        try:
            await self._group(key).wakeup()
        except NotHeld:
            return False
        return True

    async def tell_here(self, key: str) -> None:
        """Tell those who wait in this process, without slock.

        Cancellation:
            Some may not have been told.
        """
        topic = self._topics.get(key)
        if topic is not None:
            await topic.wake()
        else:
            await trio.lowlevel.checkpoint()

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep the waits on slock, and sweep, until cancelled.

        Cancellation:
            Nobody is woken any more; nothing waits on slock.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                while True:
                    await self._sweep()
        finally:
            self._nursery = None

    # --- what a watch asks for ----------------------------------------------------

    def join(self, keys: Iterable[str], watch: LogSubscription) -> list[_Channel]:
        """Register a watch: it is told of all wakes from now on.

        Raises:
            TooManyWaits: So many logs cannot be watched besides those that are.
        """
        self._make_room([key for key in keys if key not in self._topics])
        topics = list(map(self._topic, keys))
        for topic in topics:
            topic.watches[watch] = None
        return topics

    def _make_room(self, new: list[str]) -> None:
        excess = len(self._topics) + len(new) - self._max_keys
        if excess > len(self._lingering):
            raise TooManyWaits
        for topic in list(self._lingering)[: max(0, excess)]:
            self._drop(topic)

    def _topic(self, key: str) -> _Channel:
        """Return the topic of a log, with a task that stays if it has one."""
        topic = self._topics.get(key)
        scope = None if topic is None else topic.scope
        if topic is not None and scope is not None and scope.cancel_called:
            # Its linger is over, though its task has not yet noticed.
            self._drop(topic)
            topic = scope = None
        if topic is None:
            topic = self._topics[key] = _Channel(key)
        if scope is not None:
            scope.deadline = math.inf
            self._lingering.pop(topic, None)
        return topic

    def follow(self, topics: list[_Channel]) -> None:
        """See that somebody waits for news of these on slock."""
        for topic in topics:
            if topic.scope is None:
                if self._nursery is None:
                    raise RuntimeError("the wakes do not run")
                topic.scope = trio.CancelScope()
                self._nursery.start_soon(self._attend, topic, topic.scope)

    def leave(self, topics: list[_Channel], watch: LogSubscription) -> None:
        """Take a watch out; what nobody watches is followed for a while."""
        for topic in topics:
            topic.watches.pop(watch, None)
            if topic.watches or self._topics.get(topic.key) is not topic:
                continue
            if topic.scope is None:
                del self._topics[topic.key]
            else:
                topic.scope.deadline = trio.current_time() + _LINGER
                self._lingering[topic] = None

    def _drop(self, topic: _Channel) -> None:
        """Forget a topic that nobody watches; its task ends."""
        assert topic.scope is not None
        topic.scope.cancel()
        self._lingering.pop(topic, None)
        if self._topics.get(topic.key) is topic:
            del self._topics[topic.key]

    # --- the task of a topic ------------------------------------------------------

    async def _attend(self, topic: _Channel, scope: trio.CancelScope) -> None:
        """Wait on slock for those who watch a topic, until none has for a while."""
        with scope:
            while True:
                try:
                    await self._wait_on_slock(topic)
                except (SlockError, trio.ClosedResourceError) as error:
                    _log.debug("waiting for news of %r: %s", topic.key, error)
                await trio.sleep(_PAUSE * random.uniform(0.5, 1.0))
        self._drop(topic)

    async def _wait_on_slock(self, topic: _Channel) -> NoReturn:
        group = self._group(topic.key)
        async with self._starts:
            await clear_group(group)
            await topic.wake()
        while True:
            known = group.version
            await group.wait()
            await topic.wake()
            # Whoever waits under the present version is not told the next one.
            told = group.version if group.version != known else known + 1
            await group.clear()
            if group.version != told:
                await topic.wake()
            await topic.keep_pace()

    def _group(self, key: str) -> GroupEvent:
        return self._client.group_event(group_key(self._prefix, key), ttl=_LEASE)

    # --- the sweep ----------------------------------------------------------------

    async def _sweep(self) -> None:
        """Look once at the heads of all that is watched, spread over the time."""
        watched = [topic for topic in self._topics.values() if topic.watches]
        batches = list(_batches(watched, _SWEEP_BATCH)) or [[]]
        for batch in batches:
            await trio.sleep(_SWEEP * random.uniform(0.8, 1.0) / len(batches))
            marks = await self._heads([topic.key for topic in batch])
            for topic, mark in zip(batch, marks, strict=False):
                if mark != topic.mark:
                    topic.mark = mark
                    await topic.wake()

    async def _heads(self, keys: list[str]) -> list[str]:
        """Return the marks of some logs; none if the store does not answer."""
        if not keys:
            return []
        try:
            with trio.fail_after(self._limit):
                marks = await self._log.heads(keys)
        except (StoreError, trio.TooSlowError) as error:
            if self.store_up:
                _log.warning("the logs cannot be looked at: %s", error)
            self.store_up = False
            return []
        self.store_up = True
        return marks


def _batches(topics: list[_Channel], size: int) -> Iterator[list[_Channel]]:
    for start in range(0, len(topics), size):
        yield topics[start : start + size]
