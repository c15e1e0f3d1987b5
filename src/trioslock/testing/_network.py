"""Memory streams to a server in this process, with faults."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypedDict, Unpack

import trio
import trio.testing

from ..client import Client, open_session_client
from ..link import Backoff, SessionSettings, connector
from ..protocol import ID_SIZE
from ..server import Server, open_server
from ..transport import StreamTransport
from ._connections import Connections


class _Settings(TypedDict, total=False):
    client_id: bytes
    session_ttl: float
    connect_timeout: float
    backoff: Backoff | None
    close_grace: float
    max_inflight: int


class Network(Connections):
    """Connections to one server over memory streams; made by `open_network`.

    No socket is involved, so it works with a clock that jumps (pytest-trio's
    ``autojump_clock``, or ``trio.testing.MockClock`` with an autojump threshold).

    Attributes:
        server: The server; its ``host_engine.engine`` shows what is held.
        streams: The client's ends, oldest first, broken ones included.
    """

    def __init__(self, server: Server, nursery: trio.Nursery) -> None:
        super().__init__(server)
        self._nursery = nursery

    def open_client(
        self,
        *,
        db: int = 0,
        heartbeat: float = 5.0,
        wait_connected: bool = True,
        **settings: Unpack[_Settings],
    ) -> AbstractAsyncContextManager[Client, bool]:
        """Open a client that connects through this network.

        Args:
            db: The database of the client.
            heartbeat: As for `trioslock.open_client`.
            wait_connected: As for `trioslock.open_client`.
            settings: As for `trioslock.open_client`, but ``backoff`` begins at 10 ms
                unless it is given.
        """
        chosen: _Settings = {
            "client_id": secrets.token_bytes(ID_SIZE),
            "backoff": Backoff(first=0.01),
            **settings,
        }
        connect = connector(self.open_transport, heartbeat=heartbeat)
        return open_session_client(
            connect, SessionSettings(**chosen), db=db, wait_connected=wait_connected
        )

    async def open_transport(self) -> StreamTransport:
        """Connect to the server.

        Raises:
            ConnectionRefusedError: The network is down.
        """
        await trio.lowlevel.checkpoint()
        if self._is_down:
            raise ConnectionRefusedError("the network is down")
        ours, theirs = trio.testing.memory_stream_pair()

        def cut() -> None:
            ours.send_stream.close()
            ours.receive_stream.close()

        stream = self._add(ours, cut)
        self._nursery.start_soon(self.server.serve_stream, theirs)
        return StreamTransport(stream)


@asynccontextmanager
async def open_network(
    server: Server | None = None,
) -> AsyncGenerator[Network]:
    """Serve an engine on memory streams for as long as the body runs.

    Args:
        server: One that runs already; if left out, one without a listener.
    """
    if server is None:
        async with open_server(host=None) as own, open_network(own) as network:
            yield network
        return
    async with trio.open_nursery() as nursery:
        yield Network(server, nursery)
        nursery.cancel_scope.cancel()
