"""The server of one process: signals, the steps of the drain, and what is cut."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from quart import Response, websocket
from quart_trio import QuartTrio
from tests.triopoll.server.harness import HASTY, QUICK, Client, run_server
from tests.triopoll.server.park_app import ParkApp
from tests.triopoll.server.processes import ServerProcess
from tests.triopoll.support import eventually

from triopoll.ops.drain import Drain
from triopoll.ops.metrics import Metrics
from triopoll.server import (
    BindError,
    HttpServer,
    LifespanError,
    ServerSettings,
    StartupFailed,
    listen,
    open_socket,
    serve,
)


def quart_app() -> QuartTrio:
    app = QuartTrio(__name__)
    app.drain = drain = Drain()  # type: ignore[attr-defined]

    @app.route("/park")
    async def park() -> Response:
        with drain.interruptible() as waiting:
            await trio.sleep_forever()
        return Response("again" if waiting.cancelled_caught else "")

    @app.route("/echo", methods=["POST"])
    async def echo() -> Response:
        from quart import request

        return Response(await request.get_data())

    @app.websocket("/ws")
    async def talk() -> None:
        while True:
            await websocket.send(await websocket.receive())

    return app


async def test_quart_is_served() -> None:
    """Bodies, keep-alive, unknown paths and closing connections of a Quart-Trio app."""
    async with run_server(quart_app()) as running:
        client = await running.connect()
        await client.send(
            b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
        )
        assert (await client.read_answer()).endswith(b"hello")
        await client.get("/nowhere", "Connection: close\r\n")
        data = await client.read_all()
        assert data.startswith(b"HTTP/1.1 404 ")
        assert b"connection: close\r\n" in data
        ws = await running.connect_websocket()
        rejected = await ws.open("/nowhere")
        assert getattr(rejected, "status_code", None) == 404


async def test_quart_is_drained_and_its_websockets_closed() -> None:
    """Parked handlers are answered, websockets get 1012, no client is cut."""
    app = quart_app()
    async with run_server(app) as running:
        clients = [await running.connect() for _ in range(20)]
        for client in clients:
            await client.get("/park")
        ws = await running.open_websocket()
        await eventually(lambda: running.server.drain.parked == 21)
        running.nursery.start_soon(running.server.drain_all)
        for client in clients:
            data = await client.read_all()
            assert data.endswith(b"again")
            assert b"connection: close\r\n" in data
        event = await ws.next()
        assert getattr(event, "code", None) == 1012
        await running.settle()
        assert running.server.cut == 0


async def test_a_client_that_leaves_cancels_the_quart_handler() -> None:
    """With no wait left in the drain."""
    async with run_server(quart_app()) as running:
        client = await running.connect()
        await client.get("/park")
        await eventually(lambda: running.server.drain.parked == 1)
        await client.stream.aclose()
        await eventually(lambda: running.server.drain.parked == 0)


async def test_idle_connections_are_closed_by_the_drain() -> None:
    """They need not wait for their keep-alive time; begun requests are answered."""
    async with run_server(ParkApp(), replace(QUICK, keep_alive=60.0)) as running:
        idle, begun = await running.connect(), await running.connect()
        await idle.get()
        await idle.read_answer()
        await begun.send(b"GET / HTTP/1.1\r\n")
        await trio.testing.wait_all_tasks_blocked(0.02)
        running.nursery.start_soon(running.server.drain_all)
        assert await idle.read_all() == b""
        await begun.send(b"Host: h\r\n\r\n")
        data = await begun.read_all()
        assert data.endswith(b"hello")
        assert b"connection: close\r\n" in data
        await running.settle()
        assert running.server.cut == 0
    with pytest.raises(OSError, match="all attempts"):
        await trio.open_tcp_stream("127.0.0.1", running.port)


async def test_repr_shows_the_state() -> None:
    """For the log line of the drain, and for debugging."""
    async with run_server(ParkApp()) as running:
        client = await running.connect()
        await client.get("/park")
        await eventually(lambda: running.server.busy == 1)
        await eventually(lambda: running.server.drain.parked == 1)
        assert repr(running.server) == (
            "<triopoll.server.HttpServer: 1 connections, 1 busy, "
            "<triopoll.Drain: open, 1 parked>>"
        )


Body = Callable[[Client, HttpServer], Awaitable[None]]


async def serve_and_signal(
    app: ParkApp,
    path: str,
    settings: ServerSettings,
    *signals: signal.Signals,
    drained: Callable[[int], object] = int,
) -> tuple[int, float, bytes]:
    """Serve with one client at `path`; return the count, the time and its answer."""
    sock = open_socket("127.0.0.1:0")
    port = sock.getsockname()[1]
    results: list[int] = []

    async def run(
        *, task_status: trio.TaskStatus[HttpServer] = trio.TASK_STATUS_IGNORED
    ) -> None:
        cut = await serve(
            app, [sock], settings, drained=drained, task_status=task_status
        )
        results.append(cut)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            server: HttpServer = await nursery.start(run)
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                client = Client(stream)
                await client.get(path)
                await eventually(lambda: server.busy == 1)
                began = trio.current_time()
                for number in signals:
                    os.kill(os.getpid(), number)
                    await trio.sleep(0.05)
                data = await client.read_all()
            await eventually(lambda: bool(results))
            took = trio.current_time() - began
    return results[0], took, data


async def test_sigterm_drains() -> None:
    """The parked client is answered after the delay; no client was cut."""
    app = ParkApp()
    settings = replace(QUICK, drain_delay=0.2)
    cut, took, data = await serve_and_signal(app, "/park", settings, signal.SIGTERM)
    assert cut == 0
    assert data.endswith(b"again")
    assert took >= 0.2
    assert app.drain.draining


async def test_ctrl_c_skips_the_delay() -> None:
    """There is no load balancer in front of a developer's server."""
    settings = replace(QUICK, drain_delay=60.0)
    cut, _, data = await serve_and_signal(ParkApp(), "/park", settings, signal.SIGINT)
    assert cut == 0
    assert data.endswith(b"again")


@pytest.mark.slow
async def test_a_request_that_ignores_the_drain_is_cut_and_counted() -> None:
    """After window and grace."""
    cut, took, data = await serve_and_signal(
        ParkApp(), "/stubborn", HASTY, signal.SIGTERM
    )
    assert cut == 1
    assert data == b""
    assert took >= 0.4


async def test_a_second_signal_cuts_at_once() -> None:
    """The clients that are cut are counted all the same."""
    settings = replace(QUICK, drain_delay=60.0)
    cut, took, data = await serve_and_signal(
        ParkApp(), "/park", settings, signal.SIGTERM, signal.SIGTERM
    )
    assert cut == 1
    assert data == b""
    assert took < 30


@pytest.mark.slow
async def test_a_client_that_does_not_read_does_not_stop_the_drain() -> None:
    """Hypercorn waited for it for ever."""
    app = ParkApp()
    settings = replace(HASTY, write_deadline=60.0)
    sock = open_socket("127.0.0.1:0")
    port = sock.getsockname()[1]
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            server: HttpServer = await nursery.start(
                partial(serve, app, [sock], settings)
            )
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await Client(stream).get("/flood")
                await eventually(lambda: server.busy == 1)
                os.kill(os.getpid(), signal.SIGTERM)
                await eventually(lambda: server.cut == 1)


async def test_one_connection_too_many_is_answered_503() -> None:
    """Beyond the limit there is an answer instead of a hang."""
    async with run_server(ParkApp(), replace(QUICK, max_connections=1)) as running:
        first, second = await running.connect(), await running.connect()
        await first.get("/park")
        await second.get()
        assert (await second.read_all()).startswith(b"HTTP/1.1 503 ")


@pytest.mark.slow
async def test_an_idle_connection_is_closed() -> None:
    """After the keep-alive time, from the last answer or from the beginning."""
    async with run_server(ParkApp(), HASTY) as running:
        fresh, used = await running.connect(), await running.connect()
        await used.get()
        assert (await used.read_answer()).endswith(b"hello")
        assert await used.read_all() == b""
        assert await fresh.read_all() == b""


async def test_a_client_that_leaves_while_it_is_refused() -> None:
    """It is not waited for."""
    async with run_server(ParkApp(), replace(QUICK, max_connections=1)) as running:
        first = await running.connect()
        await first.get("/park")
        await eventually(lambda: running.server.busy == 1)
        for _ in range(20):
            (await running.connect()).reset()
        first.reset()
        await running.settle()
        client = await running.connect()
        await client.get()
        assert (await client.read_answer()).endswith(b"hello")


async def test_connections_are_counted_in_the_metrics() -> None:
    """An application with metrics need not do it."""
    app = ParkApp()
    app.metrics = Metrics()  # type: ignore[attr-defined]
    async with run_server(app) as running:
        read = app.metrics.readings["connections"]  # type: ignore[attr-defined]
        assert read() == 0
        client = await running.connect()
        await client.get()
        await client.read_answer()
        assert read() == 1


async def test_clients_that_are_not_accepted_yet_are_answered_by_the_drain() -> None:
    """Their connections wait in the kernel, with their requests, when it begins."""
    async with run_server(ParkApp()) as running:
        clients = [
            socket.create_connection(("127.0.0.1", running.port)) for _ in range(50)
        ]
        for client in clients:
            client.sendall(b"GET /park HTTP/1.1\r\nHost: h\r\n\r\n")
        await running.server.drain_all(at_once=True)
        assert running.server.cut == 0
        for client in clients:
            with client:
                assert client.recv(10_000).endswith(b"again")


@pytest.mark.slow
async def test_a_server_without_descriptors_says_so_once(tmp_path: Path) -> None:
    """Clients wait until connections end; the log is not flooded meanwhile."""
    command = ["prlimit", "--nofile=60:60", "--"]
    with ServerProcess(
        tmp_path / "log", "--max-connections", "500", prefix=command
    ) as server:
        server.wait_until_up()
        clients = [server.park() for _ in range(100)]
        await eventually(lambda: "cannot accept clients" in server.output)
        await trio.sleep(0.5)
        for client in clients:
            client.close()
        await trio.to_thread.run_sync(server.wait_parked, 0)
        log = server.output
    assert "this process may open 60 files, too few for 500 connections" in log
    assert log.count("cannot accept clients") == 1
    assert "Traceback" not in log


async def test_slow_readers_share_a_limit() -> None:
    """Beyond it the slowest are cut, at once; others are served as before."""
    app = ParkApp()
    settings = replace(QUICK, write_deadline=60.0, max_unread_bytes=10 * 70_000)
    async with run_server(app, settings) as running:
        slow = [await running.connect() for _ in range(30)]
        for client in slow:
            await client.get("/flood")
        await eventually(lambda: app.seen["flood cut"] == 20)
        await running.settle(connections=10)
        client = await running.connect()
        await client.get()
        assert (await client.read_answer()).endswith(b"hello")
        assert app.seen["flood cut"] == 20


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("raises", "the application failed in its shutdown"),
        ("reports", "the application failed to shut down: not flushed"),
    ],
)
async def test_a_failed_shutdown_hides_no_cut_client(
    caplog: pytest.LogCaptureFixture, failure: str, message: str
) -> None:
    """It is logged beside the count; it is raised only if all had been answered."""

    class Failing(ParkApp):
        async def live(self, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            assert counted, "the drain is over by now"
            if failure == "raises":
                raise LookupError("backend")
            await send({"type": "lifespan.shutdown.failed", "message": "not flushed"})

    counted: list[int] = []
    settings = replace(QUICK, drain_window=0.0, drain_grace=0.05)
    cut, _, _ = await serve_and_signal(
        Failing(), "/stubborn", settings, signal.SIGTERM, drained=counted.append
    )
    assert counted == [cut] == [1]
    assert message in [record.message for record in caplog.records]
    with pytest.RaisesGroup(
        pytest.RaisesExc((LookupError, LifespanError)), flatten_subgroups=True
    ):
        await serve_and_signal(
            Failing(), "/park", settings, signal.SIGTERM, drained=counted.append
        )
    assert counted == [1, 0]


async def test_an_application_that_fails_while_running() -> None:
    """Its error ends the server: nothing would be answered any more."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise LookupError("lost")

    sock = open_socket("127.0.0.1:0")
    with pytest.raises(LookupError, match="lost"):
        await serve(app, [sock], QUICK)


async def test_an_application_that_does_not_start() -> None:
    """Its refusal is raised, and nothing has been accepted."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no port"})

    sock = open_socket("127.0.0.1:0")
    with pytest.raises(StartupFailed, match="no port"):
        await serve(app, [sock], QUICK)
    assert sock.fileno() == -1


async def test_clients_are_refused_until_the_application_has_started() -> None:
    """A proxy then asks another node, instead of waiting for this one."""
    sock = open_socket("127.0.0.1:0")
    address = sock.getsockname()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with pytest.raises(OSError, match=r"refused|failed"):
            await trio.open_tcp_stream(*address)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async with trio.open_nursery() as nursery:
        await nursery.start(serve, app, [sock], QUICK)
        await (await trio.open_tcp_stream(*address)).aclose()
        os.kill(os.getpid(), signal.SIGUSR1)


async def test_an_address_that_is_taken_during_the_start() -> None:
    """The error names the address, and the application ends."""
    sock = open_socket("127.0.0.1:0")
    port = sock.getsockname()[1]
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()
        finally:
            ended.append("application")

    async with listen(open_socket(f"127.0.0.1:{port}")):
        with pytest.raises(BindError, match=f"127.0.0.1:{port}'.*in use"):
            await serve(app, [sock], QUICK)
    assert ended == ["application"]
    assert sock.fileno() == -1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
async def test_a_signal_ends_a_start_at_once(
    caplog: pytest.LogCaptureFixture, number: signal.Signals
) -> None:
    """No client is accepted, and no address announced; the process's end is limited."""
    caplog.set_level("INFO")
    counted: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        os.kill(os.getpid(), number)
        try:
            await trio.sleep_forever()
        finally:
            assert counted == [0]

    sock = open_socket("127.0.0.1:0")
    with trio.fail_after(30):
        assert await serve(app, [sock], QUICK, drained=counted.append) == 0
    assert [record.message for record in caplog.records] == [
        "stopping: the application has not started yet",
        "stopped before the application had started",
    ]
    assert sock.fileno() == -1
