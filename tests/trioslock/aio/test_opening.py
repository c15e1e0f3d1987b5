"""Clients, subscriptions and changes of asyncio programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from tests.trioslock.aio.conftest import Run
from tests.trioslock.outside import Outside, open_outside

from trioslock import aio
from trioslock.aio._opening import Items


def test_a_server_that_is_not_there(run: Run, free_port: int) -> None:
    async def main() -> None:
        url = f"slock://127.0.0.1:{free_port}"
        with pytest.raises(aio.ConnectionLost):
            async with aio.open_client(url):
                raise AssertionError
        async with aio.open_client(url, wait_connected=False) as client:
            assert not client.statistics().connected
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await client.wait_connected()

    run(main())


def test_arguments_are_checked_before_anything_is_opened() -> None:
    with pytest.raises(ValueError, match="slock://"):
        aio.open_client("http://127.0.0.1")
    with pytest.raises(TypeError, match="heartbeat"):
        aio.open_client(heartbeat="5")  # type: ignore[arg-type]


@pytest.mark.parametrize("end", ["cancel", "error"])
def test_a_client_is_closed_with_its_body(outside: Outside, run: Run, end: str) -> None:
    key = outside.key()

    async def use(entered: asyncio.Event) -> None:
        async with aio.open_client(outside.url) as client:
            await client.lock(key).acquire()
            entered.set()
            if end == "error":
                raise ValueError
            await asyncio.sleep(30)

    async def main() -> None:
        entered = asyncio.Event()
        task = asyncio.create_task(use(entered))
        await entered.wait()
        task.cancel()
        with pytest.raises((ValueError, asyncio.CancelledError)):
            await task
        await asyncio.to_thread(outside.until, key, 0, 0)

    run(main())


def test_an_opening_that_is_cancelled(run: Run) -> None:
    """At each of its first steps; the next client of the loop opens."""

    async def main(outside: Outside) -> None:
        async def use() -> None:
            async with aio.open_client(outside.url):
                await asyncio.sleep(30)

        for steps in range(12):
            task = asyncio.create_task(use())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with aio.open_client(outside.url) as client:
            await client.ping()

    with open_outside(None) as outside:
        run(main(outside))


def test_a_close_that_is_cancelled(run: Run) -> None:
    """It closes all the same."""

    async def main(outside: Outside) -> None:
        async def use() -> None:
            async with aio.open_client(outside.url) as client:
                await client.lock("key").acquire()
                closing.set()

        closing = asyncio.Event()
        task = asyncio.create_task(use())
        await closing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(outside.until, "key", 0, 0)

    with open_outside(None) as outside:
        run(main(outside))


def test_a_subscription(run: Run) -> None:
    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:
            async with client.subscribe(b"\xff" * 16) as subscription:
                assert subscription.db == 0
                assert subscription.masks == (b"\xff" * 16,)
                assert "Subscription of database 0" in repr(subscription)
                loud = client.db(0, flags=aio.Flags(publish=True))
                async with client.lock("key"):
                    with pytest.raises(aio.WouldBlock):
                        await loud.lock("key").try_acquire()
                    async for change in subscription:
                        assert change.kind == "refused"
                        break
                assert subscription.statistics().received == 1
            with pytest.raises(StopAsyncIteration):
                await anext(aiter(subscription))

    with open_outside(None) as outside:
        run(main(outside))


def test_the_changes_of_a_replica_set(run: Run) -> None:
    async def main(outside: Outside, other: Outside) -> None:
        assert outside.server is not None
        assert other.server is not None
        url = f"{outside.url},127.0.0.1:{other.server.port}"
        async with aio.open_client(url) as client:
            async for state in client.changes():
                if state.active is not None:
                    break
            async with client.lock("key"):
                pass
            client.add_member("127.0.0.1", 1)
            changes = client.changes()
        async for state in changes:
            assert state.active is None
        async with aio.open_client(outside.url) as client:
            with pytest.raises(ValueError, match="has one server"):
                client.changes()

    with open_outside(None) as outside, open_outside(None) as other:
        run(main(outside, other))


def test_an_item_that_comes_with_a_cancellation_is_the_next_one(run: Run) -> None:
    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:

            async def numbers() -> AsyncGenerator[int]:
                for number in range(3):
                    if number == 1:
                        reader.cancel()
                    yield number

            async def read() -> int:
                return await items.next()

            items = Items(client.portal, numbers())
            assert await items.next() == 0
            reader = asyncio.create_task(read())
            with pytest.raises(asyncio.CancelledError):
                await reader
            assert [await items.next() for _ in range(2)] == [1, 2]
            with pytest.raises(StopAsyncIteration):
                await items.next()

    with open_outside(None) as outside:
        run(main(outside))
