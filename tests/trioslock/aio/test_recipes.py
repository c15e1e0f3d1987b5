"""The recipes in asyncio tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.trioslock.aio.conftest import Run
from tests.trioslock.outside import Outside

from trioslock import aio
from trioslock.aio import recipes
from trioslock.testing import open_slock_server

Body = Callable[[aio.Client, str], Awaitable[None]]


@pytest.fixture
def with_client(outside: Outside, run: Run) -> Callable[[Body], None]:
    """Run a body with a client and a key of its own."""

    async def main(body: Body) -> None:
        async with aio.open_client(outside.url) as client:
            await body(client, outside.key())

    return lambda body: run(main(body))


Start = Callable[[Body], None]


def test_one_leads_and_followers_see_it(with_client: Start) -> None:
    """A candidate that gives up leaves nothing; the changes come in their order."""

    async def body(client: aio.Client, key: str) -> None:
        election = recipes.Election(client, key, name="a")
        assert election.name == "a"
        assert "Election" in repr(election)
        changes = aiter(election.changes())
        assert await anext(changes) is None
        async with recipes.leader(client, key, name="a") as term:
            assert (term.name, term.grant.token) == ("a", term.token)
            found = await election.current()
            assert found == recipes.Leader("a", term.token)
            assert await anext(changes) == found
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02), election.lead():
                    pytest.fail("two lead")
            assert not await client.waiters(key)
        assert await election.current() is None

    with_client(body)


def test_a_lost_leadership_cancels_the_body(run: Run) -> None:
    async def main(url: str) -> None:
        async with aio.open_client(url) as client:
            async with recipes.leader(client, "key") as term:
                server.lose("key")
                await asyncio.sleep(60)
            assert not term.grant.held

    with open_slock_server() as server, pytest.raises(aio.LockLost):
        run(main(server.url))


def test_both_grants_of_a_worker_may_be_lost_at_once(run: Run) -> None:
    """The task is cancelled by each of them, and goes on after its `LockLost`."""

    async def main(url: str) -> None:
        async with aio.open_client(url) as client:
            with pytest.raises(aio.LockLost):
                async with recipes.worker_pool(client, "pool", 1):
                    for held in await client.keys():
                        server.lose(held.key)
                    await asyncio.sleep(60)
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            async with recipes.worker_pool(client, "pool", 1) as worker:
                assert worker.number == 0

    with open_slock_server() as server:
        run(main(server.url))


def test_a_context_is_entered_once(with_client: Start) -> None:
    async def body(client: aio.Client, key: str) -> None:
        pool = recipes.worker_pool(client, key, 1)
        async with pool:
            with pytest.raises(RuntimeError, match="entered already"):
                await pool.__aenter__()

    with_client(body)


def test_a_slot_is_had_once(with_client: Start) -> None:
    async def body(client: aio.Client, key: str) -> None:
        job = recipes.OncePer(client, key, "monday")
        assert job.slot == "monday"
        assert "monday" in repr(job)
        assert await job.claim()
        assert not await recipes.once_per(client, key, "monday")
        await job.give_back()
        assert await recipes.once_per(client, key, "monday", keep=60)

    with_client(body)


def test_workers_have_numbers(with_client: Start) -> None:
    async def body(client: aio.Client, key: str) -> None:
        async with (
            recipes.worker_pool(client, key, 2) as one,
            recipes.worker_pool(client, key, 2) as two,
        ):
            assert {one.number, two.number} == {0, 1}
            assert one.permit.held
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02), recipes.worker_pool(client, key, 2):
                    pytest.fail("three work")

    with_client(body)


def test_parties_wait_for_each_other(with_client: Start) -> None:
    """A party that gives up does not count."""

    async def body(client: aio.Client, key: str) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await recipes.barrier(client, key, 2)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(recipes.barrier(client, key, 2, keep=60))

    with_client(body)


def test_a_rate_is_limited(with_client: Start) -> None:
    async def body(client: aio.Client, key: str) -> None:
        limit = recipes.rate_limit(client, key, 1, 60)
        await limit.acquire()
        with pytest.raises(aio.WouldBlock):
            await limit.try_acquire()

    with_client(body)


def test_one_computes_for_all(with_client: Start) -> None:
    async def body(client: aio.Client, key: str) -> None:
        cache: dict[str, int] = {}
        computed: list[int] = []
        entry = recipes.cache_lock(client, key)

        async def read() -> int | None:
            return cache.get("value")

        async def compute() -> int:
            computed.append(1)
            cache["value"] = 7
            return 7

        found = await asyncio.gather(*(entry.get(read, compute) for _ in range(8)))
        assert found == [7] * 8
        assert computed == [1]
        assert "CacheLock" in repr(entry)
        with pytest.raises(TypeError, match="must be callable"):
            await entry.get(None, compute)  # type: ignore[arg-type]

    with_client(body)


def test_a_lost_computation_waits_with_the_rest(run: Run) -> None:
    """It is cancelled, and reads what another one stores; other losses are raised."""
    cache: list[int] = []

    async def read() -> int | None:
        return cache[0] if cache else None

    async def main(url: str) -> None:
        async with aio.open_client(url) as client:

            async def compute() -> int:
                server.lose("key")
                try:
                    await asyncio.sleep(60)
                finally:
                    cache.append(3)
                return 5

            async def compute_under_a_lock() -> int:
                async with client.lock("other"):
                    server.lose("other")
                    await asyncio.sleep(60)
                return 5

            assert await recipes.cache_lock(client, "key").get(read, compute) == 3
            cache.clear()
            with pytest.raises(aio.LockLost):
                await recipes.cache_lock(client, "key").get(read, compute_under_a_lock)

    with open_slock_server() as server:
        run(main(server.url))


def test_what_comes_with_a_cancellation_is_taken_back(
    with_client: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot is given back, grants are released."""

    async def body(client: aio.Client, key: str) -> None:
        portal_start = client.portal.start

        def start(function: Callable[[], Awaitable[object]]) -> object:
            """Start a call whose asyncio task is cancelled as it returns."""
            task = asyncio.current_task()
            assert task is not None

            async def cancelled() -> object:
                result = await function()
                task.cancel()
                return result

            monkeypatch.setattr(client.portal, "start", portal_start)
            return portal_start(cancelled)

        for wait in (
            recipes.OncePer(client, key, "monday").claim,
            recipes.worker_pool(client, key, 1).__aenter__,
            recipes.leader(client, key).__aenter__,
        ):
            monkeypatch.setattr(client.portal, "start", start)
            task: asyncio.Task[object] = asyncio.ensure_future(wait())
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await recipes.once_per(client, key, "monday")
        assert await recipes.Election(client, key).current() is None
        async with asyncio.timeout(10), recipes.worker_pool(client, key, 1) as worker:
            assert worker.number == 0

    with_client(body)


def test_a_wrong_database_is_refused() -> None:
    with pytest.raises(TypeError, match="asyncio Client"):
        recipes.rate_limit(None, "key", 1, 1)  # type: ignore[arg-type]
