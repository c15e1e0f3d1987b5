"""The programs that `chaos.py` runs, and the faults that it causes in them."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio
from chaos_tally import Tally

HOST = "127.0.0.1"
START_LIMIT = 20.0
DEPLOY_LIMIT = 20.0
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
        self._command = command
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
                self._command,
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


class Programs:
    """Redis, slock and the servers, and the faults."""

    def __init__(
        self,
        folder: Path,
        slock_binary: str,
        keep: int,
        rng: random.Random,
        tally: Tally,
    ) -> None:
        ports = _free_ports(4)
        make = partial(Program, folder=folder, tally=tally)
        self.redis = make(
            "redis",
            _redis_command(ports[0], folder),
            ports[0],
            hello=(b"PING\r\n", b"+PONG"),
        )
        self.slock = make(
            "slock", _slock_command(ports[1], folder, slock_binary), ports[1]
        )
        # One server with a single worker, and one with two.
        self.servers = [
            make(
                f"triopoll-{workers}",
                _server_command(port, workers),
                port,
                env=_server_settings(ports[0], ports[1], keep),
                hello=(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1 200"),
            )
            for workers, port in zip((1, 2), ports[2:], strict=True)
        ]
        self._rng = rng
        self._tally = tally
        self.faults: dict[str, Callable[[], Awaitable[None]]] = {
            "worker-killed": self._kill_worker,
            "server-killed": self._kill_server,
            "deploy": self._deploy,
            "redis-cut": self._cut_redis,
            "redis-killed": partial(self._kill, self.redis),
            "slock-killed": partial(self._kill, self.slock),
            "redis-frozen": partial(self._freeze, self.redis),
            "slock-frozen": partial(self._freeze, self.slock),
        }

    @property
    def all(self) -> list[Program]:
        return [self.redis, self.slock, *self.servers]

    async def break_something(self, fault: str) -> None:
        """Cause a fault, and repair it."""
        await self.faults[fault]()
        self._tally.faults[fault] += 1

    async def _kill(self, program: Program) -> None:
        async with program.lock:
            await program.kill()
            await trio.sleep(self._rng.uniform(0.0, 1.5))
            await program.start()

    async def _freeze(self, program: Program) -> None:
        """Let it accept input and answer nothing for some time."""
        async with program.lock:
            program.send_signal(signal.SIGSTOP)
            await trio.sleep(self._rng.uniform(0.5, LONGEST_FREEZE))
            program.send_signal(signal.SIGCONT)

    async def _kill_server(self) -> None:
        await self._kill(self._rng.choice(self.servers))

    async def _kill_worker(self) -> None:
        """Kill a worker; its supervisor starts it again."""
        server = self.servers[1]
        async with server.lock:
            killed = self._rng.choice(server.workers())
            os.kill(killed, signal.SIGKILL)
            with trio.fail_after(START_LIMIT):
                while len(set(server.workers()) - {killed}) < 2:  # noqa: ASYNC110
                    await trio.sleep(0.02)

    async def _deploy(self) -> None:
        server = self._rng.choice(self.servers)
        async with server.lock:
            with trio.move_on_after(DEPLOY_LIMIT):
                self._tally.deploys[f"exit code {await server.stop()}"] += 1
                await server.start()
                return
            self._tally.deploys["did not end"] += 1
            await server.kill()
            await server.start()

    async def _cut_redis(self) -> None:
        """Close all connections to Redis except this one."""
        async with self.redis.lock:
            async with await trio.open_tcp_stream(HOST, self.redis.port) as stream:
                await stream.send_all(b"CLIENT KILL TYPE normal\r\n")
                answer = await stream.receive_some(100)
        assert answer.startswith(b":"), answer
        self._tally.faults["connections to Redis cut"] += int(answer[1:])


def _redis_command(port: int, folder: Path) -> list[str]:
    # The kernel keeps what a killed process has written, so these faults need the
    # append-only file, but not `always`. A loss of power would need `always`.
    return [
        *("redis-server", "--bind", HOST, "--port", str(port), "--dir", str(folder)),
        *("--save", "", "--appendonly", "yes", "--appendfsync", "always"),
    ]


def _slock_command(port: int, folder: Path, binary: str) -> list[str]:
    data = folder / "slock-data"
    if binary:
        data.mkdir()
        return [
            *(binary, f"--bind={HOST}", f"--port={port}", f"--data_dir={data}"),
            f"--log={folder / 'slock-own.log'}",
        ]
    return [
        *(sys.executable, "-m", "trioslock", "serve", "--host", HOST),
        *("--port", str(port), "--data", str(data)),
    ]


def _server_command(port: int, workers: int) -> list[str]:
    return [
        *(sys.executable, "-m", "triopoll", "serve", "--bind", f"{HOST}:{port}"),
        *("--workers", str(workers)),
        # Requests that wait for a frozen slock or Redis are answered within 5 s.
        *("--drain-delay", "0.2", "--drain-window", "1", "--drain-grace", "6"),
    ]


def _server_settings(redis: int, slock: int, keep: int) -> dict[str, str]:
    return {
        "TRIOPOLL_REDIS_URL": f"redis://{HOST}:{redis}/0",
        "TRIOPOLL_SLOCK_URL": f"slock://{HOST}:{slock}",
        "TRIOPOLL_LIST_PREFIX": "list:",
        "TRIOPOLL_LOG_MAX_MESSAGES": str(keep),
        # All clients have one address.
        "TRIOPOLL_WAITS_PER_IP": "0",
        "TRIOPOLL_REQUESTS_PER_IP": "0",
    }


def _free_ports(count: int) -> list[int]:
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
