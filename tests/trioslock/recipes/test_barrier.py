from __future__ import annotations

from functools import partial

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend, MemoryBackend
from tests.trioslock.recipes.sides import open_two_sides
from tests.trioslock.sweep import Way, sweep
from tests.trioslock.worlds import world_of
from trio.testing import MockClock, wait_all_tasks_blocked

from trioslock import Client
from trioslock.recipes import barrier
from trioslock.recipes._keys import derived_key


async def until_arrived(client: Client, key: str, count: int) -> None:
    while len(await client.holders(key)) != count:
        await trio.sleep(0.002)


async def test_all_pass_when_the_last_has_arrived(
    backend: Backend, client: Client, other: Client
) -> None:
    """And one that comes later passes at once."""
    key = backend.key("barrier")
    passed = []

    async def party(who: Client) -> None:
        await barrier(who, key, 5, keep=1)
        passed.append(who)

    async with trio.open_nursery() as nursery:
        for who in (client, other, client, other):
            nursery.start_soon(party, who)
        await until_arrived(client, key, 4)
        assert passed == []
        nursery.start_soon(party, client)
    assert len(passed) == 5
    await barrier(other, key, 5, keep=1)
    assert await backend.claims(key) == NOTHING


async def test_a_single_party_passes_at_once(backend: Backend, client: Client) -> None:
    await barrier(client, backend.key("barrier"), 1, keep=1)


async def test_a_cancelled_party_does_not_count(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("barrier")
    with trio.move_on_after(0.05):
        await barrier(client, key, 2, keep=1)
    await backend.until(key, *NOTHING)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(barrier, client, key, 2, keep=1))
        await until_arrived(client, key, 1)
        await barrier(other, key, 2, keep=1)


async def test_it_can_be_used_again_after_the_kept_time(
    memory: MemoryBackend, autojump_clock: MockClock
) -> None:
    async with memory.open_client() as client:
        await barrier(client, "k", 1, keep=10)
        await barrier(client, "k", 2, keep=10)
        await trio.sleep(12)
        with trio.move_on_after(60) as scope:
            await barrier(client, "k", 2, keep=10)
        assert scope.cancelled_caught


async def test_a_party_that_is_cut_off_arrives_again(
    autojump_clock: MockClock,
) -> None:
    """It does not count meanwhile, and raises nothing."""
    async with open_two_sides() as (network, client, other):
        async with trio.open_nursery() as nursery:
            passed = trio.Event()

            async def party() -> None:
                await barrier(client, "k", 3, lease=9)
                passed.set()

            nursery.start_soon(party)
            await wait_all_tasks_blocked()
            network.down()
            await trio.sleep(20)
            for _ in range(2):
                nursery.start_soon(partial(barrier, other, "k", 3, lease=9))
            await trio.sleep(60)
            assert not passed.is_set()
            network.up()
        assert passed.is_set()


@pytest.mark.parametrize("way", ["parked", "awake"])
async def test_it_is_cancelled_at_each_step(
    backend: Backend, client: Client, other: Client, way: Way
) -> None:
    world, key = world_of(backend, client, other), backend.key("sweep")

    async def run() -> None:
        try:
            await barrier(client, key, 1)
        finally:
            with trio.CancelScope(shield=True):
                await other.event(derived_key(key, "barrier"), ttl=1).clear()

    assert await sweep(run, partial(world.assert_idle, key), way) >= 4
