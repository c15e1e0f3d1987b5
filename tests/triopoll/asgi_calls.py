"""The application served by hand: its lifespan and requests without a server."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
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


class Request:
    """One request; the client may leave, or the connection break, at some send."""

    def __init__(self, target: str) -> None:
        self.path, _, self.query = target.partition("?")
        self.sent: list[Event] = []
        self.peer: tuple[str, int] | None = ("127.0.0.1", 1)
        self.leave_at = self.break_at = math.inf
        self.extensions: dict[str, Any] = {}
        self._left = trio.Event()
        self._body_read = False

    @property
    def body(self) -> bytes:
        return b"".join(event.get("body", b"") for event in self.sent)

    async def run(self, app: Triopoll) -> None:
        scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query.encode(),
            "root_path": "",
            "headers": [(b"host", b"h")],
            "client": self.peer,
            "server": ("127.0.0.1", 2),
            "extensions": self.extensions,
            "state": {},
        }
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Event:
        if self._body_read:
            await self._left.wait()
            return {"type": "http.disconnect"}
        self._body_read = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, event: Any) -> None:
        if len(self.sent) == self.break_at:
            raise OSError("the client has left")
        if len(self.sent) == self.leave_at:
            self._left.set()
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        self.sent.append(event)
