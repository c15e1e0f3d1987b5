"""States in Redis: what a restart, a failover and a flush of scripts do to them."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
import trio
from msgspec import Raw
from msgspec.structs import replace
from tests.redis_rigs import Pair, Resolver, admin_of
from tests.services import RedisServer

from triopoll.store import (
    FoundState,
    StateRecord,
    StateStore,
    StoreFull,
    StoreUnreachable,
    open_stores,
)

DIGEST = b"d" * 32
RECORD = StateRecord(
    version=1, state="a", expires=300.0, kept=1200.0, confirm_within=60.0
)


async def found_in(states: StateStore, key: str) -> FoundState:
    """Read, with a second try if the first met the end of the connection."""
    try:
        found = await states.read(key, DIGEST)
    except StoreUnreachable:
        found = await states.read(key, DIGEST)
    assert found is not None
    return found


async def change(states: StateStore, key: str, state: str) -> int:
    """Change a state as the service does; return the version."""
    found = await found_in(states, key)
    record = replace(found.record, version=found.record.version + 1, state=state)
    assert await states.swap(key, found, record, None)
    return record.version


async def test_one_key_with_an_end(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """A state is one hash, which has the digest and not the secret, and ends."""
    async with open_stores(server.url, limit=5) as stores:
        await stores.states.insert(key, DIGEST, replace(RECORD, data=Raw(b"1")))
        await change(stores.states, key, "b")
    (name,) = admin.scan_iter()
    assert name == f"triopoll:state:{key}".encode()
    fields = admin.hgetall(name)
    assert sorted(fields) == [b"c", b"h", b"r", b"s", b"v"]
    assert fields[b"s"] == DIGEST
    assert 1100_000 < admin.pttl(name) <= 1200_000


async def test_a_long_record_is_not_read_for_a_stranger(
    server: RedisServer, key: str
) -> None:
    """The reply to a wrong digest is as long as that to an unknown key."""
    async with open_stores(server.url, limit=5) as stores:
        record = replace(RECORD, data=Raw(b'"' + b"x" * 60000 + b'"'))
        await stores.states.insert(key, DIGEST, record)
        sizes = []
        for name in (key, "unknown"):
            with admin_of(server) as admin:
                before = admin.info("stats")["total_net_output_bytes"]
                own = admin.info("stats")["total_net_output_bytes"] - before
                start = admin.info("stats")["total_net_output_bytes"]
                assert await stores.states.read(name, b"o" * 32) is None
                end = admin.info("stats")["total_net_output_bytes"]
            # The answers to INFO itself differ in their digits.
            sizes.append((end - start - own) // 1000)
        assert sizes[0] == sizes[1] < 5


async def test_a_full_redis(server: RedisServer, admin: redis.Redis, key: str) -> None:
    """It refuses what stores, and has changed nothing; reads go on."""
    async with open_stores(server.url, limit=5) as stores:
        states = stores.states
        await states.insert(key, DIGEST, RECORD)
        found = await found_in(states, key)
        admin.config_set("maxmemory", 1)
        before = {name: admin.dump(name) for name in admin.scan_iter()}
        with pytest.raises(StoreFull):
            await states.insert(key + "b", DIGEST, RECORD)
        with pytest.raises(StoreFull):
            await states.swap(key, found, replace(RECORD, version=2), None)
        assert {name: admin.dump(name) for name in admin.scan_iter()} == before
        assert (await found_in(states, key)).record == RECORD
        assert all(await states.heads([key]))
        admin.config_set("maxmemory", 0)
        assert await change(states, key, "b") == 2


async def test_scripts_forgotten_at_any_time(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """Each operation succeeds after a flush."""
    async with open_stores(server.url, limit=5) as stores:
        admin.script_flush()
        await stores.states.insert(key, DIGEST, RECORD)
        admin.script_flush()
        found = await found_in(stores.states, key)
        admin.script_flush()
        assert await stores.states.swap(key, found, replace(RECORD, version=2), None)
        admin.script_flush()
        assert all(await stores.states.heads([key]))


@pytest.mark.slow
async def test_restarted_from_an_append_only_file(tmp_path: Path, key: str) -> None:
    """It has all that was answered, with the same versions."""
    server = RedisServer(tmp_path, durable=True)
    server.start()
    try:
        async with open_stores(server.url, limit=5) as stores:
            await stores.states.insert(key, DIGEST, RECORD)
            assert await change(stores.states, key, "b") == 2
            server.kill()
            server.start()
            found = await found_in(stores.states, key)
            assert (found.record.version, found.record.state) == (2, "b")
            assert await change(stores.states, key, "c") == 3
    finally:
        server.kill()


@pytest.mark.slow
async def test_failed_over_to_a_replica_that_lacks_writes(
    tmp_path: Path, key: str, resolver: Resolver
) -> None:
    """The version that a page knows is never that of another state."""
    with Pair(tmp_path) as pair:
        resolver.ports["redis.test"] = pair.primary.port
        async with open_stores("redis://redis.test:1/0", limit=5) as stores:
            states = stores.states
            await states.insert(key, DIGEST, RECORD)
            pair.wait_in_sync()
            mark = await states.heads([key])
            with admin_of(pair.replica) as admin:
                pair.cut_replica()
                lost = await change(states, key, "lost")
                await states.insert(key + "lost", DIGEST, RECORD)
                pair.primary.kill()
                admin.replicaof("NO", "ONE")
            resolver.ports["redis.test"] = pair.replica.port
            found = await found_in(states, key)
            assert (found.record.state, found.mark) == ("a", 1)
            assert found.record.version > lost
            # A wait that is parked is woken by the sweep.
            assert await states.heads([key]) != mark
            version = await change(states, key, "b")
            assert version == found.record.version + 1
            assert (await found_in(states, key)).record.version == version
            assert await states.read(key + "lost", DIGEST) is None


@pytest.mark.slow
async def test_cancelled_while_redis_is_frozen(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """The caller leaves at once; the change is made whole, or not at all."""
    async with open_stores(server.url, limit=5) as stores:
        await stores.states.insert(key, DIGEST, RECORD)
        found = await found_in(stores.states, key)
        admin.client_pause(200)
        with trio.move_on_after(0.05) as scope:
            record = replace(RECORD, version=2, state="b")
            await stores.states.swap(key, found, record, None)
        assert scope.cancelled_caught
        again = await found_in(stores.states, key)
        assert (again.record.state, again.mark) in (("a", 1), ("b", 2))
        assert repr(stores.states).startswith("<RedisStates")
