"""The websocket endpoints over real sockets, under our own server, in this process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tests.triopoll.inprocess import publish, served
from tests.triopoll.server.harness import Running
from tests.triopoll.support import eventually, open_websocket
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
)

from triopoll.access import issue_ticket

SECRET = "s" * 48


class Peer:
    """A foreign client: trio-websocket."""

    def __init__(self, websocket: WebSocketConnection) -> None:
        self.websocket = websocket

    async def say(self, **shape: Any) -> None:
        await self.websocket.send_message(json.dumps(shape))

    async def hear(self) -> Any:
        with trio.fail_after(10):
            while True:
                shape = json.loads(await self.websocket.get_message())
                if shape != {"type": "ping"}:
                    return shape
                await self.say(type="pong")

    async def follow(self, key: str, cursor: str = "new") -> str:
        item = {"key": key, "cursor": cursor}
        await self.say(type="subscribe", messages=[item])
        answer = await self.hear()
        assert answer["type"] == "subscribed", answer
        return str(answer["cursor"])

    async def closing(self) -> tuple[int, str]:
        """Return the code and the reason with which the server closes."""
        with pytest.raises(ConnectionClosed) as caught:
            await self.hear()
        reason = caught.value.reason
        assert reason is not None
        return reason.code, reason.reason or ""


@asynccontextmanager
async def connected(
    running: Running, path: str = "/v1/ws", **headers: str
) -> AsyncIterator[Peer]:
    async with open_websocket(running.port, path, headers) as websocket:
        peer = Peer(websocket)
        if path.startswith("/v1"):
            assert (await peer.hear())["type"] == "hello"
        yield peer


async def test_messages_come_as_they_are_published(free_port: int) -> None:
    """Through the handshake, the frames and the close; then nobody waits."""
    async with served(free_port) as (app, running):
        async with connected(running) as peer:
            cursor = await peer.follow("k")
            await publish(app, "k", "grüße".encode(), b"2")
            page = await peer.hear()
            assert page["after"] == cursor
            assert [each["data"] for each in page["messages"]] == ["grüße", "2"]
            await peer.say(type="ack", key="k", cursor=page["cursor"])
            await publish(app, "k", b"3")
            assert (await peer.hear())["messages"][0]["data"] == "3"
            assert app.metrics.waits["websocket"].parked == 1
        await eventually(lambda: app.drain.parked == 0)
        assert app.metrics.waits["websocket"].ended == {"disconnect": 1}


async def test_the_style_of_the_polls(free_port: int) -> None:
    """One key by the query, one message a frame, the id sent back for the next."""
    async with served(free_port) as (app, running):
        await publish(app, "k", b"1", b"2")
        async with connected(running, "/poll/ws?event=k&cursor=all") as peer:
            assert (await peer.hear())["id"] == "all"
            for data in ("1", "2"):
                frame = await peer.hear()
                assert (frame["err_code"], frame["data"]) == (0, data)
                await peer.websocket.send_message(frame["id"])
        async with connected(running, f"/poll/ws?event=k&cursor={frame['id']}") as peer:
            assert (await peer.hear())["id"] == frame["id"]
            await publish(app, "k", b"3")
            assert (await peer.hear())["data"] == "3"


@pytest.mark.parametrize(
    "query",
    [
        *("", "event=", "event=%ff", "event=k&event=l", "event=k&cursor=x"),
        *("event=k&cursor=new&cursor=all", "event=" + "k" * 300, "&".join(["a"] * 99)),
    ],
)
async def test_a_bad_query_is_a_denied_handshake(free_port: int, query: str) -> None:
    """With a status and a sentence."""
    async with served(free_port) as (_, running):
        with pytest.raises(ConnectionRejected) as caught:
            async with connected(running, f"/poll/ws?{query}"):
                pass
        assert caught.value.status_code == 400
        assert json.loads(caught.value.body or b"")["code"] == "bad_request"


async def test_websockets_can_be_switched_off(free_port: int) -> None:
    """A client then stays with polls."""
    async with served(free_port, websockets=False) as (_, running):
        with pytest.raises(ConnectionRejected) as caught:
            async with connected(running):
                pass
        assert caught.value.status_code == 404
        assert json.loads(caught.value.body or b"")["code"] == "websockets_off"


async def test_too_many_websockets_are_denied(free_port: int) -> None:
    """As many as waits are allowed."""
    async with served(free_port, max_waits=2) as (_, running):
        async with connected(running), connected(running):
            with pytest.raises(ConnectionRejected) as caught:
                async with connected(running):
                    pass
        assert caught.value.status_code == 503


async def test_a_ticket_is_needed_where_tickets_are_asked_for(free_port: int) -> None:
    """In the header or the query; each key must be granted; it ends the websocket."""
    async with served(free_port, ticket_secrets=SECRET) as (app, running):
        with pytest.raises(ConnectionRejected) as caught:
            async with connected(running):
                pass
        assert caught.value.status_code == 401
        ticket = issue_ticket(SECRET, keys=["mine*"], lifetime=3)
        with pytest.raises(ConnectionRejected) as caught:
            async with connected(running, f"/poll/ws?event=other&ticket={ticket}"):
                pass
        assert caught.value.status_code == 403
        async with connected(running, Authorization=f"Bearer {ticket}") as peer:
            await peer.say(type="subscribe", messages=[{"key": "other"}])
            assert (await peer.hear())["code"] == "forbidden"
            await peer.follow("mine.1")
            await publish(app, "other", b"secret")
            await publish(app, "mine.1", b"1")
            assert (await peer.hear())["messages"][0]["data"] == "1"
            assert await peer.closing() == (1008, "ticket_expired")


async def test_a_silent_client_is_closed(free_port: int) -> None:
    """Our own pong deadline, whatever server this runs under."""
    async with served(free_port, websocket_ping=0.2) as (_, running):
        async with connected(running) as peer:
            with trio.fail_after(5), pytest.raises(ConnectionClosed) as caught:
                while True:
                    await peer.websocket.get_message()
            reason = caught.value.reason
            assert reason is not None
            assert (reason.code, reason.reason) == (1008, "no answer to a ping")


async def test_the_drain_closes_with_1012(free_port: int) -> None:
    """Each websocket, with a subscription or without; new ones are denied."""
    async with served(free_port) as (app, running):
        async with connected(running) as idle, connected(running) as parked:
            await parked.follow("k")
            await app.drain.release(0)
            assert (await idle.closing())[0] == 1012
            assert (await parked.closing())[0] == 1012
            with pytest.raises(ConnectionRejected) as caught:
                async with connected(running):
                    pass
            assert caught.value.status_code == 503
