"""Calls to slock and to the message store: bounded in time, with neutral failures.

An error of either library becomes an `OperationFailed` with a `Failure` where it
happens, so that the use cases above know neither library's exceptions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

import trio

from trioslock import ConnectionLost, NoLeader, SlockError

from ..ops.metrics import Backend, Metrics
from ..store import StoreError, StoreUnreachable, TooManyPending
from .outcomes import Failure, OperationFailed

__all__ = [
    "LEAST",
    "MARGIN",
    "SLOCK_ERRORS",
    "call_slock",
    "call_store",
    "count_failure",
    "limit_until",
    "slock_failure",
    "store_failure",
]

# Seconds that a backend may take beyond the time for which a request waits: it is
# answered within that time and this margin, whatever the backends do.
MARGIN = 1.0
# A call gets at least so many seconds, also when this process was late itself.
LEAST = 0.25

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")

# What a call of the slock client raises if it cannot be carried out.
SLOCK_ERRORS = (SlockError, trio.ClosedResourceError)
_UNREACHABLE = (ConnectionLost, NoLeader, trio.ClosedResourceError)

# Labels of the metric `triopoll_backend_errors`.
_METRIC_LABELS: dict[Failure, tuple[Backend, str]] = {
    Failure.SLOCK_UNREACHABLE: ("slock", "unreachable"),
    Failure.SLOCK_REFUSED: ("slock", "failed"),
    Failure.STORE_UNREACHABLE: ("store", "unreachable"),
    Failure.STORE_FAILED: ("store", "failed"),
}


def limit_until(limit: float, until: float) -> float:
    """Return how many seconds a call may take in a request that waits.

    Args:
        limit: Seconds within which a backend must answer.
        until: When the wait of the request is over, by trio's clock.
    """
    return min(limit, max(LEAST, until + MARGIN - trio.current_time()))


async def call_slock(
    limit: float, operation: Callable[[*_Args], Awaitable[_T]], *args: *_Args
) -> _T:
    """Call an operation of the slock client that slock answers at once.

    Args:
        limit: Seconds after which slock counts as unreachable.
        operation: What to call.
        args: Its arguments.

    Raises:
        OperationFailed: Slock cannot be reached, or refused.

    Cancellation:
        As the operation's.
    """
    # The wrapper is one coroutine, not two: each resumption passes through all of
    # them.
    try:
        with trio.fail_after(limit):
            return await operation(*args)
    except trio.TooSlowError:
        raise OperationFailed(Failure.SLOCK_UNREACHABLE) from None
    except SLOCK_ERRORS as error:
        raise slock_failure(error) from None


async def call_store(
    limit: float, operation: Callable[[*_Args], Awaitable[_T]], *args: *_Args
) -> _T:
    """Call an operation of the message store.

    Args:
        limit: Seconds after which the store counts as unreachable.
        operation: What to call.
        args: Its arguments.

    Raises:
        OperationFailed: The store cannot be reached, or refused.

    Cancellation:
        As the operation's.
    """
    try:
        with trio.fail_after(limit):
            return await operation(*args)
    except (StoreError, trio.TooSlowError) as error:
        raise OperationFailed(store_failure(error)) from None


def slock_failure(error: BaseException) -> OperationFailed:
    """Return the neutral form of one of `SLOCK_ERRORS`, to be raised."""
    if isinstance(error, _UNREACHABLE):
        return OperationFailed(Failure.SLOCK_UNREACHABLE)
    return OperationFailed(Failure.SLOCK_REFUSED)


def store_failure(error: StoreError | trio.TooSlowError) -> Failure:
    """Return the neutral form of an error of the store, or of its deadline."""
    if isinstance(error, (StoreUnreachable, trio.TooSlowError)):
        return Failure.STORE_UNREACHABLE
    if isinstance(error, TooManyPending):
        return Failure.TOO_MANY_PENDING
    return Failure.STORE_FAILED


def count_failure(metrics: Metrics, failure: Failure) -> Failure:
    """Count a failure in the metrics if a backend caused it, and return it."""
    if (labels := _METRIC_LABELS.get(failure)) is not None:
        metrics.backend_error(*labels)
    return failure
