"""One websocket: handshake, messages, pings, and every way for it to end."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing
from tests.triopoll.server.harness import (
    HASTY,
    QUICK,
    WebSocketClient,
    closed,
    counting_turns,
    run_server,
)
from tests.triopoll.server.park_app import ParkApp
from tests.triopoll.support import eventually
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    TextMessage,
)

HANDSHAKE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """Build a client's frame by hand, also such that no library would send."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
    return bytes([opcode | 0x80 * fin]) + length + b"\0\0\0\0" + payload


async def test_messages_come_back_whole() -> None:
    """Text, bytes, empty ones, fragments, and one of exactly the greatest size."""
    async with run_server(ParkApp()) as running:
        client = await running.open_websocket()
        big = "\xe9" * (QUICK.websocket_max_message_bytes // 2)
        for event in (
            TextMessage(data="h\xe9llo"),
            BytesMessage(data=b"\0\xff"),
            TextMessage(data=""),
            BytesMessage(data=b""),
        ):
            await client.tell(event)
            assert await client.next() == event
        await client.tell(TextMessage(data="frag", message_finished=False))
        await client.tell(TextMessage(data="ments"))
        assert await client.next() == TextMessage(data="fragments")
        await client.tell(TextMessage(data=big))
        got = ""
        while len(got) < len(big):
            event = await client.next()
            assert isinstance(event, TextMessage)
            got += event.data
        assert got == big


async def test_many_messages_in_one_read_keep_their_order() -> None:
    """They wait as bytes and come one by one."""
    async with run_server(ParkApp()) as running:
        client = await running.open_websocket()
        await client.send(b"".join(frame(1, b"%d" % i) for i in range(1000)))
        got = [await client.next() for _ in range(1000)]
        assert got == [TextMessage(data=str(i)) for i in range(1000)]


async def test_a_frame_behind_the_handshake_is_not_lost() -> None:
    """A client may be too early; that ended Hypercorn's process."""
    app = ParkApp()
    async with run_server(app) as running:
        client = await running.connect()
        await client.send(
            f"GET /ws HTTP/1.1\r\nHost: h\r\n{HANDSHAKE}\r\n".encode() + frame(1, b"x")
        )
        data = await client.read_head()
        assert data.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in data
        await eventually(lambda: bool(app.scopes))
        assert (await client.stream.receive_some() if data[-1:] == b"\n" else data)[
            -1:
        ] == b"x"


async def test_the_scope_of_a_websocket() -> None:
    """Scheme, subprotocols and the extension for denials are there."""
    app = ParkApp()
    async with run_server(app) as running:
        client = await running.connect_websocket()
        await client.open(subprotocols=["a", "b"])
    assert app.scopes[0]["type"] == "websocket"
    assert app.scopes[0]["scheme"] == "ws"
    assert app.scopes[0]["subprotocols"] == ["a", "b"]
    assert app.scopes[0]["extensions"] == {"websocket.http.response": {}}


async def accepting(
    accept: dict[str, Any], scope: Any, receive: Any, send: Any
) -> None:
    await receive()
    await send({"type": "websocket.accept", **accept})
    await receive()


async def test_the_application_chooses_subprotocol_and_headers() -> None:
    """Both are in the answer to the handshake."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        accept = {"subprotocol": "b", "headers": [(b"x-y", b"z")]}
        await accepting(accept, scope, receive, send)

    async with run_server(app) as running:
        client = await running.connect_websocket()
        event = await client.open(subprotocols=["a", "b"])
        assert isinstance(event, AcceptConnection)
        assert event.subprotocol == "b"
        assert (b"x-y", b"z") in event.extra_headers


async def test_a_subprotocol_that_was_not_offered_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client hears 503, the log hears why."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepting({"subprotocol": "c"}, scope, receive, send)

    async with run_server(app) as running:
        client = await running.connect_websocket()
        event = await client.open(subprotocols=["a"])
        assert isinstance(event, RejectConnection)
        assert event.status_code == 503
    assert "did not offer 'c'" in caplog.text


async def test_a_handshake_answered_with_a_response() -> None:
    """The denial extension: Quart's 404 for an unknown path arrives as 404."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kind = "websocket.http.response"
        await receive()
        await send({"type": f"{kind}.start", "status": 404, "headers": []})
        await send({"type": f"{kind}.body", "body": b"not ", "more_body": True})
        await send({"type": f"{kind}.body", "body": b"here", "more_body": True})
        await send({"type": f"{kind}.body", "more_body": False})

    async with run_server(app) as running:
        client = await running.connect()
        await client.get("/ws", HANDSHAKE)
        data = await client.read_all()
        assert data.startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert b"not \r\n4\r\nhere" in data


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("Version: 13", "Version: 8", b"426"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short", b"400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", b"400"),
        ("Sec-WebSocket-Key", "X-Other", b"400"),
    ],
)
async def test_a_bad_handshake_is_refused(old: str, new: str, status: bytes) -> None:
    """By a status that says what is wrong."""
    async with run_server(ParkApp()) as running:
        client = await running.connect()
        await client.get("/ws", HANDSHAKE.replace(old, new))
        assert (await client.read_all()).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(("data", "code"), [
    (frame(1, b"\xff\xfe"), 1007),
    (frame(3, b""), 1002),
    (frame(9, b"x" * 126), 1002),
    (frame(9, b"", fin=False), 1002),
    (frame(0, b"x"), 1002),
    (b"\xc1\x80\0\0\0\0", 1002),
    (b"\x81\x01x", 1002),
    (frame(8, b"\x03"), 1002),
    (frame(2, b"x" * 65_000, fin=False) + frame(0, b"x" * 1_000), 1009),
    (frame(8, struct.pack("!H", 4321)), 4321),
    (frame(8, b""), 1005),
])  # fmt: skip
async def test_what_ends_a_websocket(data: bytes, code: int) -> None:
    """Bad UTF-8, bad frames, too much, and the client's own close are answered."""
    app = ParkApp()
    async with run_server(app) as running:
        client = await running.open_websocket()
        await client.send(data)
        assert await closed(client) == code
        await client.send(frame(1, b"after the close"))
        await running.settle()
    assert sum(app.seen.values()) == 1


async def test_a_message_of_tiny_fragments_is_bounded() -> None:
    """A limit of 8,192 bytes and 8,193 fragments of a byte: one is too much."""
    settings = replace(QUICK, websocket_max_message_bytes=8192)
    async with run_server(ParkApp(), settings) as running:
        for count, whole in ((8192, True), (8193, False)):
            client = await running.open_websocket()
            fragments = frame(0, b"x", fin=False) * (count - 1) + frame(0, b"x")
            await client.send(frame(2, b"", fin=False) + fragments)
            if whole:
                assert await client.next() == BytesMessage(data=b"x" * 8192)
            else:
                assert await closed(client) == 1009


async def test_pings_are_answered() -> None:
    """With their payload."""
    async with run_server(ParkApp()) as running:
        client = await running.open_websocket()
        await client.tell(Ping(payload=b"abc"))
        assert await client.next() == Pong(payload=b"abc")


@pytest.mark.slow
async def test_a_client_that_answers_pings_stays() -> None:
    """A silent but living peer is not cut."""
    app = ParkApp()
    async with run_server(app, HASTY) as running:
        client = await running.open_websocket()
        for _ in range(3):
            event = await client.next()
            assert isinstance(event, Ping)
            await client.tell(event.response())
        await client.tell(TextMessage(data="still here"))
        assert await client.next() == TextMessage(data="still here")
    assert app.seen["closed 1006"] == 0


@pytest.mark.slow
async def test_a_client_that_answers_no_ping_is_cut() -> None:
    """A dead peer is noticed after the pong deadline."""
    app = ParkApp()
    async with run_server(app, HASTY) as running:
        client = await running.open_websocket()
        assert isinstance(await client.next(), Ping)
        await eventually(lambda: app.seen["closed 1006"] == 1)
        await running.settle()
        await client.stream.aclose()


async def test_a_peer_that_leaves_is_noticed() -> None:
    """Without a close frame it is 1006."""
    app = ParkApp()
    async with run_server(app) as running:
        client = await running.open_websocket()
        client.reset()
        await eventually(lambda: app.seen["closed 1006"] == 1)


async def test_a_peer_that_leaves_in_its_handshake_is_noticed() -> None:
    """Before the application has answered it."""
    app = ParkApp()
    done = trio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert (await receive())["type"] == "websocket.disconnect"
        done.set()

    async with run_server(slow) as running:
        for data in (b"early", b"x" * 100_000):
            client = await running.connect()
            await client.get("/ws", HANDSHAKE)
            await client.send(data)
            if len(data) < 100:
                await client.stream.aclose()
            with trio.fail_after(5):
                await done.wait()
            done = trio.Event()
    assert not app.seen


async def test_the_application_closes() -> None:
    """Its code and reason arrive; the connection ends when the peer has answered."""
    async with run_server(ParkApp()) as running:
        client = await running.open_websocket()
        await client.tell(TextMessage(data="close"))
        event = await client.next()
        assert event == CloseConnection(code=4000, reason="bye")
        await client.tell(event.response())
        assert await client.read_all() == b""


@pytest.mark.slow
async def test_a_client_that_does_not_read_is_cut() -> None:
    """A slow reader is cut by the write deadline, not buffered for."""
    app = ParkApp()
    async with run_server(app, HASTY) as running:
        client = await running.open_websocket()
        big = frame(2, b"x" * 60_000)
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(5):
            await client.send(big * 1000)
        await running.settle()


async def test_the_drain_closes_with_1012() -> None:
    """Also a websocket whose application is not in `receive`, when it is cut."""
    app = ParkApp()

    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await trio.sleep_forever()

    async with run_server(app) as running:
        client = await running.open_websocket()
        running.nursery.start_soon(running.server.drain_all)
        assert await closed(client) == 1012
        await running.settle()
        assert app.seen["closed 1012"] == 1
        assert running.server.cut == 0
    async with run_server(deaf, replace(QUICK, drain_grace=0.0)) as running:
        client = await running.open_websocket()
        running.nursery.start_soon(running.server.drain_all)
        assert await closed(client) == 1001
        assert running.server.cut == 1


async def test_wrong_messages_are_the_applications_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Sending before accepting, accepting twice, another protocol's messages."""
    errors: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        accept = {"type": "websocket.accept"}
        wrong = [{"type": "websocket.send", "text": "x"}, accept, accept]
        for message in [*wrong, {"type": "http.response.start"}]:
            try:
                await send(message)
            except RuntimeError as error:
                errors.append(str(error))
        await send({"type": "websocket.close"})
        await send({"type": "websocket.send", "text": "x"})

    async with run_server(app) as running:
        client = await running.open_websocket("/ws")
        assert await closed(client) == 1000
    assert errors == [
        "the websocket has not been accepted",
        "the handshake has been answered already",
        "'http.response.start' is not a message of a websocket",
    ]
    assert not caplog.records, (
        "sending after the close raises what ASGI says, and is not logged"
    )


async def test_two_reasons_to_close_at_once() -> None:
    """The application closes in one task while another one is in receive()."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            await send({"type": "websocket.close", "code": 4001})
            await send({"type": "websocket.close", "code": 4002})

    async with run_server(app) as running:
        client = await running.open_websocket()
        assert await closed(client) == 4001


async def test_a_message_behind_a_close_is_dropped() -> None:
    """In the same read or in a later one: the websocket is closed."""
    app = ParkApp()
    async with run_server(app) as running:
        client = await running.open_websocket()
        await client.send(frame(8, struct.pack("!H", 1000)) + frame(1, b"late"))
        assert await closed(client) == 1000
    assert dict(app.seen) == {"closed 1000": 1}


async def test_a_denial_without_a_body() -> None:
    """Its head is written; an empty piece is not."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kind = "websocket.http.response"
        await receive()
        await send({"type": f"{kind}.start", "status": 404, "headers": []})
        for more in (True, True, False):
            await send({"type": f"{kind}.body", "body": b"", "more_body": more})

    async with run_server(app) as running:
        client = await running.connect()
        await client.get("/ws", HANDSHAKE)
        data = await client.read_all()
        assert data.startswith(b"HTTP/1.1 404 ")
        assert data.endswith(b"\r\n\r\n0\r\n\r\n")


async def test_a_handshake_that_is_denied() -> None:
    """Closing before accepting is 403."""
    async with run_server(ParkApp()) as running:
        client = await running.connect()
        await client.get("/deny", HANDSHAKE)
        data = await client.read_all()
        assert data.startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert data.endswith(b"\r\n\r\nForbidden\n")


@pytest.mark.parametrize(
    "filler",
    [frame(0, b"", fin=False), frame(9, b""), frame(10, b"")],
    ids=["empty fragments", "pings", "pongs"],
)
async def test_tiny_frames_let_other_connections_have_their_turn(filler: bytes) -> None:
    """A few in a turn, although none of them has to wait for anything."""
    begun: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["text"] == "go"
        begun.append(turns.count)
        assert (await receive())["bytes"] == b"end"
        begun.append(turns.count)

    async with counting_turns() as turns, run_server(app) as running:
        client = await running.open_websocket()
        await client.send(
            frame(1, b"go")
            + (frame(2, b"", fin=False) + filler * 800 + frame(0, b"end"))
        )
        assert await closed_behind(client) == 1000
    start, end = begun
    # In one pass of the scheduler either task may come first.
    assert end - start >= 800 // 16 - 2


async def test_many_messages_let_other_connections_have_their_turn() -> None:
    """Also where the application handles each without waiting."""
    begun: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(800):
            assert (await receive())["type"] == "websocket.receive"
            begun.append(turns.count)

    async with counting_turns() as turns, run_server(app) as running:
        client = await running.open_websocket()
        await client.send(frame(1, b"x") * 800)
        assert await closed(client) == 1000
    assert begun[-1] - begun[0] >= 800 // 16 - 2


async def test_a_receive_that_is_cancelled_between_frames_loses_none() -> None:
    """Wherever the cancellation comes: all messages arrive, in order."""
    got: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while len(got) < 300:
            with trio.CancelScope() as scope_:
                scope_.cancel()
                got.append((await receive())["text"])
            if scope_.cancelled_caught:
                got.append((await receive())["text"])

    async with run_server(app) as running:
        client = await running.open_websocket()
        await client.send(b"".join(frame(1, b"%d" % i) for i in range(300)))
        assert await closed(client) == 1000
    assert got == [str(i) for i in range(300)]


async def closed_behind(client: WebSocketClient) -> int:
    """Return the code of the close frame, behind any pongs."""
    while not isinstance(event := await client.next(), CloseConnection):
        assert isinstance(event, Pong)
    return event.code
