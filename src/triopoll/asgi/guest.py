"""A trio application on any ASGI server.

Under a server that runs on trio a call goes straight to the application. Under one that
runs on asyncio, or uvloop, the lifespan's startup starts trio as a *guest* of the
server's loop, and each call passes through an `AsyncioBridge`. A guest shares the
thread of its host loop: no Python code of the application runs in a second thread.

The call of the lifespan lasts as long as the guest. The server gets "startup complete"
after the application has started and "shutdown complete" after trio has ended, so it
may stop its loop as soon as it has that.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import outcome
import trio

from .asyncio_bridge import AsyncioBridge
from .messages import CANCELS
from .types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["GuestApp", "run_lifespan"]

logger = logging.getLogger(__name__)

_NOT_STARTED = (
    "the server has not sent the ASGI lifespan startup, or the application has ended: "
    "let the server run the lifespan (`uvicorn --lifespan on`, `granian --interface "
    "asgi`)"
)
_STARTED_TWICE = (
    "the application is running already: it serves one event loop of a process"
)
# Seconds that calls may take to end when the application has been shut down.
_CALL_GRACE = 1.0

# Shared by all calls whose server has no extensions of its own.
_EXTENSIONS: dict[str, Any] = {CANCELS: {}}
_CALL = "triopoll.call"


class GuestApp:
    """Serve a trio application under trio, asyncio and uvloop.

    A call over HTTP whose client leaves is cancelled. ``scope["extensions"]`` then has
    "triopoll.cancels", and the application need not call ``receive()`` after the body.

    Attributes:
        app: The application.
        drain: The application's attribute of this name, or None, for its server.
        metrics: Likewise.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.drain: object = getattr(app, "drain", None)
        self.metrics: object = getattr(app, "metrics", None)
        self._calls: trio.Nursery | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lifespan: _LifespanBridge | None = None

    def __repr__(self) -> str:
        calls = len(self._calls.child_tasks) if self._calls else None
        state = "no guest" if calls is None else f"guest with {calls} calls"
        return f"<triopoll.asgi.GuestApp: {state}>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call.

        Raises:
            RuntimeError: The lifespan has not started, or has started twice.
            Exception: What the application raised.

        Cancellation:
            The application is cancelled; the call returns when it has ended.
        """
        # While asyncio has its turn a guest run is active too, but in no task of it.
        if trio.lowlevel.in_trio_task():
            await self.app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._serve_lifespan(scope, receive, send)
        else:
            await self._start(scope, receive, send).run_in_asyncio()

    def _start(self, scope: Scope, receive: Receive, send: Send) -> AsyncioBridge:
        if self._calls is None or self._loop is None:
            raise RuntimeError(_NOT_STARTED)
        others = scope.get("extensions")
        scope["extensions"] = {**others, **_EXTENSIONS} if others else _EXTENSIONS
        bridge = AsyncioBridge(self._loop, self.app, scope, receive, send)
        # Without a name trio would make one up for each task.
        self._calls.start_soon(bridge.run_in_trio, name=_CALL)
        return bridge

    async def _serve_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run trio as a guest from the startup to the shutdown."""
        if self._lifespan is not None:
            raise RuntimeError(_STARTED_TWICE)
        loop = self._loop = asyncio.get_running_loop()
        lifespan = _LifespanBridge(loop, self.app, scope, receive, send)
        self._lifespan = lifespan
        try:
            self._start_guest(loop, lifespan)
            await lifespan.run_in_asyncio()
        finally:
            self._lifespan = self._loop = None
        await lifespan.send_kept()

    def _start_guest(
        self, loop: asyncio.AbstractEventLoop, lifespan: _LifespanBridge
    ) -> None:
        trio.lowlevel.start_guest_run(
            self._run_guest,
            lifespan,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=loop.call_soon,
            done_callback=lifespan.guest_ended,
            # asyncio and uvloop do, whenever they have a signal handler.
            host_uses_signal_set_wakeup_fd=True,
        )

    async def _run_guest(self, lifespan: _LifespanBridge) -> None:
        async with trio.open_nursery() as calls:
            self._calls = calls
            try:
                await lifespan.run_in_trio()
            finally:
                self._calls = None
                # Calls that the server did not wait for before the shutdown.
                calls.cancel_scope.deadline = trio.current_time() + _CALL_GRACE


async def run_lifespan(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> None:
    """Run the lifespan of a trio application under a server that runs on trio.

    A failed startup is sent when the application has ended. Hypercorn raises an error
    out of ``send()`` then. From inside the application it would pass through all
    nurseries that are open there, each would make a group of it, and what had led to it
    would be printed with it.

    Cancellation:
        The application is cancelled.
    """
    failed: Message | None = None

    async def keep_failure(message: Message) -> None:
        nonlocal failed
        if message["type"] == "lifespan.startup.failed":
            failed = message
            ending.cancel()
        else:
            await send(message)

    with trio.CancelScope() as ending:
        await app(scope, receive, keep_failure)
    if failed is not None:
        await send(failed)


class _LifespanBridge(AsyncioBridge):
    """The lifespan's call, which is over when the whole guest is."""

    __slots__ = ("_kept", "_started")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        super().__init__(loop, app, scope, receive, send)
        self._started = False
        self._kept: Message | None = None

    async def send(self, message: Message) -> None:
        """Send "startup complete" at once; keep any other message until trio has ended.

        Cancellation:
            As `AsyncioBridge.send`.
        """
        if message["type"] == "lifespan.startup.complete":
            self._started = True
            await super().send(message)
        else:
            self._kept = message
            # The lifespan is over. The application may wait for more; trio must end.
            self.cancel_scope.cancel()

    def end(self) -> None:
        """Do nothing yet: the guest goes on until its calls have ended."""

    def guest_ended(self, result: outcome.Outcome[Any]) -> None:
        """Note how the trio run has ended; called in the host's loop."""
        if isinstance(result, outcome.Error):
            self._app_error = result.error
        if self._started and self._kept is None and not self.cancel_scope.cancel_called:
            logger.critical(
                "the application has ended before its server", exc_info=self._app_error
            )
        super().end()

    async def send_kept(self) -> None:
        """Send what `send` has kept; called in the server's task."""
        if self._kept is not None:
            await self._send(self._kept)
