"""Acquire and release of asyncio tasks: what they leave on the server."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.trioslock.aio.conftest import Run
from tests.trioslock.outside import Outside

from trioslock import aio


def test_a_body_holds_the_key(outside: Outside, run: Run) -> None:
    key = outside.key()

    async def main() -> None:
        async with aio.open_client(outside.url) as client:
            async with client.lock(key) as grant:
                assert grant.held
                assert outside.claims(key) == (1, 0)
            assert not grant.held
            assert outside.claims(key) == (0, 0)

    run(main())


def test_a_held_key_would_block(outside: Outside, run: Run) -> None:
    key = outside.key()

    async def main() -> None:
        async with aio.open_client(outside.url) as client:
            lock = client.lock(key)
            grant = await lock.try_acquire()
            with pytest.raises(aio.WouldBlock):
                await lock.try_acquire()
            await grant.release()
            await grant.release()
            assert outside.claims(key) == (0, 0)

    run(main())


@pytest.mark.parametrize("how", ["cancel", "timeout", "wait_for", "group", "close"])
def test_a_cancelled_wait_is_withdrawn(outside: Outside, run: Run, how: str) -> None:
    key = outside.key()

    async def wait(lock: aio.Lock) -> None:
        if how == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await lock.acquire()
            return
        if how == "wait_for":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(lock.acquire(), 0.02)
            return
        task = asyncio.create_task(lock.acquire())
        await asyncio.to_thread(outside.until, key, 1, 1)
        if how == "cancel":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif how == "group":
            with pytest.raises(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(lock.acquire())
                    await asyncio.sleep(0)
                    raise ValueError
            task.cancel()

    async def main() -> None:
        async with aio.open_client(outside.url) as client:
            async with client.lock(key):
                if how == "close":
                    async with aio.open_client(outside.url) as other:
                        task = asyncio.create_task(other.lock(key).acquire())
                        await asyncio.to_thread(outside.until, key, 1, 1)
                    with pytest.raises(aio.ClosedResourceError):
                        await task
                else:
                    await wait(client.lock(key))
                await asyncio.to_thread(outside.until, key, 1, 0)
            outside.until(key, 0, 0)

    run(main())


def test_a_grant_that_crosses_a_cancellation_is_released(
    outside: Outside, run: Run
) -> None:
    """The answer is there, but the task is cancelled before it runs."""
    key = outside.key()

    async def main() -> None:
        async with aio.open_client(outside.url) as client:
            grant = await client.lock(key).acquire()
            task = asyncio.create_task(client.lock(key).acquire())
            await asyncio.to_thread(outside.until, key, 1, 1)
            # Cancelled by the same answer that grants the key.
            begun = next(iter(client._client._session._table.locks.values()))
            before = begun._ended
            begun._ended = lambda answer: (before(answer), task.cancel())
            await grant.release()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(outside.until, key, 0, 0)

    run(main())


def test_a_cancelled_release_takes_effect(outside: Outside, run: Run) -> None:
    key = outside.key()

    async def main() -> None:
        async with aio.open_client(outside.url) as client:
            grant = await client.lock(key).acquire()
            task = asyncio.create_task(grant.release())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(outside.until, key, 0, 0)

    run(main())


def test_a_shielded_acquire_goes_on(outside: Outside, run: Run) -> None:
    key = outside.key()

    async def main() -> None:
        async with aio.open_client(outside.url) as client:
            async with client.lock(key):
                inner = asyncio.ensure_future(client.lock(key).acquire())
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await asyncio.shield(inner)
                await asyncio.to_thread(outside.until, key, 1, 1)
            await (await inner).release()

    run(main())


async def cancel_randomly(
    client: aio.Client, keys: list[str], count: int, seed: int
) -> int:
    """Cancel tasks that acquire, hold and release, at random moments."""
    chance = random.Random(seed)
    cancelled = 0

    async def work() -> None:
        kind = chance.randrange(6)
        key = chance.choice(keys)
        handle: aio.Lock | aio.RLock = client.lock(key)
        if kind == 1:
            handle = client.lock(key, lease=30)
        elif kind == 2:
            handle = client.rlock(key)
        if kind == 3:
            await (await handle.acquire()).release()
        elif kind == 4:
            async with client.rwlock(key).write():
                await asyncio.sleep(0)
        else:
            async with handle:
                await asyncio.sleep(chance.choice((0, 0.001)))

    while cancelled < count:
        tasks = [asyncio.create_task(work()) for _ in range(64)]
        for task in tasks:
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        wrong = [each for each in results if isinstance(each, Exception)]
        assert not wrong
        cancelled += sum(isinstance(e, asyncio.CancelledError) for e in results)
    return cancelled


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(300, marks=pytest.mark.slow),
        pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(600)]),
    ],
)
def test_random_cancellations_leave_nothing(
    outside: Outside, run: Run, count: int
) -> None:
    keys = [outside.key() for _ in range(4)]

    async def main() -> None:
        async with aio.open_client(outside.url) as client:
            await cancel_randomly(client, keys, count, seed=1)
            for key in keys:
                await asyncio.to_thread(outside.until, key, 0, 0)
            statistics = client.statistics()
            assert (statistics.held, statistics.in_flight) == (0, 0)

    run(main())
