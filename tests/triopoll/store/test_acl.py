"""A Redis user with the rights that the documentation lists can do all that is offered.

The rules are read from the page, so that page and scripts cannot disagree.
"""

from __future__ import annotations

import re
import shlex
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
from msgspec.structs import replace
from tests.redis_rigs import ClusterRig, admin_of
from tests.services import RedisServer
from tests.triopoll.support import eventually

from triopoll.store import (
    ALL,
    NEW,
    Appended,
    DelayedMessage,
    LogLimits,
    NewMessage,
    RedisStore,
    StateRecord,
    StoreFailed,
    Stores,
    Waiting,
    open_stores,
)

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "use-a-real-redis.md"
SHORT = LogLimits(max_messages=2, max_age=0.01, trim_acked=True)


def documented_rules() -> list[str]:
    """Return the words of the page's ACL SETUSER, behind the name of the user."""
    text = PAGE.read_text()
    (command,) = re.findall(r"ACL SETUSER app ((?:.*\\\n)*.*)", text)
    return shlex.split(command.replace("\\\n", " "))


def documented_rules_of_clusters() -> list[str]:
    """Return what the page adds for a cluster."""
    (rules,) = re.findall(r"A cluster also\s+needs `([^`]+)`", PAGE.read_text())
    return shlex.split(rules)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    with admin_of(server) as admin:
        admin.execute_command("ACL", "SETUSER", "app", *documented_rules())
    yield server
    server.kill()


@pytest.fixture
def admin(server: RedisServer) -> Iterator[redis.Redis]:
    with admin_of(server) as admin:
        yield admin
        denied = [entry["object"] for entry in admin.acl_log()]
        assert denied == []


def url_of(server: RedisServer) -> str:
    return f"redis://app:SECRET@127.0.0.1:{server.port}/0"


@pytest.fixture
async def stores(server: RedisServer, admin: redis.Redis) -> AsyncIterator[Stores]:
    url = url_of(server)
    async with open_stores(url, limit=5, list_prefix="poll:") as stores:
        yield stores


async def test_publishing_and_reading(
    stores: Stores, server: RedisServer, key: str
) -> None:
    """With and without an id, one and many, to a new log and to one that is trimmed."""
    for limits in (LogLimits(), SHORT):
        async with open_stores(
            url_of(server), limit=5, list_prefix="poll:", log_limits=limits
        ) as several:
            log = several.log
            start = (await log.read(key, NEW, 10)).cursor
            for _ in range(3):
                results = await log.append(
                    [
                        NewMessage(key, b"1"),
                        NewMessage(key, b"2", id=uuid.uuid4().hex),
                        NewMessage(key + " with blanks", b"3", id="a"),
                        NewMessage(key, b"4", ttl=0.001),
                    ]
                )
                assert all(isinstance(result, Appended) for result in results), results
                await log.read(key, start, 2)
                page = await log.read(key, ALL, 10)
                await log.read(key, page.cursor, 10)
                await log.heads([key, key + "none"])


async def test_taking(stores: Stores, admin: redis.Redis, key: str) -> None:
    """Push, pop, acknowledge, return."""
    lists = stores.lists
    for n in range(3):
        await lists.push(key, b"%d" % n)
    first, second = await lists.pop(key), await lists.pop(key)
    assert first is not None
    assert second is not None
    lists.ack(first)
    lists.nack(second)
    await eventually(lambda: admin.lrange(f"poll:{key}", 0, -1) == [b"1", b"2"])
    await lists.ping()


async def test_values(stores: Stores, key: str) -> None:
    """Those of the OpenResty image's endpoints."""
    await stores.values.put(key, b"1", 60)
    assert await stores.values.get(key) == b"1"


async def test_states(stores: Stores, key: str) -> None:
    """Create, read, change, look at many."""
    record = StateRecord(version=1, state="a", expires=9, kept=99, confirm_within=9)
    await stores.states.insert(key, b"d" * 32, record)
    found = await stores.states.read(key, b"d" * 32)
    assert found is not None
    assert await stores.states.swap(key, found, replace(record, version=2), 9)
    assert all(await stores.states.heads([key, key + "none"]))


async def test_delayed_messages(stores: Stores, key: str) -> None:
    """Schedule, replace, look, deliver, cancel, put off."""
    await delay_and_deliver(stores, key)


async def delay_and_deliver(stores: Stores, key: str) -> None:
    for _ in range(2):
        messages = [NewMessage(key, b"x", name) for name in "ab"]
        await stores.delayed.schedule(
            [DelayedMessage(messages[0], 0), DelayedMessage(messages[1], 60)]
        )
    found = await stores.delayed.look()
    assert len(await stores.delayed.deliver(key, found.due[key])) == 1
    assert await stores.delayed.cancel(key, "b") is True
    assert isinstance(await stores.delayed.cancel(key, "a"), str)


async def test_presence(stores: Stores, key: str) -> None:
    """Report, look, record."""
    await report_and_look(stores, key)


async def report_and_look(stores: Stores, key: str) -> None:
    await stores.presence.look([key], record=True)
    assert [*await stores.presence.report({key: Waiting(("ann",))})] == [key]
    (found,) = await stores.presence.look([key])
    assert found.waiting.count == 1
    assert [*await stores.presence.report({key: Waiting()})] == [key]


async def test_workers(
    stores: Stores, server: RedisServer, admin: redis.Redis, key: str
) -> None:
    """Signs of life, what only Redis knows of, and what dead workers held."""
    assert isinstance(stores.lists, RedisStore)
    async with open_stores(url_of(server), limit=5, list_prefix="poll:") as others:
        assert isinstance(others.lists, RedisStore)
        await others.lists.push(key, b"1")
        await others.lists.pop(key)
        others.lists._held.clear()
        await others.lists._live()
        await eventually(lambda: admin.llen(f"poll:{key}"))
        await others.lists.pop(key)
        admin.delete(f"triopoll:worker:{others.lists._worker}")
        await stores.lists._recover()
        await eventually(lambda: admin.llen(f"poll:{key}"))


@pytest.mark.slow
async def test_a_cluster(redis_cluster: ClusterRig, key: str) -> None:
    """With the two rights that the page adds for it, on each node."""
    rules = [*documented_rules(), *documented_rules_of_clusters()]
    admins = [admin_of(node) for node in redis_cluster.nodes]
    for admin in admins:
        admin.execute_command("ACL", "SETUSER", "app", *rules)
        admin.acl_log_reset()
    url = redis_cluster.url.replace("://", "://app:SECRET@")
    async with (
        open_stores(url, limit=5, list_prefix="poll:") as stores,
        open_stores(url, limit=5, list_prefix="poll:") as others,
    ):
        for n in range(20):
            await stores.lists.push(f"{key}{n}", b"1")
            delivery = await stores.lists.pop(f"{key}{n}")
            assert delivery is not None
            (stores.lists.ack if n % 2 else stores.lists.nack)(delivery)
            await stores.values.put(f"{key}{n}-value", b"1", 60)
            await stores.log.append([NewMessage(f"{key}{n}", b"1", id="a")])
            await stores.log.read(f"{key}{n}", ALL, 10)
            await delay_and_deliver(stores, f"{key}{n}-delayed")
            await report_and_look(stores, f"{key}{n}-presence")
        await stores.log.heads([f"{key}{n}" for n in range(20)])
        await stores.lists.ping()
        for each in (stores, others):
            assert isinstance(each.lists, RedisStore)
            await each.lists._live()
            await each.lists._recover()
    for admin in admins:
        assert [entry["object"] for entry in admin.acl_log()] == []
        admin.execute_command("ACL", "DELUSER", "app")
        admin.close()


async def test_other_keys(server: RedisServer, key: str) -> None:
    """Are out of reach, and nothing is lost by trying."""
    async with open_stores(url_of(server), limit=5) as stores:
        with admin_of(server) as admin:
            admin.rpush(key, "1")
            with pytest.raises(StoreFailed, match="NOPERM"):
                await stores.lists.pop(key)
            with pytest.raises(StoreFailed, match="NOPERM"):
                await stores.lists.push(key, b"2")
            assert admin.lrange(key, 0, -1) == [b"1"]


async def test_a_right_that_comes_and_goes(server: RedisServer, key: str) -> None:
    """What was refused half way is not stored, and the log goes on behind it."""
    url = url_of(server)
    rules = documented_rules()
    with admin_of(server) as admin:
        async with open_stores(url, limit=5, list_prefix="poll:") as stores:
            ids: list[str] = []
            for denied in ("", "-hset", "-xadd", "-eval", "-pexpire", "-xtrim", ""):
                for is_new in (False, True):
                    name = key + (denied if is_new else "")
                    words = [denied] if denied else []
                    admin.execute_command("ACL", "SETUSER", "app", *rules, *words)
                    (first,) = await stores.log.append([NewMessage(name, b"1")])
                    admin.execute_command("ACL", "SETUSER", "app", *rules)
                    (second,) = await stores.log.append([NewMessage(name, b"2")])
                    assert isinstance(second, Appended)
                    if not is_new:
                        results = (first, second)
                        ids += [r.id for r in results if isinstance(r, Appended)]
            page = await stores.log.read(key, ALL, 100)
            found = [message.id for message in page.messages]
            assert set(ids) <= set(found)
            assert len(set(found)) == len(found)


async def test_what_is_refused_half_way_is_not_read(
    server: RedisServer, key: str
) -> None:
    """Its publisher was told that it is not stored, and no number is skipped."""
    rules = documented_rules()
    with admin_of(server) as admin:
        async with open_stores(url_of(server), limit=5, list_prefix="poll:") as stores:
            await stores.log.append([NewMessage(key, b"1")])
            admin.execute_command("ACL", "SETUSER", "app", *rules, "-hset")
            (refused,) = await stores.log.append([NewMessage(key, b"2")])
            assert not isinstance(refused, Appended)
            page = await stores.log.read(key, ALL, 100)
            assert [message.data for message in page.messages] == [b"1"]
            admin.execute_command("ACL", "SETUSER", "app", *rules)
            await stores.log.append([NewMessage(key, b"2")])
            page = await stores.log.read(key, page.cursor, 100)
            assert [message.data for message in page.messages] == [b"2"]
            assert (page.gap, page.lost) == (False, 0)


@pytest.mark.parametrize("right", ["set", "pexpire", "hset", "xadd", "xtrim"])
async def test_a_publish_that_is_repeated_without_a_right(
    server: RedisServer, key: str, right: str
) -> None:
    """With an id of its publisher it is stored once, whatever was refused before."""
    rules = documented_rules()
    with admin_of(server) as admin:
        async with open_stores(url_of(server), limit=5, list_prefix="poll:") as stores:
            await stores.log.append([NewMessage(key, b"1")])
            message = NewMessage(key, b"2", id="a", ttl=4000)
            admin.execute_command("ACL", "SETUSER", "app", *rules, f"-{right}")
            for _ in range(3):
                await stores.log.append([message])
            admin.execute_command("ACL", "SETUSER", "app", *rules)
            (stored,) = await stores.log.append([message])
            assert isinstance(stored, Appended)
            page = await stores.log.read(key, ALL, 100)
            assert [each.data for each in page.messages] == [b"1", b"2"]
            assert page.messages[1].id == stored.id


async def test_a_user_who_may_take_and_not_hold(server: RedisServer, key: str) -> None:
    """A list that may be popped, without our own keys: its message stays."""
    with admin_of(server) as admin:
        admin.execute_command(
            *("ACL", "SETUSER", "app", *documented_rules(), "resetkeys", "~poll:*")
        )
        admin.rpush(f"poll:{key}", "1", "2")
        async with open_stores(url_of(server), limit=5, list_prefix="poll:") as stores:
            with pytest.raises(StoreFailed, match="NOPERM"):
                await stores.lists.pop(key)
            with pytest.raises(StoreFailed, match="NOPERM"):
                await stores.lists.ping()
        assert admin.lrange(f"poll:{key}", 0, -1) == [b"1", b"2"]
