"""A Redis without room: what stores is refused before anything grows; all else goes on.

`maxmemory` of one byte with `noeviction` makes any Redis full.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator

import pytest
import redis
import trio
from tests.redis_rigs import admin_of
from tests.services import RedisServer
from tests.triopoll.support import eventually

from triopoll.store import (
    ALL,
    NEW,
    Appended,
    Delivery,
    LogLimits,
    NewMessage,
    RedisStore,
    StoreFull,
    Stores,
    open_stores,
)
from triopoll.store._names import ServerLayout

NAMES = ServerLayout("triopoll:").control
LIMITS = LogLimits(max_messages=3, trim_acked=True)

pytestmark = pytest.mark.slow


@pytest.fixture
def admin(server: RedisServer) -> Iterator[redis.Redis]:
    with admin_of(server) as admin:
        yield admin


@pytest.fixture
async def stores(server: RedisServer) -> AsyncIterator[Stores]:
    async with open_stores(server.url, limit=5, log_limits=LIMITS) as stores:
        yield stores


def fill(admin: redis.Redis) -> None:
    admin.config_set("maxmemory", 1)


def empty(admin: redis.Redis) -> None:
    admin.config_set("maxmemory", 0)


def contents(admin: redis.Redis) -> dict[bytes, bytes]:
    return {key: admin.dump(key) for key in admin.scan_iter()}


async def append(stores: Stores, *messages: NewMessage) -> list[str]:
    results = await stores.log.append(messages)
    assert all(isinstance(result, Appended) for result in results), results
    return [result.id for result in results if isinstance(result, Appended)]


async def take(stores: Stores, key: str) -> Delivery:
    delivery = await stores.lists.pop(key)
    assert delivery is not None
    return delivery


@pytest.mark.parametrize("is_new", [False, True], ids=["known", "new"])
async def test_what_stores_is_refused(
    stores: Stores, admin: redis.Redis, key: str, is_new: bool
) -> None:
    """In a Redis that knows the keys, and in one that was empty; nothing is changed."""
    if not is_new:
        await append(stores, NewMessage(key, b"1", id="a"), NewMessage(key, b"2"))
        await stores.lists.push(key, b"1")
        await stores.values.put(key, b"1", 60)
        # A log that is forgotten, whose messages are still there.
        await append(stores, NewMessage(key + "old", b"1"))
        admin.delete(NAMES.meta(key + "old"))
    fill(admin)
    before = contents(admin)
    for messages in (
        [NewMessage(key, b"x")],
        [NewMessage(key, b"x", id="b")],
        [NewMessage(key, b"x", id=str(n)) for n in range(5)],
        [NewMessage(key + "other", b"x"), NewMessage(key, b"x")],
        [NewMessage(key + "old", b"x")],
    ):
        results = await stores.log.append(messages)
        assert {type(result) for result in results} == {StoreFull}
    for name in (key, key + "new"):
        with pytest.raises(StoreFull, match="OOM"):
            await stores.lists.push(name, b"x")
        with pytest.raises(StoreFull, match="OOM"):
            await stores.values.put(name, b"x", 60)
    with pytest.raises(StoreFull):
        await stores.lists.ping()
    assert contents(admin) == before
    empty(admin)
    await append(stores, NewMessage(key, b"x"))
    await stores.lists.ping()


async def test_reading_goes_on(stores: Stores, admin: redis.Redis, key: str) -> None:
    """And so does trimming what has been read, which makes room."""
    ids = await append(stores, *(NewMessage(key, b"%d" % n) for n in range(3)))
    await append(stores, NewMessage(key + "named", b"1", id="a"))
    fill(admin)
    for cursor, found in ((ALL, ids), (NEW, []), (ids[0], ids[1:])):
        page = await stores.log.read(key, cursor, 10)
        assert [message.id for message in page.messages] == found
    assert admin.xlen(NAMES.log(key)) == 2
    assert all(await stores.log.heads([key]))
    # A publisher that tries again stores nothing.
    (result,) = await stores.log.append([NewMessage(key + "named", b"1", id="a")])
    assert isinstance(result, Appended)
    assert result.duplicate


async def test_reading_begins(stores: Stores, admin: redis.Redis, key: str) -> None:
    """In a Redis that was empty as well: the cursor that is given out is valid."""
    fill(admin)
    page = await stores.log.read(key, NEW, 10)
    empty(admin)
    ids = await append(stores, NewMessage(key, b"1"))
    page = await stores.log.read(key, page.cursor, 10)
    assert ([message.id for message in page.messages], page.gap) == (ids, False)


async def test_taking_goes_on(stores: Stores, admin: redis.Redis, key: str) -> None:
    """Messages are popped, acknowledged and returned."""
    for n in range(3):
        await stores.lists.push(key, b"%d" % n)
    fill(admin)
    first, second = await take(stores, key), await take(stores, key)
    assert (first.data, second.data) == (b"0", b"1")
    stores.lists.ack(first)
    stores.lists.nack(second)
    await eventually(lambda: admin.lrange(key, 0, -1) == [b"1", b"2"])
    again = await take(stores, key)
    assert again.data == b"1"
    # To a list that does not exist any more.
    last = await take(stores, key)
    assert admin.exists(key) == 0
    stores.lists.nack(last)
    await eventually(lambda: admin.lrange(key, 0, -1) == [b"2"])


async def test_workers_live_and_die(
    stores: Stores, server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """A sign of life needs no room, nor does returning what dead workers held."""
    await stores.lists.push(key, b"1")
    await take(stores, key)
    assert isinstance(stores.lists, RedisStore)
    alive = NAMES.alive(stores.lists._worker)
    fill(admin)
    for exists in (True, False):
        if not exists:
            admin.delete(alive)
        await stores.lists._live()
        assert admin.pttl(alive) > 9000
    admin.delete(alive)
    async with open_stores(server.url, limit=5) as others:
        assert isinstance(others.lists, RedisStore)
        await others.lists._live()
        await others.lists._recover()
    assert admin.lrange(key, 0, -1) == [b"1"]


async def test_the_log_says_it(
    stores: Stores, admin: redis.Redis, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once when it begins, and once when it is over."""
    fill(admin)
    for _ in range(3):
        with pytest.raises(StoreFull):
            await stores.lists.push(key, b"x")
    empty(admin)
    with trio.fail_after(5):
        while "takes writes again" not in caplog.text:
            await stores.lists.push(key, b"x")
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert ["is full" in r.getMessage() for r in warnings] == [True, False]
