"""What follows a change: it is completed, and the waits for it are woken.

A change that has begun is completed: a client that disconnects in between must not
leave something behind for which no wait is woken.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

import trio

from ..ops.metrics import Metrics
from .backend_calls import call_slock, count_failure
from .log_notifier import LogNotifier
from .outcomes import OperationFailed
from .slock_backend import SlockMonitor

__all__ = ["Waker", "complete"]

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")


class Waker:
    """Wakes the waits for keys of one kind."""

    def __init__(
        self,
        notifier: LogNotifier,
        monitor: SlockMonitor,
        metrics: Metrics,
        limit: float,
    ) -> None:
        """Use parts that are open already.

        Args:
            notifier: Has the waits.
            monitor: Knows whether slock answers.
            metrics: Counts failures.
            limit: Seconds within which slock must answer.
        """
        self._notifier = notifier
        self._monitor = monitor
        self._metrics = metrics
        self._limit = limit

    def __repr__(self) -> str:
        return f"<Waker: {self._notifier!r}>"

    async def wake(self, key: str) -> None:
        """Wake the waits for a key in all processes; without slock those in this one.

        Cancellation:
            Some may not have been woken; the sweep of the notifier finds them.
        """
        try:
            self._monitor.raise_if_down()
            await call_slock(self._limit, self._notifier.notify, key)
        except OperationFailed as error:
            count_failure(self._metrics, error.failure)
            await self._notifier.notify_local(key)


async def complete(operation: Callable[[*_Args], Awaitable[_T]], *args: *_Args) -> _T:
    """Carry out an operation to its end, whoever is cancelled meanwhile.

    Cancellation:
        Takes effect afterwards.
    """
    results: list[_T] = []
    with trio.CancelScope(shield=True):
        results.append(await operation(*args))
    return results[0]
