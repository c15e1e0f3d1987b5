"""One wait for what a read finds after a wake, without a task of its own.

The task of a channel reads for all its waits, and settles those for which there is
something new. What it could not read in time is read by each waiter itself
(`proceed`), with a limit of its own. The wait stays subscribed meanwhile, so a wake in
between is not missed: the wait reads once more.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar

import trio

from ..ops.metrics import Kind, Metrics
from .backend_calls import count_failure
from .log_notifier import Channel, LogNotifier, SharedRead, Wake
from .outcomes import Failure
from .parked_waits import FIRED, ParkedWaits, PendingWait

__all__ = ["ReadWait"]

_T = TypeVar("_T")


class ReadWait(PendingWait[_T]):
    """Wait until there is something to read: a `Pending`."""

    __slots__ = ("_channels", "_metrics", "_notifier", "_visitor", "_wake")

    def __init__(
        self,
        key: str,
        notifier: LogNotifier,
        waits: ParkedWaits,
        metrics: Metrics,
        deadline: float,
        kind: Kind,
        visitor: str | None,
    ) -> None:
        """Subscribe to what is read from now on.

        Args:
            key: What is read.
            notifier: Wakes the wait.
            waits: Where it is parked.
            metrics: Counts wakes and failures.
            deadline: When the time is over, by trio's clock.
            kind: What is waited for, in the metrics.
            visitor: Who waits, as limits by visitor are counted; None for no visitor.

        Raises:
            TooManyWaits: There is no room for one more key.
        """
        super().__init__(waits, deadline, kind, needs_slock=False)
        self._notifier = notifier
        self._metrics = metrics
        self._visitor = visitor
        # The wake after which there is still something to read.
        self._wake: Wake | None = None
        self._channels: list[Channel] | None = notifier.join((key,), self)

    @property
    @abstractmethod
    def shared_read(self) -> SharedRead | None:
        """Return what is to be read after the next wake; None before the first look."""

    @abstractmethod
    def _take(self, found: Any, wake: Wake) -> _T | None:
        """Return the outcome of what was read after a wake.

        Returns:
            None if there was nothing new; the next read continues from there.
        """

    @abstractmethod
    def _last(self) -> _T:
        """Return the outcome when nothing new has been found."""

    def wake(self, key: str, wake: Wake) -> None:
        """Settle with what was read after a wake, if there is something new."""
        found: Any = None
        read = None if self._waiter is None else self.shared_read
        if read is not None:
            found = wake.flight(read).peek()
        if found is None or isinstance(found, Failure):
            self._wake = wake
            self._call_back()
            return
        self._meter.wakes += 1
        outcome = self._note(found, wake)
        if outcome is not None:
            self._fire(outcome)

    async def proceed(self) -> _T | Failure | None:
        """Read after the latest wake; see `Pending.proceed`."""
        wake, self._wake = self._wake, None
        read = self.shared_read
        if wake is None or read is None:
            return None
        self._meter.wakes += 1
        found: Any = None
        with trio.CancelScope(deadline=self.deadline):
            found = await wake.flight(read).result()
        if found is None:
            return self.expire()
        if isinstance(found, Failure):
            self._leave(found.value)
            return count_failure(self._metrics, found)
        outcome = self._note(found, wake)
        if outcome is not None:
            self._leave(FIRED)
        return outcome

    def _note(self, found: Any, wake: Wake) -> _T | None:
        outcome = self._take(found, wake)
        self._meter.empty_wakes += outcome is None
        return outcome

    def _begin(self) -> None:
        if self._wake is not None:
            self._call_back()
        elif self._channels is not None:
            self._notifier.start(self._channels, self._visitor)

    def _finish(self) -> None:
        if self._channels is not None:
            channels, self._channels = self._channels, None
            self._notifier.leave(channels, self)

    def _nothing_yet(self) -> _T | Failure:
        # A store that is down at the end of a wait must not look like a timeout.
        if not self._notifier.store_up:
            return count_failure(self._metrics, Failure.STORE_UNREACHABLE)
        return self._last()
