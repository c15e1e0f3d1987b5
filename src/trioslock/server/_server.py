"""A slock server on trio: listeners, connections, one engine.

Tasks: one for each open connection, one for each listener, the engine's clock, and one
that writes for each peer that reads too slowly. All of them live in the nursery of
`open_server`, in a scope of their own that ends after the body has left: what the body
does on its way out still gets its answers.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio

from .._arguments import check_bool, check_int, check_type
from .._ids import random_ids
from ..engine import EngineLimits
from ..host import EngineHost
from ..storage import Storage
from ..transport import SocketTransport, StreamTransport, Transport
from ._connection import ServerConnection
from ._context import ClientView, PeerInfo, ServerLimits
from ._resp_commands import VERSION
from ._services import open_service_nursery

logger = logging.getLogger(__name__)

DEFAULT_PORT = 5658
"""The port of a slock server."""

_BACKLOG = 1024
"""Connections that the kernel queues until they are accepted."""

_NO_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_ACCEPT_PAUSE = 0.1

# A peer whose machine is gone is noticed after 60 + 4 * 15 seconds: the protocol has
# no heartbeat from the server's side.
_KEEPALIVE = tuple(
    (level, getattr(socket, name), value)
    for level, name, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        # macOS has another name for this one.
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 60),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 15),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4),
    )
    if hasattr(socket, name)
)


class ServerStatistics(NamedTuple):
    """Counts of connections.

    Attributes:
        connections: Open now.
        accepted: Accepted so far, the open ones included.
        refused: Closed at once because there were too many.
        cut: Closed because they did not read.
    """

    connections: int
    accepted: int
    refused: int
    cut: int


class Server:
    """Connections to one engine; made by `open_server`.

    Attributes:
        host_engine: The engine's host; in-process peers attach there.
        port: Port of the first listener; None without one.
        limits: Bounds of connections.
    """

    def __init__(
        self,
        host_engine: EngineHost,
        listeners: Sequence[trio.SocketListener] = (),
        *,
        limits: ServerLimits | None = None,
        allow_shutdown: bool = False,
    ) -> None:
        self.host_engine = host_engine
        self.limits: ServerLimits = limits or ServerLimits()
        self._listeners = listeners
        addresses = [listener.socket.getsockname() for listener in listeners]
        self._address: tuple[str, int] | None = addresses[0][:2] if addresses else None
        self._allow_shutdown = allow_shutdown
        self._started_at = time.time()
        self._new_id = random_ids()
        self._connections: dict[int, ServerConnection] = {}
        self._accepted = self._refused = self._cut = self._commands = 0
        self._nursery: trio.Nursery | None = None
        self._ending = trio.Event()
        self._ended = trio.Event()

    def __repr__(self) -> str:
        where = self.address or "no address"
        return f"<Server on {where}: {len(self._connections)} connections>"

    @property
    def port(self) -> int | None:
        """Port of the first listener; None without one."""
        return None if self._address is None else self._address[1]

    @property
    def address(self) -> str:
        """``host:port`` of the first listener, empty without one."""
        return "" if self._address is None else _format(self._address)

    def statistics(self) -> ServerStatistics:
        """Return counts of connections."""
        cut = sum(connection.cut for connection in self._connections.values())
        return ServerStatistics(
            len(self._connections), self._accepted, self._refused, self._cut + cut
        )

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until a shutdown and ``limits.drain_seconds`` after it.

        Cancellation:
            All connections are closed at once, and so are the listeners.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                # A nursery of its own: a shutdown ends it and not the connections.
                async with trio.open_nursery() as accepting:
                    for listener in self._listeners:
                        accepting.start_soon(self._accept, listener)
                    task_status.started()
                    await self._ending.wait()
                    accepting.cancel_scope.cancel()
                self._close_listeners()
                await trio.sleep(self.limits.drain_seconds)
                nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            self._close_listeners()
            self._ended.set()

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection over any stream, in the caller's task, until it ends.

        Raises:
            RuntimeError: The server does not run.

        Cancellation:
            The connection is closed.
        """
        await self._connect(StreamTransport(stream), "stream", -1)

    def shutdown(self) -> bool:
        """End as ``SHUTDOWN`` asks, if that is allowed; return whether it is."""
        if self._allow_shutdown:
            self.begin_shutdown()
        return self._allow_shutdown

    def begin_shutdown(self) -> None:
        """Accept no connection any more, and end after ``limits.drain_seconds``."""
        self._ending.set()

    async def wait_ended(self) -> None:
        """Wait until the server has ended after a shutdown.

        Cancellation:
            Nothing has changed.
        """
        await self._ended.wait()

    # The interface of sessions: see ServerContext.

    def clients(self) -> Iterable[ClientView]:
        """Return all connections, as ``CLIENT LIST`` shows them."""
        return [connection.view() for connection in self._connections.values()]

    def kill(self, address: str) -> bool:
        """Close the connection from an address; return whether there was one."""
        for connection in self._connections.values():
            if connection.info.address == address:
                connection.abort()
                return True
        return False

    def config(self) -> Mapping[str, str]:
        """Return what ``CONFIG GET`` shows."""
        host, port = self._address or ("", 0)
        return {
            "BIND": host,
            "PORT": str(port),
            "MAX_CONNECTIONS": str(self.limits.connections),
            "MAX_OUTPUT_BYTES": str(self.limits.output_bytes),
        }

    def info(self) -> Mapping[str, Mapping[str, object]]:
        """Return the sections of ``INFO`` that are about the process."""
        host, port = self._address or ("", 0)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        engine = self.host_engine.engine.statistics()
        running = sum(one.commands for one in self._connections.values())
        return {
            "Server": {
                "version": VERSION,
                "process_id": os.getpid(),
                "tcp_bind": host,
                "tcp_port": port,
                "uptime_in_seconds": int(time.time() - self._started_at),
                "state": "leader",
            },
            "Clients": {
                "total_clients": self._accepted,
                "connected_clients": len(self._connections),
            },
            "CPU": {
                "cpu_total_seconds": f"{usage.ru_utime + usage.ru_stime:f}",
                "cpu_user_seconds": f"{usage.ru_utime:f}",
            },
            "Memory": {"used_memory_rss_peak": usage.ru_maxrss * 1024},
            "Replication": {"role": "leader", "connected_followers": 0},
            "Stats": {
                "db_count": engine.databases,
                "total_commands_processed": self._commands + running,
            },
        }

    async def _accept(self, listener: trio.SocketListener) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _NO_RESOURCES:
                    raise
                # Connections that end free descriptors and memory.
                logger.warning(
                    "cannot accept a connection, trying again in %g s: %s",
                    _ACCEPT_PAUSE,
                    error,
                )
                await trio.sleep(_ACCEPT_PAUSE)
            else:
                self._admit(stream)

    def _admit(self, stream: trio.SocketStream) -> None:
        nursery = self._nursery
        if nursery is None or len(self._connections) >= self.limits.connections:
            self._refused += 1
            stream.socket.close()
            return
        try:
            address = _format(stream.socket.getpeername())
            for level, option, value in _KEEPALIVE:
                stream.setsockopt(level, option, value)
        except OSError:
            # The peer has left before the accept.
            stream.socket.close()
            return
        # Before the transport takes the socket out of the stream.
        descriptor = stream.socket.fileno()
        transport = SocketTransport(stream)
        nursery.start_soon(self._connect, transport, address, descriptor)

    async def _connect(
        self, transport: Transport, address: str, descriptor: int
    ) -> None:
        if self._nursery is None:
            raise RuntimeError("the server does not run")
        self._accepted += 1
        serial = self._accepted
        connection = ServerConnection(
            PeerInfo(serial, address, descriptor),
            transport,
            host=self.host_engine,
            context=self,
            limits=self.limits,
            new_id=self._new_id,
            nursery=self._nursery,
        )
        self._connections[serial] = connection
        # No checkpoint before `run`: from the constructor on the engine has a peer,
        # which `run` alone detaches.
        try:
            await connection.run()
        finally:
            del self._connections[serial]
            self._cut += connection.cut
            self._commands += connection.commands

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.socket.close()


@asynccontextmanager
async def open_server(
    host: str | None = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    limits: ServerLimits | None = None,
    engine_limits: EngineLimits | None = None,
    subscribe_enabled: bool = False,
    allow_shutdown: bool = False,
    host_engine: EngineHost | None = None,
    storage: Storage | None = None,
) -> AsyncGenerator[Server]:
    """Serve an engine on TCP for as long as the body runs.

    Args:
        host: Address to listen on; None for no listener at all, then connections
            come through `Server.serve_stream`.
        port: 0 for any free one, see `Server.port`.
        limits: Bounds of connections.
        engine_limits: Bounds of a new engine.
        subscribe_enabled: Whether a new engine takes subscriptions.
        allow_shutdown: Whether the text command ``SHUTDOWN`` may end the server.
        host_engine: A host that runs already, to be shared with others; by default
            the server has its own.
        storage: Keeps what is held in the server's own engine over a restart; the
            caller opens and closes it.

    Raises:
        StorageError: The files cannot be read, or later not be written: then the
            server ends at once, and sends no answer about a change that is not kept.
            A client in this process, on the same host, may have got one.
        TypeError: An argument has the wrong type.
        ValueError: The port is not 0 to 65535.
        OSError: The address is in use, or not one of this machine.

    Cancellation:
        As when the body ends: connections are closed at once, what was held stays
        in the engine (if it is shared) until its lease ends.
    """
    for value, kind, name in (
        (limits, ServerLimits, "limits"),
        (engine_limits, EngineLimits, "engine_limits"),
        (host_engine, EngineHost, "host_engine"),
        (storage, Storage, "storage"),
    ):
        if value is not None:
            check_type(value, kind, name, f"{kind.__name__} or None")
    check_bool(subscribe_enabled, "subscribe_enabled")
    check_bool(allow_shutdown, "allow_shutdown")
    listeners = [] if host is None else await _listen(host, port)
    own = host_engine is None
    if host_engine is None:
        host_engine = EngineHost.of_this_run(
            limits=engine_limits, subscribe_enabled=subscribe_enabled, journal=storage
        )
        if storage is not None:
            storage.load(host_engine.engine, host_engine.now())
    server = Server(
        host_engine, listeners, limits=limits, allow_shutdown=allow_shutdown
    )
    async with open_service_nursery() as nursery:
        if own:
            await nursery.start(host_engine.run)
            if storage is not None:
                await nursery.start(storage.run)
        await nursery.start(server.run)
        yield server


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    check_type(host, str, "host", "text or None")
    # The system's resolver would use the lower 16 bits of any number.
    check_int(port, "a port", 0, 65_535)
    try:
        return await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        raise type(error)(
            error.errno, f"cannot listen on {_format((host, port))}: {reason}"
        ) from error


def _format(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
