"""``triopoll serve`` as a real process: what must not end it, and how it ends."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import h2.connection
import pytest
from tests.triopoll.server.fuzz import run_fuzz
from tests.triopoll.server.harness import tls_client_hello
from tests.triopoll.server.processes import GET, ServerProcess, read_all

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
FAILING_APP = "tests.triopoll.server.failing_app:app"
QUICK_DRAIN = ("--drain-delay", "0", "--drain-window", "0.5", "--drain-grace", "2")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One process for all probes: what one leaves behind would disturb the next."""
    log = tmp_path_factory.mktemp("server") / "log"
    with ServerProcess(log, *QUICK_DRAIN) as process:
        process.wait_until_up()
        yield process


@pytest.fixture
def raised_limit() -> Iterator[None]:
    """Descriptors for a few thousand clients."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(16_384, old[1]), old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, old)


def h2_bytes() -> bytes:
    """Return an HTTP/2 connection's first bytes, with prior knowledge."""
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    connection.send_headers(
        1,
        [
            (":method", "POST"),
            (":path", "/early"),
            (":scheme", "http"),
            (":authority", "h"),
        ],
    )
    connection.send_data(1, b"x" * 1000)
    return connection.data_to_send()


PROBES = {
    "websocket upgrade and one byte more": UPGRADE + b"\x81",
    "websocket upgrade and a broken frame": UPGRADE + b"\xff" * 100,
    "websocket message after the close": UPGRADE
    + b"\x88\x80\0\0\0\0"
    + b"\x81\x81\0\0\0\0x",
    "websocket bad UTF-8": UPGRADE + b"\x81\x82\0\0\0\0\xff\xfe",
    "http/2 with prior knowledge": h2_bytes(),
    "http/2 preface and garbage": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 99,
    "h2c upgrade": GET[:-4]
    % b"/"
    + b"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "h2c upgrade with bad settings": GET[:-4] % b"/"
    + b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: \xff\r\n\r\n",
    "connect": b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
    "path with bytes that are not ASCII": GET % b"/\xff\xfe",
    "path that is no UTF-8": GET % b"/%ff%fe",
    "early answer to a body": b"POST /early HTTP/1.1\r\nHost: h\r\n"
    b"Content-Length: 100000\r\n\r\n" + b"x" * 50_000,
    "tls": tls_client_hello(),
    "nothing but zeros": b"\0" * 20_000,
    "a long url": GET % (b"/" + b"x" * 40_000),
    "many headers": b"GET / HTTP/1.1\r\nHost: h\r\n" + b"a: b\r\n" * 500 + b"\r\n",
    "request smuggling": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "a failing handler": GET % b"/boom",
    "a handler failing late": GET % b"/late_boom",
}


@pytest.mark.parametrize("probe", PROBES)
def test_a_bystander_stays_parked(server: ServerProcess, probe: str) -> None:
    """No input of one client cuts another, or leaves a descriptor behind."""
    before = server.descriptors()
    with server.park() as bystander:
        server.wait_parked(1)
        for leave_at_once in (True, False):
            with server.connect() as sock:
                sock.sendall(PROBES[probe])
                if not leave_at_once:
                    sock.settimeout(0.1)
                    try:
                        read_all(sock)
                    except TimeoutError:
                        pass
        assert server.process.poll() is None, server.output
        assert not select.select([bystander], [], [], 0.02)[0]
        server.wait_parked(1)
    server.wait_parked(0)
    deadline = time.monotonic() + 5
    while server.descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.descriptors() <= before


def test_the_backlog_holds_a_crowd(server: ServerProcess, raised_limit: None) -> None:
    """600 connections at once are all established while the loop is busy."""
    socks = [socket.socket() for _ in range(600)]
    try:
        os.kill(server.process.pid, signal.SIGSTOP)
        for sock in socks:
            sock.settimeout(1)
            sock.connect(("127.0.0.1", server.port))
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
        for sock in socks:
            sock.close()


@pytest.mark.slow
def test_fuzzing_leaves_the_bystander_parked_and_memory_bounded(
    server: ServerProcess,
) -> None:
    """Thousands of damaged requests, websockets and HTTP/2 bytes, by a known seed."""
    with server.park() as bystander:
        server.wait_parked(1)
        run_fuzz(server.port, count=500, seed=1)  # warm: caches and arenas fill
        before = server.rss_kib()
        run_fuzz(server.port, count=2000, seed=2)
        assert server.process.poll() is None, server.output
        assert not select.select([bystander], [], [], 0.02)[0]
        server.wait_parked(1)
        assert server.rss_kib() - before < 2 * 1024
    assert "failed and is closed" not in server.output


def open_websocket(server: ServerProcess) -> socket.socket:
    sock = server.connect()
    sock.sendall(UPGRADE)
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(1000)
    assert data.startswith(b"HTTP/1.1 101 ")
    return sock


def close_code(data: bytes) -> int:
    assert data[:1] == b"\x88", data
    return struct.unpack("!H", data[2:4])[0]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_deploy_answers_all_clients(
    tmp_path: Path, raised_limit: None, workers: int
) -> None:
    """2,000 parked polls and 200 websockets: all answered, exit 0, window + 2 s."""
    options = ("--drain-delay", "0.3", "--drain-window", "1.5", "--drain-grace", "2")
    with ServerProcess(tmp_path / "log", *options, "--workers", str(workers)) as server:
        server.wait_until_up()
        server.wait_workers(workers)
        polls = [server.park() for _ in range(2000)]
        websockets = [open_websocket(server) for _ in range(200)]
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.15)
        assert server.body(b"/ready") == b"draining"
        for sock in polls:
            assert read_all(sock).endswith(b"\r\n\r\nagain")
            sock.close()
        for sock in websockets:
            assert close_code(read_all(sock)) == 1012
            sock.close()
        # 0 also says that it was done within the window and its grace of 2 s.
        assert server.process.wait(10) == 0, server.output


def test_a_client_that_is_cut_shows_in_the_exit_code(tmp_path: Path) -> None:
    """1 says that a client did not get an answer."""
    options = ("--drain-delay", "0", "--drain-window", "0", "--drain-grace", "0.1")
    with ServerProcess(tmp_path / "log", *options) as server:
        server.wait_until_up()
        with server.connect() as sock:
            sock.sendall(GET % b"/stubborn")
            time.sleep(0.1)
            server.process.send_signal(signal.SIGTERM)
            assert read_all(sock) == b""
            assert server.process.wait(5) == 1
    assert "1 clients cut" in server.output


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", ["fails", "raises"])
def test_a_shutdown_that_fails_shows_in_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, workers: int
) -> None:
    """4, since all clients were answered; 1 says that one was not, whatever else."""
    monkeypatch.setenv("FAILING_APP", how)
    options = ("--drain-delay", "0", "--drain-window", "0", "--drain-grace", "0.1")
    for is_cut in (False, True):
        with ServerProcess(
            tmp_path / "log", *options, "--workers", str(workers), app=FAILING_APP
        ) as server:
            server.wait_until_up()
            with server.connect() as sock:
                if is_cut:
                    sock.sendall(GET % b"/stubborn")
                    time.sleep(0.2)
                server.process.send_signal(signal.SIGTERM)
                code = server.process.wait(5)
            said = "not flushed" if how == "fails" else "a bug"
            assert said in server.output
            assert code == (1 if is_cut else 4), server.output


@pytest.mark.slow
def test_a_dead_worker_is_started_again(tmp_path: Path) -> None:
    """The other one goes on serving; the exit code is that of the drain alone."""
    with ServerProcess(tmp_path / "log", *QUICK_DRAIN, "--workers", "2") as server:
        server.wait_until_up()
        pids = server.wait_workers(2)
        server.ask(b"/die")
        deadline = time.monotonic() + 10
        seen: set[bytes] = set()
        while seen <= pids and time.monotonic() < deadline:
            seen.add(server.body(b"/pid"))  # never refused, never unanswered
        assert len(seen - pids) == 1, server.output
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(5) == 0, server.output
    assert "died (exit code -9): it is started again in 0.5 s" in server.output


@pytest.mark.slow
def test_workers_do_not_outlive_their_supervisor(tmp_path: Path) -> None:
    """Killed with SIGKILL it passes no signal on; they drain by themselves."""
    with ServerProcess(tmp_path / "log", *QUICK_DRAIN, "--workers", "2") as server:
        server.wait_until_up()
        pids = server.wait_workers(2)
        with server.park() as sock:
            time.sleep(0.2)
            server.process.kill()
            server.process.wait(5)
            assert read_all(sock).endswith(b"again")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if not any(Path(f"/proc/{int(pid)}").exists() for pid in pids):
                break
            time.sleep(0.02)
        else:
            pytest.fail(f"still there: {pids}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server_name", "options"),
    [
        ("hypercorn", ("--keep-alive", "1")),
        ("triopoll", ("--keep-alive", "1", *QUICK_DRAIN)),
    ],
)
def test_connections_close_under_either_server(
    tmp_path: Path, server_name: str, options: tuple[str, ...]
) -> None:
    """Of a Quart route: after Connection: close, HTTP/1.0, idle keep-alive."""
    app = "tests.triopoll.server.quart_app:app"
    with ServerProcess(
        tmp_path / "log", *options, app=app, server=server_name
    ) as server:
        server.wait_until_up()
        socks = [server.connect() for _ in range(30)]
        for number, sock in enumerate(socks):
            sock.settimeout(3)
            head = (GET % b"/hello")[:-2]
            if number < 10:
                sock.sendall(head + b"Connection: close\r\n\r\n")
            elif number < 20:
                sock.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
            else:
                sock.sendall(GET % b"/hello")
        for sock in socks:
            assert read_all(sock).endswith(b"hello")
            sock.close()
