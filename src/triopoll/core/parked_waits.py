"""The polls that are parked in this process, and how to end them before their time.

A parked poll costs memory for as long as it waits, so there is a limit to their number,
and each of them is one cancel scope in one set: no timer task, no nursery of its own.
Whoever has to end them (slock is down, the server drains) cancels the scope and says
what the poll shall answer.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import trio

from ..ops.drain import Drain
from ..ops.metrics import Backend, Kind, Metrics, WaitMeter
from .outcomes import EventFired, Failure, NothingYet

__all__ = ["BACKEND_ERRORS", "ParkedWait", "TooManyWaits", "Unserved", "ParkedWaits"]

# What a failure is in the metrics, where it is one of a backend.
BACKEND_ERRORS: dict[Failure, tuple[Backend, str]] = {
    Failure.SLOCK_UNREACHABLE: ("slock", "unreachable"),
    Failure.SLOCK_REFUSED: ("slock", "failed"),
    Failure.STORE_UNREACHABLE: ("store", "unreachable"),
    Failure.STORE_FAILED: ("store", "failed"),
}

# Why waits end, in the metrics, beside the failures by their names.
_FIRED, _TIMEOUT, _DRAINED = "fired", "timeout", "drained"
_DISCONNECT, _FAILED = "disconnect", "failed"
# The only deadline around a wait is that of its ticket.
_EXPIRED, _REPLACED = "ticket_expired", "replaced"


class TooManyWaits(Exception):
    """As many polls are parked as this process may keep."""


class Unserved(Exception):
    """The poll cannot be served; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.value)
        self.failure = failure


class ParkedWait:
    """One parked poll: a context manager to wait in, for at most its time.

    The block sets the outcome when what it waits for has come; if it is ended from
    outside or by the time, the code after it runs.

    Raises:
        TooManyWaits: On entry, if the limit has been reached.

    Cancellation:
        The poll is no longer counted, however the block was left.

    Attributes:
        outcome: What the poll answers: that nothing came, unless it did, or unless
            somebody who ended the wait knows better.
        needs_slock: Whether it can only end well while slock answers.
        reason: A word for the metrics: why it ended, if not by what it waited for.
    """

    # Written out, since a generator and its helper cost more than the rest of it.
    __slots__ = ("_meter", "_scope", "_waits", "needs_slock", "outcome", "reason")

    def __init__(
        self, waits: ParkedWaits, seconds: float, meter: WaitMeter, *, needs_slock: bool
    ) -> None:
        self.needs_slock = needs_slock
        self._waits = waits
        self._meter = meter
        self._scope = trio.CancelScope(deadline=trio.current_time() + seconds)
        self.outcome: EventFired | NothingYet | Failure = NothingYet()
        self.reason = _TIMEOUT

    def __enter__(self) -> Self:
        try:
            self._waits.enter(self, self._leave_by_drain)
        except TooManyWaits:
            self._meter.end(Failure.TOO_MANY_WAITS.word)
            raise
        self._meter.parked += 1
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._waits.leave(self)
        self._meter.parked -= 1
        try:
            return self._scope.__exit__(kind, error, traceback)
        finally:
            caught = self._scope.cancelled_caught
            self._meter.end(self.reason if caught else _reason_of(error))

    def end(self, outcome: Failure) -> None:
        """Make the poll answer this now. The first to end it is the one who says."""
        if not self._scope.cancel_called:
            self.outcome = outcome
            self.reason = outcome.word
            self._scope.cancel()

    def _leave_by_drain(self) -> None:
        if not self._scope.cancel_called:
            self.reason = _DRAINED
            self._scope.cancel()


def _reason_of(error: BaseException | None) -> str:
    """Return why a wait was left that nobody had ended."""
    if error is None:
        return _FIRED
    if isinstance(error, Unserved):
        return error.failure.word
    if isinstance(error, trio.Cancelled):
        # Whoever cancels it for another reason than that its client left says so.
        if error.source == "deadline":
            return _EXPIRED
        return _REPLACED if error.reason == _REPLACED else _DISCONNECT
    return _FAILED if isinstance(error, Exception) else _DISCONNECT


class ParkedWaits:
    """Count the parked polls of this process, bound them, and end them."""

    def __init__(
        self, drain: Drain, *, limit: int, metrics: Metrics | None = None
    ) -> None:
        """Start without any.

        Args:
            drain: Ends waits when the server goes away: they answer that nothing
                came, which is what makes a client poll again, elsewhere.
            limit: How many may be parked at once.
            metrics: Where waits are counted; default: where nobody looks.
        """
        self._drain = drain
        self._meters = (metrics or Metrics()).waits
        self._limit = limit
        self._parked: set[ParkedWait] = set()

    def __repr__(self) -> str:
        return f"<ParkedWaits: {len(self._parked)} of {self._limit}>"

    def __len__(self) -> int:
        return len(self._parked)

    @property
    def full(self) -> bool:
        """Return whether one more wait would be refused."""
        return len(self._parked) >= self._limit

    def parked(
        self, seconds: float, kind: Kind = "event", *, needs_slock: bool = True
    ) -> ParkedWait:
        """Return a wait of at most so many seconds, to be entered.

        Args:
            seconds: How long it may take; may be infinite.
            kind: What is waited for, in the metrics.
            needs_slock: False for a wait that finds what it waits for without slock,
                if later.
        """
        meter = self._meters[kind]
        return ParkedWait(self, seconds, meter, needs_slock=needs_slock)

    def enter(self, wait: ParkedWait, cancel: Callable[[], None]) -> None:
        """Count a wait; `cancel` ends it when the server drains.

        Raises:
            TooManyWaits: The limit has been reached.
        """
        if self.full:
            raise TooManyWaits
        self._parked.add(wait)
        self._drain.enter(wait, cancel)

    def leave(self, wait: ParkedWait) -> None:
        """Count it no more."""
        self._parked.discard(wait)
        self._drain.leave(wait)

    def end_all(self, outcome: Failure) -> None:
        """End every parked poll that needs slock, with this outcome."""
        for wait in self._parked:
            if wait.needs_slock:
                wait.end(outcome)
