"""One client: its requests, its leaving, its bad manners. The server in process."""

from __future__ import annotations

import logging
from dataclasses import replace
from unittest.mock import ANY

import pytest
import trio
from tests.triopoll.server.harness import (
    HASTY,
    QUICK,
    Client,
    run_server,
    tls_client_hello,
)
from tests.triopoll.server.park_app import ParkApp, answer
from tests.triopoll.support import eventually

from triopoll.asgi.messages import ACKNOWLEDGED, CANCELS
from triopoll.server import ServerSettings

HELLO_TLS = tls_client_hello()


async def wait_seen(app: ParkApp, what: str, count: int = 1) -> None:
    await eventually(lambda: app.seen[what] >= count)
    assert app.seen[what] == count


async def test_two_requests_on_one_connection() -> None:
    """Keep-alive: the second answer comes over the same socket."""
    async with run_server(ParkApp()) as running:
        client = await running.connect()
        for _ in range(2):
            await client.get()
            data = await client.read_answer()
            assert data.startswith(b"HTTP/1.1 200 OK\r\n")
            assert data.endswith(b"\r\n\r\nhello")


async def test_the_scope_is_what_asgi_says() -> None:
    """Path decoded, query raw, addresses and the lifespan's state included."""
    app = ParkApp()
    async with run_server(app) as running:
        client = await running.connect()
        await client.get("/caf%C3%A9%20/%ff?a=%20b")
        await client.read_answer()
        me = client.stream.socket.getsockname()
    (scope,) = app.scopes
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/caf\xe9 /\ufffd",
        "raw_path": b"/caf%C3%A9%20/%ff",
        "query_string": b"a=%20b",
        "root_path": "",
        "headers": [(b"host", b"h")],
        "client": me,
        "server": ("127.0.0.1", running.port),
        "state": {"from": "lifespan"},
        "extensions": {CANCELS: {}, ACKNOWLEDGED: {"wait": ANY}},
    }


async def leave_by(how: str, client: Client) -> None:
    if how == "FIN":
        await client.stream.aclose()
    elif how == "RST":
        client.reset()
    else:
        await client.stream.send_eof()


@pytest.mark.parametrize("leave", ["FIN", "RST", "half close"])
@pytest.mark.parametrize("pipelined", [b"", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 3])
async def test_a_parked_poll_ends_when_its_client_leaves(
    leave: str, pipelined: bytes
) -> None:
    """However the client leaves, and whatever it sent before, the handler ends."""
    app = ParkApp()
    async with run_server(app) as running:
        clients = [await running.connect() for _ in range(20)]
        for client in clients:
            await client.get("/park")
            await client.send(pipelined)
        await eventually(lambda: app.parked == 20)
        for client in clients:
            await leave_by(leave, client)
        await wait_seen(app, "gone", 20)
        await running.settle()
    assert app.parked == 0
    assert app.seen["again"] == 0


@pytest.mark.parametrize("leave", ["FIN", "RST", "half close"])
@pytest.mark.parametrize("pipelined", [b"", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 3])
async def test_an_application_that_does_not_listen_is_cancelled(
    leave: str, pipelined: bytes
) -> None:
    """It need not call receive() to learn that nobody waits for it."""
    app = ParkApp()
    async with run_server(app) as running:
        clients = [await running.connect() for _ in range(20)]
        for client in clients:
            await client.get("/stubborn")
            await client.send(pipelined)
        await wait_seen(app, "stubborn", 20)
        for client in clients:
            await leave_by(leave, client)
        await wait_seen(app, "cancelled", 20)
        await running.settle()


async def test_a_client_that_has_left_before_its_request_is_served() -> None:
    """The departure is not forgotten because nobody was there to be told."""
    app = ParkApp()
    async with run_server(app) as running:
        client = await running.connect()
        await client.get("/hello")
        await client.read_answer()
        await client.get("/stubborn")
        await client.stream.send_eof()
        await wait_seen(app, "cancelled", 1)
        await running.settle()


async def test_pipelined_requests_are_answered_in_order() -> None:
    """What came behind a request waits for its answer."""
    async with run_server(ParkApp()) as running:
        client = await running.connect()
        one = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n"
        await client.send(one + b"a" + one + b"b" + one[:20])
        await client.send(one[20:] + b"c")
        got = b""
        with trio.fail_after(5):
            while got.count(b"HTTP/1.1 200") < 3 or not got.endswith(b"c"):
                got += await client.stream.receive_some()
        bodies = [part[:1] for part in got.split(b"\r\n\r\n")[1:]]
        assert bodies == [b"a", b"b", b"c"]


async def test_who_pipelines_too_much_is_cut() -> None:
    """Bytes behind a parked poll are bounded."""
    app = ParkApp()
    async with run_server(app, replace(QUICK, max_ahead_bytes=10_000)) as running:
        client = await running.connect()
        await client.get("/park")
        with pytest.raises(trio.BrokenResourceError):
            await client.send(b"x" * 10_000_000)
        await wait_seen(app, "gone")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ],
)
async def test_connections_that_should_close_do_close(request_bytes: bytes) -> None:
    """Connection: close and HTTP/1.0: answer, then EOF, and no descriptor left."""
    async with run_server(ParkApp()) as running:
        clients = [await running.connect() for _ in range(50)]
        for client in clients:
            await client.send(request_bytes)
        for client in clients:
            assert (await client.read_all()).endswith(b"hello")
            await client.stream.aclose()
        await running.settle()


@pytest.mark.slow
async def test_an_idle_connection_is_closed() -> None:
    """After the keep-alive time, from the last answer or from the beginning."""
    async with run_server(ParkApp(), HASTY) as running:
        fresh, used = await running.connect(), await running.connect()
        await used.get()
        assert (await used.read_answer()).endswith(b"hello")
        assert await used.read_all() == b""
        assert await fresh.read_all() == b""


@pytest.mark.slow
async def test_a_head_by_drips_is_answered_408() -> None:
    """A request that does not end is not waited for."""
    async with run_server(ParkApp(), HASTY) as running:
        client = await running.connect()
        got = b""
        with trio.move_on_after(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drip, client.stream, b"GET / HTTP/1.1\r\nX: ")
                got = await client.read_all()
                nursery.cancel_scope.cancel()
        assert got.startswith(b"HTTP/1.1 408 ")


@pytest.mark.slow
async def test_a_body_by_drips_is_answered_408() -> None:
    """Nor is a body; the application sees a client that left."""
    app = ParkApp()
    async with run_server(app, HASTY) as running:
        client = await running.connect()
        await client.send(
            b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n"
        )
        got = b""
        with trio.move_on_after(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drip, client.stream, b"xxx")
                got = await client.read_all()
                nursery.cancel_scope.cancel()
        assert got.startswith(b"HTTP/1.1 408 ")
        assert app.seen["cut body"] == 1


async def drip(stream: trio.SocketStream, start: bytes) -> None:
    try:
        await stream.send_all(start)
        while True:
            await stream.send_all(b"x")
            await trio.sleep(0.05)
    except trio.BrokenResourceError:
        pass


async def test_a_client_that_leaves_in_its_body_is_noticed() -> None:
    """The application sees a disconnect instead of a short body."""
    app = ParkApp()
    async with run_server(app) as running:
        client = await running.connect()
        await client.send(
            b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc"
        )
        await client.stream.aclose()
        await wait_seen(app, "cut body")


async def test_a_malformed_body_is_answered_400() -> None:
    """Chunks that are none."""
    app = ParkApp()
    async with run_server(app) as running:
        client = await running.connect()
        await client.send(
            b"POST /echo HTTP/1.1\r\nHost: h\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n"
        )
        assert (await client.read_all()).startswith(b"HTTP/1.1 400 ")
        assert app.seen["cut body"] == 1


async def test_a_chunked_body_arrives() -> None:
    """In as many pieces as it came."""
    async with run_server(ParkApp()) as running:
        client = await running.connect()
        await client.send(
            b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        await client.send(b"3\r\nabc\r\n")
        await client.send(b"2\r\nde\r\n0\r\n\r\n")
        assert (await client.read_answer()).endswith(b"abcde")


async def test_continue_comes_when_the_body_is_wanted() -> None:
    """Expect: 100-continue is answered by the handler's first look at the body."""
    async with run_server(ParkApp()) as running:
        client = await running.connect()
        head = (
            b" HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        await client.send(b"POST /echo" + head)
        assert await client.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"ok")
        assert (await client.read_answer()).endswith(b"ok")


async def test_an_early_answer_ends_the_connection() -> None:
    """A body that nobody read stands before the next request; no 100 either."""
    async with run_server(ParkApp()) as running:
        client = await running.connect()
        await client.send(
            b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        await client.send(b"x" * 50_000)
        data = await client.read_all()
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"connection: close\r\n" in data
        assert data.endswith(b"early")


@pytest.mark.slow
async def test_a_client_that_does_not_read_is_cut() -> None:
    """The write deadline ends the handler; nothing is shielded for ever."""
    app = ParkApp()
    async with run_server(app, HASTY) as running:
        client = await running.connect()
        await client.get("/flood")
        await wait_seen(app, "flood cut")
        await running.settle()
        await client.stream.aclose()


async def test_a_failing_handler_is_answered_500_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client learns that it failed and nothing else."""
    async with run_server(ParkApp()) as running:
        client = await running.connect()
        await client.get("/boom")
        data = await client.read_all()
        assert data.startswith(b"HTTP/1.1 500 ")
        assert b"boom" not in data
    assert [record.message for record in caplog.records] == ["GET /boom failed"]
    assert caplog.records[0].levelno == logging.ERROR


async def test_a_handler_that_fails_late_leaves_a_broken_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Half an answer must not look like a whole one: no last chunk, and a reset."""
    async with run_server(ParkApp()) as running:
        client = await running.connect()
        await client.get("/late_boom")
        data = await client.read_all()
        assert b"0\r\n\r\n" not in data
    assert len(caplog.records) == 1


async def test_a_handler_without_an_answer_is_answered_500() -> None:
    """Silence is not left to the client's patience."""
    async with run_server(ParkApp()) as running:
        client = await running.connect()
        await client.get("/silent")
        assert (await client.read_all()).startswith(b"HTTP/1.1 500 ")


async def test_a_wrong_message_is_the_applications_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """ASGI messages of another kind are refused by name."""

    async def wrong(scope: object, receive: object, send: object) -> None:
        await send({"type": "websocket.send"})  # type: ignore[operator]

    async with run_server(wrong) as running:
        client = await running.connect()
        await client.get()
        assert (await client.read_all()).startswith(b"HTTP/1.1 500 ")
    assert "'websocket.send' is not a message of an HTTP response" in caplog.text


async def test_one_connection_too_many_is_told_so() -> None:
    """Beyond the limit there is an answer instead of a hang."""
    async with run_server(ParkApp(), replace(QUICK, max_connections=1)) as running:
        first, second = await running.connect(), await running.connect()
        await first.get("/park")
        await second.get()
        assert (await second.read_all()).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (HELLO_TLS, b"408"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 100, b"400"),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", b"400"),
        (b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", b"405"),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", b"431"),
    ],
    ids=["tls", "tls in one head", "h2", "non-ascii", "connect", "url", "header"],
)
async def test_what_is_no_request_is_refused(data: bytes, status: bytes) -> None:
    """Each refusal has a status and ends the connection."""
    async with run_server(ParkApp(), HASTY) as running:
        client = await running.connect()
        await client.send(data)
        assert (await client.read_all()).startswith(b"HTTP/1.1 " + status + b" ")


async def test_an_upgrade_to_http2_is_not_taken_up() -> None:
    """Java's client offers h2c with each request and gets HTTP/1.1."""
    async with run_server(ParkApp()) as running:
        client = await running.connect()
        for _ in range(2):
            await client.get(
                "/",
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                "HTTP2-Settings: !!\r\n",
            )
            assert (await client.read_answer()).endswith(b"hello")


async def test_a_server_cancelled_from_outside_leaves_nobody() -> None:
    """Without a drain the clients are cut, and nothing stays behind."""
    app = ParkApp()
    async with run_server(app, ServerSettings()) as running:
        client = await running.connect()
        await client.get("/park")
        await eventually(lambda: app.parked == 1)
        running.nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            assert await client.read_all() == b""
    assert app.parked == 0


async def test_state_is_copied_for_each_request() -> None:
    """What a handler writes into its state, others do not see."""
    seen: list[dict[str, object]] = []

    async def app(scope: object, receive: object, send: object) -> None:
        state = scope["state"]  # type: ignore[index]
        seen.append(dict(state))
        state["mine"] = 1
        await answer(send, b"")

    async with run_server(app) as running:
        client = await running.connect()
        for _ in range(2):
            await client.get()
            await client.read_answer()
    assert seen == [{"from": "lifespan"}] * 2
