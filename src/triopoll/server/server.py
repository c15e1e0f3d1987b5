"""One server process: listeners, connections, and the order in which they end.

The drain, step by step: readiness turns false; after the delay the listeners close, and
idle connections with them; parked waits are released over the window and answered; the
connections that are still at work after the grace are cut and counted.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import trio

from triopoll.asgi.types import ASGIApp, Scope
from triopoll.ops.drain import Drain
from triopoll.ops.metrics import Metrics

from .accepting import Start, accept_clients, accept_waiting
from .binding import listen, url_of
from .config import ServerSettings
from .connection import ServerConnection, ServerContext
from .disconnects import open_disconnects
from .errors import PeerGone
from .lifespan import LifespanError, StartupStopped, open_lifespan
from .response_writer import plain_response
from .send_budget import SendBudget
from .stream import ClientStream

__all__ = ["HttpServer", "serve"]

logger = logging.getLogger(__name__)

# Signals that skip the drain delay.
_AT_ONCE = (signal.SIGINT, signal.SIGUSR1)


async def serve(
    app: ASGIApp,
    sockets: Sequence[socket.socket],
    settings: ServerSettings,
    *,
    drained: Callable[[int], object] = int,
    task_status: trio.TaskStatus[HttpServer] = trio.TASK_STATUS_IGNORED,
) -> int:
    """Serve an ASGI application until SIGTERM or SIGINT, and drain it.

    SIGINT (a developer's Ctrl-C) and SIGUSR1 (what a supervisor sends instead of it)
    skip the drain delay; a second signal of any kind cuts what is left. The first one
    cancels a start of the application that has not ended; nothing is accepted then.

    Args:
        app: If it has an attribute ``drain`` that is a `Drain`, that one is used; in
            ``metrics``, if those are `Metrics`, connections are counted.
        sockets: From `open_socket`. They accept clients once the application has
            started, and are closed when the function returns.
        settings: Limits, deadlines and drain times.
        drained: Called at the end of the drain, before the application's shutdown, with
            the number of clients that were cut; with 0 before a start is cancelled.
        task_status: Is started with the server once connections are accepted, which is
            never if a signal has cancelled the start.

    Returns:
        How many clients were cut: 0 if all were answered.

    Raises:
        StartupFailed: The application refused to start.
        BindError: Another program listens on an address by now.
        LifespanError: It failed to shut down, after all clients had been answered.
        Exception: It raised an error, and no client was cut.

    Cancellation:
        All clients are cut without a drain.
    """
    server = HttpServer(app, settings)
    try:
        with trio.open_signal_receiver(signal.SIGTERM, *_AT_ONCE) as signals:
            stop = _StopSignal(signals, drained)
            async with open_lifespan(app, stop.wait_in_start) as state:
                listeners = [listen(sock) for sock in sockets]
                async with trio.open_nursery() as nursery:
                    await nursery.start(server.accept, listeners, state)
                    for listener in listeners:
                        logger.info("listening on %s", url_of(listener.socket))
                    task_status.started(server)
                    first = await stop.wait()
                    nursery.start_soon(server.cut_on_signal, signals)
                    await server.drain_all(at_once=first in _AT_ONCE)
                    drained(server.cut)
                    nursery.cancel_scope.cancel()
    except StartupStopped:
        logger.info("stopped before the application had started")
    except LifespanError as error:
        # That clients were cut is what a deployment has to know first.
        if not server.cut:
            raise
        logger.error("%s", error)
    except Exception:
        if not server.cut:
            raise
        logger.exception("the application failed in its shutdown")
    finally:
        # An application that has not started leaves them open.
        for sock in sockets:
            sock.close()
    return server.cut


class _StopSignal:
    """The first signal; the application may start or run when it comes."""

    def __init__(
        self, signals: AsyncIterator[int], drained: Callable[[int], object]
    ) -> None:
        self._signals = signals
        self._drained = drained
        self._first: int | None = None

    async def wait(self) -> int:
        """Return the signal; at once if it has come already."""
        if self._first is None:
            self._first = await anext(self._signals)
        return self._first

    async def wait_in_start(self) -> None:
        """Return when the signal comes, and say that the start ends by it."""
        await self.wait()
        logger.info("stopping: the application has not started yet")
        self._drained(0)


class HttpServer:
    """The connections of one process.

    Attributes:
        drain: The application's drain.
        cut: How many clients were cut off.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        drain = getattr(app, "drain", None)
        self.drain = drain if isinstance(drain, Drain) else Drain()
        self.drain.driven = True
        self._app = app
        self._settings = settings
        self._connections: set[ServerConnection] = set()
        self._send_budget = SendBudget(settings.max_unread_bytes)
        # One scope for each stage of the drain: no new connections, no more waiting for
        # those there are, no connections at all.
        self._accepting = trio.CancelScope()
        self._draining = trio.CancelScope()
        self._serving = trio.CancelScope()
        self._ended = trio.Event()
        self.cut = 0
        if isinstance(metrics := getattr(app, "metrics", None), Metrics):
            metrics.readings["connections"] = lambda: len(self._connections)

    def __repr__(self) -> str:
        return (
            f"<triopoll.server.HttpServer: {len(self._connections)} connections, "
            f"{self.busy} busy, {self.drain!r}>"
        )

    @property
    def connections(self) -> int:
        """Return how many connections are open."""
        return len(self._connections)

    @property
    def busy(self) -> int:
        """Return how many connections have a request or a websocket in work."""
        return sum(connection.busy for connection in self._connections)

    async def accept(
        self,
        listeners: Sequence[trio.SocketListener],
        state: Scope,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and serve connections until the drain is over.

        Cancellation:
            All connections are cut, the listeners are closed.
        """
        with self._serving, open_disconnects() as disconnects:
            context = ServerContext(
                self._app,
                self._settings,
                self.drain,
                state,
                disconnects,
                self._connections,
                self._send_budget,
            )
            async with trio.open_nursery() as helpers:
                helpers.start_soon(disconnects.run)
                helpers.start_soon(self._close_idle)
                async with trio.open_nursery() as connections:
                    start = partial(self._start_client, context, connections)
                    task_status.started()
                    await self._accept_from(listeners, start)
                helpers.cancel_scope.cancel()
        self._ended.set()

    async def drain_all(self, *, at_once: bool = False) -> None:
        """Stop accepting, answer the clients, and cut and count those that are left.

        Args:
            at_once: Skip the delay in which a load balancer may look elsewhere.
        """
        self.drain.begin()
        delay = 0 if at_once else self._settings.drain_delay
        logger.info("stopping: the listeners close in %g s; %r", delay, self)
        with self._draining:
            await trio.sleep(delay)
            await self._let_leave()
        self.cut = self.busy
        if self.cut:
            logger.warning("%d clients cut: they were not answered in time", self.cut)
        self._serving.cancel()

    async def cut_on_signal(self, signals: AsyncIterator[int]) -> None:
        """Cut all clients at the next signal."""
        await anext(aiter(signals))
        logger.warning("second signal: all clients are cut")
        self._draining.cancel()

    async def _let_leave(self) -> None:
        window = self._settings.drain_window
        with trio.move_on_after(window + self._settings.drain_grace):
            self._accepting.cancel()
            for connection in self._connections:
                connection.stop()
            await self.drain.release(window)
            await self._ended.wait()

    async def _close_idle(self) -> None:
        """Close idle connections: one task looks at all of them, none has a timer."""
        limit = self._settings.keep_alive
        while True:
            await trio.sleep(min(1.0, limit / 4))
            since = trio.current_time() - limit
            for connection in self._connections:
                connection.stop_if_idle_since(since)

    async def _accept_from(
        self, listeners: Sequence[trio.SocketListener], start: Start
    ) -> None:
        """Accept clients until the drain closes the listeners."""
        async with contextlib.AsyncExitStack() as stack:
            for listener in listeners:
                await stack.enter_async_context(listener)
            with self._accepting:
                async with trio.open_nursery() as nursery:
                    for listener in listeners:
                        nursery.start_soon(accept_clients, listener, start)
            for listener in listeners:
                await accept_waiting(listener, start)

    def _start_client(
        self, context: ServerContext, nursery: trio.Nursery, stream: trio.SocketStream
    ) -> None:
        if len(self._connections) >= self._settings.max_connections:
            deadline = self._settings.write_deadline
            refused = ClientStream(stream, deadline, context.send_budget)
            nursery.start_soon(_refuse, refused, self._settings.linger)
            return
        connection = ServerConnection(context, stream)
        if self._accepting.cancel_called:
            connection.stop()  # what it has sent already is answered
        nursery.start_soon(connection.run)


async def _refuse(stream: ClientStream, linger: float) -> None:
    try:
        await stream.send(plain_response(503, "the server has too many connections"))
        await stream.finish(linger)
    except PeerGone:
        pass
    finally:
        stream.abort()
