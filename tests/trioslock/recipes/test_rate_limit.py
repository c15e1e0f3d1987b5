from __future__ import annotations

import pytest
import trio
from tests.trioslock.backends import Backend, MemoryBackend, open_backend
from tests.trioslock.recipes.sides import open_two_sides
from trio.testing import MockClock

from trioslock import Client
from trioslock.recipes import rate_limit


async def take(client: Client, key: str, n: int, per: float, count: int) -> list[float]:
    """Take a number of turns from several tasks; return when each was granted."""
    times: list[float] = []

    async def run() -> None:
        await rate_limit(client, key, n, per).acquire()
        times.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(run)
    return sorted(times)


@pytest.mark.parametrize("per", [0.4, 3, 4.5, 60])
async def test_no_window_has_more_than_its_share(
    memory: MemoryBackend, autojump_clock: MockClock, per: float
) -> None:
    """In any window, wherever it begins; and it is no more than a second late."""
    async with memory.open_client() as client:
        # In the middle of what a fixed window would be.
        await trio.sleep(per / 2)
        times = await take(client, "k", 3, per, 12)
    gaps = [later - first for first, later in zip(times, times[3:], strict=False)]
    assert all(gap >= per for gap in gaps)
    assert all(gap <= per + 2 for gap in gaps)


async def test_a_burst_is_followed_by_a_whole_period(
    memory: MemoryBackend, autojump_clock: MockClock
) -> None:
    """Unlike a token bucket of the same numbers, whose windows are fixed."""
    async with memory.open_client() as client:
        for _ in range(20):
            await trio.sleep(1.7)
            started = trio.current_time()
            await rate_limit(client, "k", 1, 5).acquire()
            await rate_limit(client, "k", 1, 5).acquire()
            assert trio.current_time() - started >= 5


async def test_turns_are_counted_by_the_server(
    backend: Backend, client: Client, other: Client
) -> None:
    """Two clients share them, and a try is refused while there are none."""
    key = backend.key("rate")
    times = []
    for who in (client, other, client, other, client, other):
        await rate_limit(who, key, 2, 0.15).acquire()
        times.append(trio.current_time())
    with pytest.raises(trio.WouldBlock):
        await rate_limit(client, key, 2, 0.15).try_acquire()
    # The server counts from its grant, which the client hears of a little later.
    gaps = [later - first for first, later in zip(times, times[2:], strict=False)]
    assert all(gap > 0.12 for gap in gaps)


@pytest.mark.live
@pytest.mark.slow
async def test_whole_seconds_slide_on_a_real_server(
    slock_address: tuple[str, int],
) -> None:
    """Here, in virtual time, all backends are tested by the first test."""
    async with open_backend("live", slock_address) as backend:
        async with backend.open_client() as client:
            times = await take(client, backend.key("rate"), 2, 3, 6)
    gaps = [later - first for first, later in zip(times, times[2:], strict=False)]
    assert all(2.95 < gap < 5 for gap in gaps)


async def test_a_turn_that_was_taken_comes_back_without_its_client(
    autojump_clock: MockClock,
) -> None:
    """One that is cut off takes no more, and what it has taken is not lost."""
    async with open_two_sides() as (network, client, other):
        started = trio.current_time()
        await rate_limit(client, "k", 1, 20).acquire()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rate_limit(client, "k", 1, 20).acquire)
            await trio.sleep(1)
            network.down()
            await rate_limit(other, "k", 1, 20).acquire()
            assert 20 <= trio.current_time() - started <= 22
            nursery.cancel_scope.cancel()
