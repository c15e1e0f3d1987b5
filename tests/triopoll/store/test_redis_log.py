"""Logs in Redis with trouble; the server is a real one, emptied, set back, killed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
import trio
from tests.redis_rigs import Pair, Resolver, admin_of, until
from tests.services import RedisServer

from triopoll.store import (
    ALL,
    NEW,
    Appended,
    LogLimits,
    MessageLog,
    NewMessage,
    Page,
    StoreFailed,
    StoreUnreachable,
    open_stores,
)
from triopoll.store import _history as history_module

PREFIX = "our:"


@pytest.fixture
async def log(server: RedisServer) -> AsyncIterator[MessageLog]:
    async with open_stores(server.url, limit=5, redis_prefix=PREFIX) as stores:
        yield stores.log


async def append(log: MessageLog, key: str, *data: bytes) -> list[str]:
    results = await log.append([NewMessage(key, item) for item in data])
    assert all(isinstance(result, Appended) for result in results)
    return [result.id for result in results if isinstance(result, Appended)]


def ids_of(page: Page) -> list[str]:
    return [message.id for message in page.messages]


Copy = dict[bytes, tuple[int, bytes]]


def take_copy(admin: redis.Redis) -> Copy:
    return {key: (admin.pttl(key), admin.dump(key)) for key in admin.scan_iter()}


def set_back(admin: redis.Redis, copy: Copy) -> None:
    """Bring Redis to where it was, as a restart without the last writes does."""
    admin.flushdb()
    for key, (milliseconds, value) in copy.items():
        admin.restore(key, max(0, milliseconds), value)


async def test_redis_emptied(log: MessageLog, admin: redis.Redis, key: str) -> None:
    """A reader is told at once, and goes on with what comes after."""
    _, old = await append(log, key, b"1", b"2")
    admin.flushdb()
    page = await log.read(key, old, 10)
    assert (page.messages, page.gap, page.lost) == ((), True, None)
    ids = await append(log, key, b"3", b"4")
    assert ids_of(await log.read(key, page.cursor, 10)) == ids
    page = await log.read(key, old, 1)
    assert (ids_of(page), page.gap, page.lost) == (ids[:1], True, None)


async def test_redis_restarted_empty(
    log: MessageLog, server: RedisServer, key: str
) -> None:
    """Numbers start above the old ones, in another life."""
    (old,) = await append(log, key, b"1")
    server.kill()
    with pytest.raises(StoreUnreachable):
        await log.read(key, old, 10)
    server.start()
    (new,) = await append(log, key, b"2")
    assert int(new.split(".")[1]) > int(old.split(".")[1])
    page = await log.read(key, old, 10)
    assert (ids_of(page), page.gap, page.lost) == ([new], True, None)


@pytest.mark.parametrize("rewritten", [0, 1, 2, 3])
async def test_redis_restarted_without_its_last_writes(
    log: MessageLog, admin: redis.Redis, key: str, rewritten: int
) -> None:
    """Whoever had read them is told, also when their numbers are given out again."""
    kept = await append(log, key, b"1", b"2")
    copy = take_copy(admin)
    gone = await append(log, key, b"3", b"4")
    set_back(admin, copy)
    new = await append(log, key, *(b"new" for _ in range(rewritten)))
    for cursor in gone:
        page = await log.read(key, cursor, 10)
        assert (ids_of(page), page.gap, page.lost) == (kept + new, True, None)
        again = await log.read(key, page.cursor, 10)
        assert (again.messages, again.gap) == ((), False)
    page = await log.read(key, kept[-1], 10)
    assert (ids_of(page), page.gap, page.lost) == (new, False, 0)


async def publish(log: MessageLog, key: str, data: bytes, ttl: float) -> str:
    (result,) = await log.append([NewMessage(key, data, ttl=ttl)])
    assert isinstance(result, Appended)
    return result.id


@pytest.mark.parametrize("trim_acked", [False, True])
async def test_a_lost_message_whose_number_has_another_one_that_is_gone(
    server: RedisServer, admin: redis.Redis, key: str, trim_acked: bool
) -> None:
    """Its reader is told, and deletes nothing that others have not read."""
    limits = LogLimits(trim_acked=trim_acked)
    async with open_stores(server.url, limit=5, log_limits=limits) as stores:
        log = stores.log
        kept = await append(log, key, b"1", b"2")
        copy = take_copy(admin)
        (gone,) = await append(log, key, b"3")
        set_back(admin, copy)
        (again,) = [await publish(log, key, b"another 3", ttl=0.01)]
        assert again.split(".")[1] == gone.split(".")[1]
        (last,) = await append(log, key, b"4")
        await trio.sleep(0.02)
        # Reading removes what has outlived its time.
        assert ids_of(await log.read(key, ALL, 10)) == [*kept, last]
        page = await log.read(key, gone, 10)
        assert (ids_of(page), page.gap, page.lost) == ([*kept, last], True, None)
        assert ids_of(await log.read(key, ALL, 10)) == [*kept, last]
        # The one that is of this log is still honoured.
        page = await log.read(key, again, 10)
        assert (ids_of(page), page.gap) == ([last], False)


async def test_how_far_back_a_cursor_can_be_proven(
    server: RedisServer, key: str
) -> None:
    """For a thousand messages; before that the reader is told of an unknown number."""
    limits = LogLimits(max_messages=1)
    async with open_stores(server.url, limit=5, log_limits=limits) as stores:
        ids: list[str] = []
        for _ in range(12):
            ids += await append(stores.log, key, *[b"x"] * 100)
        for place in (-2, -16, -17, -500, -1000):
            page = await stores.log.read(key, ids[place], 10)
            assert (ids_of(page), page.lost) == (ids[-1:], -place - 2)
        for place in (0, -1030):
            page = await stores.log.read(key, ids[place], 10)
            assert (ids_of(page), page.gap, page.lost) == (ids[-1:], True, None)


async def test_a_log_of_the_version_before(
    log: MessageLog, admin: redis.Redis, key: str
) -> None:
    """Its cursors are valid while their messages are there to prove them."""
    ids = await append(log, key, b"1", b"2", b"3")
    fields = [name for name in admin.hkeys(f"{PREFIX}meta:{key}") if name[:1] == b"t"]
    fields.remove(b"tag")
    admin.hdel(f"{PREFIX}meta:{key}", *fields, "lacking")
    assert ids_of(await log.read(key, ids[0], 10)) == ids[1:]
    page = await log.read(key, ids[2], 10)
    assert (page.messages, page.gap) == ((), False)
    ids += await append(log, key, b"4")
    admin.xdel(f"{PREFIX}log:{key}", ids[0].split(".")[1] + "-0")
    page = await log.read(key, ids[0], 10)
    assert (ids_of(page), page.gap, page.lost) == (ids[1:], True, None)
    page = await log.read(key, ids[2], 10)
    assert (ids_of(page), page.gap) == (ids[3:], False)


async def test_redis_restarted_without_a_log(
    log: MessageLog, admin: redis.Redis, key: str
) -> None:
    """A reader who has read from it is told, before and after it begins anew."""
    await append(log, key + "other", b"1")
    copy = take_copy(admin)
    (gone,) = await append(log, key, b"1")
    set_back(admin, copy)
    page = await log.read(key, gone, 10)
    assert (page.messages, page.gap, page.lost) == ((), True, None)
    (new,) = await append(log, key, b"2")
    page = await log.read(key, gone, 10)
    assert (ids_of(page), page.gap, page.lost) == ([new], True, None)


@pytest.mark.parametrize("part", ["log", "meta"])
async def test_a_part_of_a_log_evicted(
    log: MessageLog, admin: redis.Redis, key: str, part: str
) -> None:
    """A Redis that throws keys away when memory is short costs messages, not truth."""
    first, second = await append(log, key, b"1", b"2")
    admin.delete(f"{PREFIX}{part}:{key}")
    page = await log.read(key, first, 10)
    assert (page.messages, page.gap) == ((), True)
    assert page.lost == (1 if part == "log" else None)
    (third,) = await append(log, key, b"3")
    page = await log.read(key, second, 10)
    assert ids_of(page) == [third]
    assert page.gap == (part == "meta")
    assert ids_of(await log.read(key, ALL, 10)) == [third]


# --- another history of writes ------------------------------------------------


@pytest.mark.slow
async def test_restarted_from_an_older_file(tmp_path: Path, key: str) -> None:
    """What nothing has read and Redis lost is a gap, as soon as something comes."""
    server = RedisServer(tmp_path)
    server.start()
    try:
        async with open_stores(server.url, limit=5) as stores:
            kept = await append(stores.log, key, b"1", b"2")
            with admin_of(server) as admin:
                admin.save()
            lost = await append(stores.log, key, b"3", b"4")
            server.kill()
            server.start()
            page = await read_again(stores.log, key, kept[1])
            assert (page.messages, page.gap) == ((), False)
            new = await append(stores.log, key, b"5", b"6", b"7")
            # Who has read up to what is left has missed "3" and "4".
            page = await stores.log.read(key, kept[1], 10)
            assert (ids_of(page), page.gap, page.lost) == (new, True, None)
            # So has who has read less, if not with the first page.
            page = await stores.log.read(key, kept[0], 1)
            assert (ids_of(page), page.gap) == (kept[1:], False)
            page = await stores.log.read(key, page.cursor, 1)
            assert (ids_of(page), page.gap, page.lost) == (new[:1], True, None)
            page = await stores.log.read(key, page.cursor, 9)
            assert (ids_of(page), page.gap) == (new[1:], False)
            # Who has read the lost ones starts with what is left.
            for cursor in lost:
                page = await stores.log.read(key, cursor, 10)
                assert (ids_of(page), page.lost) == (kept, None)
                page = await stores.log.read(key, page.cursor, 10)
                assert (ids_of(page), page.gap, page.lost) == (new, True, None)
            page = await stores.log.read(key, ALL, 10)
            assert (ids_of(page), page.gap) == (kept, False)
            page = await stores.log.read(key, page.cursor, 10)
            assert (ids_of(page), page.gap, page.lost) == (new, True, None)
    finally:
        server.kill()


@pytest.mark.slow
async def test_restarted_from_older_files_several_times(
    tmp_path: Path, key: str
) -> None:
    """Each place where messages are missing is reported, where they are missing."""
    server = RedisServer(tmp_path)
    server.start()
    try:
        async with open_stores(server.url, limit=5) as stores:
            parts = []
            for n in range(4):
                if n:
                    server.start()
                    await read_again(stores.log, key, ALL)
                parts.append(await append(stores.log, key, b"%d" % n, b"kept"))
                with admin_of(server) as admin:
                    admin.save()
                await append(stores.log, key, b"lost")
                server.kill()
            server.start()
            page = await read_again(stores.log, key, parts[0][0])
            assert (ids_of(page), page.gap) == (parts[0][1:], False)
            for part in parts[1:]:
                page = await stores.log.read(key, page.cursor, 10)
                assert (ids_of(page), page.gap, page.lost) == (part, True, None)
            assert not (await stores.log.read(key, page.cursor, 10)).gap
    finally:
        server.kill()


@pytest.mark.slow
async def test_a_log_that_was_not_written_in_a_history_that_lacks_writes(
    tmp_path: Path, key: str
) -> None:
    """Its gap is reported though Redis was started once more, and lost nothing then."""
    server = RedisServer(tmp_path)
    server.start()
    try:
        async with open_stores(server.url, limit=5) as stores:
            kept = await append(stores.log, key, b"1", b"2")
            with admin_of(server) as admin:
                admin.save()
            await append(stores.log, key, b"lost")
            server.kill()
            server.start()
            await read_again(stores.log, key, kept[0])
            with admin_of(server) as admin:
                admin.config_set("appendonly", "yes")
                until(lambda: not admin.info("persistence")["aof_rewrite_in_progress"])
                until(lambda: admin.info("persistence")["aof_enabled"])
            server.kill()
            server.durable = True
            server.start()
            await read_again(stores.log, key, kept[0])
            new = await append(stores.log, key, b"3")
            page = await stores.log.read(key, kept[1], 10)
            assert (ids_of(page), page.gap, page.lost) == (new, True, None)
    finally:
        server.kill()


@pytest.mark.slow
async def test_restarted_from_an_append_only_file(tmp_path: Path, key: str) -> None:
    """It has all that was answered, so no reader is told of a gap."""
    server = RedisServer(tmp_path, durable=True)
    server.start()
    try:
        async with open_stores(server.url, limit=5) as stores:
            ids = await append(stores.log, key, b"1", b"2")
            for _ in range(2):
                server.kill()
                server.start()
                await read_again(stores.log, key, ids[-1])
                ids += await append(stores.log, key, b"3")
            page = await stores.log.read(key, ids[0], 10)
            assert (ids_of(page), page.gap) == (ids[1:], False)
    finally:
        server.kill()


@pytest.mark.slow
async def test_failed_over_to_a_replica_that_lacks_writes(
    tmp_path: Path, key: str, resolver: Resolver
) -> None:
    """The name leads to it; who has read what it lacks is told, and who has not."""
    with Pair(tmp_path) as pair:
        resolver.ports["redis.test"] = pair.primary.port
        async with open_stores("redis://redis.test:1/0", limit=5) as stores:
            log = stores.log
            kept = await append(log, key, b"1", b"2")
            pair.wait_in_sync()
            with admin_of(pair.replica) as admin:
                pair.cut_replica()
                read, _ = await append(log, key, b"3", b"4")
                pair.primary.kill()
                admin.replicaof("NO", "ONE")
            resolver.ports["redis.test"] = pair.replica.port
            page = await read_again(log, key, kept[0])
            assert (ids_of(page), page.gap) == (kept[1:], False)
            new = await append(log, key, b"5")
            page = await log.read(key, kept[1], 10)
            assert (ids_of(page), page.gap, page.lost) == (new, True, None)
            page = await log.read(key, read, 10)
            assert (ids_of(page), page.gap, page.lost) == (kept, True, None)
            page = await log.read(key, page.cursor, 10)
            assert (ids_of(page), page.gap, page.lost) == (new, True, None)
            page = await log.read(key, new[0], 10)
            assert (page.messages, page.gap) == ((), False)


@pytest.fixture
async def two(tmp_path: Path, resolver: Resolver) -> AsyncIterator[TwoPrimaries]:
    with Pair(tmp_path) as pair:
        resolver.ports["old.test"] = pair.primary.port
        resolver.ports["new.test"] = pair.replica.port
        async with (
            open_stores("redis://old.test:1/0", limit=5) as old,
            open_stores("redis://new.test:1/0", limit=5) as new,
        ):
            yield TwoPrimaries(pair, resolver, old.log, new.log)


@dataclass
class TwoPrimaries:
    """A primary that does not know that its replica was promoted, and who uses them.

    Attributes:
        old: Of a process that uses the old primary.
        new: Of one that uses the new one.
    """

    pair: Pair
    resolver: Resolver
    old: MessageLog
    new: MessageLog

    def promote(self) -> None:
        self.pair.wait_in_sync()
        with admin_of(self.pair.replica) as admin:
            admin.replicaof("NO", "ONE")

    def end(self) -> None:
        """End the old primary; who used it finds the new one."""
        self.pair.primary.kill()
        self.resolver.ports["old.test"] = self.pair.replica.port


@pytest.mark.slow
@pytest.mark.parametrize("does", ["read", "append"])
@pytest.mark.parametrize("wrote", [True, False])
async def test_what_an_old_primary_took_is_reported(
    two: TwoPrimaries, key: str, wrote: bool, does: str
) -> None:
    """Once: after its last client has come to the new one, and if there was a write."""
    kept = await append(two.old, key, b"1", b"2")
    two.promote()
    ids = await append(two.new, key, b"3")
    page = await two.new.read(key, kept[1], 10)
    assert (ids_of(page), page.gap, page.lost) == (ids, True, None)
    if wrote:
        await append(two.old, key, b"lost")
    else:
        # Whoever only reads has nothing to report.
        await two.old.read(key, kept[0], 10)
    two.end()
    if does == "read":
        await read_again(two.old, key + "another", NEW)
        ids += await append(two.new, key, b"4")
    else:
        await read_again(two.old, key, page.cursor)
        ids += await append(two.old, key, b"4")
    page = await two.new.read(key, page.cursor, 10)
    assert (ids_of(page), page.gap) == (ids[1:], wrote)
    for log in (two.old, two.new):
        ids += await append(log, key, b"5")
    page = await two.new.read(key, page.cursor, 10)
    assert (ids_of(page), page.gap) == (ids[2:], False)


@pytest.mark.slow
async def test_a_known_message_as_the_first_one_to_the_new_primary(
    two: TwoPrimaries, key: str
) -> None:
    """It stores nothing, and what the old primary took is reported all the same."""
    (result,) = await two.old.append([NewMessage(key, b"1", id="x")])
    assert isinstance(result, Appended)
    two.promote()
    ids = await append(two.new, key, b"2")
    page = await two.new.read(key, ids[0], 10)
    await append(two.old, key, b"lost")
    two.end()
    for _ in range(2):
        (again,) = await two.old.append([NewMessage(key, b"1", id="x")])
    assert again == Appended(result.id, duplicate=True)
    ids = await append(two.old, key, b"3")
    page = await two.new.read(key, page.cursor, 10)
    assert (ids_of(page), page.gap, page.lost) == (ids, True, None)


@pytest.mark.slow
async def test_a_write_is_reported_once(
    two: TwoPrimaries, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not again after the clock of the process that wrote has stood still."""
    (cursor,) = await append(two.old, key, b"1")
    two.promote()
    await append(two.new, key, b"2")
    await append(two.old, key, b"lost")
    two.end()
    for number in range(3):
        await read_again(two.old, key, cursor)
        ids = await append(two.new, key, b"3")
        page = await two.new.read(key, cursor, 10)
        while page.messages and page.messages[-1].id != ids[0]:
            page = await two.new.read(key, page.cursor, 10)
        assert page.gap == (number == 0)
        cursor = page.cursor
        late = SimpleNamespace(monotonic=lambda: time.monotonic() - 100)
        monkeypatch.setattr(history_module, "time", late)


@pytest.mark.slow
async def test_a_write_that_cannot_be_noted_gives_no_gaps(
    two: TwoPrimaries, key: str
) -> None:
    """Readers of an empty log wait while Redis is full; then all are told, once."""
    await append(two.old, key, b"1")
    two.promote()
    await append(two.new, key, b"2")
    await append(two.old, key, b"lost")
    two.end()
    empty = key + "empty"
    cursor = (await two.new.read(empty, NEW, 10)).cursor
    with admin_of(two.pair.replica) as admin:
        admin.config_set("maxmemory", "1mb")
        for _ in range(4):
            for log in (two.old, two.new):
                page = await read_again(log, empty, cursor)
                assert not page.gap
                cursor = page.cursor
        admin.config_set("maxmemory", "0")
    gaps = 0
    for _ in range(4):
        for log in (two.old, two.new):
            page = await log.read(empty, cursor, 10)
            gaps, cursor = gaps + page.gap, page.cursor
    assert gaps == 1


@pytest.mark.slow
async def test_a_log_that_only_the_old_primary_had(two: TwoPrimaries, key: str) -> None:
    """Who waited for its first message is told that there may have been some."""
    await append(two.old, key + "another", b"1")
    cursor = (await two.old.read(key, NEW, 10)).cursor
    page = await two.old.read(key, cursor, 10)
    assert (page.messages, page.gap) == ((), False)
    two.promote()
    await two.new.read(key, NEW, 10)
    await append(two.old, key, b"lost")
    two.end()
    (new,) = await append(two.new, key, b"2")
    page = await two.new.read(key, cursor, 10)
    assert (ids_of(page), page.gap, page.lost) == ([new], True, None)
    cursor = (await two.new.read(key + "third", NEW, 10)).cursor
    (new,) = await append(two.new, key + "third", b"3")
    page = await two.new.read(key + "third", cursor, 10)
    assert (ids_of(page), page.gap) == ([new], False)


async def read_again(log: MessageLog, key: str, cursor: str) -> Page:
    """Read, with a second try if the first met the end of the connection."""
    try:
        return await log.read(key, cursor, 10)
    except StoreUnreachable:
        return await log.read(key, cursor, 10)


async def test_scripts_forgotten_at_any_time(
    log: MessageLog, admin: redis.Redis, key: str
) -> None:
    """Redis forgets its scripts; no caller notices, and no message is doubled."""
    done = False

    def forget() -> None:
        while not done:
            admin.script_flush()

    async def publish(ids: list[str], key: str) -> None:
        for n in range(30):
            ids += await append(log, key, b"%d" % n)

    ids: list[list[str]] = [[] for _ in range(10)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, forget)
        async with trio.open_nursery() as publishers:
            for n in range(10):
                publishers.start_soon(publish, ids[n], f"{key}{n}")
        done = True
    for n in range(10):
        page = await log.read(f"{key}{n}", ALL, 100)
        assert ids_of(page) == ids[n]
        assert [message.data for message in page.messages] == [
            b"%d" % n for n in range(30)
        ]


async def test_an_error_belongs_to_its_log(
    log: MessageLog, admin: redis.Redis, key: str
) -> None:
    """One log that is none fails its messages; the others are stored."""
    admin.set(f"{PREFIX}meta:{key}bad", "not a hash")
    messages = [NewMessage(key + name, b"x") for name in ("", "bad", "", "bad")]
    results = await log.append(messages)
    assert [type(result) for result in results] == [Appended, StoreFailed] * 2
    with pytest.raises(StoreFailed, match="WRONGTYPE"):
        await log.read(key + "bad", ALL, 10)
    with pytest.raises(StoreFailed, match="WRONGTYPE"):
        await log.heads([key, key + "bad"])


async def test_redis_that_is_not_there(free_port: int, key: str) -> None:
    """Appending tells what it met for each message; reading fails."""
    async with open_stores(f"redis://127.0.0.1:{free_port}", limit=5) as stores:
        log = stores.log
        results = await log.append([NewMessage(key + n, b"1") for n in "aba"])
        assert [type(result) for result in results] == [StoreUnreachable] * 3
        with pytest.raises(StoreUnreachable):
            await log.read(key, NEW, 10)
        with pytest.raises(StoreUnreachable):
            await log.heads([key])
    (result,) = await log.append([NewMessage(key, b"1")])
    assert isinstance(result, StoreUnreachable)


async def test_each_question_is_one_command(
    log: MessageLog, admin: redis.Redis, key: str
) -> None:
    """However many messages, publishers' ids and logs it is about."""
    keys = [f"{key}{n}" for n in range(100)]

    def count() -> int:
        stats = admin.info("commandstats")
        return sum(int(stats[name]["calls"]) for name in stats if "eval" in name)

    await append(log, key, b"1")
    await log.read(key, ALL, 10)
    await log.heads(keys)
    before = count()
    await log.append([NewMessage(key, b"x", id=str(n)) for n in range(100)])
    await log.read(key, ALL, 100)
    await log.heads(keys)
    assert count() - before == 3


async def test_many_marks(log: MessageLog, key: str) -> None:
    """More logs than one script looks at."""
    keys = [f"{key}{n}" for n in range(600)]
    await log.append([NewMessage(key, b"1") for key in keys[::2]])
    marks = await log.heads(keys)
    assert all(marks[::2])
    assert not any(marks[1::2])
    assert len(set(marks[::2])) == 300


async def test_everything_of_a_log_ends(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """What nobody uses goes from Redis by itself, all but the names of its life."""
    limits = LogLimits(max_age=5, max_ttl=10, memory=20, seen=10)
    async with open_stores(server.url, limit=5, log_limits=limits) as stores:
        await stores.log.append([NewMessage(key, b"1", id="x")])
        await stores.log.read(key, ALL, 10)
        await stores.log.read(key + "other", NEW, 10)
        times = {name: admin.pttl(name) for name in admin.scan_iter()}
    epoch = times.pop(b"triopoll:epoch")
    assert epoch == times.pop(b"triopoll:histories") == -1
    assert sorted(times) == [
        b"triopoll:log:" + key.encode(),
        b"triopoll:meta:" + key.encode(),
        b"triopoll:seen:%d:%b:x" % (len(key), key.encode()),
    ]
    assert all(0 < left <= 20_000 for left in times.values())


async def test_what_is_old_is_swept_out_with_new_messages(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """A log that is written to and never read does not keep its old messages."""
    limits = LogLimits(max_age=0.05)
    async with open_stores(server.url, limit=5, log_limits=limits) as stores:
        await append(stores.log, key, *(b"%d" % n for n in range(10)))
        await trio.sleep(0.06)
        for _ in range(3):
            await stores.log.append([NewMessage(key, b"x", ttl=60)])
        assert admin.xlen(f"triopoll:log:{key}") == 3


@pytest.mark.slow
async def test_cancelled_while_redis_is_frozen(
    log: MessageLog, admin: redis.Redis, key: str
) -> None:
    """The caller leaves at once; the message is in the log whole, or not at all."""
    (first,) = await append(log, key, b"1")
    admin.client_pause(200)
    with trio.move_on_after(0.05) as scope:
        await append(log, key, b"2", b"3")
    assert scope.cancelled_caught
    page = await log.read(key, first, 10)
    assert [message.data for message in page.messages] == [b"2", b"3"]
    admin.client_pause(200)
    with trio.move_on_after(0.05) as scope:
        await log.read(key, first, 10)
    assert scope.cancelled_caught
    assert await log.read(key, first, 10) == page


async def test_nothing_of_a_forgotten_log_comes_back(
    server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """Its numbers are unknown, so its messages are nobody's, however few they are."""
    limits = LogLimits(max_messages=10**9)
    async with open_stores(server.url, limit=5, log_limits=limits) as stores:
        await append(stores.log, key, b"1", b"2")
        admin.delete(f"triopoll:meta:{key}")
        (third,) = await append(stores.log, key, b"3")
        assert ids_of(await stores.log.read(key, ALL, 10)) == [third]


async def test_entries_of_texts_are_as_they_were_before_json_values(
    log: MessageLog, admin: redis.Redis, key: str
) -> None:
    """They have no mark, and an entry without one is a text."""
    await log.append([NewMessage(key, b"1"), NewMessage(key, b"2", is_json=True)])
    text, value = admin.xrange(f"{PREFIX}log:{key}")
    assert list(text[1]) == [b"d", b"t", b"x", b"g"]
    assert list(value[1].items())[4:] == [(b"j", b"1")]
    page = await log.read(key, ALL, 10)
    assert [message.is_json for message in page.messages] == [False, True]
