"""Subscriptions to message logs: wake the waits of this process when a log changes.

Two more instances do the same for states and for Durable Streams: where a log is spoken
of, these are meant as well. A publisher changes a state where it appends to a log.

Each log has a group event on slock. All local subscriptions to a log share one channel,
whose task waits on slock for the group's next version and then wakes them all. The
order of these steps makes it impossible to miss a wake:

1. the subscription joins the channel (`LogSubscription.__enter__`);
2. the channel clears the group, which adopts the group's version;
3. the log is read, by the channel or by the tasks that it wakes;
4. the channel waits for a version other than the one adopted in step 2.

A publisher first appends a message and then raises the version. If the read in step 3
was too early for a message, the version is raised after step 2 adopted it, so the wait
in step 4 ends; at once if the version was raised before the wait began. A test sweeps
both publisher steps over every point of this order
(`test_reader.py::test_a_wake_at_every_point`).

When the wait in step 4 ends, the channel reads what its subscriptions want, each thing
once, and wakes them before it sends slock anything else. The clear that comes next
shows whether there was more than this one wake, and only then it wakes them again.

A wake can still be lost: a publisher dies between its two steps, or slock is down. So
every few seconds the heads of all subscribed logs are compared with the last ones (the
sweep). While slock is down nothing fails here; only the sweep finds new messages.

A channel leaves the key of its group held for a while. A visitor whose waits hold as
many keys as they may gets no new channels; its subscriptions are woken by the sweep.

A channel outlives its last subscription by a few seconds, since the next poll of the
same client is usually under way. A poll that finds its channel costs slock nothing.
"""

from __future__ import annotations

import hashlib
import logging
import math
import random
from collections.abc import (
    Collection,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Literal, NoReturn, Protocol, Self, TypeAlias

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from trioslock import Client, GroupEvent, NotHeld

from ..ops.metrics import monotonic
from ..store import StoreError
from .backend_calls import SLOCK_ERRORS
from .held_keys import OVERTIME, HeldKeys
from .parked_waits import TooManyWaits
from .single_flight import SingleFlight
from .slock_backend import clear_group

__all__ = [
    "SHARED_READ",
    "Channel",
    "Kind",
    "LogNotifier",
    "LogSubscription",
    "SharedRead",
    "Subscriber",
    "Wake",
    "Watched",
    "group_key",
]

# What keys stand for. Keys of two kinds have two groups.
Kind: TypeAlias = Literal["log", "state", "stream"]
# What is read after a wake. Two with the same arguments read the same.
SharedRead: TypeAlias = "partial[Any]"

_log = logging.getLogger(__name__)

# Seconds that a group stays cleared unless it is cleared again. When they are over, all
# subscriptions are woken once: thousands of states that were created together would all
# be read at the same time, so their groups stay for as long as a state does by default.
_LEASES = {"log": 120.0, "state": 300.0, "stream": 120.0}
# Seconds that a channel outlives its last subscription.
_LINGER = 5.0
# Seconds from one sweep to the next. The place of a log within the sweep can change, so
# twice this must stay below the 5 s within which a message is found without a wake.
_SWEEP = 2.2
_SWEEP_BATCH = 256
# Seconds of pause after slock failed a channel.
_PAUSE = 1.0
# A flood of wakes is limited to this many at once, then to one per pace. A wake that is
# delayed is not lost, and several delayed ones become one.
_BURST = 10
_PACE = 0.02
# Channels that may begin to wait on slock at the same time. Thousands of clients that
# reconnect at once begin as many; the sweep covers those that queue for their start.
_STARTS = 32
# Subscriptions woken in one scheduler pass, so that a log with thousands of them does
# not block the event loop.
_BATCH = 32
# Seconds that all subscriptions of a log wait for what some of them read together.
# After that each reads by itself, within its own limit.
SHARED_READ = 0.5


def group_key(prefix: str, key: str, kind: Kind = "log") -> bytes:
    """Return the slock key of the group event of a log, a state or a stream.

    Publishers and readers that share Redis, slock and the prefix agree on it.

    Returns:
        Exactly 16 bytes.
    """
    name = f"{prefix}{kind}:{key}".encode()
    return hashlib.blake2b(name, digest_size=16).digest()


class Wake:
    """One wake of one log.

    Attributes:
        at: When it was, by `metrics.monotonic`.
    """

    __slots__ = ("_flights", "at")

    def __init__(self) -> None:
        self.at = monotonic()
        # By the arguments of the reads.
        self._flights: dict[tuple[Any, ...], SingleFlight[Any]] = {}

    def flight(self, read: SharedRead) -> SingleFlight[Any]:
        """Return the read that all woken tasks share which read the same.

        A read that begins after the wake is recent enough for all of them.
        """
        flight = self._flights.get(read.args)
        if flight is None:
            flight = self._flights[read.args] = SingleFlight(read)
        return flight


class Subscriber(Protocol):
    """What is subscribed to a log."""

    @property
    def shared_read(self) -> SharedRead | None:
        """Return what is read after the next wake, where that is known."""
        ...

    def wake(self, key: str, wake: Wake) -> None:
        """Take a wake of a log; return at once, and do not raise.

        What was to be read may have been read (see `Wake.flight`).
        """
        ...


class Channel:
    """A log with subscriptions, or whose last one has ended a moment ago."""

    __slots__ = ("allowed_at", "head", "key", "scope", "subscriptions")

    def __init__(self, key: str) -> None:
        self.key = key
        # In the order of their arrival, which is the order of their wakes.
        self.subscriptions: dict[Subscriber, None] = {}
        # Cancels the channel's task; None before the task starts. Its deadline is the
        # end of the linger.
        self.scope: trio.CancelScope | None = None
        # The head of the log at the last sweep.
        self.head: str | None = None
        self.allowed_at = 0.0

    async def read_and_wake(self) -> None:
        """Read what the subscriptions will read, each thing once, then wake them all.

        So none of them has to wait a second time, and those without a task are done.

        Cancellation:
            As `wake`.
        """
        wake = Wake()
        reads: dict[tuple[Any, ...], SharedRead] = {}
        for subscription in self.subscriptions:
            if (read := subscription.shared_read) is not None:
                reads[read.args] = read
        if reads:
            with trio.move_on_after(SHARED_READ):
                async with trio.open_nursery() as nursery:
                    for read in reads.values():
                        nursery.start_soon(_take_off, wake.flight(read))
        await self.wake(wake)

    async def wake(self, wake: Wake | None = None) -> None:
        """Wake all current subscriptions.

        Cancellation:
            Some may not have been woken. The channel is cancelled only without
            subscriptions, or when the process ends.
        """
        wake = Wake() if wake is None else wake
        for position, subscription in enumerate(list(self.subscriptions), 1):
            # One that left during a checkpoint below must not be woken.
            if subscription in self.subscriptions:
                subscription.wake(self.key, wake)
            if position % _BATCH == 0:
                await trio.lowlevel.checkpoint()

    def pause(self) -> float:
        """Return the seconds to sleep after a wake; above 0 if there were too many."""
        now = trio.current_time()
        self.allowed_at = max(self.allowed_at, now) + _PACE
        return self.allowed_at - now - _BURST * _PACE


async def _take_off(flight: SingleFlight[Any]) -> None:
    # The task of whoever reads gets the error, where it belongs: it reads once more.
    with suppress(Exception):
        await flight.result()


class LogSubscription:
    """One task's subscription to some logs. Made by `LogNotifier.subscribe`.

    Attributes:
        shared_read: What its task reads after the next wake, where it has said so.
    """

    __slots__ = (
        "_channels",
        "_keys",
        "_notifier",
        "_task",
        "_visitor",
        "_wakes",
        "shared_read",
    )

    def __init__(
        self, notifier: LogNotifier, keys: Iterable[str], visitor: str | None
    ) -> None:
        self._notifier = notifier
        self._visitor = visitor
        self._keys = dict.fromkeys(keys)
        self._channels: list[Channel] = []
        # Wakes that have not been returned yet, by key.
        self._wakes: dict[str, Wake] = {}
        self._task: Task | None = None
        self.shared_read: SharedRead | None = None

    def __enter__(self) -> Self:
        self._channels = self._notifier.join(self._keys, self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._notifier.leave(self._channels, self)

    async def wait(self, read: SharedRead | None = None) -> dict[str, Wake]:
        """Wait for a wake since this was entered, or since this last returned.

        Returns at once if there was one, and once more when the channel has begun to
        wait on slock. Read the logs after every return.

        Args:
            read: What is read then: it may be under way, or done (see `Wake.flight`).

        Returns:
            The keys of the logs to read, each with its latest wake.

        Cancellation:
            Wakes that have not been returned are returned by the next call.
        """
        self._notifier.start(self._channels, self._visitor)
        if self._wakes:
            await trio.lowlevel.checkpoint()
        else:
            self.shared_read = read
            self._task = current_task()
            await wait_task_rescheduled(self._abort)
        wakes, self._wakes = self._wakes, {}
        return wakes

    def wake(self, key: str, wake: Wake) -> None:
        """Record a wake of a log, and resume the task if it waits."""
        known = self._wakes.get(key)
        # One that was read for before it was given here may be the older one.
        if known is None or known.at <= wake.at:
            self._wakes[key] = wake
        if self._task is not None:
            task, self._task = self._task, None
            self.shared_read = None
            reschedule(task)

    def _abort(self, _raise_cancel: Any) -> Abort:
        self._task = self.shared_read = None
        return Abort.SUCCEEDED


class Watched(Protocol):
    """Where the logs, the states or the streams are."""

    async def heads(self, keys: Sequence[str]) -> list[str]:
        """Return a mark for each key, which is another one after each change.

        Raises:
            StoreError: They could not be looked at.

        Cancellation:
            Nothing is left behind.
        """
        ...


class LogNotifier:
    """The channels and subscriptions of this process.

    Attributes:
        store_up: Whether the store answered the last sweep, or a read since then.
    """

    def __init__(
        self,
        client: Client,
        log: Watched,
        *,
        prefix: str,
        max_keys: int,
        limit: float,
        held: HeldKeys | None = None,
        kind: Kind = "log",
    ) -> None:
        """Prepare the notifier; `run` starts it.

        Args:
            client: For the group events.
            log: For the sweep.
            prefix: Prefix of the names of the group events.
            max_keys: Channels that may exist at once.
            limit: Seconds within which the store must answer.
            held: Limits the keys that channels leave held; default: a new instance.
            kind: What the keys stand for.
        """
        self.store_up = True
        self._kind: Kind = kind
        self._lease = _LEASES[kind]
        self._client = client
        self._log = log
        self._prefix = prefix
        self._max_keys = max_keys
        self._limit = limit
        self._held = HeldKeys() if held is None else held
        self._nursery: trio.Nursery | None = None
        self._starts = trio.CapacityLimiter(_STARTS)
        self._channels: dict[str, Channel] = {}
        # Channels without subscriptions, the oldest first.
        self._lingering: dict[Channel, None] = {}

    def __repr__(self) -> str:
        lingering = len(self._lingering)
        return (
            f"<LogNotifier: {len(self._channels)} {self._kind}s, "
            f"{lingering} of them lingering>"
        )

    def __len__(self) -> int:
        """Return how many channels exist, lingering ones included."""
        return len(self._channels)

    def subscribe(
        self, keys: Iterable[str], visitor: str | None = None
    ) -> LogSubscription:
        """Return a context manager that subscribes to some logs.

        A channel sends slock nothing before the first `LogSubscription.wait`, so a read
        that finds messages at once costs no more than itself.

        Args:
            keys: The logs.
            visitor: Who waits, as limits by visitor are counted; None for no visitor.

        Returns:
            What to enter; it raises `TooManyWaits` if there is no room for so many new
            channels.
        """
        return LogSubscription(self, keys, visitor)

    async def notify(self, key: str) -> bool:
        """Wake the subscriptions to a log in all processes.

        Returns:
            False if there were none.

        Raises:
            SlockError: They may not have been woken; the sweep does it.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            They may have been woken.
        """
        try:
            await self._group(key).wakeup()
        except NotHeld:
            return False
        return True

    async def notify_local(self, key: str) -> None:
        """Wake the subscriptions to a log in this process, without slock.

        Cancellation:
            Some may not have been woken.
        """
        channel = self._channels.get(key)
        if channel is not None:
            await channel.wake()
        else:
            await trio.lowlevel.checkpoint()

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the channels and the sweep until cancelled.

        Cancellation:
            Subscriptions are no longer woken; nothing waits on slock.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                while True:
                    await self._sweep()
        finally:
            self._nursery = None

    # --- called by subscriptions ----------------------------------------------------

    def join(self, keys: Collection[str], subscription: Subscriber) -> list[Channel]:
        """Add a subscription to the channels of some logs.

        Args:
            keys: The logs; no key twice.
            subscription: What to add.

        Raises:
            TooManyWaits: There is no room for so many new channels.
        """
        new = len(keys) - sum(map(self._channels.__contains__, keys))
        excess = len(self._channels) + new - self._max_keys
        if excess > 0:
            self._make_room(excess)
        channels = list(map(self._channel, keys))
        for channel in channels:
            channel.subscriptions[subscription] = None
        return channels

    def _make_room(self, excess: int) -> None:
        if excess > len(self._lingering):
            raise TooManyWaits
        for channel in list(self._lingering)[:excess]:
            self._drop(channel)

    def _channel(self, key: str) -> Channel:
        """Return the channel of a log; if it lingers, keep it."""
        channel = self._channels.get(key)
        scope = None if channel is None else channel.scope
        if channel is not None and scope is not None and scope.cancel_called:
            # Its linger is over but its task has not run yet: this channel would never
            # wake its subscriptions.
            self._drop(channel)
            channel = scope = None
        if channel is None:
            channel = self._channels[key] = Channel(key)
        if scope is not None:
            scope.deadline = math.inf
            self._lingering.pop(channel, None)
        return channel

    def start(self, channels: list[Channel], visitor: str | None) -> None:
        """Start the tasks of those channels that have none, as far as there is room."""
        for channel in channels:
            if channel.scope is None:
                if self._nursery is None:
                    raise RuntimeError("the log notifier does not run")
                name = f"{self._kind} {channel.key}"
                lease = _LINGER + self._lease + OVERTIME
                if not self._held.try_hold(visitor, name, lease):
                    continue
                channel.scope = trio.CancelScope()
                self._nursery.start_soon(self._run_channel, channel, channel.scope)

    def leave(self, channels: list[Channel], subscription: Subscriber) -> None:
        """Remove a subscription; a channel without any lingers."""
        for channel in channels:
            channel.subscriptions.pop(subscription, None)
            if channel.subscriptions or self._channels.get(channel.key) is not channel:
                continue
            if channel.scope is None:
                del self._channels[channel.key]
            else:
                channel.scope.deadline = trio.current_time() + _LINGER
                self._lingering[channel] = None

    def _drop(self, channel: Channel) -> None:
        """Remove a channel without subscriptions, and end its task."""
        assert channel.scope is not None
        channel.scope.cancel()
        self._lingering.pop(channel, None)
        if self._channels.get(channel.key) is channel:
            del self._channels[channel.key]

    # --- the task of a channel --------------------------------------------------------

    async def _run_channel(self, channel: Channel, scope: trio.CancelScope) -> None:
        """Relay wakes from slock until the linger is over; restart after failures."""
        with scope:
            while True:
                try:
                    await self._relay_wakes(channel)
                except SLOCK_ERRORS as error:
                    _log.debug("waiting for a wake of %r: %s", channel.key, error)
                await trio.sleep(_PAUSE * random.uniform(0.5, 1.0))
        self._drop(channel)

    async def _relay_wakes(self, channel: Channel) -> NoReturn:
        group = self._group(channel.key)
        async with self._starts:
            await clear_group(group)
            await channel.read_and_wake()
        while True:
            known = group.version
            await group.wait()
            await channel.read_and_wake()
            # A wait that began under the current version ends without the next one; a
            # wait under an older version ends with the current one.
            woken_for = group.version if group.version != known else known + 1
            await group.clear()
            if group.version != woken_for:
                await channel.read_and_wake()
            if (pause := channel.pause()) > 0:
                await trio.sleep(pause)

    def _group(self, key: str) -> GroupEvent:
        group = group_key(self._prefix, key, self._kind)
        return self._client.group_event(group, ttl=self._lease)

    # --- the sweep --------------------------------------------------------------------

    async def _sweep(self) -> None:
        """Compare the heads of all subscribed logs once, spread over the period."""
        channels = [each for each in self._channels.values() if each.subscriptions]
        batches = list(_batches(channels, _SWEEP_BATCH)) or [[]]
        for batch in batches:
            await trio.sleep(_SWEEP * random.uniform(0.8, 1.0) / len(batches))
            heads = await self._heads([channel.key for channel in batch])
            async with trio.open_nursery() as nursery:
                for channel, head in zip(batch, heads, strict=False):
                    if head != channel.head:
                        channel.head = head
                        nursery.start_soon(channel.read_and_wake)

    async def _heads(self, keys: list[str]) -> list[str]:
        """Return the heads of some logs; none if the store does not answer."""
        if not keys:
            return []
        try:
            with trio.fail_after(self._limit):
                heads = await self._log.heads(keys)
        except (StoreError, trio.TooSlowError) as error:
            if self.store_up:
                _log.warning("message streams cannot be read: %s", error)
            self.store_up = False
            return []
        self.store_up = True
        return heads


def _batches(channels: list[Channel], size: int) -> Iterator[list[Channel]]:
    for start in range(0, len(channels), size):
        yield channels[start : start + size]
