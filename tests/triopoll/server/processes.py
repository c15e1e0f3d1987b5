"""Server processes for the tests: started for real, ended for sure."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.services import find_free_port

ROOT = Path(__file__).parents[3]
PARK_APP = "tests.triopoll.server.park_app:app"

GET = b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n"


class ServerProcess:
    """``triopoll serve``, or another server, on a free port."""

    def __init__(
        self,
        log: Path,
        *options: str,
        app: str = PARK_APP,
        server: str = "triopoll",
        prefix: Sequence[str] = (),
    ) -> None:
        self.port = find_free_port()
        self.log = log
        bind = ["--bind", f"127.0.0.1:{self.port}"]
        command = {
            "triopoll": ["-m", "triopoll", "serve", app, *bind],
            "hypercorn": ["-m", "hypercorn", "-k", "trio", *bind, app],
        }[server]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, *command, *options],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(5)

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.output
            try:
                if self.ask(b"/hello").endswith(b"hello"):
                    return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"not up in time: {self.output}")

    def wait_workers(self, count: int) -> set[bytes]:
        """Wait until so many workers answer; return their process ids."""
        pids: set[bytes] = set()
        deadline = time.monotonic() + 20
        while len(pids) < count and time.monotonic() < deadline:
            pids.add(self.body(b"/pid"))
        assert len(pids) == count, self.output
        return pids

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, path: bytes) -> bytes:
        """GET on a connection of its own; return all that comes."""
        with self.connect() as sock:
            sock.sendall(
                (GET % path).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            )
            return read_all(sock)

    def park(self) -> socket.socket:
        sock = self.connect()
        sock.sendall(GET % b"/park")
        return sock

    def body(self, path: bytes) -> bytes:
        return self.ask(path).rpartition(b"\r\n\r\n")[2]

    def wait_parked(self, count: int) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if int(self.body(b"/parked")) == count:
                return
            time.sleep(0.02)
        raise AssertionError(f"{self.body(b'/parked')!r} are parked")

    def rss_kib(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") // 1024

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


def read_all(sock: socket.socket) -> bytes:
    """Read to the end; a reset is an end."""
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    return data
