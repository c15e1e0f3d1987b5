"""A replica set of real slock nodes on loopback, and ways to hurt it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio
from tests.services import find_free_port

SETTLE_LIMIT = 60.0
STOP_LIMIT = 10.0
POLL = 0.02


class ClusterError(Exception):
    """A node said no, or the set did not reach the state asked for."""


async def until(
    condition: Callable[[], Awaitable[bool]], limit: float = SETTLE_LIMIT
) -> None:
    """Wait until something outside this process has come about."""
    with trio.fail_after(limit):
        # A node does not push this, so it has to be asked again.
        while not await condition():  # noqa: ASYNC110
            await trio.sleep(POLL)


@dataclass
class Node:
    """One slock server of a replica set; ``start`` again keeps data and port."""

    binary: str
    directory: Path
    host: str = "127.0.0.1"
    port: int = field(default_factory=find_free_port)
    _process: subprocess.Popen[bytes] | None = None
    _frozen: bool = False

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None

    async def start(self) -> None:
        """Start the server and wait until it listens."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [
            self.binary,
            f"--bind={self.host}",
            f"--port={self.port}",
            f"--data_dir={self.directory}",
            f"--log={self.directory / 'log'}",
            "--db_fast_key_count=4096",
            "--replset=suite",
        ]
        self._spawn(command)
        await until(self._listens)

    def _spawn(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command)

    async def _listens(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise ClusterError(f"{self.address} ended: {self._process.returncode}")
        try:
            stream = await trio.open_tcp_stream(self.host, self.port)
        except OSError:
            return False
        await stream.aclose()
        return True

    async def kill(self) -> None:
        """End the server at once, as a crash does."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End the server in order; at once if it does not come to an end.

        Real nodes have been seen to hang in their orderly end for over a minute.
        """
        await self._end(signal.SIGTERM)

    async def _end(self, signum: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signum)
        if self._frozen and signum is not signal.SIGKILL:
            process.send_signal(signal.SIGCONT)
        self._frozen = False
        try:
            with trio.move_on_after(STOP_LIMIT):
                # The poll sees the end as soon as there is one; wait() has no scope.
                while process.poll() is None:  # noqa: ASYNC110
                    await trio.sleep(POLL)
        finally:
            process.kill()
            process.wait()

    def freeze(self) -> None:
        """Stop the process; its sockets stay open and its kernel answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        """Let a frozen process go on."""
        if self._process is not None and self._frozen:
            self._process.send_signal(signal.SIGCONT)
            self._frozen = False

    async def ask(self, *words: str) -> list[str]:
        """Send one text command; return the lines of its reply."""
        stream = await trio.open_tcp_stream(self.host, self.port)
        async with stream:
            with trio.fail_after(SETTLE_LIMIT):
                await stream.send_all(_text_command(words))
                reply = (await stream.receive_some(65536)).decode()
        if reply.startswith("-"):
            raise ClusterError(f"{self.address}: {' '.join(words)}: {reply.strip()}")
        return [line for line in reply.split("\r\n") if line[:1] not in {"", "*", "$"}]

    async def roles(self) -> dict[str, str]:
        """Return what this node thinks: role by address, of members online."""
        try:
            words = await self.ask("REPLSET", "MEMBERS")
        except ClusterError:
            return {}  # it has not heard yet that it is a member
        rows = [words[start : start + 5] for start in range(0, len(words), 5)]
        return {
            host: role
            for host, _weight, _arbiter, role, state in rows
            if state == "online"
        }


@dataclass
class Cluster:
    """Three nodes of one replica set."""

    nodes: list[Node]

    @property
    def url(self) -> str:
        return "slock://" + ",".join(node.address for node in self.nodes)

    @property
    def running(self) -> list[Node]:
        return [node for node in self.nodes if node.running]

    async def configure(self) -> None:
        """Make the nodes members of one set, and wait for its leader."""
        first, *others = self.nodes
        await first.ask("REPLSET", "CONFIG", first.address)
        for other in others:
            await first.ask("REPLSET", "ADD", other.address)
        await self.settle()

    async def settle(self, without: Sequence[Node] = ()) -> Node:
        """Wait until all running nodes agree on a leader; return it."""
        watched = [node for node in self.running if node not in without]
        leader: Node | None = None

        async def agreed() -> bool:
            nonlocal leader
            leader = await self._agreed(watched)
            return leader is not None

        await until(agreed)
        assert leader is not None
        return leader

    async def _agreed(self, watched: Sequence[Node]) -> Node | None:
        views = [await node.roles() for node in watched]
        alive = {node.address for node in watched}
        leaders = {
            address
            for view in views
            for address, role in view.items()
            if role == "leader" and address in alive
        }
        whole = all(alive <= view.keys() for view in views)
        if len(leaders) != 1 or not whole:
            return None
        return self.by_address(leaders.pop())

    async def leader(self) -> Node:
        """Return the node that all running ones take for the leader."""
        return await self.settle()

    async def followers(self) -> list[Node]:
        """Return the running nodes that are not the leader."""
        leader = await self.leader()
        return [node for node in self.running if node is not leader]

    async def quit_leader(self) -> None:
        """Make the leader step down in order; its process goes on.

        A set that has just been made may find no leader any more after this (seen
        once: none within a minute), so its members get a second to sync.
        """
        leader = await self.leader()
        await trio.sleep(1)
        await leader.ask("REPLSET", "QUIT-LEADER")

    def by_address(self, address: str) -> Node:
        return next(node for node in self.nodes if node.address == address)


@asynccontextmanager
async def open_cluster(
    binary: str, directory: Path, size: int = 3
) -> AsyncIterator[Cluster]:
    """Run a configured replica set; end all of its processes in any case."""
    nodes = [Node(binary, directory / f"node{index}") for index in range(size)]
    async with AsyncExitStack() as stack:
        for node in nodes:
            stack.push_async_callback(_end, node)
            await node.start()
        cluster = Cluster(nodes)
        await cluster.configure()
        yield cluster


async def _end(node: Node) -> None:
    with trio.CancelScope(shield=True):
        await node.kill()


def _text_command(words: Sequence[str]) -> bytes:
    parts = [f"*{len(words)}\r\n"]
    parts += [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    return "".join(parts).encode()
