"""A scripted replica set: engines behind nodes whose roles a test sets.

A node answers as a real one does in its role, to the letter of what was seen on the
wire: a follower hands LOCK and UNLOCK to the leader's engine under a peer of its own
per connection; when the leader dies it answers the latest open one with an empty
result 11 and the others never; a leader that steps down keeps its waiters.
What was in the log is what a test names: `FakeSet.lead` copies those keys' holders.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import trio
from trio.testing import memory_stream_pair

from trioslock.engine import Engine, EngineLimits
from trioslock.host import EngineHost, HostPeer
from trioslock.protocol import (
    NEED_DATA,
    Command,
    CommandType,
    InitCommand,
    InitResult,
    LeaderResult,
    LockCommand,
    LockResult,
    PlainCommand,
    PlainResult,
    Result,
)
from trioslock.protocol._server_side import ServerSide
from trioslock.transport import StreamTransport

ADDRESSES = [("a", 1), ("b", 2), ("c", 3)]
PUSH = 0x01
EMPTY = bytes(16)


class FakeNode:
    """One member. ``role`` is "leader", "follower", "leaderless" or "down"."""

    def __init__(self, fake: FakeSet, address: tuple[str, int]) -> None:
        self.fake = fake
        self.address = address
        self.role = "leaderless"
        self.awake = trio.Event()
        self.awake.set()
        self.said_at_once: list[Result] = []
        self.connections: list[FakeConnection] = []
        ids = itertools.count(1)
        engine = Engine(
            limits=EngineLimits(),
            wall_offset=1_700_000_000.0,
            new_id=lambda: b"server-made" + next(ids).to_bytes(5, "big"),
        )
        self.host = EngineHost(engine)
        self.log = self.host.attach(lambda result: None, lambda: None)

    @property
    def init_type(self) -> int:
        if self.role == "leader":
            return 0x0C
        return 0x08 if self.role == "follower" else 0x00

    def claims(self, key: bytes) -> tuple[int, int]:
        """How many hold a key here, and how many wait for it."""
        view = self.host.engine.inspect(0, key)
        return (len(view.holders), len(view.waiters)) if view is not None else (0, 0)

    def push(self, init_type: int) -> None:
        for connection in self.connections:
            connection.put(InitResult(b"p" * 16, 0, PUSH | init_type))

    def freeze(self) -> None:
        """Answer nothing until `thaw`; connections are still accepted."""
        self.awake = trio.Event()

    def thaw(self) -> None:
        self.awake.set()


class FakeConnection:
    """One connection to a node, over a pair of memory streams."""

    def __init__(self, node: FakeNode, stream: trio.StapledStream) -> None:
        self.node = node
        self.commands: list[Command] = []
        self._stream = stream
        self._out, self._outbox = trio.open_memory_channel[Result](10_000)
        self._scope = trio.CancelScope()
        self._peer: HostPeer | None = None
        self._local: HostPeer | None = None
        self._init: InitCommand | None = None
        self._forwarded: dict[tuple[int, bytes], LockCommand] = {}

    async def run(self) -> None:
        self.node.connections.append(self)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read()
                    nursery.cancel_scope.cancel()
        finally:
            self.node.connections.remove(self)
            self.detach()
            if self._local is not None:
                self._local.detach()
            await trio.aclose_forcefully(self._stream)

    def close(self) -> None:
        """End the connection as the node's death does."""
        self._scope.cancel()

    def put(self, result: Result) -> None:
        self._out.send_nowait(result)

    def detach(self) -> None:
        """Leave the engine: keep-alive waits and leases of this connection end."""
        if self._peer is not None:
            self._peer.detach()
            self._peer = None

    def leader_gone(self) -> None:
        """Do as a follower does whose forwarding connection broke."""
        self.detach()
        if self._forwarded:
            command = self._forwarded.popitem()[1]
            self._forwarded.clear()
            self.put(
                LockResult(
                    command.type, command.request_id, 11, 0, 0, EMPTY, EMPTY, 0, 0, 0, 0
                )
            )

    async def _write(self) -> None:
        side = ServerSide()
        async for result in self._outbox:
            await self.node.awake.wait()
            data = side.send(result)
            while self._outbox.statistics().current_buffer_used:
                data += side.send(self._outbox.receive_nowait())
            try:
                await self._stream.send_all(data)
            except trio.BrokenResourceError:
                self.close()  # the client has gone

    async def _read(self) -> None:
        side = ServerSide()
        while data := await self._stream.receive_some():
            await self.node.awake.wait()
            side.receive_data(bytes(data))
            while (command := side.next_event()) is not NEED_DATA:
                assert not isinstance(command, tuple) or hasattr(command, "_fields")
                self.commands.append(command)  # type: ignore[arg-type]
                await self._answer(command)  # type: ignore[arg-type]

    async def _answer(self, command: Command) -> None:
        if isinstance(command, InitCommand):
            await self._answer_init(command)
        elif isinstance(command, LockCommand):
            self._answer_lock(command)
        elif isinstance(command, PlainCommand) and command.type == CommandType.LEADER:
            self.put(LeaderResult(command.request_id, 0, self._leader_name()))
        else:
            assert isinstance(command, PlainCommand)
            self.put(PlainResult(command.type, command.request_id, 0))

    def _leader_name(self) -> str:
        leader = self.node.fake.leader
        if leader is None or self.node.role != "follower":
            return ""
        return f"{leader.address[0]}:{leader.address[1]}"

    async def _answer_init(self, command: InitCommand) -> None:
        node, leader = self.node, self.node.fake.leader
        # Every node registers every connection, and results that no connection is
        # left for go to the one with the same client id, whatever the node's role.
        self._init = command
        self._local = self._register(node)
        if node.role == "follower" and leader is not None:
            await leader.awake.wait()
            self.put(InitResult(command.request_id, 0, 0x02 | node.init_type))
        elif node.role == "leader":
            self.put(InitResult(command.request_id, 0, node.init_type))
            for result in node.said_at_once:
                self.put(result)
        else:
            self.put(InitResult(command.request_id, 10, 0x02))

    def _answer_lock(self, command: LockCommand) -> None:
        if self._peer is None:
            leader = self.node if self.node.role == "leader" else None
            if self.node.role == "follower":
                leader = self.node.fake.leader
            if leader is None:
                self._refuse(command)
                return
            self._peer = self._register(leader)
        if self.node.role == "leaderless" or not self._peer.attached:
            self._refuse(command)
            return
        if self.node.role == "follower":
            self._forwarded[command.type, command.request_id] = command
            if (
                self.node.fake.leader is None
                or not self.node.fake.leader.awake.is_set()
            ):
                return  # it is on its way to a leader that does not answer
        self._peer.submit(command)

    def _refuse(self, command: LockCommand) -> None:
        self.put(
            LockResult(
                type=command.type,
                request_id=command.request_id,
                result=10,
                flag=0,
                db=command.db,
                lock_id=command.lock_id,
                key=command.key,
                lcount=0,
                max_count=command.max_count,
                lrcount=0,
                rcount=command.rcount,
            )
        )

    def _register(self, node: FakeNode) -> HostPeer:
        peer = node.host.attach(self._deliver, lambda: None)
        if self._init is not None:
            peer.submit(self._init)
        return peer

    def _deliver(self, result: Result) -> None:
        if isinstance(result, InitResult):
            return  # the node answers INIT itself
        if isinstance(result, LockResult):
            self._forwarded.pop((result.type, result.request_id), None)
        self.put(result)


class FakeSet:
    """Three members; none leads until a test sets it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nodes = {address: FakeNode(self, address) for address in ADDRESSES}
        self.leader: FakeNode | None = None
        self._latest: FakeNode | None = None
        self.unreachable: set[tuple[str, int]] = set()
        self.attempts: list[tuple[str, int]] = []
        self._nursery = nursery
        for node in self.nodes.values():
            nursery.start_soon(node.host.run)

    @property
    def a(self) -> FakeNode:
        return self.nodes["a", 1]

    @property
    def b(self) -> FakeNode:
        return self.nodes["b", 2]

    @property
    def c(self) -> FakeNode:
        return self.nodes["c", 3]

    async def open_transport(self, host: str, port: int) -> StreamTransport:
        """Connect to a node, as a client does."""
        await trio.lowlevel.checkpoint()
        self.attempts.append((host, port))
        node = self.nodes.get((host, port))
        if node is None or node.role == "down" or node.address in self.unreachable:
            raise OSError("connection refused")
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(FakeConnection(node, theirs).run)
        return StreamTransport(ours)

    def lead(
        self, node: FakeNode, logged: Iterable[bytes] = (), push: bool = True
    ) -> None:
        """Make a node the leader; it holds what was logged of the given keys."""
        old, self.leader = self._latest, node
        self._latest = node
        if old is not None and old is not node:
            for key in logged:
                view = old.host.engine.inspect(0, key)
                for holder in view.holders if view is not None else ():
                    # A restored lock belongs to no connection.
                    node.log.submit(holder.command._replace(flag=0, data=None))
        for other in self.nodes.values():
            if other.role != "down":
                other.role = "leader" if other is node else "follower"
                if push:
                    other.push(other.init_type)

    def leaderless(self, *, push: bool = True) -> None:
        """Take the leader's office away; its process goes on, waiters and all."""
        old, self.leader = self.leader, None
        for node in self.nodes.values():
            if node.role == "down":
                continue
            was_follower = node.role == "follower"
            node.role = "leaderless"
            for connection in node.connections:
                if was_follower:
                    connection.leader_gone()
            if push:
                node.push(0x00)
        assert old is not None

    def crash(self, node: FakeNode) -> None:
        """Kill a node; followers that forwarded to it answer as they do."""
        node.role = "down"
        for connection in list(node.connections):
            connection.close()
        if self.leader is node:
            self.leader = None
            for other in self.nodes.values():
                for connection in other.connections:
                    connection.leader_gone()

    def restart(self, node: FakeNode) -> None:
        """Bring a node up again, as a follower if there is a leader."""
        node.role = "follower" if self.leader is not None else "leaderless"

    def claims(self, key: bytes) -> list[tuple[int, int]]:
        return [node.claims(key) for node in self.nodes.values()]
