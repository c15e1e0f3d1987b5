"""Websockets under each server, on real backends, with two different clients."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from tests.triopoll.service import Process, ask
from tests.triopoll.support import open_websocket
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection

from triopoll.client import open_poll_client


async def hear(websocket: WebSocketConnection) -> Any:
    with trio.fail_after(10):
        return json.loads(await websocket.get_message())


async def say(websocket: WebSocketConnection, **shape: Any) -> None:
    await websocket.send_message(json.dumps(shape))


async def until_websockets(service: Process, count: int) -> None:
    """Return once the service counts that many websockets."""
    with trio.fail_after(10):
        while True:
            text = (await ask(service.port, "/metrics")).body.decode()
            lines = [line for line in text.splitlines() if 'd="websocket"' in line]
            numbers = [line for line in lines if "_ended" not in line]
            if any(line.endswith((f" {count}", f" {count}.0")) for line in numbers):
                return
            assert numbers, text
            await trio.sleep(0.02)


async def test_pages_and_acknowledgements(service: Process, key: str) -> None:
    """Messages published by HTTP arrive by websocket, with the same ids."""
    async with (
        open_poll_client(f"http://127.0.0.1:{service.port}") as client,
        open_websocket(service.port, "/v1/ws", {}) as websocket,
    ):
        assert (await hear(websocket))["type"] == "hello"
        item = {"key": key, "max": 2}
        await say(websocket, type="subscribe", messages=[item])
        subscribed = await hear(websocket)
        published = [await client.publish(key, data) for data in ("a", b"\xff", "ü")]
        pages: list[Any] = []
        cursor = subscribed["cursor"]
        while sum(len(page["messages"]) for page in pages) < 3:
            page = await hear(websocket)
            assert (page["type"], page["after"]) == ("messages", cursor)
            pages.append(page)
            cursor = page["cursor"]
            await say(websocket, type="ack", key=key, cursor=cursor)
        messages = [message for page in pages for message in page["messages"]]
        assert [message["id"] for message in messages] == [
            each.id for each in published
        ]
        args = {"key": key, "cursor": subscribed["cursor"], "timeout": "0"}
        by_poll = (await ask(service.port, "/v1/messages", **args)).json
        assert by_poll["messages"] == messages
        assert by_poll["cursor"] == cursor
        await until_websockets(service, 1)
    await until_websockets(service, 0)


async def test_a_bad_handshake_is_denied(service: Process) -> None:
    """With its status; servers without the denial extension answer 403."""
    with pytest.raises(ConnectionRejected) as caught:
        async with open_websocket(service.port, "/poll/ws?event=", {}):
            pass
    assert caught.value.status_code in (400, 403)


@pytest.mark.parametrize(
    ("frame", "code"), [(b"{}", 1003), ("x" * 65_537, 1009)], ids=["binary", "long"]
)
async def test_a_frame_that_ends_it(
    request: pytest.FixtureRequest, service: Process, frame: str | bytes, code: int
) -> None:
    """The close code arrives, whichever layer enforces the limit."""
    if request.node.callspec.params["service"] == "granian":
        pytest.skip("under granian the close codes do not arrive")
    async with open_websocket(service.port, "/v1/ws", {}) as websocket:
        await websocket.send_message(frame)
        with trio.fail_after(10), pytest.raises(ConnectionClosed) as caught:
            while True:
                await websocket.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == code


async def test_a_client_that_resets_is_noticed(service: Process, key: str) -> None:
    """A parked client that resets its connection is detected."""
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    async with await trio.open_tcp_stream("127.0.0.1", service.port) as stream:
        await stream.send_all(
            b"GET /poll/ws?event=%b HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % key.encode()
        )
        assert b"101" in await stream.receive_some()
        await until_websockets(service, 1)
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
    await until_websockets(service, 0)


@pytest.mark.slow
async def test_our_client(service: Process, key: str) -> None:
    """triopoll.client uses both transports in turn, from the last cursor."""
    async with open_poll_client(f"http://127.0.0.1:{service.port}") as client:
        cursor, taken = "all", list[str]()
        for n in range(4):
            await client.publish(key, str(2 * n))
            only = ["poll"] if n % 2 else ["websocket"]
            async with client.subscribe(
                key, cursor=cursor, transports=only
            ) as messages:
                with trio.fail_after(10):
                    taken.append((await anext(messages)).text)
                    await client.publish(key, str(2 * n + 1))
                    taken.append((await anext(messages)).text)
                cursor = messages.cursor
    assert taken == [str(n) for n in range(8)]
