"""The waits that are parked in this process, and their end from outside.

A parked wait costs memory for as long as it lasts, so their number is limited, and each
is one cancel scope in one set: no timer task, no nursery. Whatever ends waits early
(slock is down, the server drains) cancels their scopes and sets their outcomes.
"""

# The wait and its table are one unit in one module:
# pyright: reportPrivateUsage=false

from __future__ import annotations

from types import TracebackType
from typing import Self

import trio

from ..ops.drain import Drain
from ..ops.metrics import Kind, Metrics
from .backend_calls import SLOCK_ERRORS, slock_failure
from .held_keys import HeldKeys
from .outcomes import EventFired, Failure, NothingYet, OperationFailed

__all__ = ["ParkedWait", "ParkedWaits", "TooManyWaits"]

# Why a wait ended, in the metrics, beside the values of `Failure`.
_FIRED, _TIMEOUT, _DRAINED = "fired", "timeout", "drained"
_DISCONNECT, _FAILED = "disconnect", "failed"
# The only deadline outside a wait's own scope is that of its ticket.
_EXPIRED, _REPLACED = "ticket_expired", "replaced"


class TooManyWaits(OperationFailed):
    """This process has parked as many waits as it may."""

    def __init__(self) -> None:
        super().__init__(Failure.TOO_MANY_WAITS)


class ParkedWaits:
    """Limit the number of parked waits in this process, count them, and end them.

    Attributes:
        held: The keys that waits leave held on slock.
    """

    def __init__(
        self,
        drain: Drain,
        *,
        limit: int,
        metrics: Metrics | None = None,
        held: HeldKeys | None = None,
    ) -> None:
        """Start without any.

        Args:
            drain: Ends the waits when the server shuts down. They answer `NothingYet`,
                which makes a client poll again, from another server.
            limit: How many may be parked at once.
            metrics: Where waits are counted; default: a throwaway instance.
            held: Limits the keys that waits leave held; default: a new instance.
        """
        self.held = HeldKeys() if held is None else held
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

    def end_all(self, failure: Failure) -> None:
        """End every parked wait that needs slock, with this outcome."""
        for wait in self._parked:
            if wait.needs_slock:
                wait.end(failure)


class ParkedWait:
    """One parked wait: a context manager whose block waits, for a limited time.

    The block sets the outcome when its condition is met. If the time is over, or the
    wait is ended from outside, the block is cancelled and execution continues after it.

    Raises:
        TooManyWaits: On entry, if the limit has been reached.

    Cancellation:
        The wait is no longer counted, however the block was left.

    Attributes:
        outcome: How the wait ended: `NothingYet`, unless the block or `end` has set
            another outcome.
        needs_slock: Whether the condition can only be met while slock answers.
    """

    # A class, since contextlib's generator and its helper would cost more calls than
    # all the rest of it. For the same reason its methods use the registry's attributes.
    __slots__ = ("_meter", "_reason", "_scope", "_waits", "needs_slock", "outcome")

    def __init__(
        self,
        waits: ParkedWaits,
        seconds: float,
        kind: Kind = "event",
        *,
        needs_slock: bool = True,
    ) -> None:
        """Prepare it; entering the block parks it.

        Args:
            waits: The registry of this process.
            seconds: How long it may last; may be infinite.
            kind: What is waited for, in the metrics.
            needs_slock: False for a wait whose condition is also noticed without
                slock, if later.
        """
        self.outcome: EventFired | NothingYet | Failure = NothingYet()
        self.needs_slock = needs_slock
        self._waits = waits
        self._meter = waits._meters[kind]
        self._scope = trio.CancelScope(deadline=trio.current_time() + seconds)
        # Why the scope was cancelled; its deadline does not change it.
        self._reason = _TIMEOUT

    def __enter__(self) -> Self:
        waits = self._waits
        if len(waits._parked) >= waits._limit:
            self._meter.end(Failure.TOO_MANY_WAITS.value)
            raise TooManyWaits
        waits._parked.add(self)
        waits._drain.enter(self, self._end_by_drain)
        self._meter.parked += 1
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        waits = self._waits
        waits._parked.discard(self)
        waits._drain.leave(self)
        self._meter.parked -= 1
        try:
            return self._scope.__exit__(kind, error, traceback)
        finally:
            if self._scope.cancelled_caught:
                reason = self._reason
            else:
                reason = _FIRED if error is None else _reason_of(error)
            self._meter.end(reason)

    def end(self, failure: Failure) -> None:
        """End the wait with this outcome, unless it is being ended already."""
        if not self._scope.cancel_called:
            self.outcome = failure
            self._reason = failure.value
            self._scope.cancel()

    def _end_by_drain(self) -> None:
        if not self._scope.cancel_called:
            self._reason = _DRAINED
            self._scope.cancel()


def _reason_of(error: BaseException) -> str:
    """Return the metrics' reason for a wait whose block raised."""
    if isinstance(error, SLOCK_ERRORS):
        error = slock_failure(error)
    if isinstance(error, OperationFailed):
        return error.failure.value
    if isinstance(error, trio.Cancelled):
        # A cancellation without a known source or reason is a client's disconnect.
        if error.source == "deadline":
            return _EXPIRED
        return _REPLACED if error.reason == _REPLACED else _DISCONNECT
    return _FAILED if isinstance(error, Exception) else _DISCONNECT
