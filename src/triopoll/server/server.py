"""One server process: listeners, connections, and the order in which they end.

The drain, step by step: readiness off; after the delay the listeners close, and idle
connections with them; parked waits are released over the window and answered; what is
left after the grace is cut and counted.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Sequence
from functools import partial

import trio

from triopoll.asgi.messages import CANCELS, TAKEN
from triopoll.asgi.types import ASGIApp, Scope
from triopoll.ops.drain import Drain
from triopoll.ops.metrics import Metrics

from .config import ServerSettings
from .connection import ServerConnection
from .disconnects import Disconnects, open_departures
from .lifespan import open_lifespan
from .response_writer import plain_response
from .stream import ClientStream, PeerGone

__all__ = ["HttpServer", "serve"]

logger = logging.getLogger("triopoll.serving")

_AT_ONCE = (signal.SIGINT, signal.SIGUSR1)


async def serve(
    app: ASGIApp,
    listeners: Sequence[trio.SocketListener],
    settings: ServerSettings,
    *,
    task_status: trio.TaskStatus[HttpServer] = trio.TASK_STATUS_IGNORED,
) -> int:
    """Serve an ASGI application until SIGTERM or SIGINT, and drain it.

    SIGINT, a developer's Ctrl-C, and SIGUSR1, a supervisor's word for it, skip the
    drain delay; a second signal of any kind cuts what is left.

    Args:
        app: If it has an attribute ``drain`` that is a `Drain`, its waits listen to it;
            in ``metrics``, if those are `Metrics`, connections are counted.
        listeners: Are closed when the function returns.
        settings: Limits, deadlines and drain times.
        task_status: Is started with the server once connections are accepted.

    Returns:
        How many clients were cut: 0 if everyone was answered.

    Raises:
        StartupFailed: The application refused to start.

    Cancellation:
        All clients are cut without a drain.
    """
    server = HttpServer(app, settings)
    with trio.open_signal_receiver(signal.SIGTERM, *_AT_ONCE) as signals:
        async with open_lifespan(app) as state:
            async with trio.open_nursery() as nursery:
                await nursery.start(server.accept, listeners, state)
                for listener in listeners:
                    logger.info("listening on %s", listener.socket.getsockname())
                task_status.started(server)
                first = await anext(aiter(signals))
                nursery.start_soon(server.cut_on_signal, signals)
                await server.drain_all(at_once=first in _AT_ONCE)
                nursery.cancel_scope.cancel()
    return server.cut


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
        self._accepting = trio.CancelScope()
        self._patience = trio.CancelScope()
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
        with self._serving, open_departures() as departures:
            async with trio.open_nursery() as attendants:
                attendants.start_soon(departures.run)
                attendants.start_soon(self._close_idle)
                async with trio.open_nursery() as connections:
                    with self._accepting:
                        task_status.started()
                        await trio.serve_listeners(
                            partial(self._serve_stream, state, departures),
                            list(listeners),
                            handler_nursery=connections,
                        )
                attendants.cancel_scope.cancel()
        self._ended.set()

    async def drain_all(self, *, at_once: bool = False) -> None:
        """Stop accepting, let everyone be answered, cut who is left, and count them.

        Args:
            at_once: Do without the delay that gives a load balancer time.
        """
        self.drain.begin()
        logger.info("draining: %r", self)
        with self._patience:
            await trio.sleep(0 if at_once else self._settings.drain_delay)
            await self._let_leave()
        self.cut = self.busy
        if self.cut:
            logger.warning("%d clients cut", self.cut)
        self._serving.cancel()

    async def cut_on_signal(self, signals: AsyncIterator[int]) -> None:
        """Cut everyone at the next signal: somebody has no time."""
        await anext(aiter(signals))
        logger.warning("second signal")
        self._patience.cancel()

    async def _let_leave(self) -> None:
        window = self._settings.drain_window
        with trio.move_on_after(window + self._settings.drain_grace):
            self._accepting.cancel()
            for connection in self._connections:
                connection.stop()
            await self.drain.release(window)
            await self._ended.wait()

    async def _close_idle(self) -> None:
        """Look for idle connections now and then: no timer for each."""
        limit = self._settings.keep_alive
        while True:
            await trio.sleep(min(1.0, limit / 4))
            since = trio.current_time() - limit
            for connection in self._connections:
                connection.stop_if_idle_since(since)

    async def _serve_stream(
        self, state: Scope, departures: Disconnects, stream: trio.SocketStream
    ) -> None:
        wire = ClientStream(stream, self._settings.write_deadline)
        if len(self._connections) >= self._settings.max_connections:
            await _refuse(wire, self._settings.linger)
            return
        extensions: Scope = {TAKEN: {"wait": wire.taken}}
        if departures.noticed:
            extensions[CANCELS] = {}
        base: Scope = {
            "state": state,
            "extensions": extensions,
            **_addresses(stream),
        }
        connection = ServerConnection(self._app, wire, self._settings, self.drain, base)
        self._connections.add(connection)
        if self._accepting.cancel_called:
            connection.stop()  # it was accepted in the last moment
        descriptor = wire.descriptor
        departures.watch(descriptor, connection.peer_left)
        try:
            await connection.run()
        except* Exception:
            logger.exception("a connection failed")  # it alone: never the process
        finally:
            departures.unwatch(descriptor)
            self._connections.discard(connection)


async def _refuse(wire: ClientStream, linger: float) -> None:
    try:
        await wire.send(plain_response(503, "the server has too many connections"))
        await wire.finish(linger)
    except PeerGone:
        pass
    finally:
        wire.abort()


def _addresses(stream: trio.SocketStream) -> Scope:
    """Return ASGI's client and server; the peer may have left already."""
    try:
        client, server = stream.socket.getpeername(), stream.socket.getsockname()
    except OSError:
        return {"client": None, "server": None}
    if isinstance(client, tuple):
        return {"client": client[:2], "server": server[:2]}
    return {"client": None, "server": (server, None)}
