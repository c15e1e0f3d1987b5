"""Messages whose process has died, or has lost sight of them; on a real Redis."""

import logging
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
import trio
from tests.services import RedisServer
from tests.triopoll.support import eventually

from triopoll.store import Delivery, RedisStore, StoreUnreachable
from triopoll.store._names import ServerLayout
from triopoll.store._open import open_pipeliner
from triopoll.store._url import parse_redis_url

LAYOUT = ServerLayout("triopoll:")
NAMES = LAYOUT.control


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path, durable=True)
    server.start()
    yield server
    server.kill()


@asynccontextmanager
async def worker(
    server: RedisServer, *, lease: float = 10, limit: float = 5
) -> AsyncIterator[RedisStore]:
    """A worker that is killed at the end of the block: it sends no closing commands."""
    address = parse_redis_url(server.url, limit)
    async with open_pipeliner(address, LAYOUT, max_queued=1000) as pipeliner:
        yield RedisStore(pipeliner, LAYOUT, "", lease=lease)


@asynccontextmanager
async def live_worker(
    server: RedisServer, *, lease: float = 10, limit: float = 5
) -> AsyncIterator[RedisStore]:
    """A worker that gives its signs of life."""
    async with worker(server, lease=lease, limit=limit) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run)
            yield store
            nursery.cancel_scope.cancel()


async def take(store: RedisStore, key: str) -> Delivery:
    taken = await store.pop(key)
    assert taken is not None
    return taken


def bury(admin: redis.Redis, store: RedisStore) -> None:
    """Let the time pass after which a worker counts as dead."""
    admin.delete(NAMES.alive(store._worker))


@pytest.mark.slow
async def test_what_a_dead_worker_held_is_found(
    server: RedisServer, admin: redis.Redis, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By a worker that lives, once the time is over; it goes in front of the rest."""
    admin.rpush(key, "1", "2", "3")
    async with live_worker(server, lease=0.6):
        async with worker(server, lease=0.6) as victim:
            assert (await take(victim, key)).data == b"1"
            assert (await take(victim, key)).data == b"2"
        assert admin.lrange(key, 0, -1) == [b"3"]
        await trio.sleep(0.3)
        assert admin.lrange(key, 0, -1) == [b"3"]
        await eventually(lambda: admin.llen(key) == 3, limit=3)
        assert admin.lrange(key, 0, -1) == [b"1", b"2", b"3"]
        await eventually(lambda: caplog.records)
    assert caplog.record_tuples == [
        (
            "triopoll.store",
            logging.WARNING,
            "2 messages of workers that died are back",
        )
    ]


async def test_a_new_worker_looks_at_once(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """A restart is when there is most to be found."""
    admin.rpush(key, "1")
    async with worker(server) as victim:
        await take(victim, key)
    bury(admin, victim)
    async with live_worker(server):
        await eventually(lambda: admin.llen(key) == 1, limit=1)
    assert not admin.exists(NAMES.held(victim._worker))
    assert victim._worker.encode() not in admin.smembers(NAMES.workers)


async def test_several_dead_workers_in_one_order(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """Whoever took them: messages go back in the order in which they were taken."""
    messages = [b"%d" % n for n in range(60)]
    for name in ("a", "b"):
        admin.rpush(key + name, *messages)
    choose = random.Random(7).choice
    async with worker(server) as one, worker(server) as two, worker(server) as three:
        for _ in range(50):
            for name in ("a", "b"):
                await take(choose([one, two, three]), key + name)
    for victim in (one, two, three):
        bury(admin, victim)
    async with worker(server) as store:
        await store._recover()
    for name in ("a", "b"):
        assert admin.lrange(key + name, 0, -1) == messages


async def test_two_who_look_at_once_find_each_message_once(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """Recovery is one step of Redis."""
    admin.rpush(key, *range(200))
    async with worker(server) as victim:
        for _ in range(150):
            await take(victim, key)
    bury(admin, victim)
    async with worker(server) as one, worker(server) as two:
        async with trio.open_nursery() as nursery:
            for store in (one, two) * 5:
                nursery.start_soon(store._recover)
    assert admin.lrange(key, 0, -1) == [b"%d" % n for n in range(200)]


async def test_a_worker_that_lives_keeps_what_it_holds(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """Others leave it alone, and what it confirms is gone."""
    admin.rpush(key, "1", "2")
    async with live_worker(server) as store, worker(server) as other:
        first, second = await take(store, key), await take(store, key)
        await other._recover()
        await store._live()
        await store.ping()
        assert admin.llen(key) == 0
        assert admin.hlen(NAMES.held(store._worker)) == 2
        store.ack(first)
        store.nack(second)
        await store.ping()
        assert admin.hlen(NAMES.held(store._worker)) == 0
        assert admin.lrange(key, 0, -1) == [b"2"]


async def test_a_worker_that_was_thought_dead_gives_nothing_back_twice(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """It was only frozen. What it held is with others, and it can do no harm."""
    admin.rpush(key, "1", "2")
    async with worker(server) as frozen, worker(server) as other:
        first, second = await take(frozen, key), await take(frozen, key)
        bury(admin, frozen)
        await other._recover()
        again = await take(other, key)
        assert again.data == b"1"
        frozen.ack(first)
        frozen.nack(second)
        await frozen._live()
        await frozen.ping()
        assert admin.lrange(key, 0, -1) == [b"2"]
        # It lives again, and may take again.
        taken = await take(frozen, key)
        await other._recover()
        assert admin.llen(key) == 0
        frozen.nack(taken)
        await frozen.ping()
        assert admin.lrange(key, 0, -1) == [b"2"]


async def test_taking_is_a_sign_of_life(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """Redis may have been emptied since the last one, or the time was over."""
    async with worker(server) as store, worker(server) as other:
        await store._live()
        admin.flushdb()
        admin.rpush(key, "1")
        await take(store, key)
        await other._recover()
        assert admin.llen(key) == 0
    bury(admin, store)
    async with worker(server) as other:
        await other._recover()
    assert admin.lrange(key, 0, -1) == [b"1"]


@pytest.mark.slow
async def test_a_pop_whose_reply_was_lost(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """The caller is told that it failed, Redis does it all the same: it goes back."""
    admin.rpush(key, "1", "2")
    async with worker(server, limit=0.2) as store:
        await store.ping()
        server.freeze()
        with pytest.raises(StoreUnreachable):
            await store.pop(key)
        server.thaw()
        # Redis may read the broken connection after our next one.
        await eventually(lambda: admin.hlen(NAMES.held(store._worker)) == 1)
        assert admin.lrange(key, 0, -1) == [b"2"]
        await store._live()
        await store.ping()
        assert admin.hlen(NAMES.held(store._worker)) == 0
        assert admin.lrange(key, 0, -1) == [b"1", b"2"]


async def test_a_departure_while_the_reply_is_lost(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """Neither the caller nor the reply is there to undo it: it goes back later."""
    admin.rpush(key, "1")
    async with worker(server) as store:
        await store.ping()
        server.freeze()
        with trio.move_on_after(0.05) as scope:
            await store.pop(key)
        assert scope.cancelled_caught
        assert repr(store).startswith("<RedisStore: 0 held")
        server.thaw()
        await eventually(lambda: admin.llen(key) == 1)
        await store._live()
        await store.ping()
    assert admin.lrange(key, 0, -1) == [b"1"]
    assert not admin.exists(NAMES.held(store._worker))


async def test_closing_commands_give_everything_back(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """Nobody has to wait for the time of a worker that ends in good order."""
    admin.rpush(key, "1", "2", "3")
    async with worker(server) as store:
        confirmed = await take(store, key)
        await take(store, key)
        await take(store, key)
        store.ack(confirmed)
        for command in store.closing_commands():
            await store._pipeliner.call(*command)
    assert admin.lrange(key, 0, -1) == [b"2", b"3"]
    assert sorted(admin.scan_iter()) == sorted([key.encode(), b"triopoll:places"])


async def test_a_key_that_is_no_list_any_more(
    server: RedisServer, admin: redis.Redis, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its message waits until it is one again; the others go back meanwhile."""
    admin.rpush(key + "a", "1")
    admin.rpush(key + "b", "2")
    async with worker(server) as victim:
        await take(victim, key + "a")
        await take(victim, key + "b")
    bury(admin, victim)
    admin.set(key + "a", "text")
    async with worker(server) as store:
        await store._recover()
        assert admin.lrange(key + "b", 0, -1) == [b"2"]
        assert "1 messages of workers that died cannot go back" in caplog.text
        admin.delete(key + "a")
        await store._recover()
        assert admin.lrange(key + "a", 0, -1) == [b"1"]


@pytest.mark.slow
@pytest.mark.parametrize("ends_in_order", [False, True])
async def test_an_acknowledgement_that_is_refused_for_a_time(
    server: RedisServer, admin: redis.Redis, key: str, ends_in_order: bool
) -> None:
    """The message was delivered: it is not given out again, and let go in the end."""
    user = ("ACL", "SETUSER", "app")
    admin.execute_command(*user, "on", ">w", "~*", "+@all", "-hdel")
    admin.rpush(key, "1", "2")
    address = parse_redis_url(f"redis://app:w@127.0.0.1:{server.port}", 5)
    async with open_pipeliner(address, LAYOUT, max_queued=9) as pipeliner:
        store = RedisStore(pipeliner, LAYOUT, "", lease=10)
        store.ack(await take(store, key))
        for _ in range(3):
            await store._live()
            await trio.sleep(0.1)
        assert admin.lrange(key, 0, -1) == [b"2"]
        assert admin.hlen(NAMES.held(store._worker)) == 1
        admin.execute_command(*user, "+hdel")
        if not ends_in_order:
            await eventually(lambda: not admin.exists(NAMES.held(store._worker)))
            await store._live()
            await store.ping()
    assert admin.lrange(key, 0, -1) == [b"2"]
    assert not admin.exists(NAMES.held(store._worker))


@pytest.mark.slow
async def test_an_acknowledgement_while_no_write_is_taken(
    server: RedisServer, admin: redis.Redis, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is it given out again after that."""
    admin.rpush(key, "1", "2")
    async with live_worker(server, lease=0.6) as store:
        delivery = await take(store, key)
        admin.config_set("min-replicas-to-write", 1)
        store.ack(delivery)
        await trio.sleep(1)
        admin.config_set("min-replicas-to-write", 0)
        await eventually(lambda: not admin.exists(NAMES.held(store._worker)))
        await trio.sleep(1)
    assert admin.lrange(key, 0, -1) == [b"2"]
    assert all("NOREPLICAS" in r.getMessage() for r in caplog.records[:-1])


@pytest.mark.slow
async def test_after_trouble_the_living_get_time(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """While Redis was away nobody could give a sign of life, and none is dead."""
    admin.rpush(key, "1")
    lease = 1.5
    async with live_worker(server, lease=lease) as store:
        async with live_worker(server, lease=lease) as other:
            taken = await take(other, key)
            await store.ping()
            server.kill()
            await trio.sleep(lease)
            server.start()
            for _ in range(20):
                await trio.sleep(lease / 20)
                assert admin.llen(key) == 0
            other.ack(taken)
            await other.ping()
        await trio.sleep(lease)
        assert admin.llen(key) == 0


async def test_one_command_takes_a_message(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """Nobody waits for more than one round trip, and to confirm for none."""
    admin.rpush(key, *range(3))

    def calls() -> int:
        stats = admin.info("commandstats")
        return int(stats["cmdstat_evalsha"]["calls"])

    async with worker(server) as store:
        await take(store, key)
        await take(store, key)
        before = calls()
        taken = await take(store, key)
        store.ack(taken)
        assert calls() == before + 1
