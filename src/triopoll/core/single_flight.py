"""One operation that several tasks want the result of, done by one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from trio.lowlevel import ParkingLot

__all__ = ["SingleFlight"]

_T = TypeVar("_T")


class SingleFlight(Generic[_T]):
    """An operation and its result.

    Whoever asks first carries it out in its own task. Should that one be cancelled, the
    next one starts over, so no task of its own is needed.
    """

    __slots__ = ("_flying", "_lot", "_operation", "_result")

    def __init__(self, operation: Callable[[], Awaitable[_T]]) -> None:
        """Prepare it.

        Args:
            operation: May be cancelled and started again; what it raises is raised in
                the task that carries it out, and the next one starts over.
        """
        self._operation = operation
        self._result: list[_T] = []
        self._flying = False
        self._lot = ParkingLot()

    async def result(self) -> _T:
        """Return the result, once there is one; no checkpoint if there is.

        Cancellation:
            The others get their result all the same.
        """
        while not self._result and self._flying:
            await self._lot.park()
        if self._result:
            return self._result[0]
        self._flying = True
        try:
            self._result.append(await self._operation())
        finally:
            self._flying = False
            self._lot.unpark_all()
        return self._result[0]
