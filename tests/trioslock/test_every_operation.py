"""Cancel every public operation, wherever it can be: nothing is left behind.

The operations are found by looking at the classes that the package gives out, so a
new one fails here until it is said how to run it. Each runs over a wire that takes
its time in both directions, where somebody else ends what it waits for after a
while. It is run again and again, disturbed a little later each time, until it gets
through: cancelled, by a deadline, twice, with the wire cut at the same moment, or
with the wire cut alone.
"""

from __future__ import annotations

import inspect
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import trio
from tests.trioslock.sweep import LIMIT, run_cancelled_at, run_interrupted_at
from trio.testing import MockClock, memory_stream_pair

import trioslock
from trioslock import Client, Data, Flags, SlockError
from trioslock import primitives as primitives_room
from trioslock.client import open_session_client
from trioslock.embedded import open_embedded
from trioslock.link import Backoff, SessionSettings, connector
from trioslock.server import Server
from trioslock.testing import Network, open_network
from trioslock.transport import READ_SIZE, StreamTransport

ONE_WAY = 0.1
OTHER_ACTS_AFTER = 0.5
MOMENTS = (0.0, *(0.05 + 0.1 * number for number in range(100)))
"""When a run is disturbed: before it starts, and while things are on the wire."""

BOUND = 20.0
"""Virtual seconds within which nothing may be left."""

Operation = Callable[[], Awaitable[object]]


class SlowWire:
    """Connections to a server on which everything takes a while."""

    def __init__(self, server: Server, nursery: Any) -> None:
        self._server = server
        self._nursery = nursery
        self._ends: list[Any] = []

    async def open_transport(self) -> StreamTransport:
        await trio.lowlevel.checkpoint()
        ours, near = memory_stream_pair()
        far, theirs = memory_stream_pair()
        self._ends += [near, far]
        self._nursery.start_soon(self._server.serve_stream, theirs)
        self._nursery.start_soon(self._carry, near, far)
        self._nursery.start_soon(self._carry, far, near)
        return StreamTransport(ours)

    def cut(self) -> None:
        for end in self._ends:
            _close(end)
        self._ends.clear()

    async def _carry(self, source: Any, target: Any) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := bytes(await source.receive_some(READ_SIZE)):
                await trio.sleep(ONE_WAY)
                await target.send_all(data)
        _close(source)
        _close(target)


def _close(stream: Any) -> None:
    stream.send_stream.close()
    stream.receive_stream.close()


@dataclass
class World:
    """The client under test, another one, and what is behind them."""

    client: Client
    other: Client
    network: Network
    wire: SlowWire
    open_another: Callable[[], AbstractAsyncContextManager[Client, bool]]
    left: int = 0

    def state(self) -> tuple[object, ...]:
        engine = self.network.server.host_engine.engine.statistics()
        mine = self.client.statistics()
        return (
            ("holders", engine.holders - self.left),
            ("waiters", engine.waiters),
            ("in flight", mine.in_flight),
            ("unsettled", mine.unsettled),
            ("held", mine.held),
            ("waiting to send", mine.tasks_waiting_to_send),
        )

    async def until_idle(self, tasks: int) -> None:
        """Wait until nothing is left, here or there, or fail."""
        ends_at = trio.current_time() + BOUND
        while any(count for _, count in self.state()) or tasks_living() != tasks:  # type: ignore[misc]
            if trio.current_time() > ends_at:
                extra = tasks_living() - tasks
                raise AssertionError(f"left behind: {self.state()}, {extra} tasks")
            await trio.sleep(0.25)


def tasks_living() -> int:
    return trio.lowlevel.current_statistics().tasks_living


@asynccontextmanager
async def open_world(kind: str = "wire") -> AsyncIterator[World]:
    async with open_network() as network, network.open_client() as other:
        if kind == "embedded":
            unused = SlowWire(network.server, None)
            open_one = partial(open_embedded, network.server.host_engine)
            async with open_one() as client:
                yield World(client, other, network, unused, open_one)
            return
        async with trio.open_nursery() as nursery:
            wire = SlowWire(network.server, nursery)
            connect = connector(wire.open_transport, heartbeat=5)

            def open_slow() -> AbstractAsyncContextManager[Client, bool]:
                settings = SessionSettings(
                    client_id=secrets.token_bytes(16),
                    session_ttl=3,
                    backoff=Backoff(first=0.01),
                    close_grace=1,
                )
                return open_session_client(connect, settings)

            async with open_slow() as client:
                yield World(client, other, network, wire, open_slow)
            nursery.cancel_scope.cancel()


# How each operation is run.


async def nothing() -> None:
    await trio.lowlevel.checkpoint()


@dataclass
class Run:
    """One run of an operation.

    Attributes:
        operate: What is disturbed.
        other: What the other client does after a while.
        undo: What the program does after it, whatever has become of it.
        endless: Whether the other client goes on until this one is done.
    """

    operate: Operation
    other: Operation = nothing
    undo: Operation = nothing
    endless: bool = False
    results: list[Any] = field(default_factory=list)

    async def __call__(self) -> None:
        try:
            self.results.append(await self.operate())
        except (SlockError, trio.WouldBlock):
            # Its name is all that is asked of an error here.
            pass

    async def release_result(self) -> None:
        """Give back what the operation has got after all."""
        for result in self.results:
            if isinstance(result, trioslock.Grant):
                await quietly(result.release)


Prepare = Callable[[World, str], Awaitable[Run]]


async def quietly(operation: Operation) -> None:
    with suppress(SlockError, trio.WouldBlock):
        await operation()


def handle_of(name: str, client: Client, key: str) -> Any:
    """Return a handle by the name of its class."""
    node = client.tree(key).child(key + "/below")
    makers: dict[str, Callable[[], Any]] = {
        "Lock": lambda: client.lock(key),
        "FencedLock": lambda: client.lock(key, fenced=True),
        "RLock": lambda: client.rlock(key),
        "ReadSide": lambda: client.rwlock(key).read(),
        "WriteSide": lambda: client.rwlock(key).write(),
        "Semaphore": lambda: client.semaphore(key, 1),
        "ConcurrencyLimiter": lambda: client.concurrency(key, 1),
        "TreeLock": lambda: node,
        "TreeLeaf": node.leaf,
        "Grant": lambda: client.lock(key),
        "LevelGrant": lambda: client.rlock(key),
        "LeafGrant": node.leaf,
        "Event": lambda: client.event(key, ttl=60),
        "GroupEvent": lambda: client.group_event(key, member=1, ttl=60),
        "TokenBucket": lambda: client.token_bucket(key, 1, 1),
        "Value": lambda: client.value(key, ttl=60),
    }
    return makers[name]()


def taking(name: str, method: str) -> Prepare:
    """Somebody holds the key, and gives it back after a while."""

    async def prepare(world: World, key: str) -> Run:
        blocker = "WriteSide" if name == "ReadSide" else name
        grant = await handle_of(blocker, world.other, key).acquire()
        handle = handle_of(name, world.client, key)
        operate = partial(body, handle) if method == "body" else getattr(handle, method)
        run = Run(operate, grant.release)
        run.undo = run.release_result
        return run

    return prepare


async def body(handle: Any) -> None:
    async with handle:
        await trio.sleep(0.2)


def releasing_head(name: str, method: str) -> Prepare:
    async def prepare(world: World, key: str) -> Run:
        grant = await handle_of(name, world.other, key).acquire()
        operate = getattr(handle_of(name, world.client, key), method)
        return Run(operate, undo=partial(quietly, grant.release))

    return prepare


def holding(name: str, method: str, *args: Any) -> Prepare:
    """The operation is about a grant that is held."""

    async def prepare(world: World, key: str) -> Run:
        grant = await handle_of(name, world.client, key).acquire()
        if method == "wait_lost":
            # Far enough from the end of the session's lease not to be dropped.
            await grant.extend(6)
        operate = partial(body, grant) if method == "body" else getattr(grant, method)
        head = handle_of(name, world.other, key).release_head
        return Run(
            partial(operate, *args),
            # Who is released by somebody else is not told.
            other=nothing if method == "wait_lost" else partial(quietly, head),
            undo=partial(quietly, grant.release),
        )

    return prepare


def using(name: str, method: str, *args: Any) -> Prepare:
    """An operation of a handle that hands out no grants."""
    after = {"Event": ("set", "clear"), "GroupEvent": ("wakeup", "set")}
    act, clean = after.get(name, ("get", "unset"))

    async def prepare(world: World, key: str) -> Run:
        other = handle_of(name, world.other, key)
        if name == "GroupEvent" and method != "clear":
            await other.clear()
        if name == "Value":
            await other.set(["a", "b"] if method == "pop" else "ab")
        return Run(
            partial(getattr(handle_of(name, world.client, key), method), *args),
            other=partial(quietly, getattr(other, act)),
            undo=getattr(other, clean),
        )

    return prepare


def counting(method: str) -> Prepare:
    async def prepare(world: World, key: str) -> Run:
        await world.other.token_bucket(key, 1, 1).acquire()
        return Run(getattr(world.client.token_bucket(key, 1, 1), method))

    return prepare


def asking(method: str, *args: Any) -> Prepare:
    async def prepare(world: World, key: str) -> Run:
        await trio.lowlevel.checkpoint()
        return Run(partial(getattr(world.client, method), *args))

    return prepare


async def subscribing(world: World, key: str) -> Run:
    """The life of a subscription, until its first message."""
    grant = await world.other.lock(key).acquire()

    async def operate() -> None:
        async with world.client.subscribe() as changes:
            async for _ in changes:
                return

    async def refuse() -> None:
        lock = world.other.lock(key, flags=Flags(publish=True))
        while True:
            await quietly(lock.try_acquire)
            await trio.sleep(0.5)

    async def undo() -> None:
        await grant.release()

    run = Run(operate, undo=undo)
    run.other, run.endless = refuse, True
    return run


async def opening(world: World, key: str) -> Run:
    """The life of a client, with a wait in its body."""
    grant = await world.other.lock(key).acquire()

    async def operate() -> None:
        async with world.open_another() as client, client.lock(key):
            await client.ping()

    return Run(operate, grant.release)


_ABOUT_GRANTS: dict[str, tuple[Any, ...]] = {
    "extend": (5,),
    "update": (Data.set("x"),),
    "release": (),
    "wait_lost": (),
}
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "Value.set": ("x",),
    "Value.append": ("x",),
    "Value.shift": (1,),
    "Value.push": ("x",),
    "Value.pipeline": (Data.set("x"), Data.set("y")),
}
_TAKES = ("acquire", "try_acquire", "show", "locked", "in_use", "available")
_OF_CLIENTS: dict[str, tuple[Any, ...]] = {
    "ping": (),
    "wait_connected": (),
    "holders": ("k",),
    "waiters": ("k",),
    "keys": (),
    "state": (),
}
_BODY = ("__aenter__", "__aexit__")
_INNER = {
    "LevelGrant.accept": "a step of RLock.acquire",
    "LevelGrant.abandon": "a step of RLock.acquire",
    "TreeLeaf.take": "a step of TreeLock.acquire",
}
_BY_HAND = {
    "Acquirable": "the base of those that are swept",
    "Changes": "of a replica set: swept with it",
}


def find_operations() -> dict[str, tuple[str, str]]:
    """Return the public coroutine methods of all public classes, by name."""
    found = {"open_client": ("open_client", "")}
    for room in (trioslock, primitives_room):
        for name in room.__all__:
            member = getattr(room, name)
            if not inspect.isclass(member) or name in _BY_HAND:
                continue
            for method, _ in inspect.getmembers(member, inspect.iscoroutinefunction):
                if f"{name}.{method}" in _INNER:
                    continue
                if not method.startswith("_") or method in (*_BODY, "__anext__"):
                    found[f"{name}.{method}"] = (name, method)
    return found


def case_of(name: str, method: str) -> Prepare:
    """Return how an operation is run; KeyError where nobody has said it."""
    if name == "open_client":
        return opening
    if name == "Subscription":
        return subscribing
    if name in ("Client", "Database"):
        return asking(method, *_OF_CLIENTS[method])
    if name == "TokenBucket":
        return counting(method)
    if name in ("Grant", "LevelGrant", "LeafGrant"):
        if method in _BODY:
            return holding(name, "body")
        return holding(name, method, *_ABOUT_GRANTS[method])
    if name in ("Event", "GroupEvent", "Value"):
        return using(name, method, *_ARGUMENTS.get(f"{name}.{method}", ()))
    if method in _BODY:
        return taking(name, "body")
    if method in _TAKES or method == "wait_free":
        return taking(name, method)
    if method == "release_head" or (name, method) == ("Semaphore", "release"):
        return releasing_head(name, method)
    raise KeyError(f"{name}.{method}: say in this file how it is run")


OPERATIONS = find_operations()
EVERY = pytest.mark.parametrize(
    "operation",
    # A body is entered and left in one run, and a client is a database.
    [
        name
        for name in OPERATIONS
        if not name.endswith("_aexit__") and "Data" not in name
    ],
)


# How it is disturbed.


async def disturbed(world: World, prepare: Prepare, disturb: Any) -> bool:
    """Run an operation once; return whether the disturbance came too late."""
    tasks = tasks_living()
    run = await prepare(world, "k")
    async with trio.open_nursery() as nursery:

        async def act() -> None:
            await trio.sleep(OTHER_ACTS_AFTER)
            await run.other()

        nursery.start_soon(act)
        with trio.fail_after(60):
            late = await disturb(world, run)
            # Whatever the program goes on with has a connection.
            await world.client.wait_connected()
        if run.endless:
            nursery.cancel_scope.cancel()
    with trio.fail_after(60):
        # What was sent takes its effect, and is undone after it.
        await trio.sleep(3 * ONE_WAY)
        await run.undo()
    await world.until_idle(tasks)
    return bool(late)


async def by_deadline(after: float, world: World, run: Run) -> bool:
    with trio.move_on_after(after) as scope:
        await run()
    return not scope.cancel_called


async def twice(after: float, world: World, run: Run) -> bool:
    with trio.move_on_after(after + 0.02) as outer:
        with trio.move_on_after(after) as inner:
            await run()
        await trio.lowlevel.checkpoint()
    return not (inner.cancel_called or outer.cancel_called)


async def with_the_wire_cut(after: float, world: World, run: Run) -> bool:
    async with trio.open_nursery() as nursery:
        late = False

        async def interfere() -> None:
            await trio.sleep(after)
            world.wire.cut()
            scope.cancel()

        nursery.start_soon(interfere)
        with trio.CancelScope() as scope:
            await run()
            late = not scope.cancel_called
        nursery.cancel_scope.cancel()
    return late


async def by_the_wire(after: float, world: World, run: Run) -> bool:
    async with trio.open_nursery() as nursery:
        cut = False

        async def interfere() -> None:
            nonlocal cut
            await trio.sleep(after)
            world.wire.cut()
            cut = True

        nursery.start_soon(interfere)
        # What waits for a loss that nobody causes would wait for ever.
        with trio.move_on_after(10):
            await run()
        nursery.cancel_scope.cancel()
    return not cut


@pytest.mark.slow
@pytest.mark.parametrize("way", [by_deadline, twice, with_the_wire_cut, by_the_wire])
@EVERY
async def test_disturbed_at_each_moment(
    autojump_clock: MockClock, operation: str, way: Any
) -> None:
    prepare = case_of(*OPERATIONS[operation])
    async with open_world() as world:
        await measure(world, prepare)
        for moment in MOMENTS:
            if await disturbed(world, prepare, partial(way, moment)):
                return
    pytest.fail("it never got through")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wire", "embedded"])
@pytest.mark.parametrize("way", ["parked", "awake"])
@EVERY
async def test_cancelled_at_each_step(
    autojump_clock: MockClock, operation: str, way: Any, kind: str
) -> None:
    prepare = case_of(*OPERATIONS[operation])

    async def cancel(step: int, world: World, run: Run) -> bool:
        return not await run_cancelled_at(run, step, way)

    async with open_world(kind) as world:
        await measure(world, prepare)
        for step in range(1, LIMIT):
            if await disturbed(world, prepare, partial(cancel, step)):
                return
    pytest.fail("it never got through")


async def measure(world: World, prepare: Prepare) -> None:
    """Run it undisturbed, and note what it is meant to leave: a fencing counter."""
    run = await prepare(world, "k")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.other)
        with trio.move_on_after(5):
            await run()
        nursery.cancel_scope.cancel()
    await run.undo()
    await trio.sleep(5)
    engine = world.network.server.host_engine.engine
    for key in [view.key for view in engine.held_keys(0)]:
        view = engine.inspect(0, key)
        assert view is not None
        world.left += sum(1 for holder in view.holders if holder.lock_id == key)
    assert world.left <= 1


def test_every_operation_has_a_case() -> None:
    """A new operation needs a case here."""
    assert len(OPERATIONS) > 80
    for name, method in OPERATIONS.values():
        case_of(name, method)


@pytest.mark.slow
@pytest.mark.parametrize(
    "operation",
    [
        "Lock.__aenter__",
        "Lock.acquire",
        "FencedLock.acquire",
        "RLock.acquire",
        "Event.wait",
        "Grant.extend",
        "Grant.release",
        "Value.set",
        "Client.ping",
    ],
)
def test_interrupted_at_each_step(operation: str) -> None:
    """Ctrl-C comes out as KeyboardInterrupt, and nothing is left."""
    prepare = case_of(*OPERATIONS[operation])

    async def main(step: int) -> bool:
        async with open_world() as world:
            await measure(world, prepare)
            tasks = tasks_living()
            run = await prepare(world, "k")
            interrupted = False
            trio.lowlevel.spawn_system_task(act_later, run.other)
            try:
                await run_interrupted_at(
                    run, partial(signal.raise_signal, signal.SIGINT), step
                )
                await trio.lowlevel.checkpoint()
            except KeyboardInterrupt:
                interrupted = True
            await trio.sleep(OTHER_ACTS_AFTER + 3 * ONE_WAY)
            await run.undo()
            await world.until_idle(tasks)
            return interrupted

    for step in range(1, LIMIT):
        if not trio.run(main, step, clock=MockClock(autojump_threshold=0)):
            assert step > 1
            return
    pytest.fail("it never got through")


async def act_later(operation: Operation) -> None:
    await trio.sleep(OTHER_ACTS_AFTER)
    await operation()
