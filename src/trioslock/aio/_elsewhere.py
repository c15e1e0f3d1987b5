"""Keep an async context manager open for a body that runs in no trio task.

The body is that of an asyncio task. A trio task stands in for it inside the ``async
with``: it waits until the body has ended. So the manager is entered and left in one
task, as trio wants it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Elsewhere(Generic[T]):
    """The stand-in for a body that runs elsewhere.

    Args:
        manager: What is open while the body runs.
        entered: Called when the body may begin. It must not raise.
    """

    def __init__(
        self,
        manager: AbstractAsyncContextManager[T, bool | None],
        entered: Callable[[T], object],
    ) -> None:
        self._manager = manager
        self._entered = entered
        self._left = trio.Event()

    async def run(self) -> None:
        """Enter, wait for `leave`, and leave.

        Raises:
            BaseException: What entering or leaving has raised.

        Cancellation:
            The manager is left as by a body that is cancelled.
        """
        async with self._manager as value:
            self._entered(value)
            await self._left.wait()

    def leave(self) -> None:
        """End the body. Call it on the trio thread."""
        self._left.set()
