"""Who waits in several workers, in a Redis with trouble; the server is a real one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import trio
from tests.redis_rigs import ClusterRig, SentinelRig
from tests.services import RedisServer
from tests.triopoll.store.traffic import until_served

from triopoll.store import (
    ALL,
    StoreFull,
    Stores,
    StoreUnreachable,
    Waiting,
    changes_key,
    open_stores,
)

# Of a report, in milliseconds.
LONG_OVER = b"1"


@asynccontextmanager
async def open_workers(url: str) -> AsyncIterator[tuple[Stores, Stores]]:
    async with open_stores(url, limit=5) as one, open_stores(url, limit=5) as two:
        yield one, two


async def waiting(stores: Stores, key: str) -> Waiting:
    (found,) = await stores.presence.look([key])
    return found.waiting


async def changes(stores: Stores, key: str) -> list[dict[str, Any]]:
    page = await stores.log.read(changes_key(key), ALL, 100)
    return [json.loads(message.data) for message in page.messages]


def let_end(admin: redis.Redis, key: str, worker: Stores) -> None:
    """Let the time of a worker's report be over, as when the worker was killed."""
    name, field = f"triopoll:presence:{key}", worker.presence._worker  # type: ignore[attr-defined]
    report = admin.hget(name, field)
    assert isinstance(report, bytes)
    admin.hset(name, field, LONG_OVER + report[report.index(b":") :])


async def test_the_reports_of_workers_are_merged(
    redis_server: RedisServer, key: str
) -> None:
    """A subject in two of them counts once, and leaves when it has left both."""
    async with open_workers(redis_server.url) as (one, two):
        await one.presence.look([key], record=True)
        await one.presence.report({key: Waiting(("ann", "bob"), 1)})
        await two.presence.report({key: Waiting(("ann", "cy"), 2)})
        assert await waiting(one, key) == Waiting(("ann", "bob", "cy"), 3)
        await one.presence.report({key: Waiting()})
        assert await waiting(two, key) == Waiting(("ann", "cy"), 2)
        await two.presence.report({key: Waiting(("cy",), 2)})
        assert await changes(two, key) == [
            {"reset": True},
            {"joined": ["ann", "bob"], "left": [], "count": 3, "anonymous": 1},
            {"joined": ["cy"], "left": [], "count": 6, "anonymous": 3},
            {"joined": [], "left": ["bob"], "count": 4, "anonymous": 2},
            {"joined": [], "left": ["ann"], "count": 3, "anonymous": 2},
        ]


async def test_a_worker_that_was_killed_is_forgotten(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """By the next look, which records it."""
    async with open_workers(server.url) as (one, two):
        await one.presence.report({key: Waiting(("ann",), 1)})
        await two.presence.report({key: Waiting(("bob",))})
        await two.presence.look([key], record=True)
        let_end(admin, key, one)
        (found,) = await two.presence.look([key])
        assert found == (Waiting(("bob",)), True)
        (found,) = await two.presence.look([key])
        assert found == (Waiting(("bob",)), False)
        gone = {"joined": [], "left": ["ann"], "count": 1, "anonymous": 0}
        assert (await changes(two, key))[1:] == [gone]


async def test_a_worker_that_was_late_is_back(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """It was only frozen: its next report counts, and nothing has changed."""
    async with open_workers(server.url) as (one, two):
        await two.presence.look([key], record=True)
        await one.presence.report({key: Waiting(("ann",))})
        let_end(admin, key, one)
        assert await one.presence.report({key: Waiting(("ann",))}) == []
        assert await waiting(two, key) == Waiting(("ann",))


async def test_nothing_is_left_in_redis(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """After the last report, and without one when its time is over."""
    name = f"triopoll:presence:{key}"
    async with open_stores(server.url, limit=5) as stores:
        await stores.presence.report({key: Waiting(("ann",))})
        assert 0 < admin.pttl(name) <= 20_000  # type: ignore[operator]
        await stores.presence.report({key: Waiting()})
        assert not admin.exists(name)
        await stores.presence.look([key], record=True)
        await stores.presence.report({key: Waiting(("ann",))})
        # For the reader of the changes: the end of the report is to be recorded.
        assert 590_000 < admin.pttl(name) <= 600_000  # type: ignore[operator]


async def test_a_redis_that_has_lost_it(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """The next reports bring it back; the readers of changes are told to begin anew."""
    async with open_stores(server.url, limit=5) as stores:
        await stores.presence.look([key], record=True)
        await stores.presence.report({key: Waiting(("ann",))})
        admin.delete(f"triopoll:presence:{key}")
        (found,) = await stores.presence.look([key], record=True)
        assert found == (Waiting(), True)
        await stores.presence.report({key: Waiting(("ann",))})
        assert await waiting(stores, key) == Waiting(("ann",))
        found_changes = await changes(stores, key)
        assert [each.get("joined") for each in found_changes] == [
            *(None, ["ann"]),
            *(None, ["ann"]),
        ]


async def test_a_full_redis(server: RedisServer, admin: redis.Redis, key: str) -> None:
    """It takes no report, and is still read; who has left is removed."""
    async with open_stores(server.url, limit=5) as stores:
        await stores.presence.report({key: Waiting(("ann",))})
        admin.config_set("maxmemory", 1)
        with pytest.raises(StoreFull):
            await stores.presence.report({key: Waiting(("ann", "bob"))})
        assert await waiting(stores, key) == Waiting(("ann",))
        await stores.presence.report({key: Waiting()})
        assert await waiting(stores, key) == Waiting()


async def test_a_redis_that_is_away(server: RedisServer) -> None:
    async with open_stores(server.url, limit=5) as stores:
        assert repr(stores.presence).startswith("<RedisPresence: ")
        server.kill()
        with pytest.raises(StoreUnreachable):
            await stores.presence.report({"k": Waiting(("ann",))})
        with pytest.raises(StoreUnreachable):
            await stores.presence.look(["k"])


@pytest.mark.long
async def test_a_failover_by_sentinel(tmp_path: Path, key: str) -> None:
    """Workers report to the new primary, in which nothing need be."""
    with SentinelRig(tmp_path) as rig:
        async with open_stores(rig.url, limit=1) as stores:
            await stores.presence.report({key: Waiting(("ann",))})
            rig.primary.kill()
            await trio.to_thread.run_sync(rig.wait_until_moved)
            await until_served(stores)
            await stores.presence.report({key: Waiting(("ann",))})
            assert await waiting(stores, key) == Waiting(("ann",))


@pytest.mark.long
async def test_a_failover_in_a_cluster(tmp_path: Path, key: str) -> None:
    """The reports of the keys on another node come back with the next round."""
    keys = [f"{key}-{n}" for n in range(60)]
    with ClusterRig(tmp_path) as rig:
        async with open_stores(rig.url, limit=1) as stores:
            everything = dict.fromkeys(keys, Waiting(("ann",), 1))
            await stores.presence.report(everything)
            rig.nodes[0].kill()
            await trio.to_thread.run_sync(rig.wait_until_moved)
            await until_served(stores)
            await stores.presence.report(everything)
            found = await stores.presence.look(keys)
            assert {each.waiting for each in found} == {Waiting(("ann",), 1)}
