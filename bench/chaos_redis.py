"""The Redis of `chaos.py`: a primary, its replica, two Sentinels, and their faults.

The Sentinels do not fail over by themselves, so that the other faults hit one primary;
the fault `failover` orders it. Faults of Redis come one after another.
"""

from __future__ import annotations

import random
import re
import shlex
import shutil
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import redis
import trio
from chaos_programs import HOST, LONGEST_FREEZE, START_LIMIT, Program
from chaos_tally import Tally
from redis.backoff import NoBackoff
from redis.retry import Retry

MASTER = "chaos"
USER, PASSWORD = "app", "SECRET"
PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "use-a-real-redis.md"
# What is taken from the user for some time, one of them at each fault.
RIGHTS = (
    *("-xadd", "-hset", "-hdel", "-eval -evalsha", "-xrange", "-set", "-info"),
    *("resetkeys", "off", "resetpass"),
)
# With a longer one, a primary that is frozen would be replaced.
DOWN_AFTER = 120_000


class RedisRig:
    """Redis as the servers use it."""

    def __init__(
        self,
        make: Callable[..., Program],
        ports: list[int],
        folder: Path,
        rng: random.Random,
        tally: Tally,
    ) -> None:
        self._rng = rng
        self._tally = tally
        self._lock = trio.Lock()
        users = folder / "users.acl"
        self._rules = documented_rules()
        users.write_text(
            f"user default on nopass ~* &* +@all\nuser {USER} {' '.join(self._rules)}\n"
        )
        self.primary = _node(make, "redis-a", ports[0], folder)
        self.replica = _node(make, "redis-b", ports[1], folder)
        self.sentinels = [
            _sentinel(make, f"sentinel-{port}", port, ports[0], folder)
            for port in ports[2:]
        ]
        hosts = ",".join(f"{HOST}:{port}" for port in ports[2:])
        self.url = f"redis+sentinel://{USER}:{PASSWORD}@{hosts}/{MASTER}/0"
        self.faults: dict[str, Callable[[], Awaitable[None]]] = {
            "redis-cut": self._cut,
            "redis-killed": self._kill,
            "redis-frozen": self._freeze,
            "failover": self._fail_over,
            "tail-lost": self._lose_tail,
            "disk-full": self._fill_disk,
            "memory-full": self._fill_memory,
            "rights-changed": self._change_rights,
        }

    @property
    def all(self) -> list[Program]:
        return [self.primary, self.replica, *self.sentinels]

    async def connect(self) -> None:
        """Let the replica follow, and the Sentinels find it."""
        # Not in its command line: what is a replica now may be the primary later.
        await self._ask(self.replica, "REPLICAOF", HOST, str(self.primary.port))
        await self._until(self._is_in_sync)
        await self._until(self._is_known)

    async def cause(self, fault: str) -> None:
        """Cause a fault, and repair it; the replica is in sync again afterwards."""
        async with self._lock:
            await self.faults[fault]()
            await self._until(self._has_settled)

    # --- faults without a loss --------------------------------------------------------

    async def _cut(self) -> None:
        """Close all connections to Redis except this one."""
        cut = await self._ask(self.primary, "CLIENT", "KILL", "TYPE", "normal")
        self._tally.faults["connections to Redis cut"] += cut

    async def _kill(self) -> None:
        await self.primary.kill()
        await trio.sleep(self._rng.uniform(0.0, 1.5))
        await self.primary.start()

    async def _freeze(self) -> None:
        self.primary.send_signal(signal.SIGSTOP)
        await trio.sleep(self._rng.uniform(0.5, LONGEST_FREEZE))
        self.primary.send_signal(signal.SIGCONT)

    async def _fill_disk(self) -> None:
        """Have Redis fail to save to disk: it refuses writes (MISCONF)."""
        obstacle = _folder_of(self.primary) / "dump.rdb"
        obstacle.unlink(missing_ok=True)
        (obstacle / "x").mkdir(parents=True)
        await self._set("save", "3600 1")
        await self._save("err")
        await self._some_time()
        shutil.rmtree(obstacle)
        await self._save("ok")
        await self._set("save", "")

    async def _fill_memory(self) -> None:
        """Have Redis refuse what needs memory (OOM)."""
        await self._set("maxmemory", "1")
        await self._some_time()
        await self._set("maxmemory", "0")

    async def _change_rights(self) -> None:
        """Take a right from the servers' user, and give it back."""
        taken = self._rng.choice(RIGHTS).split()
        await self._ask(self.primary, "ACL", "SETUSER", USER, *taken)
        await self._some_time()
        await self._ask(self.primary, "ACL", "LOAD")

    # --- faults with a loss -----------------------------------------------------------

    async def _fail_over(self) -> None:
        """Have the Sentinels promote the replica; half the time it lacks the latest."""
        self._tally.losses += 1
        if self._rng.random() < 0.5:
            await self._ask(self.replica, "REPLICAOF", HOST, "1")
            await trio.sleep(self._rng.uniform(0.2, 1.5))
        await self._until(self._has_moved)

    async def _is_known(self) -> bool:
        for sentinel in self.sentinels:
            replicas = await self._ask(sentinel, "SENTINEL", "REPLICAS", MASTER)
            if not replicas:
                return False
        return True

    async def _has_moved(self) -> bool:
        named = [await self._named_port(each) for each in self.sentinels]
        if named[0] != self.replica.port:
            # Refused while one is under way; one that was given up is ordered again.
            await self._ask(self.sentinels[0], "SENTINEL", "FAILOVER", MASTER)
        if any(port != self.replica.port for port in named):
            return False
        return bool((await self._ask(self.replica, "ROLE"))[0] == b"master")

    async def _named_port(self, sentinel: Program) -> int:
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        _, port = await self._ask(sentinel, *question)
        return int(port)

    async def _lose_tail(self) -> None:
        """Start Redis from an older file, without what it has answered since then."""
        primary = self.primary
        folder = _folder_of(primary)
        (folder / "dump.rdb").unlink(missing_ok=True)
        await self._until(self._saves)
        await trio.sleep(self._rng.uniform(0.2, 1.5))
        self._tally.losses += 1
        await primary.kill()
        shutil.rmtree(folder / "appendonlydir")
        command = primary.command
        primary.command = [*command, "--appendonly", "no"]
        await primary.start()
        primary.command = command
        await self._set("appendonly", "yes")
        await self._until(self._has_file)

    async def _saves(self) -> bool:
        # Refused while Redis saves in the background, for its replica.
        return bool(await self._ask(self.primary, "SAVE"))

    async def _has_file(self) -> bool:
        info = await self._ask(self.primary, "INFO", "persistence")
        text = str(info)
        return "'aof_enabled': 1" in text and "'aof_rewrite_in_progress': 0" in text

    # --- Redis ------------------------------------------------------------------------

    async def _some_time(self) -> None:
        await trio.sleep(self._rng.uniform(0.5, 3.0))

    async def _set(self, name: str, value: str) -> None:
        await self._ask(self.primary, "CONFIG", "SET", name, value)

    async def _save(self, expected: str) -> None:
        """Save in the background until it ends as expected."""

        async def has_saved() -> bool:
            info = await self._ask(self.primary, "INFO", "persistence")
            if info["rdb_last_bgsave_status"] == expected:
                return True
            await self._ask(self.primary, "BGSAVE")
            return False

        await self._until(has_saved)

    async def _has_settled(self) -> bool:
        """Note which node is the primary; return whether the other follows it."""
        named = {await self._named_port(each) for each in self.sentinels}
        if named == {self.replica.port}:
            self.primary, self.replica = self.replica, self.primary
        role = await self._ask(self.primary, "ROLE")
        is_primary = named == {self.primary.port} and role[0] == b"master"
        return is_primary and await self._is_in_sync()

    async def _is_in_sync(self) -> bool:
        info = await self._ask(self.replica, "INFO", "replication")
        port, link = info.get("master_port"), info.get("master_link_status")
        return bool(port == self.primary.port and link == "up")

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        with trio.fail_after(2 * START_LIMIT):
            while not await _holds(condition):  # noqa: ASYNC110
                await trio.sleep(0.1)

    async def _ask(self, program: Program, *command: str) -> Any:
        return await trio.to_thread.run_sync(partial(_ask, program.port, command))


async def _holds(condition: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await condition()
    except (redis.RedisError, OSError):
        return False


def _ask(port: int, command: tuple[str, ...]) -> Any:
    retry = Retry(NoBackoff(), 0)
    with redis.Redis(HOST, port, retry=retry, socket_timeout=5) as client:
        return client.execute_command(*command)


def documented_rules() -> list[str]:
    """Return the rights that the documentation gives to the servers' user."""
    (command,) = re.findall(r"ACL SETUSER app ((?:.*\\\n)*.*)", PAGE.read_text())
    rules = shlex.split(command.replace("\\\n", " ").replace("~poll:", "~list:"))
    return [f">{PASSWORD}" if rule.startswith(">") else rule for rule in rules]


def _folder_of(node: Program) -> Path:
    return node.log.parent / f"{node.name}-data"


def _node(make: Callable[..., Program], name: str, port: int, folder: Path) -> Program:
    data = folder / f"{name}-data"
    data.mkdir()
    # The kernel keeps what a killed process has written, so a kill needs the
    # append-only file, but not `always`. A loss of power would need `always`.
    command = [
        *("redis-server", "--bind", HOST, "--port", str(port), "--dir", str(data)),
        *("--aclfile", str(folder / "users.acl"), "--repl-diskless-sync-delay", "0"),
        *("--save", "", "--appendonly", "yes", "--appendfsync", "always"),
    ]
    return make(name, command, port, hello=(b"PING\r\n", b"+PONG"))


def _sentinel(
    make: Callable[..., Program], name: str, port: int, primary: int, folder: Path
) -> Program:
    path = folder / f"{name}.conf"
    path.write_text(
        f"port {port}\nbind {HOST}\ndir {folder}\n"
        f"sentinel monitor {MASTER} {HOST} {primary} 1\n"
        f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER}\n"
        f"sentinel failover-timeout {MASTER} 5000\n"
    )
    command = ["redis-sentinel", str(path)]
    return make(name, command, port, hello=(b"PING\r\n", b"+PONG"))
