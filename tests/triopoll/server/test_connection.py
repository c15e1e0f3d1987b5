"""One client: its requests, how it leaves, and what it may not do."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from unittest.mock import ANY

import pytest
import trio
import trio.testing
from tests.triopoll.server.harness import (
    HASTY,
    QUICK,
    Client,
    closed,
    counting_turns,
    run_server,
    tls_client_hello,
)
from tests.triopoll.server.park_app import ParkApp, answer
from tests.triopoll.support import eventually
from wsproto.events import RejectConnection

from triopoll.asgi.messages import ACKNOWLEDGED, CANCELS, PARKING
from triopoll.asgi.types import ASGIApp
from triopoll.ops.drain import Drain
from triopoll.server import ServerSettings
from triopoll.server.connection import ServerConnection, ServerContext
from triopoll.server.disconnects import open_disconnects

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
        "extensions": {CANCELS: {}, ACKNOWLEDGED: {"wait": ANY}, PARKING: ANY},
    }


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
            await client.leave_by(leave)
        await wait_seen(app, "gone", 20)
        await running.settle()
    assert app.parked == 0
    assert app.seen["again"] == 0


@pytest.mark.parametrize("leave", ["FIN", "RST", "half close"])
@pytest.mark.parametrize("pipelined", [b"", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 3])
async def test_an_application_that_does_not_listen_is_cancelled(
    leave: str, pipelined: bytes
) -> None:
    """It need not call receive() to learn that its client has left."""
    app = ParkApp()
    async with run_server(app) as running:
        clients = [await running.connect() for _ in range(20)]
        for client in clients:
            await client.get("/stubborn")
            await client.send(pipelined)
        await wait_seen(app, "stubborn", 20)
        for client in clients:
            await client.leave_by(leave)
        await wait_seen(app, "cancelled", 20)
        await running.settle()


async def test_a_client_that_has_left_before_its_request_is_served() -> None:
    """A disconnect is not forgotten that came while no request was served."""
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


async def test_a_client_that_pipelines_too_much_is_cut() -> None:
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
async def test_a_head_by_drips_is_answered_408() -> None:
    """A head has a deadline, however many bytes of it arrive."""
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
    """So has a body; the application sees a client that left."""
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
    """The application sees a disconnect, the client the reason."""
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
    """An unread body is in front of the next request; there is no 100 either."""
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
    """The client gets an answer although the application made none."""
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


async def test_a_server_cancelled_from_outside_leaves_no_connection() -> None:
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


async def test_one_failing_connection_is_only_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in the server's own code ends that connection and no other."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("in the server")

    async with run_server(ParkApp()) as running:
        bystander = await running.connect()
        await bystander.get("/park")
        await eventually(lambda: running.server.busy == 1)
        monkeypatch.setattr("triopoll.server.connection.to_scope", fail)
        client = await running.connect()
        await client.get()
        assert await client.read_all() == b""
        await running.settle(connections=1)
        assert running.server.busy == 1
        port = client.stream.socket.getsockname()[1]
    (record,) = caplog.records
    expected = f"the connection from ('127.0.0.1', {port}) failed and is closed"
    assert record.message == expected


@pytest.mark.parametrize(("path", "status"), [("/deny", 403), ("/silent", 503)])
async def test_a_handshake_turned_down(path: str, status: int) -> None:
    """Closing before accepting is 403, saying nothing is 503."""
    async with run_server(ParkApp()) as running:
        client = await running.connect_websocket()
        event = await client.open(path)
        assert isinstance(event, RejectConnection)
        assert event.status_code == status


@pytest.mark.parametrize(("path", "code"), [("/done", 1000), ("/boom", 1011)])
async def test_an_application_that_returns_is_closed(
    path: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """1000 if it worked, 1011 if it failed; the failure is logged once."""
    async with run_server(ParkApp()) as running:
        client = await running.open_websocket(path)
        assert await closed(client) == code
    assert len(caplog.records) == (code == 1011)


@asynccontextmanager
async def single(
    app: ASGIApp, settings: ServerSettings = QUICK
) -> AsyncIterator[tuple[ServerConnection, Client, ServerContext]]:
    """A connection without a server, over a pair of Unix sockets."""
    one, other = trio.socket.socketpair()
    with open_disconnects() as disconnects:
        context = ServerContext(app, settings, Drain(), {}, disconnects)
        connection = ServerConnection(context, trio.SocketStream(one))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(disconnects.run)
            nursery.start_soon(connection.run)
            async with trio.SocketStream(other) as stream:
                yield connection, Client(stream), context
            await eventually(lambda: not context.connections)
            nursery.cancel_scope.cancel()


async def test_a_client_on_a_unix_socket_has_no_address() -> None:
    """The server's is its path; a socket of a pair has none."""
    app = ParkApp()
    async with single(app) as (_, client, context):
        assert len(context.connections) == 1
        await client.get()
        assert (await client.read_answer()).endswith(b"hello")
    assert (app.scopes[0]["client"], app.scopes[0]["server"]) == (None, ("", None))


async def test_a_client_that_has_left_when_it_is_accepted() -> None:
    """Its address is not known any more; that is no error."""
    app = ParkApp()
    with open_disconnects() as disconnects:
        context = ServerContext(app, QUICK, Drain(), {}, disconnects)
        unconnected = trio.SocketStream(trio.socket.socket())
        await ServerConnection(context, unconnected).run()
    assert not context.connections
    assert not app.scopes


async def test_a_disconnect_that_is_noticed_before_the_request_is_served() -> None:
    """The application is cancelled at its first checkpoint."""
    app = ParkApp()
    one, other = trio.socket.socketpair()
    await other.send(b"GET /stubborn HTTP/1.1\r\nHost: h\r\n\r\n")
    with open_disconnects() as disconnects:
        context = ServerContext(app, QUICK, Drain(), {}, disconnects)
        connection = ServerConnection(context, trio.SocketStream(one))
        connection.peer_left()
        with trio.fail_after(5):
            await connection.run()
    other.close()
    assert dict(app.seen) == {"stubborn": 1, "cancelled": 1}


async def test_a_client_that_does_not_wait_for_its_refusal() -> None:
    """It cannot be answered; that is no error either."""
    one, other = trio.socket.socketpair()
    await other.send(b"garbage\r\n\r\n")
    other.close()
    with open_disconnects() as disconnects:
        context = ServerContext(ParkApp(), QUICK, Drain(), {}, disconnects)
        await ServerConnection(context, trio.SocketStream(one)).run()
    assert not context.connections


async def test_a_connection_that_is_stopped_when_idle() -> None:
    """It ends at once."""
    async with single(ParkApp()) as (connection, client, _):
        await client.get()
        await client.read_answer()
        await trio.testing.wait_all_tasks_blocked()
        connection.stop_if_idle_since(trio.current_time() - 60)
        await client.get()
        assert (await client.read_answer()).endswith(b"hello")
        await trio.testing.wait_all_tasks_blocked()
        connection.stop_if_idle_since(trio.current_time())
        assert await client.read_all() == b""


@pytest.mark.parametrize("request_bytes", [b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b""])
async def test_a_connection_that_is_stopped_before_its_first_request(
    request_bytes: bytes,
) -> None:
    """A request that has arrived already is answered, and none is waited for."""
    one, other = trio.socket.socketpair()
    await other.send(request_bytes)
    with open_disconnects() as disconnects:
        context = ServerContext(ParkApp(), QUICK, Drain(), {}, disconnects)
        connection = ServerConnection(context, trio.SocketStream(one))
        connection.stop()
        with trio.fail_after(5):
            await connection.run()
    data = await Client(trio.SocketStream(other)).read_all()
    other.close()
    assert data.endswith(b"hello" if request_bytes else b"")
    assert (b"connection: close\r\n" in data) == bool(request_bytes)


async def test_a_connection_that_is_stopped_at_work() -> None:
    """The answer is made, and says that it is the last one."""
    app = ParkApp()
    async with single(app) as (connection, client, _):
        await client.get("/park")
        await eventually(lambda: connection.busy and app.parked)
        connection.stop()
        await app.drain.release(0)
        data = await client.read_all()
        assert data.endswith(b"again")
        assert b"connection: close\r\n" in data


async def test_a_websocket_is_logged_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the status of its handshake."""
    caplog.set_level(logging.INFO, "triopoll.requests")
    async with run_server(ParkApp(), replace(QUICK, access_log=True)) as running:
        client = await running.open_websocket("/done")
        assert await closed(client) == 1000
        await running.settle()
    assert [r.message for r in caplog.records if " 101 " in r.message]


async def test_requests_are_logged_on_demand(caplog: pytest.LogCaptureFixture) -> None:
    """Address, method, path, status and time; no query."""
    caplog.set_level(logging.INFO, "triopoll.requests")
    async with single(ParkApp(), replace(QUICK, access_log=True)) as (_, client, _):
        await client.get("/hello?ticket=secret")
        await client.read_answer()
    (record,) = [r for r in caplog.records if r.name == "triopoll.requests"]
    assert re.fullmatch(r"- GET /hello 200 0\.\d{3} s", record.message)
    fields = record.triopoll  # type: ignore[attr-defined]
    assert fields.pop("seconds") < 5
    assert fields == {"peer": None, "method": "GET", "path": "/hello", "status": 200}


async def test_pipelined_requests_let_other_connections_have_their_turn() -> None:
    """One request a turn, although neither reading nor serving has to wait."""
    seen: list[int] = []

    async def app(scope: object, receive: object, send: object) -> None:
        seen.append(turns.count)
        await answer(send, b"hello")

    async with counting_turns() as turns, single(app) as (_, client, _):
        await client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 200)
        data = b""
        with trio.fail_after(5):
            while data.count(b"hello") < 200:
                data += await client.stream.receive_some()
    # In one pass of the scheduler either task may come first.
    assert seen[-1] - seen[0] >= 198
