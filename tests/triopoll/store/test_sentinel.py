"""The primary that Sentinels name, with real Sentinels and failovers."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from tests.redis_rigs import SentinelRig, admin_of
from tests.services import find_free_port
from tests.triopoll.store.traffic import (
    ListTraffic,
    LogTraffic,
    push_all,
    until_served,
)
from tests.triopoll.support import eventually

from triopoll.store import LogLimits, Stores, StoreUnreachable, open_stores

pytestmark = pytest.mark.slow


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[SentinelRig]:
    with SentinelRig(tmp_path) as rig:
        yield rig


@asynccontextmanager
async def opened(rig: SentinelRig) -> AsyncIterator[Stores]:
    """Open stores that keep all that a test publishes."""
    limits = LogLimits(max_messages=10**6)
    async with open_stores(rig.url, limit=1, log_limits=limits) as stores:
        yield stores


async def move(rig: SentinelRig, how: str) -> None:
    """Have the replica take over: by force of a death, of a hang, or of a command."""
    if how == "command":
        await trio.to_thread.run_sync(rig.fail_over)
        # The old primary lives, and is used until the Sentinels are asked again.
        await trio.sleep(1.2)
        return
    getattr(rig.primary, how)()
    await trio.to_thread.run_sync(rig.wait_until_moved)


@pytest.mark.parametrize("how", ["kill", "freeze", "command"])
async def test_a_failover_in_the_middle_of_traffic(
    rig: SentinelRig, key: str, how: str
) -> None:
    """What the new primary has is read once; what it lacks is reported as a gap."""
    async with opened(rig) as stores, trio.open_nursery() as nursery:
        traffic = LogTraffic(stores.log, key)
        nursery.start_soon(traffic.publish)
        nursery.start_soon(traffic.follow)
        await trio.sleep(0.5)
        await move(rig, how)
        await until_served(stores)
        before = len(traffic.accepted)
        await eventually(lambda: len(traffic.accepted) > before + 20, limit=20)
        await traffic.finish()
        nursery.cancel_scope.cancel()
    async with opened(rig) as stores:
        traffic.log = stores.log
        await traffic.check()
    assert traffic.gaps <= 2


async def test_writes_of_the_old_primary_are_lost_and_reported(
    rig: SentinelRig, key: str
) -> None:
    """One that was cut from its replica before: what it took last is a gap."""
    async with opened(rig) as stores, trio.open_nursery() as nursery:
        traffic = LogTraffic(stores.log, key)
        nursery.start_soon(traffic.publish)
        nursery.start_soon(traffic.follow)
        await trio.sleep(0.3)
        with admin_of(rig.primary) as admin:
            # Its replica falls behind: what goes to it is not let out of its buffer.
            admin.config_set("repl-disable-tcp-nodelay", "yes")
            rig.replica.freeze()
            await trio.sleep(0.3)
            count = len(traffic.accepted)
            rig.primary.kill()
            rig.replica.thaw()
        await trio.to_thread.run_sync(rig.wait_until_moved)
        await eventually(lambda: len(traffic.accepted) > count + 20, limit=20)
        await traffic.finish()
        await traffic.check()
        assert traffic.gaps
        nursery.cancel_scope.cancel()


async def test_lists_over_a_failover(rig: SentinelRig, key: str) -> None:
    """Each message is taken once, by pollers that do not notice more than errors."""
    async with open_stores(rig.url, limit=1) as stores, trio.open_nursery() as nursery:
        messages = await push_all(stores, key, 200)
        traffic = ListTraffic(stores.lists, key)
        for _ in range(3):
            nursery.start_soon(traffic.poll)
        await eventually(lambda: len(traffic.taken) > 30)
        nursery.cancel_scope.cancel()
    rig.wait_in_sync()
    async with open_stores(rig.url, limit=1) as stores, trio.open_nursery() as nursery:
        traffic.lists = stores.lists
        rig.primary.kill()
        nursery.start_soon(traffic.poll)
        await eventually(lambda: len(traffic.taken) >= len(messages), limit=20)
        await trio.sleep(0.2)
        nursery.cancel_scope.cancel()
    assert sorted(traffic.taken) == sorted(messages)


async def test_a_primary_that_was_replaced_while_it_lives(
    rig: SentinelRig, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The Sentinels are asked every second, so it is not written to for long."""
    async with open_stores(rig.url, limit=1) as stores:
        await stores.lists.push(key, b"1")
        rig.wait_in_sync()
        await trio.to_thread.run_sync(rig.fail_over)
        await trio.sleep(1.1)
        await until_served(stores)
        await stores.lists.push(key, b"2")
    with admin_of(rig.primary) as admin:
        assert admin.lrange(key, 0, -1) == [b"1", b"2"]


async def test_one_sentinel_is_enough(rig: SentinelRig, key: str) -> None:
    """Whichever answers."""
    rig.kill_sentinel()
    async with open_stores(rig.url, limit=2) as stores:
        await stores.lists.push(key, b"1")


async def test_sentinels_that_ask_for_a_password(tmp_path: Path, key: str) -> None:
    """It is theirs alone."""
    with SentinelRig(tmp_path, password="word") as rig:
        async with open_stores(rig.url, limit=2) as stores:
            await stores.lists.push(key, b"1")
        wrong = rig.url.replace("=word", "=other")
        async with open_stores(wrong, limit=2) as stores:
            with pytest.raises(StoreUnreachable, match="no Sentinel names"):
                await stores.lists.push(key, b"1")


async def test_a_name_that_no_sentinel_knows(
    rig: SentinelRig, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The error names it, and those who were asked."""
    url = rig.url.replace("mymaster", "other")
    async with open_stores(url, limit=2) as stores:
        with pytest.raises(StoreUnreachable, match=r"no Sentinel names .* 'other'"):
            await stores.lists.push(key, b"1")
    assert re.search(
        rf"Redis at {rig.hosts}/other does not answer: no Sentinel names .* "
        r"does not know it",
        caplog.text,
    )


async def test_no_sentinel_answers(key: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is an outage, as that of a Redis."""
    hosts = ",".join(f"127.0.0.1:{find_free_port()}" for _ in range(2))
    async with open_stores(f"redis+sentinel://{hosts}/mymaster", limit=1) as stores:
        with pytest.raises(StoreUnreachable, match="Connection refused"):
            await stores.lists.push(key, b"1")
    assert f"Redis at {hosts}/mymaster does not answer" in caplog.text


async def test_a_working_connection_outlives_the_sentinels(
    rig: SentinelRig, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They are asked seldom then, and one that hangs does not stop the traffic."""
    async with open_stores(rig.url, limit=1) as stores:
        await stores.lists.push(key, b"1")
        for sentinel in rig._sentinels:
            sentinel.freeze()
        began = trio.current_time()
        for _ in range(30):
            await stores.lists.push(key, b"1")
            await trio.sleep(0.1)
        assert trio.current_time() - began < 6
    warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert warnings == []
