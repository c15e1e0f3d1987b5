"""The application behind the endpoints: the body, the disconnect, the headers."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from tests.triopoll.access.asking import ask
from trio.testing import wait_all_tasks_blocked

from triopoll.access.cors import Cors
from triopoll.api.fallback import FallbackExchange

PAGE = "https://app.example"
START = {"type": "http.response.start", "status": 200, "headers": []}
LAST = {"type": "http.response.body", "body": b"x"}


class Server:
    """A server whose client disconnects when it is told to."""

    def __init__(self, **request: Any) -> None:
        self.sent: list[Any] = []
        self.counted: list[int] = []
        self.left = trio.Event()
        self.fault: OSError | None = None
        self.exchange = FallbackExchange(
            *(ask(**request), self._receive, self._send, self._finish, Cors([PAGE])),
        )

    async def _receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if self.fault is not None:
            raise self.fault
        await trio.lowlevel.checkpoint()
        self.sent.append(message)

    def _finish(self, status: int) -> Any:
        self.counted.append(status)
        return ((b"x-content-type-options", b"nosniff"),)


async def test_the_body_then_the_disconnect() -> None:
    """The body has been read, so it comes in one piece."""
    server = Server(body=b"hello")
    first = await server.exchange.receive_http()
    assert first == {"type": "http.request", "body": b"hello", "more_body": False}
    server.left.set()
    assert (await server.exchange.receive_http())["type"] == "http.disconnect"


async def test_a_disconnect_waits_for_the_last_send() -> None:
    """It would cancel it; and whoever waits for it learns of it then."""
    server = Server()
    exchange = server.exchange
    seen: list[str] = []

    async def watch() -> None:
        await exchange.receive_http()
        seen.append((await exchange.receive_http())["type"])

    async def slow_send(message: Any) -> None:
        server.left.set()
        await wait_all_tasks_blocked()
        assert seen == []
        server.sent.append(message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await exchange.send(START)
        exchange._send = slow_send
        await exchange.send(LAST)
    assert seen == ["http.disconnect"]
    assert server.sent[-1] == LAST


async def test_headers_are_added_and_counted_once() -> None:
    """What the application has set stays."""
    server = Server()
    own = [(b"X-Content-Type-Options", b"mine")]
    await server.exchange.send({**START, "headers": own})
    await server.exchange.send(LAST)
    assert server.sent[0]["headers"] == own
    assert server.counted == [200]
    assert server.exchange.started


async def test_a_preflight_names_the_methods_of_the_route() -> None:
    """As its Allow header does."""
    headers = {"origin": PAGE, "access-control-request-method": "PUT"}
    server = Server(method="OPTIONS", headers=headers)
    await server.exchange.send({**START, "headers": [(b"allow", b"PUT, OPTIONS")]})
    given = dict(server.sent[0]["headers"])
    assert given[b"access-control-allow-methods"] == b"PUT, OPTIONS"


async def test_a_connection_that_breaks() -> None:
    """The error passes, and the exchange says so."""
    server = Server()
    server.fault = OSError("gone")
    with pytest.raises(OSError, match="gone"):
        await server.exchange.send(START)
    assert server.exchange.broken
    assert not server.exchange.started


async def test_a_websocket_that_is_refused_is_counted() -> None:
    """A close before the accept is a 403; one behind it is none."""
    server = Server()
    await server.exchange.send({"type": "websocket.close"})
    assert server.counted == [403]
    server = Server()
    await server.exchange.send({"type": "websocket.accept"})
    await server.exchange.send({"type": "websocket.close"})
    assert server.counted == []
