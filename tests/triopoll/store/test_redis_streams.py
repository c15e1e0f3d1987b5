"""Streams in Redis: full, restarted, without its scripts, and in a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
import trio
from tests.redis_rigs import ClusterRig, SentinelRig
from tests.services import RedisServer
from tests.triopoll.store.test_stream_forks import fork
from tests.triopoll.store.test_streams_base import TEXT, made, put, reason, text_of

from triopoll.store import (
    START,
    NewAppend,
    NewStream,
    Producer,
    StoreFull,
    StoreUnreachable,
    StreamAppended,
    StreamLimits,
    StreamRefusal,
    StreamStore,
    open_stores,
)
from triopoll.store._slots import slot_of

APPEND = NewAppend(kind="text/plain", data=b"x", producer=Producer("p", 0, 0))


async def test_keys(server: RedisServer, admin: redis.Redis, key: str) -> None:
    """There are four of a stream, which end together and are deleted together."""
    async with open_stores(server.url, limit=5) as stores:
        streams = stores.streams
        new = NewStream(content_type="text/plain", ttl=60, data=b"x")
        view = (await made(streams, key, new)).view
        await streams.append(key, APPEND)
        await made(streams, key + "f", fork(key, START, ttl=30))
        names = {
            f"triopoll:stream:{key}",
            f"triopoll:stream-entries:{view.id}",
            f"triopoll:stream-producers:{view.id}",
            f"triopoll:stream-forks:{view.id}",
        }
        assert names == {
            name.decode() for name in admin.scan_iter() if admin.ttl(name) > 30
        }
        await streams.delete(key + "f")
        await streams.delete(key)
        assert admin.dbsize() == 0


async def test_a_full_redis(server: RedisServer, admin: redis.Redis, key: str) -> None:
    """It refuses what stores, and has changed nothing; reads and deletes go on."""
    async with open_stores(server.url, limit=5) as stores:
        streams = stores.streams
        new = NewStream(content_type="text/plain", ttl=600, data=b"x")
        await made(streams, key, new)
        admin.config_set("maxmemory", 1)
        before = {name: admin.dump(name) for name in admin.scan_iter()}
        for operation in (
            lambda: streams.create(key + "b", TEXT),
            lambda: streams.create(key + "b", fork(key)),
            lambda: streams.append(key, APPEND),
            lambda: streams.append(key, NewAppend(closes=True)),
        ):
            with pytest.raises(StoreFull):
                await operation()
        assert {name: admin.dump(name) for name in admin.scan_iter()} == before
        assert await text_of(streams, key) == b"x"
        assert await streams.heads([key])
        admin.config_set("maxmemory", 0)
        await made(streams, key + "f", fork(key))
        admin.config_set("maxmemory", 1)
        assert await streams.delete(key) is None
        assert reason(await streams.look(key)) is StreamRefusal.DELETED
        assert await streams.delete(key + "f") is None
        assert admin.dbsize() == 0


async def test_scripts_forgotten_at_any_time(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """Each operation succeeds after a flush."""
    async with open_stores(server.url, limit=5) as stores:
        streams = stores.streams
        admin.script_flush()
        await made(streams, key)
        admin.script_flush()
        await put(streams, key, b"x")
        admin.script_flush()
        assert await text_of(streams, key) == b"x"
        admin.script_flush()
        assert await streams.delete(key) is None
        assert repr(streams).startswith("<RedisStreams")


@pytest.mark.slow
async def test_restarted_from_an_append_only_file(tmp_path: Path, key: str) -> None:
    """It has all that was answered, and knows the retry of a producer."""
    server = RedisServer(tmp_path, durable=True)
    server.start()
    try:
        async with open_stores(server.url, limit=5) as stores:
            streams = stores.streams
            await made(streams, key)
            await streams.append(key, APPEND)
            server.kill()
            server.start()
            again = await once_more(streams, key)
            assert again.duplicate
            assert await text_of(streams, key) == b"x"
    finally:
        server.kill()


async def once_more(streams: StreamStore, key: str) -> StreamAppended:
    """Append, with a second try if the first met the end of the connection."""
    try:
        outcome = await streams.append(key, APPEND)
    except StoreUnreachable:
        outcome = await streams.append(key, APPEND)
    assert isinstance(outcome, StreamAppended)
    return outcome


async def test_a_fork_in_another_slot(redis_cluster: ClusterRig, key: str) -> None:
    """Its copy is read from one node and written to another."""
    nodes = {slot_of(f"{key}{n}") * 3 // 16384 for n in range(9)}
    assert len(nodes) > 1
    limits = StreamLimits(page_bytes=10)
    async with open_stores(redis_cluster.url, limit=5, stream_limits=limits) as stores:
        streams = stores.streams
        await made(streams, key)
        for n in range(9):
            await put(streams, key, b"%d" % n * 9)
        async with trio.open_nursery() as nursery:
            for n in range(9):
                nursery.start_soon(made, streams, f"{key}{n}", fork(key))
        await streams.delete(key)
        for n in range(9):
            assert len(await text_of(streams, f"{key}{n}")) == 81
            assert reason(await streams.look(key)) is StreamRefusal.DELETED
            await streams.delete(f"{key}{n}")
        assert reason(await streams.look(key)) is StreamRefusal.UNKNOWN


@pytest.mark.slow
async def test_behind_sentinels(tmp_path: Path, key: str) -> None:
    """The same operations, on the primary that they name."""
    with SentinelRig(tmp_path) as rig:
        async with open_stores(rig.url, limit=5) as stores:
            await made(stores.streams, key)
            await put(stores.streams, key, b"x")
            await made(stores.streams, key + "f", fork(key))
            assert await text_of(stores.streams, key + "f") == b"x"
