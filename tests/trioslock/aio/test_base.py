"""Grants and handles in asyncio tasks: every kind, and what only they do."""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing
from typing import Any

import pytest
from tests.trioslock.aio.conftest import Run
from tests.trioslock.outside import Outside, open_outside

from trioslock import aio

MAKERS = {
    "lock": lambda client, key: client.lock(key),
    "fenced": lambda client, key: client.lock(key, fenced=True),
    "lease": lambda client, key: client.lock(key, lease=30),
    "short lease": lambda client, key: client.lock(key, lease=2.5, renew=False),
    "rlock": lambda client, key: client.rlock(key),
    "read": lambda client, key: client.rwlock(key).read(),
    "write": lambda client, key: client.rwlock(key).write(),
    "semaphore": lambda client, key: client.semaphore(key, 2),
    "concurrency": lambda client, key: client.concurrency(key, 2),
    "leaf": lambda client, key: client.tree(key).leaf(),
    "tree": lambda client, key: client.tree(key),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_each_kind_is_held_and_released(outside: Outside, run: Run, kind: str) -> None:
    key = outside.key()

    async def main() -> None:
        async with aio.open_client(outside.url) as client:
            handle: aio.Lock = MAKERS[kind](client, key)
            async with handle as grant:
                assert grant.held
                assert grant.key == handle.key
                assert outside.claims(key)[0] == 1
                assert grant.levels == 1
                assert len(grant.lock_id) == 16
                limited = math.isfinite(grant.expires_at)
                assert limited == ("lease" in kind)
                assert (grant.token is not None) == (kind == "fenced")
            outside.until(key, 0, 0)
            grant = await handle.try_acquire()
            await grant.release()
            outside.until(key, 0, 0)
            async with await handle.acquire(data="value") as grant:
                holder = await handle.show()
                assert holder is not None
            assert await handle.show() is None

    run(main())


@pytest.mark.parametrize("kind", sorted(set(MAKERS) - {"read", "leaf"}))
def test_each_kind_withdraws_a_cancelled_wait(
    outside: Outside, run: Run, kind: str
) -> None:
    key = outside.key()

    async def main() -> None:
        async with aio.open_client(outside.url) as client:
            handle: aio.Lock = MAKERS[kind](client, key)
            # What the handle waits for, so that it has to wait.
            full = {"semaphore": 2, "concurrency": 2}.get(kind, 1)
            holders = [await handle.acquire() for _ in range(full)]

            async def other() -> Any:
                return await handle.acquire()

            task = asyncio.create_task(other())
            await asyncio.to_thread(outside.until, key, full, 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(outside.until, key, full, 0)
            for grant in holders:
                await grant.release()
            await asyncio.to_thread(outside.until, key, 0, 0)

    run(main())


def test_levels_belong_to_an_asyncio_task(outside: Outside, run: Run) -> None:
    key = outside.key()

    async def main() -> None:
        async with aio.open_client(outside.url) as client:
            lock = client.rlock(key)

            async def other() -> int:
                with pytest.raises(aio.WouldBlock):
                    await lock.try_acquire()
                return lock.levels()

            async with lock, lock as inner, client.rlock(key):
                assert (lock.levels(), inner.levels) == (3, 3)
                assert await asyncio.create_task(other()) == 0
            assert lock.levels() == 0
            outside.until(key, 0, 0)

    run(main())


def test_a_lease_is_extended_and_a_value_updated(outside: Outside, run: Run) -> None:
    key = outside.key()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with aio.open_client(outside.url) as client:
            async with client.lock(key, lease=10) as grant:
                await grant.extend(100)
                assert 90 < grant.expires_at - loop.time() <= 100
                assert await grant.update("value") is None
                assert (await client.lock(key).show()).data.text == "value"  # type: ignore[union-attr]
            with pytest.raises(aio.NotHeld):
                await grant.extend(10)

    run(main())


def test_waiting_for_a_loss(run: Run) -> None:
    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:
            grant = await client.lock("key").acquire()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await grant.wait_lost()
            outside.lose("key")
            assert (await grant.wait_lost()).reason == "expired"
            assert not grant.held
            assert grant.levels == 0
            await grant.release()

    with open_outside(None) as outside:
        run(main(outside))


def test_a_lost_lease_of_seconds(run: Run) -> None:
    """Its exit goes by way of trio, which does what is left to do."""

    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:
            with pytest.raises(aio.LockLost):
                async with client.lock("key", lease=30):
                    outside.lose("key")
                    await asyncio.sleep(30)
            with pytest.raises(aio.LockLost):
                async with client.lock("key", lease=0.2, renew=False):
                    await asyncio.sleep(30)
            with pytest.raises(aio.NotHeld):
                await client.lock("key").release_head()

    with open_outside(None) as outside:
        run(main(outside))


def test_a_grant_released_by_another_client(outside: Outside, run: Run) -> None:
    key = outside.key()

    async def main() -> None:
        async with aio.open_client(outside.url) as client:
            with pytest.raises(aio.LockLost):
                async with client.lock(key):
                    await client.lock(key).release_head()
            grant = await client.lock(key).acquire()
            await client.lock(key).release_head()
            with pytest.raises(aio.NotHeld):
                await grant.release()

    run(main())


def test_a_detached_grant_outlives_its_client(outside: Outside, run: Run) -> None:
    key = outside.key()

    async def main() -> None:
        async with aio.open_client(outside.url) as client:
            with pytest.raises(RuntimeError):
                (await client.lock(outside.key()).acquire()).detach()
            grant = await client.lock(key, lease=60).acquire()
            grant.detach()
        assert outside.claims(key) == (1, 0)
        async with aio.open_client(outside.url) as client:
            await client.lock(key).release_head()

    run(main())


def test_a_grant_is_entered_once(run: Run) -> None:
    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:
            async with client.lock("key") as grant:
                with pytest.raises(RuntimeError, match="entered already"):
                    async with grant:
                        raise AssertionError

    with open_outside(None) as outside:
        run(main(outside))


def test_a_body_that_another_task_ends(run: Run) -> None:
    """As by a generator that another task closes: released, and said so."""

    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:
            lock = client.lock("key")

            async def holding() -> Any:
                async with lock:
                    yield None

            generator = holding()
            await asyncio.create_task(anext(generator))  # type: ignore[arg-type]
            with pytest.raises(RuntimeError, match="in the task that has begun it"):
                async with aclosing(generator):
                    pass
            outside.until("key", 0, 0)
            with pytest.raises(RuntimeError, match="was not entered by the task"):
                await lock.__aexit__(None, None, None)

    with open_outside(None) as outside:
        run(main(outside))


def test_a_cancellation_of_the_exit_is_not_lost(run: Run) -> None:
    """Also where the body fails by itself."""

    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:

            async def fail() -> None:
                async with client.lock("key"):
                    entered.set()
                    await go_on.wait()
                    raise ValueError

            entered, go_on = asyncio.Event(), asyncio.Event()
            task = asyncio.create_task(fail())
            await entered.wait()
            go_on.set()
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(outside.until, "key", 0, 0)

    with open_outside(None) as outside:
        run(main(outside))


def test_a_lost_connection(run: Run) -> None:
    """Waits go on over it, by whatever way they were sent."""

    async def main(outside: Outside) -> None:
        assert outside.server is not None
        backoff = aio.Backoff(first=0.01)
        async with aio.open_client(outside.url, backoff=backoff) as client:
            holder = await client.lock("key").acquire()
            waits = [
                asyncio.create_task(client.lock("key").acquire()),
                asyncio.create_task(client.lock("key", lease=30).acquire()),
            ]
            await asyncio.to_thread(outside.until, "key", 1, 2)
            outside.server.cut()
            while client.statistics().connections < 2:
                await asyncio.sleep(0.002)
            await asyncio.to_thread(outside.until, "key", 1, 2)
            await holder.release()
            for _ in waits:
                done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                grant = done.pop().result()
                await grant.release()
                waits = [wait for wait in waits if not wait.done()]

    with open_outside(None) as outside:
        run(main(outside))


def test_representations() -> None:
    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:
            assert repr(client).startswith("<trioslock.aio: <Client of database 0")
            async with client.lock("key") as grant:
                assert repr(grant) == "<trioslock.aio: <Grant of key 'key': held>>"
            assert "<trioslock.aio: <Lock" in repr(client.lock("key"))

    with open_outside(None) as outside:
        asyncio.run(main(outside))
