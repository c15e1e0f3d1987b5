"""Delayed messages in a Redis with trouble; the server is a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
import trio
from tests.redis_rigs import ClusterRig, SentinelRig, admin_of
from tests.services import RedisServer
from tests.triopoll.store.traffic import until_served

from triopoll.store import (
    ALL,
    Appended,
    DelayedMessage,
    NewMessage,
    Scheduled,
    StoreFailed,
    StoreFull,
    Stores,
    StoreUnreachable,
    open_stores,
)


@pytest.fixture
async def stores(server: RedisServer) -> AsyncIterator[Stores]:
    async with open_stores(server.url, limit=5) as stores:
        yield stores


def delayed(key: str, name: str = "a", seconds: float = 0) -> DelayedMessage:
    return DelayedMessage(NewMessage(key, name.encode(), name), seconds)


async def schedule(stores: Stores, *messages: DelayedMessage) -> None:
    for result in await stores.delayed.schedule(messages):
        assert isinstance(result, Scheduled)


async def deliver(stores: Stores) -> int:
    """Move all that is due; return how many messages were moved."""
    count = 0
    while (found := await stores.delayed.look()).due:
        for key, due in found.due.items():
            count += len(await stores.delayed.deliver(key, due))
    return count


async def data(stores: Stores, key: str) -> list[bytes]:
    page = await stores.log.read(key, ALL, 1000)
    return [message.data for message in page.messages]


async def test_a_full_redis(stores: Stores, admin: redis.Redis, key: str) -> None:
    """It refuses, nothing is changed, and what is pending is delivered later."""
    await schedule(stores, delayed(key))
    admin.config_set("maxmemory", 1)
    before = {name: admin.dump(name) for name in admin.scan_iter()}
    (refused,) = await stores.delayed.schedule([delayed(key, "b")])
    assert isinstance(refused, StoreFull)
    found = await stores.delayed.look()
    with pytest.raises(StoreFull):
        await stores.delayed.deliver(key, found.due[key])
    assert {name: admin.dump(name) for name in admin.scan_iter()} == before
    admin.config_set("maxmemory", 0)
    assert await deliver(stores) == 1
    assert await data(stores, key) == [b"a"]


async def test_a_log_that_is_none(stores: Stores, admin: redis.Redis, key: str) -> None:
    """Its messages are put off, and do not stand before others."""
    await schedule(stores, delayed(key), delayed(key + "2"))
    admin.set(f"triopoll:meta:{key}", "x")
    found = await stores.delayed.look()
    with pytest.raises(StoreFailed):
        await stores.delayed.deliver(key, found.due[key])
    found = await stores.delayed.look()
    assert list(found.due) == [key + "2"]
    assert await deliver(stores) == 1
    admin.delete(f"triopoll:meta:{key}")
    admin.zadd("triopoll:due", {f"triopoll:seen:{len(key)}:{key}:a": 1})
    assert await deliver(stores) == 1
    assert await data(stores, key) == [b"a"]


async def test_a_name_without_its_message(
    stores: Stores, admin: redis.Redis, key: str
) -> None:
    """It is dropped: what has been deleted from outside is not delivered."""
    await schedule(stores, delayed(key))
    admin.delete(f"triopoll:pending:{key}")
    found = await stores.delayed.look()
    assert await stores.delayed.deliver(key, found.due[key]) == []
    assert (await stores.delayed.look()).pending == 0


async def test_it_survives_a_restart(tmp_path: Path, key: str) -> None:
    """Of a Redis that writes to its disk, and of the service."""
    server = RedisServer(tmp_path, durable=True)
    server.start()
    try:
        async with open_stores(server.url, limit=5) as stores:
            await schedule(stores, delayed(key), delayed(key, "later", 900))
        server.kill()
        server.start()
        async with open_stores(server.url, limit=5) as stores:
            assert await deliver(stores) == 1
            assert await stores.delayed.cancel(key, "later") is True
            assert await data(stores, key) == [b"a"]
    finally:
        server.kill()


async def test_a_redis_that_is_away(stores: Stores, server: RedisServer) -> None:
    """Each message meets the error; after the end of the store as well."""
    server.kill()
    results = await stores.delayed.schedule([delayed("a"), delayed("b")])
    assert {type(result) for result in results} == {StoreUnreachable}
    with pytest.raises(StoreUnreachable):
        await stores.delayed.look()
    async with open_stores(server.url, limit=5) as other:
        assert repr(other.delayed).startswith("<RedisDelayed: <Names: 'triopoll:'>")
    (result,) = await other.delayed.schedule([delayed("a")])
    assert isinstance(result, StoreUnreachable)


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[SentinelRig]:
    with SentinelRig(tmp_path) as rig:
        yield rig


@pytest.mark.long
async def test_a_failover_by_sentinel(sentinels: SentinelRig, key: str) -> None:
    """What the replica has is delivered once, what was cancelled before is not."""
    names = [f"{n}" for n in range(200)]
    async with open_stores(sentinels.url, limit=1) as stores:
        await schedule(stores, *(delayed(key, name, 3) for name in names))
        for name in names[::4]:
            assert await stores.delayed.cancel(key, name) is True
        await trio.to_thread.run_sync(sentinels.wait_in_sync)
        sentinels.primary.kill()
        await trio.to_thread.run_sync(sentinels.wait_until_moved)
        await until_served(stores)
        with trio.fail_after(60):
            while (await stores.delayed.look()).pending:
                await deliver(stores)
                await trio.sleep(0.05)
        assert await deliver(stores) == 0
        wanted = [name.encode() for n, name in enumerate(names) if n % 4]
        assert await data(stores, key) == wanted


@pytest.mark.long
async def test_a_failover_in_a_cluster(tmp_path: Path, key: str) -> None:
    """Messages of many places, of which a third move to another node."""
    with ClusterRig(tmp_path) as rig:
        async with open_stores(rig.url, limit=1) as stores:
            keys = [f"{key}-{n}" for n in range(60)]
            await schedule(stores, *(delayed(each, "a", 4) for each in keys))
            for each in keys[::4]:
                assert await stores.delayed.cancel(each, "a") is True
            with admin_of(rig.nodes[0]) as admin:
                # All that was answered is on the replica.
                await trio.to_thread.run_sync(lambda: admin.wait(1, 5000))
            rig.nodes[0].kill()
            await trio.to_thread.run_sync(rig.wait_until_moved)
            await until_served(stores)
            with trio.fail_after(60):
                while (await stores.delayed.look()).pending:
                    await deliver(stores)
                    await trio.sleep(0.05)
            for n, each in enumerate(keys):
                assert await data(stores, each) == ([b"a"] if n % 4 else [])


async def test_an_append_with_the_id_of_a_message_of_another_key(
    stores: Stores, key: str
) -> None:
    """Ids are those of their key."""
    await schedule(stores, delayed(key))
    (result,) = await stores.log.append([NewMessage(key + "2", b"x", "a")])
    assert isinstance(result, Appended)
    assert await deliver(stores) == 1
