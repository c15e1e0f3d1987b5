"""The programs that `chaos.py` runs: started, watched, stopped and killed."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import trio
from chaos_tally import Tally

HOST = "127.0.0.1"
# Far above what a start takes, for machines that do much else.
START_LIMIT = 60.0
# Longer than servers wait for an answer, which is 5 s.
LONGEST_FREEZE = 8.0
# Below the ports that the kernel gives to clients: while a program is down, one of
# those could have taken its port, or even be connected to itself.
PORTS = range(20000, 32000)


class Program:
    """A program that listens on a port, and can be stopped and started again."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        port: int,
        folder: Path,
        tally: Tally,
        *,
        env: dict[str, str] | None = None,
        hello: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        """Store the settings; `run` starts the program.

        Args:
            name: Name in the report and of the log file.
            command: Its command line.
            port: The port on which it listens.
            folder: Directory of its log.
            tally: Counts the program's unexpected ends.
            env: Variables in addition to the environment of this process.
            hello: A request, and the answer that shows that the program is up.
        """
        self.name = name
        self.port = port
        self.log = folder / f"{name}.log"
        # Held by a fault until it is repaired.
        self.lock = trio.Lock()
        self.command = command
        self._tally = tally
        self._env = {**os.environ, **(env or {})}
        self._hello = hello
        self._process: trio.Process | None = None
        self._is_ending = False
        self._is_started = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Start it, and report if it exits by itself; kill it when cancelled."""
        try:
            await self.start()
            task_status.started()
            while True:
                self._is_started = trio.Event()
                code = await self._running.wait()
                if not self._is_ending:
                    self._tally.deaths.append(f"{self.name} ended with {code}")
                    return
                await self._is_started.wait()
        finally:
            self._kill_now()

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                self.command,
                env=self._env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._is_ending = False
        self._is_started.set()
        with trio.fail_after(START_LIMIT):
            while not await self._is_up():  # noqa: ASYNC110
                await trio.sleep(0.02)

    async def kill(self) -> None:
        """Kill it at once, with all its workers."""
        self._is_ending = True
        self._kill_now()
        await self._running.wait()

    async def stop(self) -> int:
        """Send SIGTERM, and return the exit code."""
        self._is_ending = True
        self._running.terminate()
        code: int = await self._running.wait()
        return code

    def send_signal(self, signum: signal.Signals) -> None:
        self._running.send_signal(signum)

    def workers(self) -> list[int]:
        """Return the process ids of its workers; empty without workers."""
        # The kernel lists children for each thread that started them.
        tasks = Path(f"/proc/{self._running.pid}/task").glob("*/children")
        return sorted(int(pid) for task in tasks for pid in task.read_text().split())

    @property
    def _running(self) -> trio.Process:
        assert self._process is not None
        return self._process

    def _kill_now(self) -> None:
        # Workers first: without a supervisor they would drain before they exit.
        if self._process is not None and self._process.returncode is None:
            for pid in [*self.workers(), self._process.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    async def _is_up(self) -> bool:
        question, answer = self._hello
        try:
            with trio.fail_after(1):
                async with await trio.open_tcp_stream(HOST, self.port) as stream:
                    if question:
                        await stream.send_all(question)
                        return (await stream.receive_some(100)).startswith(answer)
                    return True
        except (OSError, trio.BrokenResourceError, trio.TooSlowError):
            return False


def free_ports(count: int) -> list[int]:
    found: list[int] = []
    # Not from the seed: two simultaneous runs must not choose the same ports.
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise SystemExit("no free ports")


@contextmanager
def folder_of(logs: Path | None) -> Iterator[Path]:
    """Give the block a directory for all files: a temporary one, if none is named."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = logs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
