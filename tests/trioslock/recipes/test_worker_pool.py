from __future__ import annotations

from functools import partial

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend
from tests.trioslock.recipes.sides import open_two_sides
from tests.trioslock.sweep import Way, sweep
from tests.trioslock.worlds import world_of
from trio.testing import MockClock, wait_all_tasks_blocked

from trioslock import Client, LockLost
from trioslock.recipes import worker_pool
from trioslock.recipes._keys import derived_key


async def test_no_more_than_the_permits_work_each_with_its_number(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("pool")
    numbers: set[int] = set()
    peak = 0

    async def work(who: Client) -> None:
        nonlocal peak
        async with worker_pool(who, key, 3) as worker:
            assert worker.number not in numbers
            numbers.add(worker.number)
            peak = max(peak, len(numbers))
            await trio.sleep(0.01)
            numbers.remove(worker.number)

    async with trio.open_nursery() as nursery:
        for who in (client, other) * 4:
            nursery.start_soon(work, who)
    assert peak == 3
    for each in (key, *(derived_key(key, f"worker{number}") for number in range(3))):
        assert await backend.claims(each) == NOTHING


async def test_the_lowest_free_number_is_taken(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("pool")
    async with worker_pool(other, key, 3) as first:
        async with worker_pool(client, key, 3) as second:
            assert (first.number, second.number) == (0, 1)
            assert second.permit.held
        async with worker_pool(client, key, 3) as third:
            assert third.number == 1


async def test_a_worker_that_is_cut_off_stops_before_another_has_its_place(
    autojump_clock: MockClock,
) -> None:
    times: dict[str, float] = {}

    async def take_over(client: Client) -> None:
        async with worker_pool(client, "k", 1, lease=9) as worker:
            assert worker.number == 0
            times["next"] = trio.current_time()

    async with (
        open_two_sides() as (network, client, other),
        trio.open_nursery() as nursery,
    ):
        with pytest.raises(LockLost):
            async with worker_pool(client, "k", 1, lease=9):
                nursery.start_soon(take_over, other)
                network.down()
                cut_off_at = trio.current_time()
                try:
                    await trio.sleep_forever()
                finally:
                    times["stops"] = trio.current_time()
    stops, taken = (times[what] - cut_off_at for what in ("stops", "next"))
    assert stops <= 9 < taken <= 9 + 3


async def test_a_number_that_is_still_held_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    """That of a worker whose permit has ended, and its number not yet."""
    async with open_two_sides() as (_, client, other):
        held = await other.lock(derived_key("k", "worker0")).acquire()
        async with trio.open_nursery() as nursery:
            worked = trio.Event()

            async def work() -> None:
                async with worker_pool(client, "k", 1):
                    worked.set()

            nursery.start_soon(work)
            await wait_all_tasks_blocked()
            # Longer than the lease of the permit, which is not renewed meanwhile.
            await trio.sleep(60)
            assert not worked.is_set()
            await held.release()
        assert worked.is_set()


@pytest.mark.parametrize("way", ["parked", "awake"])
async def test_it_is_cancelled_at_each_step(
    backend: Backend, client: Client, other: Client, way: Way
) -> None:
    world, key = world_of(backend, client, other), backend.key("sweep")

    async def work() -> None:
        async with worker_pool(client, key, 2):
            await trio.lowlevel.checkpoint()

    assert await sweep(work, partial(world.assert_idle, key), way) >= 4
