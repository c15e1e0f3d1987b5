"""Redis with and without trouble; the server is a real one, stopped and killed."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import trio
import trio.testing
from tests.services import RedisServer, find_tool
from tests.triopoll.support import eventually

from triopoll.store import (
    Delivery,
    RedisStore,
    StoreFailed,
    StoreUnreachable,
    open_stores,
)
from triopoll.store._executors import Command, executor_for
from triopoll.store._names import ServerLayout
from triopoll.store._url import parse_redis_url


@asynccontextmanager
async def open_lists(url: str, **args: Any) -> AsyncIterator[RedisStore]:
    async with open_stores(url, **args) as stores:
        assert isinstance(stores.lists, RedisStore)
        yield stores.lists


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of our own, to be paused, filled and killed; it forgets nothing."""
    server = RedisServer(tmp_path, durable=True)
    server.start()
    yield server
    server.kill()


def count_calls(admin: redis.Redis, command: str) -> int:
    stats = admin.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def pop(store: RedisStore, key: str) -> bytes | None:
    """Take a message for good."""
    taken = await store.pop(key)
    if taken is None:
        return None
    store.ack(taken)
    return taken.data


async def take(store: RedisStore, key: str) -> Delivery:
    taken = await store.pop(key)
    assert taken is not None
    return taken


async def pop_into(store: RedisStore, key: str, messages: list[bytes | None]) -> None:
    messages.append(await pop(store, key))


async def settle(store: RedisStore) -> None:
    """Return when all that was put before, and what undoes it, has been answered."""
    for _ in range(2):
        await store.ping()
        await trio.testing.wait_all_tasks_blocked()


class HeldBack:
    """Pipelines of a store, each of which waits at a gate before it is sent."""

    def __init__(self, store: RedisStore) -> None:
        self._reached, self._open = threading.Semaphore(0), threading.Semaphore(0)
        executor = store._pipeliner._executor
        execute = executor.execute

        def execute_later(commands: Sequence[Command]) -> Sequence[Any]:
            self._reached.release()
            assert self._open.acquire(timeout=10)
            return execute(commands)

        executor.execute = execute_later  # type: ignore[method-assign]

    async def reached(self) -> None:
        """Wait until the next one is at the gate."""
        await trio.to_thread.run_sync(partial(self._reached.acquire, timeout=10))

    def open(self, count: int) -> None:
        """Let so many through."""
        self._open.release(count)


async def test_many_tasks_share_few_round_trips(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """Each task gets a message of its own, and commands travel together."""
    admin.rpush(key, *range(500))
    taken: list[bytes | None] = []
    async with open_lists(server.url, limit=5) as store:
        await store.ping()
        before = admin.info("stats")["total_reads_processed"]
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(pop_into, store, key, taken)
        reads = admin.info("stats")["total_reads_processed"] - before
    assert sorted(taken) == sorted(b"%d" % n for n in range(500))
    assert reads < 100


async def test_an_error_belongs_to_its_command(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """A key that holds no list fails one caller; its neighbours are served."""
    admin.set(key + "-text", "not a list")
    admin.rpush(key, "1", "2")
    taken: list[bytes | None] = []

    async def fail(store: RedisStore) -> None:
        with pytest.raises(StoreFailed, match="WRONGTYPE"):
            await store.pop(key + "-text")

    async with open_lists(server.url, limit=5) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pop_into, store, key, taken)
            nursery.start_soon(fail, store)
            nursery.start_soon(pop_into, store, key, taken)
    assert sorted(map(str, taken)) == ["b'1'", "b'2'"]


@pytest.mark.slow
async def test_a_pop_cancelled_in_flight_gives_its_message_back(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """The caller leaves at once; two messages return to the head in their order."""
    admin.rpush(key, "1", "2", "3")
    async with open_lists(server.url, limit=5) as store:
        await store.ping()
        async with trio.open_nursery() as nursery:
            gate = HeldBack(store)
            nursery.start_soon(store.ping)
            await gate.reached()
            # Behind a pipeline that is under way, so they are one together.
            nursery.start_soon(store.pop, key)
            nursery.start_soon(store.pop, key)
            await trio.testing.wait_all_tasks_blocked()
            gate.open(1)
            await gate.reached()
            admin.client_pause(200)
            gate.open(99)
            start = trio.current_time()
            await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        assert trio.current_time() - start < 0.15
        await settle(store)
        assert count_calls(admin, "lpop") == 2
        assert admin.lrange(key, 0, -1) == [b"1", b"2", b"3"]


async def test_a_pop_cancelled_on_an_empty_list_changes_nothing(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """There is nothing to give back, and nothing appears in the list."""
    async with open_lists(server.url, limit=5) as store:
        await store.ping()
        admin.client_pause(100)
        with trio.move_on_after(0.02):
            await store.pop(key)
        await settle(store)
    assert count_calls(admin, "lpush") == 0
    assert count_calls(admin, "lpop") == 1


async def test_a_pop_cancelled_before_it_was_sent_is_not_sent(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """A command that still queues is withdrawn without a trace."""
    admin.rpush(key, "1")
    async with open_lists(server.url, limit=5) as store:
        await store.ping()
        admin.client_pause(150)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.ping)
            await trio.testing.wait_all_tasks_blocked(0.02)
            with trio.move_on_after(0.02) as scope:
                await store.pop(key)
            assert scope.cancelled_caught
        await settle(store)
    assert count_calls(admin, "lpop") == 0


async def test_closing_settles_what_is_in_flight(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """A worker that stops loses no message that it has asked for."""
    admin.rpush(key, "1")
    async with open_lists(server.url, limit=5) as store:
        await store.ping()
        admin.client_pause(150)
        with trio.move_on_after(0.02):
            await store.pop(key)
    assert count_calls(admin, "lpop") == 1
    assert admin.lrange(key, 0, -1) == [b"1"]


async def test_a_closed_store_says_so(server: RedisServer, key: str) -> None:
    """A late request is refused, not parked for ever."""
    async with open_lists(server.url, limit=5) as store:
        await store.ping()
    assert repr(store) == "<RedisStore: 0 held, <Pipeliner: closed, 0 waiting>>"
    with pytest.raises(trio.ClosedResourceError):
        await store.pop(key)


async def test_the_queue_is_bounded(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """One command too many is an error at once, not memory without end."""
    async with open_lists(server.url, limit=5, max_queued=1) as store:
        await store.ping()
        admin.client_pause(100)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.pop, key)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(StoreUnreachable, match="1 commands are waiting"):
                await store.pop(key)
        assert await store.pop(key) is None


async def test_a_large_crowd_is_sent_in_bounded_batches(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """More callers than fit in one pipeline are all answered."""
    admin.rpush(key, *range(1500))
    taken: list[bytes | None] = []
    async with open_lists(server.url, limit=5) as store:
        async with trio.open_nursery() as nursery:
            for _ in range(1500):
                nursery.start_soon(pop_into, store, key, taken)
    assert len(set(taken)) == 1500
    assert None not in taken


async def test_lists_may_have_a_prefix(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """No other list can be reached then."""
    admin.rpush(key, "other")
    async with open_lists(server.url, limit=5, list_prefix="p:") as store:
        assert await store.pop(key) is None
        await store.push(key, b"1")
        assert admin.lrange(f"p:{key}", 0, -1) == [b"1"]
        store.nack(await take(store, key))
    assert admin.lrange(f"p:{key}", 0, -1) == [b"1"]


async def test_redis_that_is_not_there(free_port: int, key: str) -> None:
    """No server is an error at once, and opening the store does not need one."""
    url = f"redis://127.0.0.1:{free_port}"
    async with open_lists(url, limit=60) as store:
        with trio.fail_after(20):
            with pytest.raises(StoreUnreachable):
                await store.pop(key)
            with pytest.raises(StoreUnreachable):
                await store.ping()


async def test_redis_killed_and_restarted(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """Callers in flight get an error each; the next command finds the new server."""
    async with open_lists(server.url, limit=5) as store:
        await store.ping()
        admin.client_pause(10_000)

        async def lose() -> None:
            with pytest.raises(StoreUnreachable):
                await store.pop(key)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose)
            nursery.start_soon(lose)
            await trio.testing.wait_all_tasks_blocked(0.05)
            server.kill()
        with pytest.raises(StoreUnreachable):
            await store.pop(key)
        server.start()
        assert await store.push(key, b"1") == 1
        assert await pop(store, key) == b"1"


async def test_redis_restarted_while_idle_is_not_noticed(
    server: RedisServer, key: str
) -> None:
    """A connection that the server closed meanwhile costs nobody an error."""
    async with open_lists(server.url, limit=5) as store:
        await store.ping()
        server.stop()
        server.start()
        assert await store.pop(key) is None


@pytest.mark.slow
async def test_a_frozen_redis_fails_within_the_limit(
    server: RedisServer, key: str
) -> None:
    """A server that takes commands and answers nothing is not waited for."""
    async with open_lists(server.url, limit=0.2) as store:
        await store.ping()
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGSTOP)
        with trio.fail_after(2):
            with pytest.raises(StoreUnreachable):
                await store.pop(key)
        os.kill(server._process.pid, signal.SIGCONT)
        assert await store.pop(key) is None


async def test_what_is_owed_waits_for_redis(
    server: RedisServer, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A message given back while Redis is away is in its list when Redis is back."""
    async with open_lists(server.url, limit=5) as store:
        await store.push(key, b"1")
        taken = await take(store, key)
        server.kill()
        store.nack(taken)
        with pytest.raises(StoreUnreachable):
            await store.ping()
        server.start()
        await settle(store)
        assert await pop(store, key) == b"1"
    address = f"127.0.0.1:{server.port}"
    away, back = (record.getMessage() for record in caplog.records)
    assert away.startswith(f"Redis at {address} does not answer: ")
    assert back == f"Redis at {address} answers again after 0 s"


@pytest.mark.slow
async def test_what_is_owed_is_tried_again_without_new_commands(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """No poll has to come by for a message to find its way back."""
    async with open_lists(server.url, limit=5) as store:
        await store.push(key, b"1")
        taken = await take(store, key)
        server.kill()
        store.nack(taken)
        await trio.sleep(0.1)
        server.start()
        await eventually(lambda: admin.llen(key), limit=2)
    assert admin.lrange(key, 0, -1) == [b"1"]


async def test_what_stays_owed_is_logged_without_the_message(
    server: RedisServer, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told by key; what the message said is nobody's business."""
    async with open_lists(server.url, limit=5) as store:
        await store.push(key, b"secret")
        taken = await take(store, key)
        server.kill()
        store.nack(taken)
    texts = [record.getMessage() for record in caplog.records]
    assert f"Redis was away to the end, given up: give back '{key}'" in texts
    assert "secret" not in caplog.text


async def test_what_is_owed_and_refused_is_logged(
    server: RedisServer,
    admin: redis.Redis,
    key: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A key that has become something else cannot take its message back: it waits."""
    async with open_lists(server.url, limit=5) as store:
        await store.push(key, b"secret")
        taken = await take(store, key)
        admin.set(key, "not a list")
        store.nack(taken)
        await settle(store)
        (record,) = caplog.records
        assert f"give back '{key}': WRONGTYPE" in record.getMessage()
    assert "secret" not in caplog.text
    # Closing tries once more, and so does whoever looks after the dead.
    assert admin.hlen(ServerLayout("triopoll:").control.held(store._worker)) == 1
    admin.delete(key)
    async with open_lists(server.url, limit=5) as store:
        await store._recover()
        assert await pop(store, key) == b"secret"


async def test_a_connection_killed_while_idle_is_not_noticed(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """An idle limit of the server, or a proxy between, costs nobody an error."""
    async with open_lists(server.url, limit=5) as store:
        await store.ping()
        for client in admin.client_list():
            if client["id"] != str(admin.client_id()):
                admin.client_kill(client["addr"])
        assert await store.pop(key) is None


@pytest.mark.parametrize(
    "url", ["http://h", "redis://h?socket_timeout=soon", "redis://h?decode_responses=1"]
)
async def test_a_url_that_cannot_be_used(url: str) -> None:
    """It fails when the store is opened, not at the first poll."""
    with pytest.raises(ValueError, match=r"scheme|socket_timeout|decode_responses"):
        async with open_stores(url, limit=5):
            pass


async def test_a_unix_socket(tmp_path: Path, key: str) -> None:
    """redis-py's other URL forms go through as they are."""
    path = tmp_path / "redis.sock"
    command = [find_tool("redis-server"), "--port", "0", "--save", ""]
    command += ["--unixsocket", str(path), "--dir", str(tmp_path)]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.DEVNULL)
    try:
        await eventually(path.exists)
        async with open_lists(f"unix://{path}?db=3", limit=5) as store:
            assert await store.push(key, b"1") == 1
            assert await pop(store, key) == b"1"
    finally:
        process.terminate()
        await process.wait()


def test_an_error_does_not_repeat_the_message(server: RedisServer) -> None:
    """Redis quotes the arguments of a command that it does not know."""
    address = parse_redis_url(server.url, 5)
    executor = executor_for(address, ["probe"], threading.Event())
    with contextlib.closing(executor):
        (reply,) = executor.execute([("NOSUCH", "key", b"secret")])
    assert isinstance(reply, redis.ResponseError)
    assert "unknown command 'NOSUCH'" in str(reply)
    assert "secret" not in repr(reply)
