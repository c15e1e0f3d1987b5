"""Cancel every operation at every step: nothing may be left, here or on the server.

The cases are generated: an operation is cancelled after 0, 1, 2, ... scheduler steps
until it completes first. What it waits for, or its connection, gives way at every step
as well, so that grants cross withdrawals and wires break under them.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioslock import Client, Data, LockLost, NotHeld
from trioslock.embedded import open_embedded
from trioslock.testing import Network, open_network

Operation = Callable[[Client], Awaitable[None]]
STEPS = 80


async def body(client: Client) -> None:
    async with client.lock("k"):
        await trio.lowlevel.checkpoint()


async def seconds(client: Client) -> None:
    async with client.lock("k", lease=30):
        await trio.lowlevel.checkpoint()


async def calls(client: Client) -> None:
    grant = await client.lock("k").acquire(data=Data.set("x"))
    try:
        await grant.extend(20)
        await grant.update(Data.append("y"))
    finally:
        await grant.release()


async def attempt(client: Client) -> None:
    try:
        grant = await client.lock("k").try_acquire()
    except trio.WouldBlock:
        return
    await grant.release()


async def look(client: Client) -> None:
    await client.lock("k").locked()
    await client.ping()


async def wait_set(client: Client) -> None:
    await client.event("k", default="set", ttl=30).wait()


async def wait_reset(client: Client) -> None:
    event = client.event("e", ttl=30)
    await event.set()
    await event.wait_and_reset()


OPERATIONS = pytest.mark.parametrize(
    "operation", [body, seconds, calls, attempt, look, wait_set, wait_reset]
)


async def steps(count: int) -> None:
    for _ in range(count):
        await trio.lowlevel.cancel_shielded_checkpoint()


async def cancelled_at(
    step: int, operation: Operation, client: Client, twice: bool = False
) -> bool:
    """Return whether the operation completed before its cancellation."""
    completed = False
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:

            async def cancel() -> None:
                await steps(step)
                scope.cancel()
                if twice:
                    await steps(1)
                    scope.cancel()

            nursery.start_soon(cancel)
            try:
                await operation(client)
            except (LockLost, NotHeld):
                # Told of a loss, when the wire was cut.
                pass
            completed = not scope.cancel_called
    return completed


async def assert_nothing_left(client: Client, network: Network) -> None:
    await client.event("e", ttl=30).clear()
    await wait_all_tasks_blocked()
    engine = network.server.host_engine.engine.statistics()
    assert (engine.holders, engine.waiters) == (0, 0)
    statistics = client.statistics()
    assert statistics.in_flight == 0
    assert statistics.unsettled == 0
    assert statistics.held == 0
    assert statistics.tasks_waiting_to_send == 0


@asynccontextmanager
async def open_way(
    way: str,
) -> AsyncIterator[tuple[Client, Client, Network]]:
    """A client under test, one that gets in its way, and what is behind them."""
    async with open_network() as network, network.open_client() as other:
        if way == "embedded":
            async with open_embedded(network.server.host_engine) as client:
                yield client, other, network
        else:
            async with network.open_client() as client:
                yield client, other, network


WAYS = pytest.mark.parametrize("way", ["memory", "embedded"])


@WAYS
@OPERATIONS
async def test_cancelled_at_each_step(
    autojump_clock: MockClock, way: str, operation: Operation
) -> None:
    async with open_way(way) as (client, _, network):
        for step in range(STEPS):
            completed = await cancelled_at(step, operation, client, twice=step % 2 == 1)
            await assert_nothing_left(client, network)
            if completed:
                return
    pytest.fail("the operation never completed")


@pytest.mark.slow
@WAYS
@OPERATIONS
async def test_cancelled_while_the_grant_is_on_its_way(
    autojump_clock: MockClock, way: str, operation: Operation
) -> None:
    """The holder releases at each step around that of the cancellation."""
    async with open_way(way) as (client, other, network):
        for step in range(24):
            for release_at in range(max(0, step - 6), step + 3):
                grant = await other.lock("k").acquire()
                async with trio.open_nursery() as nursery:

                    async def give_way(
                        release_at: int = release_at, grant=grant
                    ) -> None:
                        await steps(release_at)
                        await grant.release()

                    nursery.start_soon(give_way)
                    await cancelled_at(step, operation, client)
                await assert_nothing_left(client, network)


@pytest.mark.slow
@pytest.mark.parametrize("contended", [False, True])
@OPERATIONS
async def test_cancelled_while_the_connection_breaks(
    autojump_clock: MockClock, operation: Operation, contended: bool
) -> None:
    """The wire is cut at each step around that of the cancellation."""
    async with open_way("memory") as (client, other, network):
        for step in range(0, 24, 3):
            for cut_at in range(step + 4):
                grant = await other.lock("k").acquire() if contended else None
                async with trio.open_nursery() as nursery:

                    async def interfere(cut_at: int = cut_at, grant=grant) -> None:
                        await steps(cut_at)
                        network.streams[-1].cut()
                        if grant is not None:
                            await grant.release()

                    nursery.start_soon(interfere)
                    with trio.CancelScope():
                        await _ignore_loss(cancelled_at, step, operation, client)
                await client.wait_connected()
                await trio.sleep(1)
                await assert_nothing_left(client, network)


async def _ignore_loss(call: Callable[..., Awaitable[object]], *args: object) -> None:
    from trioslock import ConnectionLost

    try:
        await call(*args)
    except* ConnectionLost:
        # Questions such as ping end with their connection.
        pass


@OPERATIONS
async def test_cancelled_before_it_starts(
    autojump_clock: MockClock, operation: Operation
) -> None:
    async with open_way("memory") as (client, _, network):
        with trio.move_on_after(0) as scope:
            await operation(client)
        assert scope.cancelled_caught
        await assert_nothing_left(client, network)


@pytest.mark.slow
async def test_a_thousand_waits_cancelled_at_once(autojump_clock: MockClock) -> None:
    async with open_way("memory") as (client, other, network):
        async with other.lock("k"):
            async with trio.open_nursery() as nursery:
                for _ in range(1000):
                    nursery.start_soon(client.lock("k").acquire)
                await wait_all_tasks_blocked()
                assert client.statistics().in_flight == 1000
                nursery.cancel_scope.cancel()
        await client.ping()
        await assert_nothing_left(client, network)


@pytest.mark.parametrize("where", ["waiting", "in the body"])
def test_ctrl_c_leaves_nothing(where: str) -> None:
    """KeyboardInterrupt in a wait withdraws it, in a body releases it."""
    left: list[tuple[int, int]] = []

    async def interrupt() -> None:
        await wait_all_tasks_blocked()
        signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with open_network() as network, network.open_client() as other:
            try:
                async with network.open_client() as client:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(interrupt)
                        if where == "waiting":
                            grant = await other.lock("k").acquire()
                            try:
                                await client.lock("k").acquire()
                            finally:
                                await grant.release()
                        async with client.lock("k"):
                            await trio.sleep_forever()
            finally:
                statistics = network.server.host_engine.engine.statistics()
                left.append((statistics.holders, statistics.waiters))

    with pytest.raises(BaseException) as caught:
        trio.run(main)
    error = caught.value
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, KeyboardInterrupt)
    assert left == [(0, 0)]
