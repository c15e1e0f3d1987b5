"""The programs that `chaos.py` runs, and the faults that it makes in them."""

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
    """A program that listens on a port, and can be ended and started again."""

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
        """Prepare it.

        Args:
            name: For the report and its log.
            command: Its command line.
            port: Where it listens.
            folder: Where its log goes.
            tally: Told when it ends by itself.
            env: Besides the environment of this process.
            hello: What it is asked, and the answer that says it is up.
        """
        self.name = name
        self.port = port
        self.log = folder / f"{name}.log"
        # Held by a fault from breaking to mending.
        self.lock = trio.Lock()
        self._command = command
        self._tally = tally
        self._env = {**os.environ, **(env or {})}
        self._hello = hello
        self._process: trio.Process | None = None
        self._is_ending = False
        self._is_started = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Start it, and see that it does not end by itself; kill it when cancelled."""
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
        """End it at once, with all its workers."""
        self._is_ending = True
        self._kill_now()
        await self._running.wait()

    async def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self._is_ending = True
        self._running.terminate()
        code: int = await self._running.wait()
        return code

    def send_signal(self, signum: signal.Signals) -> None:
        self._running.send_signal(signum)

    def workers(self) -> list[int]:
        """Return the process ids of its workers; none if it has none."""
        # Each thread has those that it has started.
        tasks = Path(f"/proc/{self._running.pid}/task").glob("*/children")
        return sorted(int(pid) for task in tasks for pid in task.read_text().split())

    @property
    def _running(self) -> trio.Process:
        assert self._process is not None
        return self._process

    def _kill_now(self) -> None:
        # Workers first, which would live on for as long as they drain.
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
    """Redis, slock and the servers, and how to break them."""

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
        # One that is a process of its own, and one with a crew.
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
        """Make a fault, and mend what it has broken."""
        await self.faults[fault]()
        self._tally.faults[fault] += 1

    async def _kill(self, program: Program) -> None:
        async with program.lock:
            await program.kill()
            await trio.sleep(self._rng.uniform(0.0, 1.5))
            await program.start()

    async def _freeze(self, program: Program) -> None:
        """Let it take what it is sent and answer nothing, for some time."""
        async with program.lock:
            program.send_signal(signal.SIGSTOP)
            await trio.sleep(self._rng.uniform(0.5, LONGEST_FREEZE))
            program.send_signal(signal.SIGCONT)

    async def _kill_server(self) -> None:
        await self._kill(self._rng.choice(self.servers))

    async def _kill_worker(self) -> None:
        """Kill a worker, which its supervisor starts again."""
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
        """Close all connections to Redis but this one."""
        async with self.redis.lock:
            async with await trio.open_tcp_stream(HOST, self.redis.port) as stream:
                await stream.send_all(b"CLIENT KILL TYPE normal\r\n")
                answer = await stream.receive_some(100)
        assert answer.startswith(b":"), answer
        self._tally.faults["connections cut by them"] += int(answer[1:])


def _redis_command(port: int, folder: Path) -> list[str]:
    # A process that is killed leaves what it wrote with the kernel, so 0 lost here
    # needs a log, but no `always`. What may not be lost by a loss of power does.
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
        # Who waits for a frozen slock or Redis is told so within 5 s.
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
    # By chance, and not the seed's, lest two runs at once get the same.
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
    raise SystemExit("there are no free ports")
