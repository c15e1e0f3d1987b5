"""Real programs that tests run against, and how to find them.

A tool that is missing skips the test which needs it, with a reason that names it.
Where all tools are expected (the continuous integration run), setting
``TRIOSLOCK_REQUIRE_TOOLS=1`` turns such a skip into a failure.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REQUIRE_TOOLS = "TRIOSLOCK_REQUIRE_TOOLS"
# Far above what a start takes, for machines that do much else.
START_LIMIT = 30.0


def find_tool(name: str, search: str | None = None) -> str:
    """Return the path of a program, or skip (or fail) the test that needs it.

    Args:
        name: The program's name.
        search: Where to look, in the form of PATH; by default in PATH itself.
    """
    path = shutil.which(name, path=search)
    if path is not None:
        return path
    reason = f"{name} is not installed"
    if os.environ.get(REQUIRE_TOOLS):
        pytest.fail(f"{reason}, and {REQUIRE_TOOLS} is set")
    pytest.skip(reason)


# Below the ports that the kernel gives to outgoing connections, and apart from those of
# the other processes that run tests: else somebody has the port before its server does.
_PORTS_OF_ONE = 2500
_FIRST_PORT = 10_000 + _PORTS_OF_ONE * (
    int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
)
# Two runs side by side begin at different places.
_ports = itertools.count(os.getpid() * 37)


def find_free_port() -> int:
    """Return a TCP port on 127.0.0.1 that nobody listens on, each another one."""
    while True:
        port = _FIRST_PORT + next(_ports) % _PORTS_OF_ONE
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) != 0:
                return port


def wait_for_port(
    port: int, process: subprocess.Popen[bytes] | subprocess.Popen[str]
) -> None:
    """Block until something listens on the port, or fail if the process ends first."""
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"{process.args!r} ended with code {process.returncode}")
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    # The caller gets no process that it could end.
    process.kill()
    process.wait()
    pytest.fail(f"{process.args!r} does not listen on port {port}")


@dataclass
class RedisServer:
    """A redis-server of our own on a free port.

    ``kill`` and ``start`` bring it down and up again on the same port, empty unless
    it is ``durable``: then every write is on disk before it is answered.

    Attributes:
        options: Further options of the command line, without their dashes.
    """

    directory: Path
    port: int = field(default_factory=find_free_port)
    host: str = "127.0.0.1"
    durable: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def start(self, *, wait_until_loaded: bool = True) -> None:
        command = [
            find_tool("redis-server"),
            *("--bind", self.host),
            *("--port", str(self.port)),
            *("--dir", str(self.directory)),
            *("--save", ""),
            *("--appendonly", "yes" if self.durable else "no"),
            *("--appendfsync", "always"),
        ]
        for name, value in self.options.items():
            command += [f"--{name}", *value.split()]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for_port(self.port, self._process)
        if not wait_until_loaded:
            return
        # It listens before it has loaded what it keeps, and refuses commands till then.
        deadline = time.monotonic() + START_LIMIT
        with socket.create_connection((self.host, self.port), START_LIMIT) as sock:
            answer = b""
            while answer != b"+PONG\r\n" and time.monotonic() < deadline:
                sock.sendall(b"PING\r\n")
                answer = sock.recv(1024)

    def stop(self) -> None:
        """End the server in order: clients see their connections closed."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once, as a crash does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Make the server take commands and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the server go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, signum: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signum)
        self._process.wait(START_LIMIT)
        self._process = None


def wait_for_line(process: subprocess.Popen[str], start: str) -> str:
    """Return the process's next line of output; it must begin with ``start``.

    The test's own time limit ends the wait if no line comes.
    """
    assert process.stdout is not None
    line = process.stdout.readline().rstrip("\n")
    if not line.startswith(start):
        process.kill()
        pytest.fail(f"{process.args!r} printed {line!r}, not {start!r}")
    return line
