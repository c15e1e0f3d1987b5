from __future__ import annotations

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend, open_pair
from trio.testing import assert_checkpoints

from trioslock import (
    SESSION,
    Client,
    Data,
    Lock,
)


async def test_one_holder_at_a_time(
    backend: Backend, client: Client, other: Client
) -> None:
    """A counter that is read, yielded over and written back counts right."""
    key = backend.key("lock")
    counter = 0

    async def work(lock: Lock) -> None:
        nonlocal counter
        for _ in range(5):
            async with lock:
                seen = counter
                await trio.lowlevel.checkpoint()
                counter = seen + 1

    async with trio.open_nursery() as nursery:
        shared = client.lock(key)
        for _ in range(4):
            nursery.start_soon(work, shared)
            nursery.start_soon(work, other.lock(key))
    assert counter == 40
    assert await backend.claims(key) == NOTHING


async def test_waiters_are_served_in_order(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("lock")
    order = []

    async def wait(number: int) -> None:
        async with other.lock(key):
            order.append(number)

    async with trio.open_nursery() as nursery:
        async with client.lock(key):
            for number in range(4):
                nursery.start_soon(wait, number)
                await backend.until(key, 1, number + 1)
    assert order == [0, 1, 2, 3]


async def test_every_call_is_a_checkpoint(backend: Backend, client: Client) -> None:
    lock = client.lock(backend.key("lock"))
    with assert_checkpoints():
        grant = await lock.acquire()
    with assert_checkpoints():
        await grant.extend(SESSION)
    with assert_checkpoints():
        await grant.update(Data.set("x"))
    with assert_checkpoints():
        await lock.locked()
    with assert_checkpoints():
        await grant.release()
    with assert_checkpoints():
        grant = await lock.try_acquire()
    with assert_checkpoints():
        await lock.release_head()


async def test_what_is_still_held_is_released_when_the_client_ends(
    backend: Backend,
) -> None:
    key = backend.key("lock")
    async with open_pair(backend) as (_, watcher):
        async with backend.open_client() as client:
            grant = await client.lock(key, lease=600).acquire()
            assert await watcher.lock(key).locked()
        assert not grant.held
        assert await backend.claims(key) == NOTHING
        with pytest.raises(trio.ClosedResourceError):
            await client.lock(key).acquire()
        await grant.release()
