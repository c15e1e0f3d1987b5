"""One ASGI call between two loops: the server's task on asyncio, the app's on trio.

In guest mode both loops run in one thread and take turns. So nothing here has a lock,
and each side may call the other's synchronous functions: `trio.lowlevel.reschedule` and
`CancelScope.cancel` from asyncio, a future's ``set_result`` from trio.

The cost of a call is the number of times that one loop has to wait for a turn of the
other. Two things keep it low:

- The server's own task reads ahead. It waits in the server's ``receive()`` and hands
  over what comes, so a client that leaves is noticed at once.
- ``send()`` mostly completes without waiting. Its coroutine is stepped by hand in the
  trio task, and becomes an asyncio task only if it does wait.

A call ends on both sides or on neither: the side that is cancelled or fails first
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

# Seconds that a client may take to read one message.
_SEND_SECONDS = 15.0

_ONE_RECEIVER = "another task is in receive() already"
_SERVER_CUT = "the server has cancelled the sending"
_NOT_READ = f"the client has read nothing for {_SEND_SECONDS:g} s"
_APP_CUT = "the application has been shut down"


class AsyncioBridge:
    """Run a trio application for one call that an asyncio server makes.

    Attributes:
        cancel_scope: Of the application's task.
    """

    __slots__ = (
        "_answered",
        "_app",
        "_app_ended",
        "_app_error",
        "_app_receiver",
        "_disconnect",
        "_in_receive",
        "_loop",
        "_message",
        "_receive",
        "_receive_cancelled",
        "_scope",
        "_send",
        "_server_task",
        "_server_waiter",
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
        self._server_task: asyncio.Task[Any] | None = None
        # Whether the server's task is in its receive(), and was cancelled there by us.
        self._in_receive = False
        self._receive_cancelled = False
        # What was received and not taken by the application; a disconnect comes last.
        self._message: Message | None = None
        self._disconnect: Message | None = None
        # What waits on each side for the other one.
        self._app_receiver: trio.lowlevel.Task | None = None
        self._server_waiter: asyncio.Future[None] | None = None
        self._answered = False
        self._app_ended = False
        self._app_error: BaseException | None = None
        self.cancel_scope = trio.CancelScope()

    def __repr__(self) -> str:
        answered = "answered" if self._answered else "open"
        state = "over" if self._app_ended else answered
        return f"<AsyncioBridge: {self._scope['type']}, {state}>"

    # --- the server's side: called in its asyncio task ---------------------------

    async def run_in_asyncio(self) -> None:
        """Hand over what the server receives until the application has ended.

        `run_in_trio` must have been made a task of the trio run before.

        Raises:
            Exception: What the application, or the server's ``receive()``, raised.

        Cancellation:
            The application is cancelled; the call returns when it has ended.
        """
        # One coroutine does it all, since each parked poll keeps its frames. The loop
        # is given: asyncio would look for it, at the cost of a system call.
        self._server_task = asyncio.current_task(self._loop)
        try:
            while not self._app_ended and self._disconnect is None:
                self._in_receive = True
                message = await self._receive()
                self._in_receive = False
                self._deliver(message)
                # Behind the end of a body comes nothing but the disconnect: read on at
                # once. Otherwise first let the application take this message.
                last = message["type"] == "http.request" and not message.get(
                    "more_body"
                )
                while not (last or self._message is None or self._app_ended):
                    self._server_waiter = self._loop.create_future()
                    await self._server_waiter
            while not self._app_ended:
                self._server_waiter = self._loop.create_future()
                await self._server_waiter
        except BaseException as error:
            if not self._is_own_cancellation(error):
                self.cancel_scope.cancel()
                await self._until_app_ended()
                raise
        if self._app_error is not None:
            # Its traceback leads through this frame to the bridge: without the
            # reference back there is no cycle.
            failure, self._app_error = self._app_error, None
            raise failure

    def _deliver(self, message: Message) -> None:
        if message["type"].endswith(".disconnect"):
            self._disconnect = message
            # Servers report a disconnect after a complete answer too, when the
            # application may still have something to do.
            if message["type"] == "http.disconnect" and not self._answered:
                self.cancel_scope.cancel()
        else:
            self._message = message
        if self._app_receiver is not None:
            receiver, self._app_receiver = self._app_receiver, None
            trio.lowlevel.reschedule(receiver)

    async def _until_app_ended(self) -> None:
        # This task owns the call: it may not end before the application has, however
        # often the server cancels it.
        cancelled: asyncio.CancelledError | None = None
        while not self._app_ended:
            self._server_waiter = self._loop.create_future()
            try:
                await self._server_waiter
            except asyncio.CancelledError as error:
                cancelled = error
                self.cancel_scope.cancel()
        if cancelled is not None:
            raise cancelled

    def _cancel_receive(self) -> None:
        # Most often the server has ended its receive() in the meantime.
        if self._in_receive and self._server_task is not None:
            self._in_receive = False
            self._receive_cancelled = True
            self._server_task.cancel()

    def _is_own_cancellation(self, error: BaseException) -> bool:
        """Return whether this side cancelled the server's task, and not the server."""
        if not self._receive_cancelled or not isinstance(error, asyncio.CancelledError):
            return False
        return self._server_task is None or self._server_task.uncancel() == 0

    # --- the application's side: called in tasks of the trio run -----------------

    async def run_in_trio(self) -> None:
        """Run the application.

        Cancellation:
            For an HTTP request the server gets the error that the application has been
            shut down.
        """
        try:
            with self.cancel_scope:
                await self._app(self._scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001  # it is raised on the other side
            self._app_error = error
        except BaseException:
            # A websocket just ends; a request must be answered, with a 500 at least.
            if self._scope["type"] != "websocket":
                self._app_error = RuntimeError(_APP_CUT)
            raise
        finally:
            self.end()

    def end(self) -> None:
        """Let the server's side return: the application has ended."""
        self._app_ended = True
        if not self._wake_server() and self._in_receive:
            self._loop.call_soon(self._cancel_receive)

    async def receive(self) -> Message:
        """Return the next message of the server. Not a checkpoint if there is one.

        Raises:
            trio.BusyResourceError: Another task waits for it.

        Cancellation:
            No message is lost.
        """
        if self._message is None and self._disconnect is None:
            if self._app_receiver is not None:
                raise trio.BusyResourceError(_ONE_RECEIVER)
            self._app_receiver = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort_receive)
        message, self._message = self._message, None
        if message is None:
            assert self._disconnect is not None
            return self._disconnect
        self._wake_server()
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
            # A stream of pieces that never waits would let neither loop have a turn.
            if not self._answered and kind != "http.response.start":
                await trio.lowlevel.checkpoint()
            return
        with trio.move_on_after(_SEND_SECONDS) as limit:
            await _run_in_task(self._loop, _resumed(steps, waits_for))
        if limit.cancelled_caught:
            raise ConnectionAbortedError(_NOT_READ)

    def _abort_receive(self, _: object) -> trio.lowlevel.Abort:
        self._app_receiver = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _wake_server(self) -> bool:
        """Wake the server's task if it waits for the application."""
        waiter, self._server_waiter = self._server_waiter, None
        # A future that is done was cancelled with the server's task.
        if waiter is None or waiter.done():
            return False
        waiter.set_result(None)
        return True


async def _run_in_task(loop: asyncio.AbstractEventLoop, rest: Awaitable[None]) -> None:
    """Run the rest of a coroutine as an asyncio task, and wait for it in trio."""
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
        # The trio task goes on when the asyncio task has ended, not before.
        nonlocal raise_cancel
        raise_cancel = raise_cancelled
        task.cancel()
        return trio.lowlevel.Abort.FAILED

    task = loop.create_task(finish())
    task.add_done_callback(resume)
    await trio.lowlevel.wait_task_rescheduled(abort)


@types.coroutine
def _resumed(steps: Iterator[Any], waits_for: Any) -> Generator[Any, None, None]:
    """Continue an awaitable whose first step has been taken by hand."""
    try:
        while True:
            try:
                yield waits_for
            except BaseException as error:
                # Servers in native code may return a bare iterator, without throw().
                throw = getattr(steps, "throw", None)
                if throw is None:
                    raise
                waits_for = throw(error)
            else:
                waits_for = next(steps)
    except StopIteration:
        return
