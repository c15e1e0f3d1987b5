"""One wait for an event, without a task of its own.

The task that reads from slock ends it. What follows an event that fired, and awaits (to
reset it, to pop its message), is done by the waiter's task (`proceed`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

import outcome
import trio

from trioslock import Data, Event

from ..ops.metrics import Kind, Metrics, monotonic
from .backend_calls import SLOCK_ERRORS, count_failure, slock_failure
from .outcomes import EventFired, Failure, NothingYet, OperationFailed, PoppedMessage
from .parked_waits import FIRED, ParkedWait, ParkedWaits, PendingWait, WaitedKey

__all__ = ["EventOutcome", "EventWait", "Then"]

EventOutcome: TypeAlias = EventFired | PoppedMessage | NothingYet
# What is done after an event has fired.
Then: TypeAlias = Callable[[EventFired], Awaitable[EventOutcome | Failure]]


class _BegunWait(Protocol):
    def withdraw(self) -> None:
        """End the wait on the server."""


class EventWait(PendingWait[EventOutcome]):
    """Wait until an event is set: a `Pending`."""

    __slots__ = ("_begun", "_event", "_fired", "_key", "_kind", "_metrics", "_then")

    def __init__(
        self,
        waits: ParkedWaits,
        metrics: Metrics,
        event: Event,
        key: str,
        deadline: float,
        kind: Kind,
        then: Then | None,
    ) -> None:
        """Prepare it; `start` sends the wait to slock.

        Args:
            waits: The registry of this process.
            metrics: Counts wakes and failures.
            event: What to wait for.
            key: What the client calls it.
            deadline: When the time is over, by trio's clock.
            kind: What is waited for, in the metrics.
            then: Returns the outcome after the event has fired, or a failure; None
                where the event is the outcome.
        """
        super().__init__(waits, deadline, kind, needs_slock=True)
        self._metrics = metrics
        self._event = event
        self._key = key
        self._kind: Kind = kind
        self._then = then
        self._begun: _BegunWait | None = None
        self._fired: EventFired | None = None

    async def proceed(self) -> EventOutcome | Failure:
        """Do what follows the event; see `Pending.proceed`."""
        if self._fired is None:
            self._leave(None)
            return await self._wait_for_room()
        self._leave(FIRED)
        assert self._then is not None
        return await self._then(self._fired)

    def waited_keys(self) -> Sequence[WaitedKey]:
        """Return the event."""
        return (WaitedKey(self._key),)

    def _begin(self) -> None:
        try:
            self._begun = self._event.begin_wait(self._end_by)
        except trio.WouldBlock:
            self._call_back()
        except SLOCK_ERRORS as error:
            self._fail(error)

    def _finish(self) -> None:
        if self._begun is not None:
            begun, self._begun = self._begun, None
            begun.withdraw()

    def _nothing_yet(self) -> NothingYet:
        return NothingYet()

    def _end_by(self, answer: outcome.Outcome[Data | None]) -> None:
        """Take the end of the wait on slock."""
        self._begun = None
        if isinstance(answer, outcome.Error):
            self._fail(answer.error)
            return
        self._meter.wakes += 1
        self._fired = EventFired(monotonic())
        if self._then is None:
            self._fire(self._fired)
        else:
            self._call_back()

    def _fail(self, error: BaseException) -> None:
        self.end(count_failure(self._metrics, slock_failure(error).failure))

    async def _wait_for_room(self) -> EventOutcome | Failure:
        """Wait in this task: the client sends no more before slock has answered."""
        seconds = self.deadline - trio.current_time()
        try:
            with ParkedWait(
                self._waits, seconds, self._kind, waited_keys=self.waited_keys
            ) as parked:
                await self._event.wait()
                # No await from here on: an event that fired is never reported as a
                # timeout.
                parked.outcome = EventFired(monotonic())
                self._meter.wakes += 1
        except SLOCK_ERRORS as error:
            failure = slock_failure(error).failure
            return count_failure(self._metrics, failure)
        except OperationFailed as error:
            return error.failure
        if not isinstance(parked.outcome, EventFired):
            return parked.outcome
        fired = parked.outcome
        return fired if self._then is None else await self._then(fired)
