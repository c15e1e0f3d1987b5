"""One operation whose result several tasks share, executed by one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from trio.lowlevel import ParkingLot

__all__ = ["SingleFlight"]

_T = TypeVar("_T")


class SingleFlight(Generic[_T]):
    """An operation and its shared result.

    The first task that asks executes the operation itself; the others wait. If it is
    cancelled, the next one starts over. So the operation needs no task of its own.
    """

    __slots__ = ("_operation", "_result", "_running", "_waiting")

    def __init__(self, operation: Callable[[], Awaitable[_T]]) -> None:
        """Prepare it; nothing is executed yet.

        Args:
            operation: May be cancelled and started again. What it raises is raised in
                the task that executes it, and the next task starts over.
        """
        self._operation = operation
        # A list, since None may be a result.
        self._result: list[_T] = []
        self._running = False
        self._waiting = ParkingLot()

    def peek(self) -> _T | None:
        """Return the result if it exists."""
        return self._result[0] if self._result else None

    async def result(self) -> _T:
        """Return the result as soon as it exists; no checkpoint if it does.

        Cancellation:
            The other tasks still get their result.
        """
        while not self._result and self._running:
            await self._waiting.park()
        if self._result:
            return self._result[0]
        self._running = True
        try:
            self._result.append(await self._operation())
        finally:
            # All of them, not one: without a result the first to run starts over, and
            # the others park again.
            self._running = False
            self._waiting.unpark_all()
        return self._result[0]
