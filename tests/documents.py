"""The code blocks of the documentation, and a place where their commands can run."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.services import RedisServer, find_free_port, find_tool

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
_BLOCK = re.compile(r"^( *)```([\w{}-]*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Z_]+=")
# A request that is still parked when its time is over ends curl with code 28.
_PRELUDE = """
set -euo pipefail -o allexport
curl() { command curl -sS --fail-with-body --max-time 0.5 "$@" || [ $? = 28 ]; }
redis-cli() { command redis-cli -e "$@"; }
"""
PING = b"*1\r\n$4\r\nPING\r\n"
IS_ALIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
_START_LIMIT = 60.0
# Above the graceful timeout of 30 s that a page gives Hypercorn.
_STOP_LIMIT = 60.0


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: The path of the page in the repository.
        place: Which block of the page it is, from 1.
        language: The word behind the fence; "" for a drawing.
        text: What stands in the block.
    """

    page: str
    place: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}-{self.place}"

    def commands(self) -> list[str]:
        """Return the lines that are typed; a ``$`` marks those among output."""
        lines = re.sub(r"\\\n *", "", self.text).splitlines()
        if any(line.startswith("$ ") for line in lines):
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        return [line for line in lines if line.strip()]


def all_blocks() -> list[Block]:
    """Return the blocks of all pages, in order."""
    return [
        Block(str(page.relative_to(ROOT)), place, match[2], match[3])
        for page in PAGES
        for place, match in enumerate(_BLOCK.finditer(page.read_text()), start=1)
    ]


def split_assignments(command: str) -> tuple[dict[str, str], list[str]]:
    """Divide a command into its leading variable assignments and its words."""
    words = shlex.split(re.sub(r"=\$\(.*\)", "=_", command), comments=True)
    variables: dict[str, str] = {}
    while words and _ASSIGNMENT.match(words[0]):
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    return variables, words


@dataclass
class Place:
    """Redis, slock and the service, on free ports instead of the documented ones.

    Attributes:
        folder: The working directory of what runs.
        redis: A running Redis.
        slock: The port of a running slock server.
        web: The port of a running service.
    """

    folder: Path
    redis: RedisServer
    slock: int
    web: int

    def moved(self, text: str) -> str:
        """Replace the documentation's programs and addresses by those of this place."""
        redis = f"{self.redis.host}:{self.redis.port}"
        for old, new in (
            (".venv/bin/", ""),
            ("/opt/triopoll/bin/", ""),
            ("examples/set_event.py", str(ROOT / "examples" / "set_event.py")),
            ("127.0.0.1:8000", f"127.0.0.1:{self.web}"),
            ("127.0.0.1:5658", f"127.0.0.1:{self.slock}"),
            ("10.0.0.5:5658", f"127.0.0.1:{self.slock}"),
            ("127.0.0.1:6379", redis),
            ("10.0.0.6:6379", redis),
            ("-h 10.0.0.6", f"-p {self.redis.port}"),
            ("redis-cli rpush", f"redis-cli -p {self.redis.port} rpush"),
            ("-p 5658", f"-p {self.slock}"),
        ):
            text = text.replace(old, new)
        return re.sub(
            r"^(python .*set_event\.py \w+)$",
            rf"\1 slock://127.0.0.1:{self.slock}",
            text,
            flags=re.MULTILINE,
        )

    def run(self, commands: Sequence[str]) -> dict[str, str]:
        """Run lines as one script; return the variables that it has set.

        Raises:
            AssertionError: A command failed.
        """
        script = "\n".join([_PRELUDE, *map(self.moved, commands), "env -0 >variables"])
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        variables = (self.folder / "variables").read_text().split("\0")
        return dict(line.split("=", 1) for line in variables if "=" in line)

    def serve(self, command: str) -> None:
        """Start a server on a port of its own, and see it end without an error."""
        variables, words = split_assignments(self.moved(command))
        port = find_free_port()
        with running(on_port(words, port), variables, self.folder):
            wait_for_answer(port, PING if "trioslock" in words else IS_ALIVE)


def wait_for_answer(port: int, request: bytes) -> None:
    """Block until a server takes a request: one that only listens is still starting."""
    deadline = time.monotonic() + _START_LIMIT
    answer = b""
    while not answer.startswith((b"HTTP/1.1 200", b"+PONG")):
        assert time.monotonic() < deadline, f"port {port} answers {answer!r}"
        time.sleep(0.05)
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", port), 5) as sock,
        ):
            sock.sendall(request)
            answer = sock.recv(1024)


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a program: this Python's folder comes first."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    embedded = {"TRIOPOLL_SLOCK_URL": f"embedded://127.0.0.1:{find_free_port()}"}
    return {**os.environ, "PATH": path, **embedded, **(variables or {})}


def on_port(words: Sequence[str], port: int) -> list[str]:
    """Return a server's command with its port replaced or added."""
    program = " ".join(words)
    if "trioslock serve" in program or words[0] in ("uvicorn", "granian"):
        option, value = "--port", str(port)
    else:
        option, value = "--bind", f"127.0.0.1:{port}"
    kept = list(words)
    while option in kept:
        place = kept.index(option)
        del kept[place : place + 2]
    return [*kept, option, value]


@contextmanager
def running(
    words: Sequence[str], variables: Mapping[str, str], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for the length of the block; end it by Ctrl-C.

    Raises:
        AssertionError: It ended with an error.
    """
    process = subprocess.Popen(
        [find_tool(words[0], environment()["PATH"]), *words[1:]],
        cwd=folder,
        env=environment(variables),
    )
    try:
        yield process
        process.send_signal(signal.SIGINT)
        code = process.wait(_STOP_LIMIT)
    finally:
        process.kill()
        process.wait()
    assert code in (0, -signal.SIGINT), f"{words} ended with {code}"
