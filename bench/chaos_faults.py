"""All programs of `chaos.py`, and the faults that it causes in them."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import trio
from chaos_programs import HOST, LONGEST_FREEZE, START_LIMIT, Program, free_ports
from chaos_redis import RedisRig
from chaos_tally import Tally

DEPLOY_LIMIT = 20.0


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
        slock, *ports = free_ports(7)
        make = partial(Program, folder=folder, tally=tally)
        self.redis = RedisRig(make, ports[:4], folder, rng, tally)
        self.slock = make("slock", _slock_command(slock, folder, slock_binary), slock)
        # One server with a single worker, and one with two.
        self.servers = [
            make(
                f"triopoll-{workers}",
                _server_command(port, workers),
                port,
                env=_server_settings(self.redis.url, slock, keep),
                hello=(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1 200"),
            )
            for workers, port in zip((1, 2), ports[4:], strict=True)
        ]
        self._rng = rng
        self._tally = tally
        self.faults: dict[str, Callable[[], Awaitable[None]]] = {
            "worker-killed": self._kill_worker,
            "server-killed": self._kill_server,
            "deploy": self._deploy,
            "slock-killed": partial(self._kill, self.slock),
            "slock-frozen": partial(self._freeze, self.slock),
        }
        for fault in self.redis.faults:
            self.faults[fault] = partial(self.redis.cause, fault)

    @property
    def all(self) -> list[Program]:
        return [*self.redis.all, self.slock, *self.servers]

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


def _server_settings(redis: str, slock: int, keep: int) -> dict[str, str]:
    return {
        "TRIOPOLL_REDIS_URL": redis,
        "TRIOPOLL_SLOCK_URL": f"slock://{HOST}:{slock}",
        "TRIOPOLL_LIST_PREFIX": "list:",
        "TRIOPOLL_LOG_MAX_MESSAGES": str(keep),
        # All clients have one address.
        "TRIOPOLL_WAITS_PER_IP": "0",
        "TRIOPOLL_REQUESTS_PER_IP": "0",
    }
