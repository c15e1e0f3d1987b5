"""Only type-checked, never run: `trioslock.aio` as its users write it."""

from __future__ import annotations

import asyncio
from typing import assert_type

from trioslock import aio
from trioslock.aio import recipes


async def use() -> None:
    async with aio.open_client("slock://127.0.0.1:5658/3") as client:
        assert_type(client, aio.Client)
        assert_type(await client.ping(), float)
        assert_type(client.lock("name", lease=30, fenced=True), aio.Lock)
        async with client.lock("name") as grant:
            assert_type(grant, aio.Grant)
            assert_type(grant.expires_at, float)
            assert_type(await grant.wait_lost(), aio.LockLost)
        async with asyncio.timeout(1):
            assert_type(await client.rlock("name").acquire(), aio.Grant)
        async with client.rwlock("name").read(), client.tree("a").child("b").leaf():
            pass
        assert_type(await client.semaphore("name", 3).available(), int)
        await client.token_bucket("name", 3, 1.0).acquire()
        assert_type(client.concurrency("name", 3), aio.ConcurrencyLimiter)
        assert_type(await client.event("name", ttl=60).wait(), aio.Data | None)
        assert_type(await client.group_event("name", ttl=60).wakeup(), int)
        assert_type(await client.value("name").increment(), int)
        assert_type(client.db(7), aio.Database)
        assert_type(await client.holders("name"), list[aio.Holder])
        async with client.subscribe() as subscription:
            async for change in subscription:
                assert_type(change, aio.Change)
        async for state in client.changes():
            assert_type(state, aio.SetState)
        async with recipes.leader(client, "name", name="a", lease=30) as term:
            assert_type(term, recipes.Term)
            assert_type(term.grant, aio.Grant)
        election = recipes.Election(client.db(3), "name")
        assert_type(await election.current(), recipes.Leader | None)
        async for leader in election.changes():
            assert_type(leader, recipes.Leader | None)
        assert_type(await recipes.once_per(client, "name", 3600), bool)
        async with recipes.worker_pool(client, "name", 3) as worker:
            assert_type(worker, recipes.Worker)
        assert_type(recipes.rate_limit(client, "name", 100, 60), aio.TokenBucket)
        await recipes.barrier(client, "name", 3)

        async def read() -> int | None:
            return 3

        async def compute() -> int:
            return 3

        assert_type(await recipes.cache_lock(client, "name").get(read, compute), int)
