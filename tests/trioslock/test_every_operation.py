"""Cancel every public operation, wherever it can be: nothing is left behind.

The operations (``operations.py``) run over a wire that takes its time in both
directions, where another client ends what they wait for after a while. The programs of
several operations (``programs.py``) run over every server. Each is run again and again,
disturbed a little later each time, until it gets through: cancelled, by a deadline,
twice, with the wire cut at the same moment, or with the wire cut alone.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend, MemoryBackend, until
from tests.trioslock.operations import (
    EVERY_OPERATION,
    OPERATIONS,
    Operation,
    Prepare,
    Run,
    case_of,
)
from tests.trioslock.programs import EVERY_PROGRAM, PROGRAMS, SOME_PROGRAMS
from tests.trioslock.sweep import (
    LIMIT,
    Way,
    passes,
    run_cancelled_at,
    run_interrupted_at,
    sweep,
)
from tests.trioslock.worlds import (
    ONE_WAY,
    World,
    open_world,
    tasks_living,
    world_of,
)
from trio.testing import MockClock, wait_all_tasks_blocked

from trioslock import Client, ConnectionLost, LockLost, NotHeld

OTHER_ACTS_AFTER = 0.5
MOMENTS = (0.0, *(0.05 + 0.1 * number for number in range(100)))
"""When a run is disturbed: before it starts, and while things are on the wire."""


def test_every_operation_has_a_case() -> None:
    """A new operation needs a case in ``operations.py``."""
    assert len(OPERATIONS) > 80
    for name, method in OPERATIONS.values():
        case_of(name, method)


# Each operation, while another client ends what it waits for.


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
            world.cut()
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
            world.cut()
            cut = True

        nursery.start_soon(interfere)
        # A wait for a loss that does not come would last for ever.
        with trio.move_on_after(10):
            await run()
        nursery.cancel_scope.cancel()
    return not cut


# A second cancellation and a lost connection alone are also tried, at each step, in the
# programs below.
@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        by_deadline,
        with_the_wire_cut,
        pytest.param(twice, marks=pytest.mark.long),
        pytest.param(by_the_wire, marks=pytest.mark.long),
    ],
)
@EVERY_OPERATION
async def test_an_operation_is_disturbed_at_each_moment(
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
@EVERY_OPERATION
async def test_an_operation_is_cancelled_at_each_step(
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
    backend: Any = world.backend
    engine = backend.server.host_engine.engine
    for key in [view.key for view in engine.held_keys(0)]:
        view = engine.inspect(0, key)
        assert view is not None
        world.left += sum(1 for holder in view.holders if holder.lock_id == key)
    assert world.left <= 1


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
def test_an_operation_is_interrupted_at_each_step(operation: str) -> None:
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


# Programs of several operations, over every server.


@pytest.mark.parametrize("way", ["parked", "awake"])
@EVERY_PROGRAM
async def test_a_program_is_cancelled_at_each_step(
    backend: Backend, client: Client, other: Client, program: str, way: Way
) -> None:
    """While no other client uses the key."""
    world, key = world_of(backend, client, other), backend.key("sweep")
    check = partial(world.assert_idle, *PROGRAMS[program].keys(key))
    assert await sweep(PROGRAMS[program].make(client, key), check, way) >= 1


@pytest.mark.parametrize("kind", ["memory", "embedded"])
@EVERY_PROGRAM
async def test_a_program_is_cancelled_at_each_pass(
    autojump_clock: MockClock, program: str, kind: str
) -> None:
    """Between the steps of its task as well, and twice."""
    async with open_world(kind) as world:
        check = partial(world.assert_idle, *PROGRAMS[program].keys("k"))
        assert await sweep(PROGRAMS[program].make(world.client, "k"), check, "pass")


@pytest.mark.parametrize("way", ["parked", "awake"])
@pytest.mark.parametrize("program", [name for name, it in PROGRAMS.items() if it.waits])
async def test_a_wait_that_is_cancelled_crosses_its_grant(
    backend: Backend, client: Client, other: Client, program: str, way: Way
) -> None:
    """Another client releases the key while the wait for it is cancelled."""
    world, key = world_of(backend, client, other), backend.key("sweep")
    operation = PROGRAMS[program].make(client, key)

    async def run() -> None:
        # The holder's part is not swept: it stands beside the operation.
        with trio.CancelScope(shield=True):
            grant = await other.lock(key).acquire()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(release_shielded, grant)
                await operation()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    check = partial(world.assert_idle, *PROGRAMS[program].keys(key))
    assert await sweep(run, check, way) >= 1


async def release_shielded(grant: Any) -> None:
    with trio.CancelScope(shield=True):
        await grant.release()


async def cancelled_between_passes(
    operation: Operation, cancel_at: int, act_at: int, act: Operation
) -> None:
    """Run it; act after some passes of the scheduler, and cancel it after others."""

    async def after(count: int, what: Callable[[], Any]) -> None:
        await passes(count)
        result = what()
        if result is not None:
            await result

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(after, act_at, act)
            nursery.start_soon(after, cancel_at, scope.cancel)
            # A program reports a loss where the wire was cut; questions such as ping
            # end with their connection.
            with suppress(LockLost, NotHeld, ConnectionLost):
                await operation()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "embedded"])
@SOME_PROGRAMS
async def test_a_program_is_cancelled_while_the_grant_is_on_its_way(
    autojump_clock: MockClock, kind: str, program: str
) -> None:
    """The holder releases at each pass around that of the cancellation."""
    async with open_world(kind) as world:
        operation = PROGRAMS[program].make(world.client, "k")
        for step in range(24):
            for release_at in range(max(0, step - 6), step + 3):
                grant = await world.other.lock("k").acquire()
                await cancelled_between_passes(
                    operation, step, release_at, grant.release
                )
                await world.assert_idle(*PROGRAMS[program].keys("k"))


@pytest.mark.slow
@pytest.mark.parametrize("contended", [False, True])
@SOME_PROGRAMS
async def test_a_program_is_cancelled_while_the_connection_breaks(
    autojump_clock: MockClock, program: str, contended: bool
) -> None:
    """The wire is cut at each pass around that of the cancellation."""
    async with open_world("memory") as world:
        operation = PROGRAMS[program].make(world.client, "k")
        for step in range(0, 24, 3):
            for cut_at in range(step + 4):
                grant = await world.other.lock("k").acquire() if contended else None

                async def interfere(grant: Any = grant) -> None:
                    world.cut()
                    if grant is not None:
                        await grant.release()

                await cancelled_between_passes(operation, step, cut_at, interfere)
                await world.client.wait_connected()
                await trio.sleep(1)
                await world.assert_idle(*PROGRAMS[program].keys("k"))


@pytest.mark.parametrize("cancelled", [False, True])
@EVERY_PROGRAM
async def test_the_connection_breaks_at_each_step_of_a_program(
    autojump_clock: MockClock, program: str, cancelled: bool
) -> None:
    """For a moment, with and without a cancellation at the same time."""
    async with open_world("memory") as world:
        backend: Any = world.backend
        for step in range(1, LIMIT):
            key = backend.key("cut")
            cut = trio.Event()
            operation = PROGRAMS[program].make(world.client, key)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(break_when, cut, backend)
                with trio.CancelScope() as scope:

                    def act(cut: trio.Event = cut, scope: Any = scope) -> None:
                        cut.set()
                        if cancelled:
                            scope.cancel()

                    with suppress(ConnectionLost, LockLost):
                        await run_interrupted_at(operation, act, step)
                finished = not cut.is_set()
                cut.set()
            await world.client.wait_connected()
            # What cannot be taken back ends with its lease, at the latest.
            await world.assert_idle(*PROGRAMS[program].keys(key), within=15.0)
            if finished:
                return
        raise AssertionError("too many steps")


async def break_when(cut: trio.Event, backend: MemoryBackend) -> None:
    await cut.wait()
    backend.cut()
    await trio.sleep(0.2)
    backend.restore()


@EVERY_PROGRAM
async def test_a_program_is_cancelled_before_it_starts(
    backend: Backend, client: Client, other: Client, program: str
) -> None:
    world, key = world_of(backend, client, other), backend.key("sweep")
    with trio.move_on_after(0) as scope:
        await PROGRAMS[program].make(client, key)()
        raise AssertionError("a cancelled program must not go on")
    assert scope.cancelled_caught
    await world.assert_idle(*PROGRAMS[program].keys(key))


# Many at once, and twice.


async def test_a_wait_is_cancelled_twice(
    backend: Backend, client: Client, other: Client
) -> None:
    """A second cancellation changes nothing: the first has taken the wait back."""
    key = backend.key("sweep")
    async with other.lock(key):
        with trio.CancelScope() as outer, trio.CancelScope() as inner:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.lock(key).acquire)
                await backend.until(key, 1, 1)
                inner.cancel()
                outer.cancel()
        await backend.until(key, 1, 0)
        await until(lambda: client.statistics().in_flight == 0)


async def test_a_thousand_waits_are_cancelled_at_the_moment_of_their_grant(
    backend: Backend, client: Client, other: Client
) -> None:
    """No key stays held, whichever comes first."""
    key = backend.key("race")

    async def wait(scope: trio.CancelScope) -> None:
        with scope:
            async with client.lock(key):
                pass

    for _ in range(20):
        scopes = [trio.CancelScope() for _ in range(50)]
        async with trio.open_nursery() as nursery:
            grant = await other.lock(key).acquire()
            for scope in scopes:
                nursery.start_soon(wait, scope)
            await trio.lowlevel.checkpoint()
            nursery.start_soon(grant.release)
            for index, scope in enumerate(scopes):
                if index % 5 == 0:
                    await trio.lowlevel.checkpoint()
                scope.cancel()
    await backend.until(key, *NOTHING)
    await until(lambda: client.statistics().in_flight == 0)


@pytest.mark.slow
async def test_a_thousand_waits_are_cancelled_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_world("memory") as world:
        async with world.other.lock("k"), trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(world.client.lock("k").acquire)
            await wait_all_tasks_blocked()
            assert world.client.statistics().in_flight == 1000
            nursery.cancel_scope.cancel()
        await world.assert_idle("k")


@pytest.mark.parametrize("where", ["waiting", "in the body"])
def test_ctrl_c_leaves_nothing(where: str) -> None:
    """KeyboardInterrupt in a wait withdraws it, in a body releases it."""
    left: list[dict[str, int]] = []

    async def interrupt() -> None:
        await wait_all_tasks_blocked()
        signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with open_world("memory") as world:
            try:
                async with world.open_another() as client:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(interrupt)
                        if where == "waiting":
                            grant = await world.other.lock("k").acquire()
                            try:
                                await client.lock("k").acquire()
                            finally:
                                await grant.release()
                        async with client.lock("k"):
                            await trio.sleep_forever()
            finally:
                left.append(world.state())

    with pytest.raises(BaseException) as caught:
        trio.run(main)
    error = caught.value
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, KeyboardInterrupt)
    assert [(state["holders"], state["waiters"]) for state in left] == [(0, 0)]
