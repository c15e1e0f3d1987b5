"""Only type-checked, never run: every recipe as its users write it."""

from __future__ import annotations

from typing import assert_type

from trioslock import SESSION, Client, Database, Grant, TokenBucket, recipes
from trioslock.recipes import (
    CacheLock,
    Election,
    Leader,
    LeaderChanges,
    OncePer,
    Term,
    Worker,
)


async def use_leader(client: Client, db: Database) -> None:
    async with recipes.leader(client, "name", name="a", lease=SESSION) as term:
        assert_type(term, Term)
        assert_type(term.token, int)
        assert_type(term.name, str)
        assert_type(term.grant, Grant)
    election = Election(db, b"0123456789abcdef", lease=30)
    async with election.lead() as term:
        assert_type(await election.current(), Leader | None)
    changes = election.changes()
    assert_type(changes, LeaderChanges)
    async for leader in changes:
        assert_type(leader, Leader | None)


async def use_slots(client: Client) -> None:
    assert_type(await recipes.once_per(client, "name", 3600), bool)
    assert_type(await recipes.once_per(client, "name", "slot", keep=60), bool)
    job = OncePer(client, "name", 0.5)
    assert_type(await job.claim(), bool)
    await job.give_back()


async def use_limits(client: Client) -> None:
    async with recipes.worker_pool(client, "name", 3, lease=30) as worker:
        assert_type(worker, Worker)
        assert_type(worker.number, int)
        assert_type(worker.permit, Grant)
    limit = recipes.rate_limit(client, "name", 100, 60)
    assert_type(limit, TokenBucket)
    await limit.acquire()
    await recipes.barrier(client, "name", 3, keep=60, lease=30)


async def use_cache(client: Client) -> None:
    async def read() -> bytes | None:
        return None

    async def compute() -> bytes:
        return b""

    lock = recipes.cache_lock(client, "name", lease=30)
    assert_type(lock, CacheLock)
    assert_type(await lock.get(read, compute), bytes)
