"""What the server tests share: a server in this process, and raw sockets to it."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncGenerator
from typing import Any

import trio
from tests.triopoll.support import eventually
from trio import SocketStream
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request
from wsproto.events import Event as WSEvent

from triopoll.asgi.types import ASGIApp
from triopoll.server import ServerSettings
from triopoll.server.server import HttpServer

# No deadline of a test that is about something else may strike on a busy machine.
QUICK = ServerSettings(linger=0.2, drain_delay=0.0, drain_window=0.1, drain_grace=5.0)
# For tests that wait for a deadline.
HASTY = ServerSettings(
    keep_alive=0.4,
    head_deadline=0.3,
    body_deadline=0.3,
    write_deadline=0.3,
    linger=0.2,
    websocket_ping=0.2,
    websocket_pong_deadline=0.3,
    drain_delay=0.0,
    drain_window=0.1,
    drain_grace=0.3,
)


class Client:
    """A raw connection to the server."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def get(self, path: str = "/", headers: str = "") -> None:
        await self.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n".encode())

    async def read_head(self) -> bytes:
        """Read up to the end of a response head and what came with it."""
        data = b""
        with trio.fail_after(5):
            while b"\r\n\r\n" not in data:
                more = await self.stream.receive_some()
                if not more:
                    break
                data += more
        return bytes(data)

    async def read_answer(self) -> bytes:
        """Read one response that has a Content-Length."""
        data = await self.read_head()
        head, _, body = data.partition(b"\r\n\r\n")
        fields = head.lower().split(b"content-length: ")
        length = int(fields[1].split(b"\r\n")[0]) if len(fields) > 1 else 0
        with trio.fail_after(5):
            while len(body) < length:
                body += await self.stream.receive_some()
        return head + b"\r\n\r\n" + body

    async def read_all(self) -> bytes:
        """Read until the server closes; a reset counts as closed."""
        data = b""
        with trio.fail_after(5):
            try:
                while more := await self.stream.receive_some():
                    data += more
            except trio.BrokenResourceError:
                pass
        return bytes(data)

    async def leave_by(self, how: str) -> None:
        """Leave by FIN, by RST, or by closing the sending side only."""
        if how == "FIN":
            await self.stream.aclose()
        elif how == "RST":
            self.reset()
        else:
            await self.stream.send_eof()

    def reset(self) -> None:
        """Leave with RST."""
        self.stream.socket.setsockopt(
            trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )
        self.stream.socket.close()


class WebSocketClient(Client):
    """A raw connection that speaks websocket through wsproto."""

    def __init__(self, stream: SocketStream) -> None:
        super().__init__(stream)
        self.ws = WSConnection(ConnectionType.CLIENT)
        self.pending: list[WSEvent] = []

    async def open(self, path: str = "/ws", **request: Any) -> WSEvent:
        """Send the handshake and return what it is answered with."""
        await self.tell(Request(host="h", target=path, **request))
        return await self.next()

    async def tell(self, event: WSEvent) -> None:
        await self.send(self.ws.send(event))

    async def next(self) -> WSEvent:
        """Return the next event; an EOF is a CloseConnection with 1006."""
        with trio.fail_after(5):
            while not self.pending:
                try:
                    data = await self.stream.receive_some()
                except trio.BrokenResourceError:
                    data = b""
                self.ws.receive_data(bytes(data) if data else None)
                self.pending += self.ws.events()
        return self.pending.pop(0)


async def closed(client: WebSocketClient) -> int:
    """Return the code of the close frame, and expect the end of the connection."""
    event = await client.next()
    assert isinstance(event, CloseConnection)
    assert await client.read_all() == b""
    return event.code


class Running:
    """A server on 127.0.0.1 and a way to connect to it."""

    def __init__(self, server: HttpServer, port: int, nursery: trio.Nursery) -> None:
        self.server = server
        self.port = port
        self.nursery = nursery
        self._streams: list[SocketStream] = []

    async def connect(self) -> Client:
        return Client(await self._open_stream())

    async def connect_websocket(self) -> WebSocketClient:
        return WebSocketClient(await self._open_stream())

    async def _open_stream(self) -> SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self._streams.append(stream)
        return stream

    def hang_up(self) -> None:
        """Close what the test has opened."""
        for stream in self._streams:
            stream.socket.close()

    async def open_websocket(self, path: str = "/ws") -> WebSocketClient:
        client = await self.connect_websocket()
        assert isinstance(await client.open(path), AcceptConnection)
        return client

    async def settle(self, *, connections: int = 0) -> None:
        """Wait until the server has so many connections."""
        await eventually(lambda: self.server.connections == connections)


@contextlib.asynccontextmanager
async def counting_turns() -> AsyncGenerator[Turns, None]:
    """Count how often the scheduler has given another task its turn."""
    turns = Turns()

    async def count() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            turns.count += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        yield turns
        nursery.cancel_scope.cancel()


class Turns:
    """The turns of a task that is always ready to run."""

    def __init__(self) -> None:
        self.count = 0


@contextlib.asynccontextmanager
async def run_server(
    app: ASGIApp, settings: ServerSettings = QUICK
) -> AsyncGenerator[Running, None]:
    """Serve `app` in this process; no connection may be left at the end."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    server = HttpServer(app, settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.accept, listeners, {"from": "lifespan"})
        running = Running(server, port, nursery)
        try:
            yield running
        finally:
            running.hang_up()
        nursery.cancel_scope.cancel()
    assert server.connections == 0


def tls_client_hello() -> bytes:
    """Return what a browser sends to a plain port for an https URL."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(
        incoming, outgoing, server_hostname="example"
    )
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()
