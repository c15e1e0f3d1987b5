"""A trio application on any ASGI server.

Under a server that runs on trio a call goes straight to the application. Under one that
runs on asyncio, or uvloop, the lifespan's startup starts trio as a *guest* of the
server's loop, and calls cross over to it (`AsyncioBridge`). A guest shares the thread
of its host: there is no second thread that runs Python code of ours.

The lifespan is what holds the guest. Its startup is told to the server after the
application's, and its shutdown after trio has ended, so that a server may stop its loop
as soon as it hears of it.
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

__all__ = ["GuestApp"]

logger = logging.getLogger("triopoll.guest")

_NOT_STARTED = (
    "the server has not sent the ASGI lifespan startup, or the application has ended: "
    "let the server run the lifespan (`uvicorn --lifespan on`, `granian --interface "
    "asgi`)"
)
# Seconds that calls may go on when the application has been shut down.
_LEAVE_SECONDS = 1.0

# Shared by all calls whose server has no extensions of its own.
_EXTENSIONS: dict[str, Any] = {CANCELS: {}}
_CALL = "triopoll.call"
_STARTED_TWICE = (
    "the application is running already: it serves one event loop of a process"
)


class GuestApp:
    """Serve a trio application under trio, asyncio and uvloop.

    A call over HTTP whose client leaves is cancelled, which the application may rely
    on where ``scope["extensions"]`` has "triopoll.cancels": it need not call
    ``receive()`` behind the body.

    Attributes:
        app: The application.
        drain: What it calls its drain, for a server that asks; else None.
        metrics: Likewise.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.drain: object = getattr(app, "drain", None)
        self.metrics: object = getattr(app, "metrics", None)
        self._calls: trio.Nursery | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._holder: _LifespanBridge | None = None

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
        # In guest mode trio *runs* while asyncio has its turn; it is in no task then.
        if trio.lowlevel.in_trio_task():
            await self.app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._hold(scope, receive, send)
        else:
            await self._start(scope, receive, send).carry()

    def _start(self, scope: Scope, receive: Receive, send: Send) -> AsyncioBridge:
        if self._calls is None or self._loop is None:
            raise RuntimeError(_NOT_STARTED)
        others = scope.get("extensions")
        scope["extensions"] = {**others, **_EXTENSIONS} if others else _EXTENSIONS
        crossing = AsyncioBridge(self._loop, self.app, scope, receive, send)
        # With a name, or trio makes one up for each task.
        self._calls.start_soon(crossing.run, name=_CALL)
        return crossing

    async def _hold(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._holder is not None:
            raise RuntimeError(_STARTED_TWICE)
        loop = self._loop = asyncio.get_running_loop()
        holder = _LifespanBridge(loop, self.app, scope, receive, send)
        self._holder = holder
        try:
            self._start_guest(loop, holder)
            await holder.carry()
        finally:
            self._holder = self._loop = None
        await holder.tell_last()

    def _start_guest(
        self, loop: asyncio.AbstractEventLoop, holder: _LifespanBridge
    ) -> None:
        trio.lowlevel.start_guest_run(
            self._run_guest,
            holder,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=loop.call_soon,
            done_callback=holder.guest_ended,
            # asyncio and uvloop do, whenever they have a signal handler.
            host_uses_signal_set_wakeup_fd=True,
        )

    async def _run_guest(self, holder: _LifespanBridge) -> None:
        async with trio.open_nursery() as calls:
            self._calls = calls
            try:
                await holder.run()
            finally:
                self._calls = None
                # For calls that the server has not waited for.
                calls.cancel_scope.deadline = trio.current_time() + _LEAVE_SECONDS


class _LifespanBridge(AsyncioBridge):
    """The lifespan's call, which is over when the whole guest is."""

    __slots__ = ("_last", "_started")

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
        self._last: Message | None = None

    async def send(self, message: Message) -> None:
        """Tell the server of a startup; keep any other word until trio has ended.

        Cancellation:
            As `AsyncioBridge.send`.
        """
        if message["type"] == "lifespan.startup.complete":
            self._started = True
            await super().send(message)
        else:
            self._last = message
            # Nothing is left to do: the application may leave, and must.
            self.cancel_scope.cancel()

    def end(self) -> None:
        """Do nothing yet: the guest goes on until its calls have ended."""

    def guest_ended(self, result: outcome.Outcome[Any]) -> None:
        """Note how the trio run has ended; the host's loop calls it."""
        if isinstance(result, outcome.Error):
            self._error = result.error
        if self._started and self._last is None and not self.cancel_scope.cancel_called:
            logger.critical(
                "the application has ended before its server", exc_info=self._error
            )
        super().end()

    async def tell_last(self) -> None:
        """Tell the server what was kept; called in the server's task."""
        if self._last is not None:
            await self._send(self._last)
