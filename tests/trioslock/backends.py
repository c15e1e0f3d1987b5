"""The servers that a behavioural suite runs over, each behind the same few calls.

``embedded`` hands commands to an engine, ``memory`` and ``tcp`` go through our server,
``live`` is a real slock whose address was given. ``Backend.claims`` looks at what is
held and waiting *on the server*, past the client that is tested.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import trio
from trio.testing import memory_stream_pair

from trioslock.client import Client, Database, open_client, open_session_client
from trioslock.embedded import open_embedded
from trioslock.link import Backoff, SessionSettings, connector
from trioslock.protocol import to_key
from trioslock.server import Server, open_server
from trioslock.transport import StreamTransport

BACKENDS = ("embedded", "memory", "tcp", "live")
PATIENCE = 5.0


class Claims(NamedTuple):
    """How many hold a key and how many wait for it."""

    holders: int
    waiters: int


NOTHING = Claims(0, 0)


class Backend(ABC):
    """A server, and the way to it."""

    db = 0

    @abstractmethod
    def open_client(
        self, *, session_ttl: float = 10.0
    ) -> AbstractAsyncContextManager[Client, bool | None]: ...

    @abstractmethod
    async def claims(self, key: str | bytes) -> Claims: ...

    def key(self, name: str) -> str:
        """A key that no other test uses."""
        return f"{name}-{secrets.token_hex(4)}"

    async def until(
        self,
        key: str | bytes,
        holders: int,
        waiters: int,
        *,
        within: float = PATIENCE,
    ) -> None:
        """Wait until that many hold the key and wait for it."""
        wanted = Claims(holders, waiters)
        with trio.move_on_after(within):
            # The server publishes no such change, so it is asked.
            while await self.claims(key) != wanted:  # noqa: ASYNC110
                await trio.sleep(0.002)
            return
        assert await self.claims(key) == wanted


class OurBackend(Backend):
    def __init__(self, server: Server) -> None:
        self.server = server

    async def claims(self, key: str | bytes) -> Claims:
        view = self.server.host_engine.engine.inspect(self.db, to_key(key))
        if view is None:
            return NOTHING
        return Claims(len(view.holders), len(view.waiters))


class EmbeddedBackend(OurBackend):
    def open_client(
        self, *, session_ttl: float = 10.0
    ) -> AbstractAsyncContextManager[Client, bool | None]:
        return open_embedded(self.server.host_engine, session_ttl=session_ttl)


class MemoryBackend(OurBackend):
    def __init__(self, server: Server, nursery: trio.Nursery) -> None:
        super().__init__(server)
        self._nursery = nursery
        self._streams: list[trio.StapledStream[Any, Any]] = []
        self._far_ends: list[trio.StapledStream[Any, Any]] = []
        self._down = False

    def cut(self) -> None:
        """Break all connections; none can be made before `restore`."""
        self._down = True
        while self._streams:
            self.cut_latest()

    def cut_latest(self) -> None:
        """Break the newest connection; its client may connect again at once."""
        stream = self._streams.pop()
        self._far_ends.pop()
        stream.send_stream.close()
        stream.receive_stream.close()

    async def inject(self, data: bytes) -> None:
        """Let clients receive bytes that the server did not send."""
        for stream in self._far_ends:
            await stream.send_all(data)

    def restore(self) -> None:
        self._down = False

    async def open_transport(self) -> StreamTransport:
        if self._down:
            await trio.lowlevel.checkpoint()
            raise ConnectionRefusedError("the connection is cut")
        ours, theirs = memory_stream_pair()
        self._streams.append(ours)
        self._far_ends.append(theirs)
        self._nursery.start_soon(self.server.serve_stream, theirs)
        await trio.lowlevel.checkpoint()
        return StreamTransport(ours)

    def open_client(
        self, *, session_ttl: float = 10.0
    ) -> AbstractAsyncContextManager[Client, bool | None]:
        settings = SessionSettings(
            client_id=secrets.token_bytes(16),
            session_ttl=session_ttl,
            backoff=Backoff(first=0.01),
        )
        return open_session_client(
            connector(self.open_transport, heartbeat=5.0), settings
        )


class TcpBackend(OurBackend):
    def open_client(
        self, *, session_ttl: float = 10.0
    ) -> AbstractAsyncContextManager[Client, bool | None]:
        return open_client(
            f"slock://127.0.0.1:{self.server.port}",
            session_ttl=session_ttl,
            backoff=Backoff(first=0.01),
        )


class LiveBackend(Backend):
    """A real slock. A second client looks at it, in a database of our own."""

    def __init__(self, address: tuple[str, int], observer: Client) -> None:
        self.address = address
        self.db = 100 + secrets.randbelow(150)
        self._observer: Database = observer.db(self.db)
        self._waiting_before = 0

    async def start(self) -> None:
        self._waiting_before = (await self._observer.state()).waiting

    def open_client(
        self, *, session_ttl: float = 10.0
    ) -> AbstractAsyncContextManager[Client, bool | None]:
        host, port = self.address
        return open_client(f"slock://{host}:{port}/{self.db}", session_ttl=session_ttl)

    async def claims(self, key: str | bytes) -> Claims:
        holders = await self._observer.holders(key)
        # Waiters of a free key are in no list, but they are counted.
        state = await self._observer.state()
        return Claims(len(holders), state.waiting - self._waiting_before)


@asynccontextmanager
async def open_backend(
    name: str, address: tuple[str, int] | None = None, *, subscribe: bool = True
) -> AsyncIterator[Backend]:
    if address is not None:
        async with open_client(f"slock://{address[0]}:{address[1]}") as observer:
            live = LiveBackend(address, observer)
            await live.start()
            yield live
        return
    async with open_server(
        host="127.0.0.1" if name == "tcp" else None, port=0, subscribe_enabled=subscribe
    ) as server:
        if name == "embedded":
            yield EmbeddedBackend(server)
        elif name == "tcp":
            yield TcpBackend(server)
        else:
            async with trio.open_nursery() as nursery:
                yield MemoryBackend(server, nursery)
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_pair(backend: Backend) -> AsyncIterator[tuple[Client, Client]]:
    """Two clients of one server: one's wait is the other's grant."""
    async with backend.open_client() as one, backend.open_client() as other:
        yield one, other


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so, or fail."""
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await trio.sleep(0.002)
