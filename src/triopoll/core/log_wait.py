"""One wait for the first message of one log, without a task of its own.

The task of the log's channel reads for all its waits, and settles those for which there
is something new. What it could not read in time is read by each waiter itself
(`proceed`), with a limit of its own. The wait stays subscribed meanwhile, so a wake in
between is not missed: the wait reads once more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import trio

from ..ops.metrics import Metrics
from .backend_calls import count_failure
from .log_notifier import Channel, LogNotifier, SharedRead, Wake
from .outcomes import Failure
from .parked_waits import FIRED, ParkedWaits, PendingWait
from .wait_items import LogItem, ReadResult

__all__ = ["LogReads", "LogWait"]


@dataclass(frozen=True, slots=True)
class LogReads:
    """What all waits of a process read with.

    Attributes:
        read: Reads a log after a cursor, by key, cursor and limit; returns a failure.
        observe: Records what is returned in the metrics.
        notifier: Wakes the waits.
        waits: Where they are parked.
        metrics: Counts their wakes.
    """

    read: Callable[[str, str, int], Awaitable[ReadResult | Failure]]
    observe: Callable[[ReadResult], ReadResult]
    notifier: LogNotifier
    waits: ParkedWaits
    metrics: Metrics


class LogWait(PendingWait[ReadResult]):
    """Wait until there is something after a cursor: a `Pending`."""

    __slots__ = ("_channels", "_found", "_item", "_reads", "_visitor", "_wake")

    def __init__(
        self,
        reads: LogReads,
        item: LogItem,
        deadline: float,
        visitor: str | None,
    ) -> None:
        """Subscribe to the log: read it from now on, and give the result to `found`.

        Raises:
            TooManyWaits: There is no room for one more log.
        """
        super().__init__(reads.waits, deadline, "log", needs_slock=False)
        self._reads = reads
        self._item = item
        self._visitor = visitor
        # The wake after which the log has still to be read.
        self._wake: Wake | None = None
        self._found: ReadResult | None = None
        self._channels: list[Channel] | None = reads.notifier.join((item.key,), self)

    @property
    def shared_read(self) -> SharedRead | None:
        """Return what is to be read after the next wake; None before `found`."""
        item = self._item
        if self._found is None:
            return None
        return partial(self._reads.read, item.key, self._found.page.cursor, item.limit)

    def found(self, result: ReadResult) -> None:
        """Note what was read: its cursor continues from there."""
        self._found = result

    def wake(self, key: str, wake: Wake) -> None:
        """Settle with what was read after a wake, if there is something new."""
        found: ReadResult | Failure | None = None
        read = None if self._waiter is None else self.shared_read
        if read is not None:
            found = wake.flight(read).peek()
        if not isinstance(found, ReadResult):
            self._wake = wake
            self._call_back()
            return
        self._meter.wakes += 1
        if found.ready:
            self._fire(self._ready(found, wake))
        else:
            self._meter.empty_wakes += 1
            self._found = found

    async def proceed(self) -> ReadResult | Failure | None:
        """Read after the latest wake; see `Pending.proceed`."""
        wake, self._wake = self._wake, None
        read = self.shared_read
        if wake is None or read is None:
            return None
        self._meter.wakes += 1
        result: ReadResult | Failure | None = None
        with trio.CancelScope(deadline=self.deadline):
            result = await wake.flight(read).result()
        if result is None:
            return self.expire()
        if isinstance(result, Failure):
            self._leave(result.value)
            return count_failure(self._reads.metrics, result)
        if result.ready:
            self._leave(FIRED)
            return self._ready(result, wake)
        self._meter.empty_wakes += 1
        self._found = result
        return None

    def _begin(self) -> None:
        if self._wake is not None:
            self._call_back()
        elif self._channels is not None:
            self._reads.notifier.start(self._channels, self._visitor)

    def _finish(self) -> None:
        if self._channels is not None:
            channels, self._channels = self._channels, None
            self._reads.notifier.leave(channels, self)

    def _nothing_yet(self) -> ReadResult | Failure:
        # A store that is down at the end of a wait must not look like a timeout.
        if not self._reads.notifier.store_up:
            failure = Failure.STORE_UNREACHABLE
            return count_failure(self._reads.metrics, failure)
        assert self._found is not None
        return self._reads.observe(self._found)

    def _ready(self, result: ReadResult, wake: Wake) -> ReadResult:
        result.woken = wake.at
        return self._reads.observe(result)
