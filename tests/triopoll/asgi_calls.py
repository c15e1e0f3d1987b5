"""The application served by hand: its lifespan and calls without a server."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from triopoll.app import Triopoll

Event = dict[str, Any]


class Lifespan:
    """The server's side of a lifespan."""

    def __init__(self) -> None:
        self.to_app, self.from_server = trio.open_memory_channel[Event](9)
        self.to_server, self.from_app = trio.open_memory_channel[Event](9)

    async def run(self, app: Triopoll) -> None:
        scope: Any = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        await app(scope, self.from_server.receive, self.to_server.send)

    async def ask(self, kind: str) -> Event:
        await self.to_app.send({"type": f"lifespan.{kind}"})
        with trio.fail_after(10):
            return await self.from_app.receive()


@asynccontextmanager
async def serving(app: Triopoll) -> AsyncIterator[Triopoll]:
    """Start the application and shut it down behind the block."""
    lifespan = Lifespan()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lifespan.run, app)
        assert await lifespan.ask("startup") == {"type": "lifespan.startup.complete"}
        yield app
        assert await lifespan.ask("shutdown") == {"type": "lifespan.shutdown.complete"}


async def refused(app: Triopoll) -> str:
    """Try to start the application; return why it does not."""
    lifespan = Lifespan()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lifespan.run, app)
        answer = await lifespan.ask("startup")
        assert answer["type"] == "lifespan.startup.failed"
        nursery.cancel_scope.cancel()
    return str(answer["message"])


class Call:
    """One HTTP request or websocket, from the server's side.

    Attributes:
        sent: What the application has sent.
        leave_at: The client disconnects at this send, which does not return.
        break_at: The connection breaks at this send.
        leaves_in_last_send: The disconnect is reported from inside the last send, which
            goes on behind it.
        last_send_completed: Whether it did so to its end.
    """

    def __init__(
        self,
        target: str,
        *,
        method: str = "GET",
        body: bytes | None = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
        kind: str = "http",
        root_path: str = "",
    ) -> None:
        """Prepare the call; a body of None never arrives."""
        self.path, _, self.query = target.partition("?")
        self.method = method
        self.kind = kind
        self.root_path = root_path
        self.request_headers = [(b"host", b"localhost"), *headers]
        if body is None or body:
            self.request_headers.append((b"content-length", b"%d" % len(body or b"x")))
        self.request_body = body
        self.sent: list[Event] = []
        self.peer: tuple[str, int] | None = ("127.0.0.1", 1)
        self.leave_at = self.break_at = math.inf
        self.leaves_in_last_send = self.last_send_completed = False
        self.extensions: dict[str, Any] = {}
        self._left = trio.Event()
        self._body_read = False

    @property
    def status(self) -> int:
        """Return the status of the response, or of a denied handshake."""
        status = self.sent[0].get("status", 101)
        assert isinstance(status, int)
        return status

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return list(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(event.get("body", b"") for event in self.sent)

    def leave(self) -> None:
        """Disconnect."""
        self._left.set()

    async def run(self, app: Triopoll) -> None:
        scope: Any = {
            "type": self.kind,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http" if self.kind == "http" else "ws",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query.encode(),
            "root_path": self.root_path,
            "headers": self.request_headers,
            "client": self.peer,
            "server": ("127.0.0.1", 2),
            "extensions": self.extensions,
            "state": {},
        }
        if self.kind == "http":
            scope["method"] = self.method
        else:
            scope["subprotocols"] = []
            scope["extensions"] = {"websocket.http.response": {}, **self.extensions}
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Event:
        if self._body_read:
            await self._left.wait()
            return {"type": f"{self.kind}.disconnect"}
        self._body_read = True
        if self.kind == "websocket":
            return {"type": "websocket.connect"}
        if self.request_body is None:
            await trio.sleep_forever()
        return {"type": "http.request", "body": self.request_body, "more_body": False}

    async def _send(self, event: Any) -> None:
        if len(self.sent) == self.break_at:
            raise OSError("the client has left")
        if len(self.sent) == self.leave_at:
            self._left.set()
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        self.sent.append(event)
        last = event["type"] == "http.response.body" and not event.get("more_body")
        if self.leaves_in_last_send and last:
            self._left.set()
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            self.last_send_completed = True
