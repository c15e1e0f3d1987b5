"""A background task that ends after the body, not with it.

In a plain nursery a cancellation of the body cancels its other tasks too, so the
reader of a connection has ended before the body's ``finally`` blocks can release
anything. Here the service runs in a shielded scope of its own: the body unwinds
first, then ``settle`` has its grace, then the service is cancelled. Prior art:
``tricycle.open_service_nursery``.

The body's error leaves as it is. trio wraps an error that goes through a nursery in a
group; so the error does not go through it, except where the service has crashed and
cancelled the body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TypeVar

import trio
from trio.lowlevel import Task, current_task, enable_ki_protection

T = TypeVar("T")


class Service:
    """Run ``run`` beside the body of an ``async with``.

    Args:
        run: The service; ends when it is cancelled.
        settle: What is left to do while the service still runs.
        grace: Seconds that ``settle`` may take.
    """

    def __init__(
        self,
        run: Callable[[], Awaitable[None]],
        settle: Callable[[], Awaitable[None]],
        *,
        grace: float,
    ) -> None:
        self._run = run
        self._settle = settle
        self._grace = grace
        self._scope = trio.CancelScope(shield=True)
        self._manager: AbstractAsyncContextManager[trio.Nursery, bool | None]
        self._nursery: trio.Nursery | None = None
        self._task: Task

    @enable_ki_protection
    async def start(self, ready: Callable[[], Awaitable[T]]) -> T:
        """Start the service; stop it again if ``ready`` fails.

        Args:
            ready: Waits until the body can begin.

        Returns:
            What ``ready`` returns. `stop` must follow, whatever happens.

        Raises:
            BaseException: What ``ready`` has raised; the service has ended.
        """
        self._task = current_task()
        # Not in `__init__`: a client may be made outside of the trio run that opens it.
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(self._serve)
        try:
            return await ready()
        except BaseException as error:
            await self.stop(type(error), error, error.__traceback__)
            raise

    @enable_ki_protection
    async def _serve(self) -> None:
        with self._scope:
            await self._run()

    @enable_ki_protection
    async def stop(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """End the service after the body has ended with ``exc``.

        Returns:
            Whether ``exc`` is suppressed: it is a cancellation that came from the
            service's own crash.

        Raises:
            BaseExceptionGroup: The service has crashed.
        """
        nursery = self._nursery
        assert nursery is not None
        if current_task() is not self._task:
            await self._end()
            raise RuntimeError(
                f"this client was opened by the task {self._task.name!r} and closed by "
                f"{current_task().name!r}: its connection is closed, but an async with "
                "must end in the task that has begun it; close an async generator in "
                "the task that iterates over it (contextlib.aclosing)"
            ) from exc
        # Only a crash of the service cancels the nursery: `exc` is then a cancellation
        # of the body, and the crash is to be raised in its place.
        if nursery.cancel_scope.cancel_called:
            return bool(await self._manager.__aexit__(exc_type, exc, traceback))
        await self._end()
        # Without the body's error, which leaves without going through the nursery.
        await self._manager.__aexit__(None, None, None)
        return False

    async def _end(self) -> None:
        with trio.move_on_after(self._grace, shield=True):
            await self._settle()
        self._scope.cancel()
