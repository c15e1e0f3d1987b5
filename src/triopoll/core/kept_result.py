"""A result that is given out again for a moment: many questions cost what one does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

__all__ = ["KeptResult"]

_T = TypeVar("_T")


class KeptResult(Generic[_T]):
    """The latest result of one operation."""

    def __init__(self, seconds: float) -> None:
        """Start without a result.

        Args:
            seconds: For which a result is given out again.
        """
        self._seconds = seconds
        # One task makes the result; those that queue meanwhile get the same.
        self._making = trio.Lock()
        self._kept: tuple[float, _T] | None = None

    def __repr__(self) -> str:
        state = "empty" if self._kept is None else "made"
        return f"<KeptResult: {state}, for {self._seconds:g} s>"

    async def get(self, make: Callable[[], Awaitable[_T]]) -> _T:
        """Return the latest result, made anew if its time is over.

        Args:
            make: Makes it. What it raises is raised here, and not kept.

        Cancellation:
            That of `make`; the next task in the queue makes it then.
        """
        async with self._making:
            if self._kept is None or trio.current_time() >= self._kept[0]:
                result = await make()
                self._kept = trio.current_time() + self._seconds, result
            return self._kept[1]
