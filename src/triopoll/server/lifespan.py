"""The ASGI lifespan: the start of the application and its shutdown."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import trio

from triopoll.asgi.exceptions import only_error
from triopoll.asgi.types import ASGIApp, Message

__all__ = ["LifespanError", "StartupFailed", "StartupStopped", "open_lifespan"]

# Seconds that an application may take for its shutdown before it is cancelled.
SHUTDOWN_DEADLINE = 9.0


class LifespanError(Exception):
    """The application failed to start or to shut down."""


class StartupFailed(LifespanError):
    """The application refused to start; the message is the one that it gave."""


class StartupStopped(Exception):
    """The start was ended before the application had started."""


@contextlib.asynccontextmanager
async def open_lifespan(
    app: ASGIApp, stopped: Callable[[], Awaitable[object]] = trio.sleep_forever
) -> AsyncGenerator[dict[str, Any], None]:
    """Start the application, and shut it down after the block.

    The application must answer the startup: one that does not serve the lifespan cannot
    be told from one that failed in it.

    Args:
        app: The application.
        stopped: Runs while the application starts. When it returns, the start is
            cancelled. It is cancelled itself when the application has started.

    Returns:
        The state that the application left for its requests.

    Raises:
        StartupFailed: The application said so, or failed, before it had started.
        StartupStopped: `stopped` returned before.
        LifespanError: It failed to shut down.

    Cancellation:
        The application's lifespan task is cancelled with the block.
    """
    lifespan = _Lifespan()
    try:
        async with trio.open_nursery() as nursery:
            await _start(nursery, lifespan, app, stopped)
            yield lifespan.state
            await lifespan.shut_down()
            # A task that the application left running must not keep the process up.
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        error = only_error(group)
        raise error from error.__cause__


async def _start(
    nursery: trio.Nursery,
    lifespan: _Lifespan,
    app: ASGIApp,
    stopped: Callable[[], Awaitable[object]],
) -> None:
    has_started = False

    async def stop() -> None:
        await stopped()
        starting.cancel_scope.cancel()

    async with trio.open_nursery() as starting:
        starting.start_soon(stop)
        await nursery.start(lifespan.run, app)
        has_started = True
        starting.cancel_scope.cancel()
    if not has_started:
        raise StartupStopped


class _Lifespan:
    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self._received: list[str] = []
        self._stop = trio.Event()
        self._done = trio.Event()
        self._failure: str | None = None
        self._refusal = trio.CancelScope()
        self._started = False
        self._task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED

    async def run(
        self,
        app: ASGIApp,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        self._task_status = task_status
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            with self._refusal:
                await app(scope, self._receive, self._send)
        except Exception as error:
            if self._started:
                raise
            raise StartupFailed(f"the application failed to start: {error}") from error
        finally:
            self._done.set()
        if not self._started:
            raise StartupFailed(self._failure or "the application left its lifespan")

    async def shut_down(self) -> None:
        self._stop.set()
        with trio.move_on_after(SHUTDOWN_DEADLINE) as scope:
            await self._done.wait()
        if scope.cancelled_caught:
            raise LifespanError(
                f"the application has not shut down within {SHUTDOWN_DEADLINE:g} s"
            )
        if self._failure is not None:
            raise LifespanError(f"the application failed to shut down: {self._failure}")

    async def _receive(self) -> Message:
        if not self._received:
            self._received.append("startup")
            return {"type": "lifespan.startup"}
        await self._stop.wait()
        if len(self._received) == 1:
            self._received.append("shutdown")
            return {"type": "lifespan.shutdown"}
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    async def _send(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        match message["type"]:
            case "lifespan.startup.complete":
                self._started = True
                self._task_status.started()
            case "lifespan.startup.failed":
                self._failure = message.get("message")
                self._refusal.cancel()
            case "lifespan.shutdown.complete":
                self._done.set()
            case "lifespan.shutdown.failed":
                self._failure = message.get("message", "")
                self._done.set()
            case kind:
                raise RuntimeError(f"{kind!r} is not a message of a lifespan")
