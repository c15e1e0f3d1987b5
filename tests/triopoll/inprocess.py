"""The service in this process, over real sockets, and what may stand before it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import trio
from tests.triopoll.asgi_calls import serving
from tests.triopoll.server.harness import QUICK, Running, run_server

from triopoll.app import Triopoll
from triopoll.settings import Settings
from triopoll.store import NewMessage


@asynccontextmanager
async def served(port: int, **settings: Any) -> AsyncIterator[tuple[Triopoll, Running]]:
    """The service; its engine listens on a port, its messages are in memory."""
    app = Triopoll(Settings(slock_url=f"embedded://127.0.0.1:{port}", **settings))
    async with serving(app), run_server(app, QUICK) as running:
        yield app, running


async def publish(app: Triopoll, key: str, *data: bytes) -> None:
    """Store messages, then wake."""
    services = app.services()
    await services.log.append([NewMessage(key, each) for each in data])
    await services.notifier.notify(key)


@dataclass
class Proxy:
    """A middlebox with opinions; they can be changed while it runs.

    Attributes:
        port: Where it listens.
        polls: What it does to a request: lets it pass; cuts its connection after
            `patience`; answers it with 502 then.
        websockets: What it does to an upgrade: lets it pass; turns it down; lets it
            through and kills it after `patience`.
        patience: Seconds.
        requests: How many it has seen, upgrades left out.
        upgrades: How many of these.
    """

    port: int = 0
    polls: Literal["pass", "cut", "refuse"] = "pass"
    websockets: Literal["pass", "kill", "refuse"] = "pass"
    patience: float = 0.2
    requests: int = 0
    upgrades: int = 0
    _connections: set[trio.CancelScope] = field(default_factory=set)

    def hang_up(self) -> None:
        """End all connections that are open."""
        for scope in self._connections:
            scope.cancel()

    async def serve(self, target: int, client: trio.SocketStream) -> None:
        async with client, await trio.open_tcp_stream("127.0.0.1", target) as server:
            try:
                async with trio.open_nursery() as nursery:
                    self._connections.add(nursery.cancel_scope)
                    nursery.start_soon(self._back, server, client, nursery.cancel_scope)
                    await self._forth(client, server, nursery)
                    nursery.cancel_scope.cancel()
            except* (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

    async def _forth(
        self,
        client: trio.SocketStream,
        server: trio.SocketStream,
        nursery: trio.Nursery,
    ) -> None:
        websocket = False
        async for data in client:
            if b"upgrade: websocket" in data.lower():
                websocket = True
                self.upgrades += 1
                if self.websockets == "refuse":
                    await client.send_all(_BAD_GATEWAY)
                    return
                if self.websockets == "kill":
                    nursery.start_soon(self._kill, nursery)
            elif not websocket:
                self.requests += data.count(b" HTTP/1.1\r\n")
                if self.polls == "refuse":
                    await trio.sleep(self.patience)
                    await client.send_all(_BAD_GATEWAY)
                    return
                if self.polls == "cut" and b"timeout=0&" not in data:
                    nursery.start_soon(self._kill, nursery)
            await server.send_all(data)

    async def _kill(self, nursery: trio.Nursery) -> None:
        await trio.sleep(self.patience)
        nursery.cancel_scope.cancel()

    async def _back(
        self,
        server: trio.SocketStream,
        client: trio.SocketStream,
        end: trio.CancelScope,
    ) -> None:
        async for data in server:
            await client.send_all(data)
        end.cancel()


_BAD_GATEWAY = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\nConnection: close\r\n\r\nOops"
)


@asynccontextmanager
async def proxy_to(target: int, **opinions: Any) -> AsyncIterator[Proxy]:
    """A proxy to a port of this machine."""
    proxy = Proxy(**opinions)
    async with trio.open_nursery() as nursery:
        serve = partial(
            trio.serve_tcp, partial(proxy.serve, target), 0, host="127.0.0.1"
        )
        listeners = await nursery.start(serve)
        proxy.port = listeners[0].socket.getsockname()[1]
        yield proxy
        nursery.cancel_scope.cancel()
