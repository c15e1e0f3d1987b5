"""A server on a TCP port of this machine, with faults."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from math import inf

import trio

from .._forks import give_up_in_children
from ..server import Server, ServerLimits, open_server
from ._connections import Connections

_HOST = "127.0.0.1"
_BACKLOG = 128

# A test may freeze the server and let hours go by: neither is a reason to cut a client.
_PATIENT = ServerLimits(send_seconds=inf, first_frame_seconds=inf, silent_seconds=inf)


class TcpConnections(Connections):
    """Connections to a server over TCP, on one port that can be closed and opened.

    Args:
        server: The server.
        nursery: For the tasks of the connections.

    Attributes:
        port: The port. It stays reserved while it is closed.
    """

    def __init__(self, server: Server, nursery: trio.Nursery) -> None:
        super().__init__(server)
        self._nursery = nursery
        self._socket = reserve_port()
        self.port: int = self._socket.getsockname()[1]
        self._listen()
        give_up_in_children(self)

    def forked(self) -> None:
        """Listen no more in a child, which would keep the port open."""
        # Not by way of trio: the thread that forks may not run it.
        if self._socket.fileno() >= 0:
            os.close(self._socket.detach())

    def down(self) -> None:
        """Break all connections, and refuse new ones until `up`."""
        if not self._is_down:
            self._socket.close()
            self._socket = reserve_port(self.port)
        super().down()

    def up(self) -> None:
        """Let connections be made again."""
        if self._is_down:
            self._listen()
        super().up()

    def close(self) -> None:
        """Close the port."""
        self._socket.close()

    def _listen(self) -> None:
        self._socket.listen(_BACKLOG)
        self._nursery.start_soon(self._accept, trio.SocketListener(self._socket))

    async def _accept(self, listener: trio.SocketListener) -> None:
        try:
            await trio.serve_listeners(
                self._serve, [listener], handler_nursery=self._nursery
            )
        except* trio.ClosedResourceError:
            # By `down`.
            pass

    async def _serve(self, stream: trio.SocketStream) -> None:
        def cut() -> None:
            # A copy in a child of `os.fork` would keep it open after a close.
            with suppress(OSError):
                stream.socket.shutdown(socket.SHUT_RDWR)
            stream.socket.close()

        faulty = self._add(stream, cut)
        try:
            await self.server.serve_stream(faulty)
        finally:
            self.streams.remove(faulty)


def reserve_port(port: int = 0) -> trio.socket.SocketType:
    """Return a socket that is bound to a port and does not listen yet.

    A connection to the port is refused, and no other program is given it.

    Args:
        port: Which one; 0 for a free one.
    """
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((_HOST, port))
    except BaseException:
        bound.close()
        raise
    return trio.socket.from_stdlib_socket(bound)


@asynccontextmanager
async def open_tcp() -> AsyncGenerator[TcpConnections]:
    """Serve an engine on a free port for as long as the body runs."""
    async with (
        open_server(host=None, limits=_PATIENT, subscribe_enabled=True) as server,
        trio.open_nursery() as nursery,
    ):
        connections = TcpConnections(server, nursery)
        try:
            yield connections
        finally:
            connections.close()
            nursery.cancel_scope.cancel()
