"""The body of a grant, cancelled in the way of ``asyncio.timeout``.

A loss cancels the task, and the exit takes the cancellation back with ``uncancel``. It
becomes `LockLost` only if no other one has come meanwhile: the task's count of them is
what it was at the start of the body. So bodies may be nested in each other, in
``asyncio.timeout`` and in task groups.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import trio


class TaskBody:
    """The body of an ``async with`` in the running asyncio task."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a grant is entered by an asyncio task, not a callback")
        self.task: asyncio.Task[Any] = task
        self.cancel_called = False
        self._cancelling = task.cancelling()
        self._deadline = inf
        self._timer: asyncio.TimerHandle | None = None

    @property
    def deadline(self) -> float:
        """Time on trio's clock at which it cancels by itself."""
        return self._deadline

    @deadline.setter
    def deadline(self, deadline: float) -> None:
        self._deadline = deadline
        self._stop_timer()
        if deadline < inf:
            delay = max(0, deadline - trio.current_time())
            self._timer = self.task.get_loop().call_later(delay, self.cancel)

    def cancel(self) -> None:
        """Cancel the task, once."""
        if not self.cancel_called:
            self.cancel_called = True
            self.task.cancel("the grant is lost")

    @property
    def active(self) -> bool:
        """Whether there is something to `end`: a timer or a cancellation."""
        return self.cancel_called or self._timer is not None

    async def end(self, exc: BaseException | None) -> bool:
        """End the body; return whether ``exc`` is its own cancellation alone.

        Raises:
            asyncio.CancelledError: Another cancellation has come.
        """
        self._stop_timer()
        if not self.cancel_called:
            return False
        alone = self.task.uncancel() <= self._cancelling
        if isinstance(exc, asyncio.CancelledError):
            return alone
        # Before Python 3.13 a cancellation that is taken back is raised all the same
        # by the next await, if none has raised it yet.
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if not alone:
                raise
        return False

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
