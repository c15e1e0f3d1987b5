"""The waits that are parked in this process, and their end from outside.

A parked wait costs memory for as long as it lasts, so their number is limited. Whatever
ends waits early (slock is down, the server drains) sets their outcomes. A `ParkedWait`
is a block of a task with a cancel scope. A `PendingWait` has no task: see
`triopoll.pending`.
"""

# The wait and its table are one unit in one module:
# pyright: reportPrivateUsage=false

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

import trio

from ..ops.drain import Drain
from ..ops.metrics import Kind, Metrics, WaitMeter
from ..pending import Waiter, waiting_subject
from .backend_calls import SLOCK_ERRORS, slock_failure
from .held_keys import HeldKeys
from .outcomes import EventFired, Failure, NothingYet, OperationFailed

__all__ = [
    "FIRED",
    "REPLACED",
    "TICKET_EXPIRED",
    "ParkedDetails",
    "ParkedWait",
    "ParkedWaits",
    "PendingWait",
    "TooManyWaits",
    "WaitedKey",
]

# Why a wait ended, in the metrics, beside the values of `Failure`.
FIRED, _TIMEOUT, _DRAINED = "fired", "timeout", "drained"
_DISCONNECT, _FAILED = "disconnect", "failed"
# The only deadline outside a wait's own scope is that of its ticket.
TICKET_EXPIRED, REPLACED = "ticket_expired", "replaced"

_T = TypeVar("_T")


class WaitedKey(NamedTuple):
    """What a wait waits for.

    Attributes:
        key: As the client has named it.
        position: What the client has read so far, as a cursor, an offset or a version;
            of a state its name. None where a wait has no position.
    """

    key: str
    position: str | None = None


class ParkedDetails(NamedTuple):
    """One parked wait, for operators.

    Attributes:
        kind: As in the metrics.
        since: When it was parked, by trio's clock.
        subject: Of its ticket; None without one.
        keys: What it waits for.
    """

    kind: Kind
    since: float
    subject: str | None
    keys: Sequence[WaitedKey]


class TooManyWaits(OperationFailed):
    """This process has parked as many waits as it may."""

    def __init__(self) -> None:
        super().__init__(Failure.TOO_MANY_WAITS)


class ParkedWaits:
    """Limit the number of parked waits in this process, count them, and end them.

    Attributes:
        held: The keys that waits leave held on slock.
        notes_details: Whether it is noted when a wait was parked, and of which subject.
            Set it before the first wait.
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
        self.notes_details = False
        # In the order of their arrival, each with its time if that is noted.
        self._parked: dict[_Parked, float] = {}

    def __repr__(self) -> str:
        return f"<ParkedWaits: {len(self._parked)} of {self._limit}>"

    def __len__(self) -> int:
        return len(self._parked)

    @property
    def full(self) -> bool:
        """Return whether one more wait would be refused."""
        return len(self._parked) >= self._limit

    def details(self) -> Iterator[ParkedDetails]:
        """Return what is known of each wait that is parked now, the oldest first.

        The iterator may be left and resumed later. It skips a wait that has ended
        meanwhile.
        """
        kinds: dict[WaitMeter, Kind]
        kinds = {meter: kind for kind, meter in self._meters.items()}
        for wait, since in list(self._parked.items()):
            if wait in self._parked:
                kind, keys = kinds[wait._meter], wait.waited_keys()
                yield ParkedDetails(kind, since, wait.subject, keys)

    def end_all(self, failure: Failure) -> None:
        """End every parked wait that needs slock, with this outcome."""
        # A copy: a wait without a task leaves at once.
        for wait in list(self._parked):
            if wait.needs_slock:
                wait.end(failure)

    def _time_of(self, wait: _Parked) -> float:
        """Note the subject of a wait that begins, and return the present time."""
        if wait.subject is None:
            wait.subject = waiting_subject.get()
        return trio.current_time()


class _Parked(Protocol):
    """What is parked, as the registry sees it."""

    needs_slock: bool
    subject: str | None
    _meter: WaitMeter

    def waited_keys(self) -> Sequence[WaitedKey]:
        """Return what is waited for."""
        ...

    def end(self, failure: Failure) -> None:
        """End the wait with this outcome, unless it is being ended already."""


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
        subject: Of the ticket, where details are noted.
    """

    # A class, since contextlib's generator and its helper would cost more calls than
    # all the rest of it. For the same reason its methods use the registry's attributes.
    __slots__ = (
        "_keys",
        "_meter",
        "_reason",
        "_scope",
        "_waits",
        "needs_slock",
        "outcome",
        "subject",
    )

    def __init__(
        self,
        waits: ParkedWaits,
        seconds: float,
        kind: Kind = "event",
        *,
        needs_slock: bool = True,
        waited_keys: Callable[[], Sequence[WaitedKey]] = tuple,
    ) -> None:
        """Prepare it; entering the block parks it.

        Args:
            waits: The registry of this process.
            seconds: How long it may last; may be infinite.
            kind: What is waited for, in the metrics.
            needs_slock: False for a wait whose condition is also noticed without
                slock, if later.
            waited_keys: Returns what is waited for, for operators.
        """
        self.outcome: EventFired | NothingYet | Failure = NothingYet()
        self.needs_slock = needs_slock
        self.subject: str | None = None
        self._keys = waited_keys
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
        waits._parked[self] = waits._time_of(self) if waits.notes_details else 0.0
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
        waits._parked.pop(self, None)
        waits._drain.leave(self)
        self._meter.parked -= 1
        try:
            return self._scope.__exit__(kind, error, traceback)
        finally:
            if self._scope.cancelled_caught:
                reason = self._reason
            else:
                reason = FIRED if error is None else _reason_of(error)
            self._meter.end(reason)

    def waited_keys(self) -> Sequence[WaitedKey]:
        """Return what is waited for, for operators."""
        return self._keys()

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


class PendingWait(ABC, Generic[_T]):
    """One parked wait without a task: a `Pending` of an outcome or a failure.

    It is counted from its first `start` to its end, also while its task proceeds.

    Attributes:
        deadline: When its time is over, by trio's clock.
        needs_slock: As in `ParkedWait`.
        subject: Of the ticket, where that is known.
    """

    __slots__ = (
        "_is_counted",
        "_meter",
        "_waiter",
        "_waits",
        "deadline",
        "needs_slock",
        "subject",
    )

    def __init__(
        self, waits: ParkedWaits, deadline: float, kind: Kind, *, needs_slock: bool
    ) -> None:
        """Prepare it; `start` parks it.

        Args:
            waits: The registry of this process.
            deadline: When its time is over, by trio's clock.
            kind: What is waited for, in the metrics.
            needs_slock: As for `ParkedWait`.
        """
        self.deadline = deadline
        self.needs_slock = needs_slock
        self.subject: str | None = None
        self._waits = waits
        self._meter = waits._meters[kind]
        # None while it is not parked.
        self._waiter: Waiter[_T | Failure] | None = None
        self._is_counted = False

    def start(self, waiter: Waiter[_T | Failure]) -> None:
        """Park; see `Pending.start`."""
        waits = self._waits
        if not self._is_counted:
            if len(waits._parked) >= waits._limit:
                self._finish()
                self._meter.end(Failure.TOO_MANY_WAITS.value)
                waiter.settle(Failure.TOO_MANY_WAITS)
                return
            self._is_counted = True
            waits._parked[self] = waits._time_of(self) if waits.notes_details else 0.0
            self._meter.parked += 1
        self._waiter = waiter
        waits._drain.enter(self, self._end_by_drain)
        # The drain may have ended it.
        if self._is_counted:
            self._begin()

    def expire(self) -> _T | Failure:
        """Return the outcome of a wait whose time is over; see `Pending.expire`."""
        self._leave(_TIMEOUT)
        return self._nothing_yet()

    def withdraw(self, reason: str = _DISCONNECT) -> None:
        """End the wait without an outcome; see `Pending.withdraw`."""
        if self._is_counted:
            self._leave(reason)
        else:
            self._finish()

    def end(self, failure: Failure) -> None:
        """End the wait with this outcome, unless its task is at work on another."""
        self._settle(failure, failure.value)

    @abstractmethod
    def waited_keys(self) -> Sequence[WaitedKey]:
        """Return what is waited for, for operators."""

    @abstractmethod
    def _begin(self) -> None:
        """Begin to wait, or go on. It may settle at once."""

    @abstractmethod
    def _finish(self) -> None:
        """Leave nothing behind; called at the end, and maybe again."""

    @abstractmethod
    def _nothing_yet(self) -> _T | Failure:
        """Return the outcome of a wait that has ended before its condition was met."""

    def _fire(self, outcome: _T) -> None:
        """End the wait, which is parked, since its condition is met."""
        waiter = self._waiter
        assert waiter is not None
        self._leave(FIRED)
        waiter.settle(outcome)

    def _call_back(self) -> None:
        """Have `proceed` called; the wait is not parked until `start`."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.call_back()

    def _settle(self, outcome: _T | Failure, reason: str) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._leave(reason)
            waiter.settle(outcome)

    def _end_by_drain(self) -> None:
        if self._waiter is not None:
            self._settle(self._nothing_yet(), _DRAINED)

    def _leave(self, reason: str | None) -> None:
        """End it, for a reason of the metrics; None where it goes on otherwise."""
        self._waiter = None
        self._is_counted = False
        self._waits._parked.pop(self, None)
        self._waits._drain.leave(self)
        self._meter.parked -= 1
        if reason is not None:
            self._meter.end(reason)
        self._finish()


def _reason_of(error: BaseException) -> str:
    """Return the metrics' reason for a wait whose block raised."""
    if isinstance(error, SLOCK_ERRORS):
        error = slock_failure(error)
    if isinstance(error, OperationFailed):
        return error.failure.value
    if isinstance(error, trio.Cancelled):
        # A cancellation without a known source or reason is a client's disconnect.
        if error.source == "deadline":
            return TICKET_EXPIRED
        return REPLACED if error.reason == REPLACED else _DISCONNECT
    return _FAILED if isinstance(error, Exception) else _DISCONNECT
