"""A server on asyncio, played by hand: its side of a call and of a lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from triopoll.asgi.types import ASGIApp

Event = dict[str, Any]
Endpoint = Callable[[Any, Any, Any], Awaitable[None]]
Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Server:
    """The server's side of one call."""

    def __init__(self, kind: str = "http", extensions: Any = None) -> None:
        self.scope: Any = {"type": kind, "path": "/"}
        if extensions is not None:
            self.scope["extensions"] = extensions
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.received = 0
        self.sent: list[Event] = []
        self.on_send: Callable[[Event], Awaitable[None]] | None = None

    def tell(self, kind: str, **fields: Any) -> None:
        self.events.put_nowait({"type": kind, **fields})

    async def receive(self) -> Event:
        event = await self.events.get()
        self.received += 1
        return event

    async def send(self, event: Any) -> None:
        if self.on_send is not None:
            await self.on_send(event)
        self.sent.append(event)

    async def call(self, app: ASGIApp) -> None:
        await app(self.scope, self.receive, self.send)


class Lifespan(Server):
    """The server's side of the lifespan."""

    def __init__(self) -> None:
        super().__init__("lifespan")
        self.told = asyncio.Event()

    async def send(self, event: Any) -> None:
        await super().send(event)
        self.told.set()

    async def ask(self, what: str) -> Event:
        self.told.clear()
        self.tell(f"lifespan.{what}")
        await asyncio.wait_for(self.told.wait(), 5)
        return self.sent[-1]


async def live(receive: Any, send: Any) -> None:
    """A lifespan that starts and stops."""
    for what in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{what}"
        await send({"type": f"lifespan.{what}.complete"})


async def answer(send: Any, body: bytes = b"hello") -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def get(**options: Any) -> Server:
    server = Server(**options)
    server.tell("http.request", body=b"", more_body=False)
    return server


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)
