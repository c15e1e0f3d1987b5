"""The service and its slock server as real processes, and raw requests to them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, Self
from urllib.parse import urlencode

import trio
from tests.services import find_free_port, wait_for_port
from tests.triopoll.leaks import leaked, note_secrets

import trioslock

LIMIT = 30.0
UVICORN = ("uvicorn", "--port", "PORT", "--log-level", "warning")
GRANIAN = ("granian", "--interface", "asgi", "--port", "PORT", "--log-level", "warning")
HYPERCORN = ("hypercorn", "-k", "trio", "-w", "0", "-b", "127.0.0.1:PORT")


# The servers under which the service behaves the same.
SERVERS = (
    "hypercorn",
    "triopoll",
    "uvicorn",
    "granian",
    "hypercorn asyncio",
)


class Process:
    """A Python module that listens on a port; it can be killed and started again.

    What it writes is shown when it ends, and must have no secret.

    Attributes:
        stdout: Where it writes its output instead.
        stderr: Where it writes its log instead.
    """

    stdout: IO[bytes] | None = None
    stderr: IO[bytes] | None = None

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], port: int = 0
    ) -> None:
        self.port = port or find_free_port()
        self._command = [part.replace("PORT", str(self.port)) for part in command]
        self._env = {**os.environ, **env}
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        # Several processes write to it.
        self._output = tempfile.TemporaryFile("a+b")  # noqa: SIM115  # until it ends
        self._process = subprocess.Popen(
            [sys.executable, "-m", *self._command],
            env=self._env,
            stdout=self.stdout or self._output,
            stderr=self.stderr or self._output,
            start_new_session=True,
        )
        wait_for_port(self.port, self._process)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            # One that did not answer in time may still run, for as long as the machine.
            with contextlib.suppress(ProcessLookupError):
                self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What it was doing when a test failed may keep it from ending in order.
        self._end(signal.SIGTERM if kind is None else signal.SIGKILL)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Terminate it, and check that it ends."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, with all its workers."""
        self._end(signal.SIGKILL)

    async def ended(self) -> int:
        """Wait until it has ended by itself; return its exit code."""
        assert self._process is not None
        wait = partial(self._process.wait, 60)
        code = await trio.to_thread.run_sync(wait, abandon_on_cancel=True)
        self._process = None
        self._check_output()
        return code

    def _end(self, signum: signal.Signals) -> None:
        if self._process is None:
            return
        os.killpg(self._process.pid, signum)
        try:
            self._process.wait(LIMIT)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process = None
            self._check_output()

    def _check_output(self) -> None:
        assert self._output is not None
        with self._output:
            self._output.seek(0)
            text = self._output.read().decode(errors="replace")
        sys.stderr.write(text)
        assert not leaked(text), "a log has a secret"


class Service(Process):
    """The poll service, started when it answers: Hypercorn listens before that."""

    def start(self) -> None:
        super().start()
        with socket.create_connection(("127.0.0.1", self.port), LIMIT) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            # 404: an application that has the service below a path.
            assert sock.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 404")


def slock_process(port: int = 0) -> Process:
    """``python -m trioslock serve``, not started yet; by default on a free port."""
    command = ["trioslock", "serve", "--host", "127.0.0.1", "--port", "PORT"]
    return Process(command, {}, port)


def poll_process(
    *, slock: str = "", redis: str = "", server: str = "hypercorn", **settings: object
) -> Process:
    """The service, not started yet; by default with an engine on a free port."""
    env = {f"TRIOPOLL_{name.upper()}": str(value) for name, value in settings.items()}
    env["TRIOPOLL_SLOCK_URL"] = slock or f"embedded://127.0.0.1:{find_free_port()}"
    env["TRIOPOLL_REDIS_URL"] = redis or "memory://"
    own = ["triopoll", "serve", "--drain-delay", "0", "--bind", "127.0.0.1:PORT"]
    commands = {
        "hypercorn": [*HYPERCORN, "triopoll:app"],
        "hypercorn asyncio": ["hypercorn", "-w", "0", *HYPERCORN[-2:], "triopoll:app"],
        "uvicorn": [*UVICORN, "triopoll:app"],
        "uvicorn h11": [*UVICORN, "--http", "h11", "--loop", "asyncio", "triopoll:app"],
        "granian": [*GRANIAN, "triopoll:app"],
        "mute": [*HYPERCORN, "tests.triopoll.mute_app:app"],
        "triopoll": [*own, "triopoll:app"],
        "triopoll workers": [*own, "--workers", "2", "triopoll:app"],
    }
    return Service(commands[server], env)


@dataclass(frozen=True)
class Response:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Request:
    """A GET under way on a connection of its own."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream

    async def answer(self) -> Response:
        """Read the response; the server must close the connection behind it."""
        data = b""
        with trio.fail_after(LIMIT):
            while more := await self.stream.receive_some():
                data += more
        head, _, body = bytes(data).partition(b"\r\n\r\n")
        note_secrets(body)
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return Response(int(first.split()[1]), headers, body)

    async def reset(self) -> None:
        """Close the connection as a crashing client does."""
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        self.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
        await self.stream.aclose()


@asynccontextmanager
async def requesting(
    port: int,
    path: str,
    query: str | bytes = b"",
    *,
    method: str = "GET",
    body: bytes | None = None,
    bearer: str = "",
    headers: str = "",
    **args: Any,
) -> AsyncIterator[Request]:
    """Send a request; `args` are its parameters, unless a raw query is given."""
    more = headers.encode()
    if body is not None:
        more += b"Content-Length: %d\r\n" % len(body)
    if bearer:
        more += b"Authorization: Bearer %b\r\n" % bearer.encode()
    raw = query.encode("latin-1") if isinstance(query, str) else query
    target = path.encode() + b"?" + (raw or urlencode(args).encode())
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(
            b"%b %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%b\r\n%b"
            % (method.encode(), target, more, body or b"")
        )
        yield Request(stream)


async def ask(port: int, path: str, query: bytes = b"", **args: Any) -> Response:
    """Send a request and return its answer."""
    async with requesting(port, path, query, **args) as request:
        return await request.answer()


def reads(answer: Response, status: int = 200) -> Any:
    """Return the body of an answer, after checking everything else about it."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    return answer.json


async def until_waiting(
    client: trioslock.Client, count: int, limit: float = LIMIT
) -> None:
    """Return once so many wait in the client's database on the slock server."""
    waiting = -1
    with trio.move_on_after(limit):
        while waiting != count:
            waiting = (await client.state()).waiting
            await trio.sleep(0.01)
        return
    raise AssertionError(f"{waiting} wait after {limit} s, not {count}")
