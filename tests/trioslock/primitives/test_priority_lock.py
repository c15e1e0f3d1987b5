from __future__ import annotations

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend

from trioslock import Client


async def test_the_highest_priority_goes_first_and_equals_in_turn(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("prio")
    order = []

    async def work(priority: int, name: str) -> None:
        async with other.lock(key, priority=priority):
            order.append(name)

    async with trio.open_nursery() as nursery:
        async with client.lock(key, priority=0):
            entries = [(1, "low"), (7, "high, first"), (7, "high, second"), (0, "last")]
            for waiting, entry in enumerate(entries):
                nursery.start_soon(work, *entry)
                await backend.until(key, 1, waiting + 1)
    assert order == ["high, first", "high, second", "low", "last"]
    assert await backend.claims(key) == NOTHING


async def test_a_waiting_priority_is_withdrawn_like_any_wait(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("prio")
    async with client.lock(key, priority=255):
        with trio.move_on_after(0.02) as scope:
            await other.lock(key, priority=255).acquire()
        assert scope.cancelled_caught
        await backend.until(key, 1, 0)
    assert await backend.claims(key) == NOTHING


async def test_it_is_not_taken_twice(backend: Backend, client: Client) -> None:
    """The priority stands where levels would: it must not allow any."""
    key = backend.key("prio")
    async with client.lock(key, priority=200):
        with pytest.raises(trio.WouldBlock):
            await client.lock(key, priority=200).try_acquire()


async def test_its_lease_can_be_extended(backend: Backend, client: Client) -> None:
    key = backend.key("prio")
    async with client.lock(key, priority=3, lease=5) as grant:
        await grant.extend(60)
        assert grant.expires_at > trio.current_time() + 50
    assert await backend.claims(key) == NOTHING
