"""One connection to one Redis: which server it leads to, and what is known of that."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
import trio
import trio.lowlevel
from tests.redis_rigs import Pair, Resolver, admin_of, socket_server, until
from tests.services import RedisServer

from triopoll.store import (
    ALL,
    MessageLog,
    NewMessage,
    StoreError,
    Stores,
    StoreUnreachable,
    open_stores,
)
from triopoll.store._executors import Executor, executor_for
from triopoll.store._history import HISTORY, HISTORY_MAY_LACK, LastWrite
from triopoll.store._url import parse_redis_url

pytestmark = pytest.mark.slow

NAME = "redis.test"
URL = f"redis://{NAME}:1/0"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with Pair(tmp_path) as pair:
        yield pair


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING
    ]


async def push(stores: Stores, key: str) -> None:
    """Push, again and again until it succeeds."""
    with trio.fail_after(10):
        while True:
            try:
                await stores.lists.push(key, b"1")
                return
            except StoreError:
                await trio.sleep(0.02)


async def data(log: MessageLog, key: str) -> list[bytes]:
    page = await log.read(key, ALL, 100)
    return [message.data for message in page.messages]


def executor(url: str, limit: float = 5) -> Executor:
    return executor_for(parse_redis_url(url, limit), ["probe"], threading.Event())


async def test_a_primary_that_becomes_a_replica(
    pair: Pair, resolver: Resolver, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The name leads to the new primary: the next write finds it; both are logged."""
    resolver.ports[NAME] = pair.primary.port
    async with open_stores(URL, limit=5) as stores:
        await stores.lists.push(key, b"1")
        pair.wait_in_sync()
        pair.promote()
        resolver.ports[NAME] = pair.primary.port
        with pytest.raises(StoreUnreachable, match="READONLY"):
            await stores.lists.push(key, b"2")
        await stores.lists.push(key, b"3")
    with admin_of(pair.primary) as admin:
        assert admin.lrange(key, 0, -1) == [b"1", b"3"]
    first, second = lines(caplog)
    assert first.startswith(
        f"Redis at {NAME}:1 is a replica and refuses writes: READONLY "
    )
    assert second == f"Redis at {NAME}:1 takes writes again after 0 s"


async def test_a_replica_is_not_read_either(
    pair: Pair, resolver: Resolver, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While the name leads to it nothing is served, rather than old data."""
    resolver.ports[NAME] = pair.primary.port
    async with open_stores(URL, limit=5) as stores:
        await stores.log.append([NewMessage(key, b"1")])
        pair.wait_in_sync()
        pair.promote()
        for _ in range(2):
            with pytest.raises(StoreUnreachable, match="READONLY"):
                await stores.lists.push(key, b"2")
        with pytest.raises(StoreUnreachable, match="READONLY it is a replica"):
            await data(stores.log, key)
        with pytest.raises(StoreUnreachable):
            await stores.lists.ping()
        resolver.ports[NAME] = pair.primary.port
        assert await data(stores.log, key) == [b"1"]
    first, second = lines(caplog)
    assert first.startswith(
        f"Redis at {NAME}:1 is a replica and refuses writes: READONLY "
    )
    assert re.fullmatch(rf"Redis at {NAME}:1 takes writes again after \d s", second)


async def test_readers_alone_notice_a_replica(
    pair: Pair, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Within a second or so."""
    async with open_stores(pair.primary.url, limit=5) as stores:
        await stores.log.append([NewMessage(key, b"1")])
        pair.wait_in_sync()
        pair.promote()
        demoted = trio.current_time()
        with pytest.raises(StoreUnreachable, match="it is a replica"):
            while True:
                await data(stores.log, key)
                await trio.sleep(0.02)
        assert trio.current_time() - demoted < 2
        await trio.lowlevel.checkpoint()
    assert "is a replica" in caplog.text


async def test_a_start_at_a_replica(pair: Pair, key: str) -> None:
    """It is no place to store, nor to read."""
    async with open_stores(pair.replica.url, limit=5) as stores:
        with pytest.raises(StoreUnreachable, match="it is a replica"):
            await stores.log.read(key, ALL, 10)


async def test_a_start_without_redis(
    tmp_path: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One line says where nothing answers, one that it answers, and after how long."""
    server = RedisServer(tmp_path)
    async with open_stores(server.url, limit=5) as stores:
        for _ in range(3):
            with pytest.raises(StoreUnreachable):
                await stores.lists.push(key, b"1")
        server.start()
        try:
            await push(stores, key)
        finally:
            server.kill()
    first, second = lines(caplog)
    address = f"127.0.0.1:{server.port}"
    assert re.fullmatch(
        f"Redis at {address} does not answer: .*Connection refused.*", first
    )
    assert re.fullmatch(rf"Redis at {address} answers again after \d s", second)


async def test_a_name_that_is_not_known(
    key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is looked up for each connection, and the line has it."""
    async with open_stores("redis://nowhere.invalid:1/0", limit=5) as stores:
        with pytest.raises(StoreUnreachable):
            await stores.lists.push(key, b"1")
    assert lines(caplog)[0].startswith("Redis at nowhere.invalid:1 does not answer: ")


async def test_a_password_is_not_logged(
    redis_server: RedisServer, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is the user."""
    url = f"redis://hunter:hunter2@127.0.0.1:{redis_server.port}"
    async with open_stores(url, limit=5) as stores:
        with pytest.raises(StoreUnreachable, match="WRONGPASS"):
            await stores.lists.push(key, b"1")
    assert "does not accept the user or the password" in caplog.text
    assert "hunter" not in caplog.text


def test_attempts_are_paced(resolver: Resolver, free_port: int) -> None:
    """Many callers do not knock faster at a server that is not there."""
    resolver.ports[NAME] = free_port
    with closing(executor(URL)) as one:
        began = time.monotonic()
        while time.monotonic() - began < 1.5:
            one.execute([("PING", "x")])
    assert 3 <= len(resolver.asked) <= 8


def test_a_server_that_is_back_serves_the_first_command(tmp_path: Path) -> None:
    """A command waits for the next attempt to connect, which is not far away."""
    server = RedisServer(tmp_path)
    with closing(executor(server.url)) as one:
        for _ in range(10):
            (reply,) = one.execute([("PING", "x")])
            assert isinstance(reply, redis.ConnectionError)
        server.start()
        try:
            assert one.execute([("PING", "x")]) == [b"x"]
        finally:
            server.kill()


def test_closing_waits_for_no_attempt(free_port: int) -> None:
    """What comes before its time fails at once."""
    closes = threading.Event()
    address = parse_redis_url(f"redis://127.0.0.1:{free_port}", 5)
    with closing(executor_for(address, ["probe"], closes)) as one:
        for _ in range(6):
            one.execute([("PING", "x")])
        closes.set()
        began = time.monotonic()
        (reply,) = one.execute([("PING", "x")])
    assert "is being closed" in str(reply)
    assert time.monotonic() - began < 0.1


def test_a_refusal_costs_no_connection_of_its_own(tmp_path: Path) -> None:
    """While a server cannot save it is looked for another one now and then only."""
    server = RedisServer(tmp_path, options={"min-replicas-to-write": "1"})
    server.start()
    try:
        with admin_of(server) as admin, closing(executor(server.url)) as one:
            before = admin.info("stats")["total_connections_received"]
            began = time.monotonic()
            while time.monotonic() - began < 1.5:
                written, read = one.execute([("SET", "k", "v"), ("GET", "k")])
                assert "NOREPLICAS" in str(written) or written.status_code
                assert read is None
            after = admin.info("stats")["total_connections_received"]
    finally:
        server.kill()
    assert 2 <= after - before <= 8


def test_the_history_of_writes(pair: Pair, resolver: Resolver) -> None:
    """It is the same for a primary and its replica, until that is promoted."""
    resolver.ports[NAME] = pair.primary.port
    ask = ("EVAL", "return ARGV", "0", HISTORY, HISTORY_MAY_LACK, b"x")
    with closing(executor(URL)) as one:
        (first,) = one.execute([ask])
        with admin_of(pair.primary) as admin:
            assert first[0].decode() == admin.info("replication")["master_replid"]
        # Nothing was lost before this server began, but its file is not kept.
        assert first[1:] == [b"1", b"x"]
        pair.promote()
        resolver.ports[NAME] = pair.primary.port
        one.execute([("SET", "k", "v")])
        (second,) = one.execute([ask])
    assert second[0] != first[0]
    assert second[1:] == [b"1", b"x"]


def test_a_history_that_lacks_nothing(tmp_path: Path) -> None:
    """That of a server with an append-only file, and of no primary before."""
    server = RedisServer(tmp_path, durable=True)
    server.start()
    try:
        with closing(executor(server.url)) as one:
            (reply,) = one.execute([("EVAL", "return ARGV", "0", HISTORY_MAY_LACK)])
            assert reply == [HISTORY_MAY_LACK.encode()]
            ask = ("EVAL", "return ARGV", "0", HISTORY, HISTORY_MAY_LACK)
            (reply,) = one.execute([ask])
            assert reply[1] == b"0"
    finally:
        server.kill()


def test_a_history_that_is_written_down_later(tmp_path: Path) -> None:
    """An append-only file that is begun later does not bring back what was lost."""
    server = RedisServer(tmp_path)
    server.start()
    ask = ("EVAL", "return ARGV", "0", HISTORY, HISTORY_MAY_LACK)
    try:
        with admin_of(server) as admin, closing(executor(server.url)) as one:
            (before,) = one.execute([ask])
            admin.config_set("appendonly", "yes")
            until(lambda: admin.info("persistence")["aof_enabled"])
            time.sleep(1.1)
            one.execute([("PING", "x")])
            assert one.execute([ask]) == [before]
            assert before[1] == b"1"
    finally:
        server.kill()


def test_how_long_ago_something_was_written_to_another_history(
    pair: Pair, resolver: Resolver
) -> None:
    """Commands of the same pipeline are told, too; what failed or reads is no write."""
    resolver.ports[NAME] = pair.primary.port
    write, other = LastWrite(), LastWrite()
    told = ("EVAL", "return ARGV[2]", "0", HISTORY)
    failing = ("EVAL", "return redis.call('NO')", "0", HISTORY, other.for_writes)
    with closing(executor(URL)) as one:
        replies = one.execute([(*told, write.for_writes), (*told, write.for_reads)])
        assert replies == [b"", b""]
        one.execute([failing, (*told, other.for_reads)])
        pair.promote()
        resolver.ports[NAME] = pair.primary.port
        time.sleep(0.1)
        one.execute([("SET", "k", "v")])
        replies = one.execute(
            [(*told, each) for each in (write.for_reads, other.for_reads)]
        )
        assert 100 <= int(replies[0]) < 5_000
        assert replies[1] == b""
        one.execute([(*told, write.for_writes)])
        assert one.execute([(*told, write.for_reads)]) == [b""]


def test_a_server_that_does_not_say_who_it_is(tmp_path: Path) -> None:
    """Without a right to ask, its history is unknown, and it is used all the same."""
    server = RedisServer(tmp_path)
    server.start()
    try:
        with admin_of(server) as admin:
            admin.execute_command("ACL", "SETUSER", "app", "on", ">w", "~*", "+@all")
            admin.execute_command("ACL", "SETUSER", "app", "-info")
        url = f"redis://app:w@127.0.0.1:{server.port}"
        with closing(executor(url)) as one:
            ask = ("EVAL", "return ARGV", "0", HISTORY, HISTORY_MAY_LACK)
            assert one.execute([ask]) == [[b"", b"1"]]
    finally:
        server.kill()


async def test_a_socket_file_is_its_address(
    tmp_path: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, too."""
    caplog.set_level(logging.DEBUG)
    with socket_server(tmp_path) as path:
        async with open_stores(f"unix://{path}", limit=5) as stores:
            await stores.lists.push(key, b"1")
    assert f"Redis at {path} answers" in caplog.text


async def test_a_frozen_server(tmp_path: Path, key: str) -> None:
    """Each attempt takes no longer than the limit, and the end of it is noticed."""
    server = RedisServer(tmp_path)
    server.start()
    try:
        async with open_stores(server.url, limit=0.3) as stores:
            await stores.lists.push(key, b"1")
            server.freeze()
            for _ in range(3):
                began = trio.current_time()
                with pytest.raises(StoreUnreachable):
                    await stores.lists.push(key, b"2")
                assert trio.current_time() - began < 1.5
            server.thaw()
            await push(stores, key)
    finally:
        server.kill()
