"""The service and what it stands on, as processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import trio
from tests.services import find_free_port, wait_for_line

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
QUICK_START = 15.0


@dataclass(frozen=True)
class Answer:
    """An HTTP response, as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def read_answer(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), headers, body)


def request_bytes(path: str, method: str = "GET") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    ).encode("latin-1")


class Service:
    """triopoll in a process, and ways to ask it."""

    def __init__(self, port: int, slock_port: int, process: subprocess.Popen[bytes]):
        self.port = port
        self.slock_port = slock_port
        self.process = process

    async def connect(self, path: str, method: str = "GET") -> trio.SocketStream:
        """Send a request on a connection of its own."""
        stream = await trio.open_tcp_stream(HOST, self.port)
        await stream.send_all(request_bytes(path, method))
        return stream

    async def get(self, path: str, limit: float = 10, **query: object) -> Answer:
        """Ask, and return the whole answer."""
        if query:
            path = f"{path}?{urlencode(query)}"
        return await self.fetch(path, limit=limit)

    async def fetch(
        self, path: str, *, method: str = "GET", limit: float = 10
    ) -> Answer:
        with trio.fail_after(limit):
            return await read_from(await self.connect(path, method))

    async def until_waiting(self, count: int) -> None:
        """Return once so many polls wait on the slock server."""
        with trio.fail_after(10):
            while await count_waiters(self.slock_port) != count:  # noqa: ASYNC110
                await trio.sleep(0.02)

    def end(self, signum: signal.Signals = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signum)
        self.process.wait(10)
        # Hypercorn serves in a child, which outlives a parent that was killed.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


async def read_from(stream: trio.SocketStream) -> Answer:
    """Read to the end, and close."""
    data = b""
    async with stream:
        async for chunk in stream:
            data += chunk
    return read_answer(data)


def run_command(server: str, port: int) -> list[str]:
    """Return the command that serves the app."""
    bind = f"{HOST}:{port}"
    return {
        "hypercorn": [
            *(sys.executable, "-m", "hypercorn", "-k", "trio"),
            *("--bind", bind, "triopoll:app"),
        ],
        "triopoll": [
            *(sys.executable, "-m", "triopoll", "serve", "--bind", bind),
            *("--drain-delay", "0", "--drain-window", "0.2"),
        ],
    }[server]


def start(
    server: str, port: int, settings: dict[str, str], **popen: Any
) -> subprocess.Popen[bytes]:
    """Start the service; settings are TRIOPOLL_ variables without the prefix."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TRIOPOLL_")}
    environ |= {f"TRIOPOLL_{name}": value for name, value in settings.items()}
    return subprocess.Popen(
        run_command(server, port),
        cwd=ROOT,
        env=environ,
        start_new_session=True,
        **popen,
    )


@contextmanager
def running(server: str = "hypercorn", **settings: str) -> Iterator[Service]:
    """Run the service, on an embedded engine unless the settings name another."""
    slock_port = find_free_port()
    settings.setdefault("SLOCK_URL", f"embedded://{HOST}:{slock_port}")
    slock_port = int(settings["SLOCK_URL"].rpartition(":")[2])
    port = find_free_port()
    process = start(server, port, settings, stderr=subprocess.DEVNULL)
    service = Service(port, slock_port, process)
    try:
        wait_until_served(service)
        yield service
    finally:
        service.end(signal.SIGKILL)


def wait_until_served(service: Service) -> None:
    deadline = time.monotonic() + QUICK_START
    while time.monotonic() < deadline:
        assert service.process.poll() is None, "the service ended at its start"
        # Hypercorn listens before the application has started.
        with (
            contextlib.suppress(OSError),
            socket.create_connection((HOST, service.port), 5) as sock,
        ):
            sock.sendall(request_bytes("/poll/event"))
            if sock.recv(100).startswith(b"HTTP/1.1 200"):
                return
        time.sleep(0.02)
    raise AssertionError("the service does not answer")


@contextmanager
def slock_process(port: int | None = None) -> Iterator[tuple[int, Any]]:
    """Run ``python -m trioslock serve``; yield its port and its process."""
    command = [sys.executable, "-m", "trioslock", "serve", "--port", str(port or 0)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        line = wait_for_line(process, "listening on ")
        yield int(line.rpartition(":")[2]), process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


async def ask_slock(port: int, *words: str) -> bytes:
    """Send one command of the text dialect; return what comes within one read."""
    frame = f"*{len(words)}\r\n" + "".join(
        f"${len(word.encode())}\r\n{word}\r\n" for word in words
    )
    with trio.fail_after(5):
        async with await trio.open_tcp_stream(HOST, port) as stream:
            await stream.send_all(frame.encode())
            return bytes(await stream.receive_some(65536))


async def set_event(port: int, key: str, default: str = "clear") -> None:
    """Set an event as publishers do, past our client."""
    words = ("lock", key, "lock_id", key, "flag", "2", "timeout", "5")
    if default == "clear":
        await ask_slock(port, *words, "expried", "120", "count", "2")
    else:
        await ask_slock(port, "unlock", key, "lock_id", key)


async def clear_event(port: int, key: str, default: str = "clear") -> None:
    if default == "clear":
        await ask_slock(port, "unlock", key, "lock_id", key)
    else:
        words = ("lock", key, "lock_id", key, "flag", "2", "timeout", "5")
        await ask_slock(port, *words, "expried", "120")


async def count_waiters(port: int) -> int:
    """Ask a slock server of the test's own how many wait in database 0."""
    answer = await ask_slock(port, "info", "keyspace")
    for line in answer.decode().splitlines():
        if line.startswith("db0:"):
            counters = dict(pair.split("=") for pair in line[4:].split(","))
            return int(counters["wait_count"])
    return 0
