"""The machines of `many.py`: which program has which role, and the faults."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import trio
from chaos_programs import HOST, START_LIMIT, Program
from many_programs import Programs

SETTLE_LIMIT = 120.0


class Machines:
    """All programs, and the faults.

    Attributes:
        faults: A fault lasts as long as the block of its context manager.
        codes: The exit codes of nodes that were stopped in order.
    """

    def __init__(self, programs: Programs, rng: random.Random) -> None:
        self._rng = rng
        self._password = programs.password
        self._is_set = programs.is_set
        self._joining = programs.joining
        self._slock, self._redis = programs.slock, programs.redis
        self._sentinels, self._nodes = programs.sentinels, programs.nodes
        self._nginx = programs.nginx
        self.codes: list[int] = []
        self._missing: list[Program] = []
        self.faults: dict[str, Callable[[], AbstractAsyncContextManager[None]]] = {
            "nothing": self._nothing,
            "redis-primary": partial(self._killed, self._primary, self._is_redis_whole),
            "worker": self._worker_killed,
            "node": partial(self._killed, self._any_node),
            "nginx-reload": self._nginx_reloaded,
            "slock-leader": partial(self._killed, self._leader, self._is_slock_whole),
            "redis-replica": partial(self._killed, self._replica, self._is_redis_whole),
            "slock-follower": partial(
                self._killed, self._follower, self._is_slock_whole
            ),
            "sentinel": partial(self._killed, self._any_sentinel),
            "node-drain": self._node_drained,
        }

    async def connect(self) -> None:
        """Make the slock servers one set, and wait until slock and Redis are whole."""
        for command in self._joining:
            await _output(command)
        await self.is_whole()

    async def is_whole(self) -> None:
        """Wait until slock has a leader, and Redis a primary, with all the others."""
        await _until(self._is_slock_whole)
        await _until(self._is_redis_whole)

    # --- faults -----------------------------------------------------------------------

    @asynccontextmanager
    async def _nothing(self) -> AsyncIterator[None]:
        await trio.sleep(2)
        yield

    @asynccontextmanager
    async def _killed(
        self,
        choose: Callable[[], Awaitable[Program | None]],
        is_whole: Callable[[], Awaitable[bool]] | None = None,
    ) -> AsyncIterator[None]:
        """Kill a program, all of it, and start it again after the block.

        The block begins when the others have agreed on who replaces it.
        """
        if is_whole:
            await _until(is_whole)
        program = await choose()
        if program is None:
            raise SystemExit("a set of one has no followers: leave this fault out")
        await program.kill()
        self._missing = [program]
        if is_whole:
            await _until(is_whole)
        yield
        await program.start()
        self._missing = []

    @asynccontextmanager
    async def _worker_killed(self) -> AsyncIterator[None]:
        node = self._rng.choice(self._nodes)
        killed = self._rng.choice(node.workers())
        os.kill(killed, signal.SIGKILL)
        yield
        with trio.fail_after(START_LIMIT):
            while len(set(node.workers()) - {killed}) < 2:  # noqa: ASYNC110
                await trio.sleep(0.02)

    @asynccontextmanager
    async def _node_drained(self) -> AsyncIterator[None]:
        """Stop a node in order, as an upgrade does."""
        node = self._rng.choice(self._nodes)
        self.codes.append(await node.stop())
        yield
        await node.start()

    @asynccontextmanager
    async def _nginx_reloaded(self) -> AsyncIterator[None]:
        self._nginx.send_signal(signal.SIGHUP)
        yield

    # --- who is who -------------------------------------------------------------------

    async def _any_node(self) -> Program:
        return self._rng.choice(self._nodes)

    async def _any_sentinel(self) -> Program:
        return self._rng.choice(self._sentinels)

    async def _primary(self) -> Program:
        port = await self._named_port(self._sentinels[0])
        return next(each for each in self._redis if each.port == port)

    async def _replica(self) -> Program:
        primary = await self._primary()
        return self._rng.choice([each for each in self._redis if each is not primary])

    async def _leader(self) -> Program:
        roles = await self._roles(self._slock[0]) if self._is_set else {}
        leads = [each for each in self._slock if roles.get(each.port) == "leader"]
        return leads[0] if leads else self._slock[0]

    async def _follower(self) -> Program | None:
        leader = await self._leader()
        others = [each for each in self._slock if each is not leader]
        return self._rng.choice(others) if others else None

    # --- whether all that run are there -----------------------------------------------

    def _running(self, programs: list[Program]) -> list[Program]:
        return [each for each in programs if each not in self._missing]

    async def _is_slock_whole(self) -> bool:
        if not self._is_set:
            return True
        members = self._running(self._slock)
        views = [await self._roles(each) for each in members]
        leads = [[port for port in view if view[port] == "leader"] for view in views]
        is_one = len(leads[0]) == 1 and all(each == leads[0] for each in leads)
        ports = {each.port for each in members}
        return is_one and all(view.keys() == ports for view in views)

    async def _roles(self, member: Program) -> dict[int, str]:
        """Return the roles of the members that are online, as one of them sees them."""
        words = (await _ask(member.port, "REPLSET", "MEMBERS")).splitlines()
        rows = [words[start : start + 5] for start in range(0, len(words), 5)]
        return {
            int(row[0].rpartition(":")[2]): row[3]
            for row in rows
            if len(row) == 5 and row[4] == "online"
        }

    async def _is_redis_whole(self) -> bool:
        servers = self._running(self._redis)
        sentinels = self._running(self._sentinels)
        named = {await self._named_port(each) for each in sentinels}
        if len(named) != 1 or not named <= {each.port for each in servers}:
            return False
        question = ("INFO", "replication")
        info = await _ask(named.pop(), *question, password=self._password)
        return "role:master" in info and info.count("state=online") == len(servers) - 1

    async def _named_port(self, sentinel: Program) -> int:
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
        words = (await _ask(sentinel.port, *question)).split()
        return int(words[1]) if len(words) == 2 else 0


async def _ask(port: int, *words: str, password: str = "") -> str:
    secret = ["-a", password, "--no-auth-warning"] if password else []
    return await _output(["redis-cli", "-h", HOST, "-p", str(port), *secret, *words])


async def _output(command: list[str]) -> str:
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
    return str(done.stdout.decode())


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(SETTLE_LIMIT):
        while not await _holds(condition):  # noqa: ASYNC110
            await trio.sleep(0.1)


async def _holds(condition: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await condition()
    except subprocess.CalledProcessError:
        return False  # it does not listen yet
