"""Asking slock and the store: within a limit, and with failures that can be told.

What goes wrong with a backend becomes a `Failure`, in an `Unserved`, at the place where
it happened. Above, nobody needs to know the errors of two libraries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from ..ops.metrics import Metrics
from ..store import StoreError, StoreUnreachable
from .outcomes import Failure
from .parked_waits import BACKEND_ERRORS, Unserved
from .slock_backend import translating

__all__ = ["ask_slock", "ask_store", "counted", "failure_of"]

_T = TypeVar("_T")


async def ask_slock(limit: float, operation: Callable[[], Awaitable[_T]]) -> _T:
    """Do something with slock that it answers at once.

    Args:
        limit: Seconds after which slock counts as unreachable.
        operation: What to do.

    Raises:
        Unserved: slock cannot be reached, or refused.

    Cancellation:
        As the operation's.
    """
    try:
        with trio.fail_after(limit):
            return await translating(operation)
    except trio.TooSlowError:
        raise Unserved(Failure.SLOCK_UNREACHABLE) from None


async def ask_store(limit: float, operation: Callable[[], Awaitable[_T]]) -> _T:
    """Do something with the store.

    Args:
        limit: Seconds after which the store counts as unreachable.
        operation: What to do.

    Raises:
        Unserved: The store cannot be reached, or refused.

    Cancellation:
        As the operation's.
    """
    try:
        with trio.fail_after(limit):
            return await operation()
    except trio.TooSlowError:
        raise Unserved(Failure.STORE_UNREACHABLE) from None
    except StoreError as error:
        raise Unserved(failure_of(error)) from None


def failure_of(error: StoreError) -> Failure:
    """Return how the error of a store is told."""
    if isinstance(error, StoreUnreachable):
        return Failure.STORE_UNREACHABLE
    return Failure.STORE_FAILED


def counted(metrics: Metrics, failure: Failure) -> Failure:
    """Return a failure, noted in the metrics if it is one of a backend."""
    if (backend_and_error := BACKEND_ERRORS.get(failure)) is not None:
        metrics.backend_error(*backend_and_error)
    return failure
