"""Only type-checked, never run: `trioslock.aio` as its users write it."""

from __future__ import annotations

import asyncio
from typing import assert_type

from trioslock import aio


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
