"""One suite for the values of every store."""

import uuid
from collections.abc import AsyncIterator

import pytest
import redis
import trio
from tests.services import RedisServer
from trio.testing import MockClock

from triopoll.store import (
    Budget,
    MemoryValues,
    StoreFailed,
    StoreUnreachable,
    ValueStore,
    open_stores,
)


@pytest.fixture
def name() -> str:
    return f"value-{uuid.uuid4().hex}"


@pytest.fixture
async def values(store_url: str) -> AsyncIterator[ValueStore]:
    async with open_stores(store_url, limit=5) as stores:
        yield stores.values


async def test_the_latest_value_is_kept(values: ValueStore, name: str) -> None:
    """It can be read as often as one likes."""
    assert await values.get(name) is None
    for value in (b"first", bytes(range(256)) * 300):
        await values.put(name, value, 60)
        assert [await values.get(name) for _ in range(2)] == [value, value]
    assert await values.get(f"{name} ") is None


async def test_its_time_ends(values: ValueStore, name: str) -> None:
    """A shorter time replaces a longer one."""
    await values.put(name, b"1", 60)
    await values.put(name, b"2", 0.05)
    await trio.sleep(0.1)
    assert await values.get(name) is None


async def test_redis_has_it_with_a_prefix(redis_server: RedisServer, name: str) -> None:
    """As a string that expires, for other programs to read."""
    async with open_stores(redis_server.url, limit=5, list_prefix="mine:") as stores:
        await stores.values.put(name, b"1", 60)
        with redis.Redis(port=redis_server.port) as client:
            assert client.get(f"mine:{name}") == b"1"
            assert 59 <= client.ttl(f"mine:{name}") <= 60
            client.rpush(f"mine:{name}2", b"1")
        with pytest.raises(StoreFailed):
            await stores.values.get(f"{name}2")


async def test_redis_is_away(free_port: int) -> None:
    """It is said, and not taken for an absent value."""
    async with open_stores(f"redis://127.0.0.1:{free_port}", limit=0.5) as stores:
        with pytest.raises(StoreUnreachable):
            await stores.values.get("a")
        with pytest.raises(StoreUnreachable):
            await stores.values.put("a", b"1", 1)


async def test_memory_is_bounded(autojump_clock: MockClock) -> None:
    """What has expired makes room; what has not stays."""
    budget = Budget(100)
    values = MemoryValues(budget=budget)
    await values.put("a", 40 * b"a", 1)
    await values.put("b", 40 * b"b", 9)
    with pytest.raises(StoreFailed):
        await values.put("c", 40 * b"c", 9)
    await trio.sleep(2)
    await values.put("c", 40 * b"c", 9)
    assert await values.get("a") is None
    assert await values.get("b") == 40 * b"b"
    assert budget.taken == 82
    await values.put("b", b"", 9)
    assert budget.taken == 42
