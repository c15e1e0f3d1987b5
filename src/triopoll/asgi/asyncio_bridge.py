"""One ASGI call between two loops: the server's task on asyncio, the app's on trio.

In guest mode both loops run in one thread, taking turns. So nothing here is locked,
and each side may call the other's synchronous functions: `trio.lowlevel.reschedule`
and `CancelScope.cancel` from asyncio, a future's ``set_result`` from trio.

What a call costs is counted in hops, since a hop means that a loop has to come round:

- The server's own task reads ahead: it sits in the server's ``receive()``, hands over
  what comes, and so learns at once that the client has left.
- ``send()`` mostly completes without waiting. It is stepped by hand from trio, and
  becomes an asyncio task only if it does wait.

A call ends on both sides or on neither: whichever side is cancelled or fails first
cancels the other one and waits for it.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any

import outcome
import trio

from .types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["AsyncioBridge"]

# Seconds that a client may leave unread what the server wants to send it.
_SEND_SECONDS = 15.0

_ONE_READER = "another task is in receive() already"
_SERVER_CUT = "the server has cancelled the sending"
_NOT_READ = f"the client has read nothing for {_SEND_SECONDS:g} s"
_APP_CUT = "the application has been shut down"


class AsyncioBridge:
    """Run a trio application for one call that an asyncio server makes."""

    __slots__ = (
        "_answered",
        "_app",
        "_error",
        "_feeding",
        "_gone",
        "_host",
        "_loop",
        "_message",
        "_over",
        "_reader",
        "_receive",
        "_scope",
        "_send",
        "_stopped",
        "_waker",
        "cancel_scope",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Prepare the call; `loop`, `receive` and `send` are the server's."""
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self._loop = loop
        self._host: asyncio.Task[Any] | None = None
        # The server's task is in its receive(), and has been cancelled there.
        self._feeding = False
        self._stopped = False
        # What has been received and not yet taken; behind it only a farewell.
        self._message: Message | None = None
        self._gone: Message | None = None
        self._reader: trio.lowlevel.Task | None = None
        self._waker: asyncio.Future[None] | None = None
        self._answered = False
        self._over = False
        self._error: BaseException | None = None
        self.cancel_scope = trio.CancelScope()

    def __repr__(self) -> str:
        state = "over" if self._over else "answered" if self._answered else "open"
        return f"<AsyncioBridge: {self._scope['type']}, {state}>"

    # --- the server's side: called in its asyncio task ---------------------------

    async def carry(self) -> None:
        """Feed the application, which `run` runs on trio, until it has ended.

        `run` must have been made a task of the trio run before.

        Raises:
            Exception: What the application, or the server's ``receive()``, raised.

        Cancellation:
            The application is cancelled; the call returns when it has ended.
        """
        # One coroutine does it all: each parked poll keeps this one. The loop is given,
        # or asyncio looks for it, at the cost of a system call.
        self._host = asyncio.current_task(self._loop)
        try:
            while not self._over and self._gone is None:
                self._feeding = True
                message = await self._receive()
                self._feeding = False
                self._deliver(message)
                # Behind the end of a body there is nothing but the farewell.
                last = message["type"] == "http.request" and not message.get(
                    "more_body"
                )
                while not (last or self._message is None or self._over):
                    self._waker = self._loop.create_future()
                    await self._waker
            while not self._over:
                self._waker = self._loop.create_future()
                await self._waker
        except BaseException as error:
            if not self._was_stopped(error):
                self.cancel_scope.cancel()
                await self._until_over()
                raise
        if self._error is not None:
            # The traceback leads through this frame to the crossing and back.
            failure, self._error = self._error, None
            raise failure

    def _deliver(self, message: Message) -> None:
        if message["type"].endswith(".disconnect"):
            self._gone = message
            # Servers report a disconnect after a complete answer too.
            if message["type"] == "http.disconnect" and not self._answered:
                self.cancel_scope.cancel()
        else:
            self._message = message
        if self._reader is not None:
            reader, self._reader = self._reader, None
            trio.lowlevel.reschedule(reader)

    async def _until_over(self) -> None:
        cancelled: asyncio.CancelledError | None = None
        while not self._over:
            self._waker = self._loop.create_future()
            try:
                await self._waker
            except asyncio.CancelledError as error:
                cancelled = error
                self.cancel_scope.cancel()
        if cancelled is not None:
            raise cancelled

    def _stop_feeding(self) -> None:
        # Most often the server has ended its receive() meanwhile.
        if self._feeding and self._host is not None:
            self._feeding = False
            self._stopped = True
            self._host.cancel()

    def _was_stopped(self, error: BaseException) -> bool:
        """Tell our own cancellation of the server's task from the server's."""
        if not self._stopped or not isinstance(error, asyncio.CancelledError):
            return False
        return self._host is None or self._host.uncancel() == 0

    # --- the application's side: called in tasks of the trio run -----------------

    async def run(self) -> None:
        """Run the application.

        Cancellation:
            The server is told that the application has been shut down, which is an
            error for an HTTP request.
        """
        try:
            with self.cancel_scope:
                await self._app(self._scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001  # it is raised on the other side
            self._error = error
        except BaseException:
            # A websocket just ends; a request must be answered, with a 500 at least.
            if self._scope["type"] != "websocket":
                self._error = RuntimeError(_APP_CUT)
            raise
        finally:
            self.end()

    def end(self) -> None:
        """Let the server's side go on: the application has ended."""
        self._over = True
        if not self._wake() and self._feeding:
            self._loop.call_soon(self._stop_feeding)

    async def receive(self) -> Message:
        """Return the next message of the server. Not a checkpoint if there is one.

        Raises:
            trio.BusyResourceError: Another task waits for it.

        Cancellation:
            No message is lost.
        """
        if self._message is None and self._gone is None:
            if self._reader is not None:
                raise trio.BusyResourceError(_ONE_READER)
            self._reader = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort_receive)
        message, self._message = self._message, None
        if message is None:
            assert self._gone is not None
            return self._gone
        self._wake()
        return message

    async def send(self, message: Message) -> None:
        """Send a message by the server.

        A start and the end of a response are no checkpoints unless the server waits.

        Raises:
            ConnectionAbortedError: The client does not read, or the server shuts down.
            Exception: What the server raised.

        Cancellation:
            The server's sending is cancelled and has ended.
        """
        kind = message["type"]
        if kind == "http.response.body" and not message.get("more_body"):
            self._answered = True
        steps = self._send(message).__await__()
        try:
            waits_for = next(steps)
        except StopIteration:
            # A stream that never waits would keep both loops from coming round.
            if not self._answered and kind != "http.response.start":
                await trio.lowlevel.checkpoint()
            return
        with trio.move_on_after(_SEND_SECONDS) as patience:
            await _on_asyncio(self._loop, _go_on(steps, waits_for))
        if patience.cancelled_caught:
            raise ConnectionAbortedError(_NOT_READ)

    def _abort_receive(self, _: object) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _wake(self) -> bool:
        """Wake the server's task if it waits for this side."""
        waker, self._waker = self._waker, None
        if waker is None or waker.done():
            return False
        waker.set_result(None)
        return True


async def _on_asyncio(loop: asyncio.AbstractEventLoop, rest: Awaitable[None]) -> None:
    """Let an asyncio task do the rest, and wait for it on trio."""
    waiter = trio.lowlevel.current_task()
    raise_cancel: Callable[[], Any] | None = None

    async def finish() -> None:
        await rest

    def resume(done: asyncio.Task[None]) -> None:
        result: outcome.Outcome[None]
        if not done.cancelled():
            error = done.exception()
            result = outcome.Error(error) if error else outcome.Value(None)
        elif raise_cancel is not None:
            result = outcome.capture(raise_cancel)
        else:
            result = outcome.Error(ConnectionAbortedError(_SERVER_CUT))
        trio.lowlevel.reschedule(waiter, result)

    def abort(raise_cancelled: Callable[[], Any]) -> trio.lowlevel.Abort:
        nonlocal raise_cancel
        raise_cancel = raise_cancelled
        task.cancel()
        return trio.lowlevel.Abort.FAILED

    task = loop.create_task(finish())
    task.add_done_callback(resume)
    await trio.lowlevel.wait_task_rescheduled(abort)


@types.coroutine
def _go_on(steps: Iterator[Any], waits_for: Any) -> Generator[Any, None, None]:
    """Go on with an awaitable whose first step has been taken by hand."""
    try:
        while True:
            try:
                yield waits_for
            except BaseException as error:
                # What a native server gives to wait for may be a bare iterator.
                throw = getattr(steps, "throw", None)
                if throw is None:
                    raise
                waits_for = throw(error)
            else:
                waits_for = next(steps)
    except StopIteration:
        return
