"""The places of pending messages in a cluster: what one worker knows of another."""

# redis-py does not say what execute_command returns:
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.redis_rigs import ClusterRig

from triopoll.store import (
    DelayedMessage,
    NewMessage,
    PendingLimits,
    RedisDelayed,
    Scheduled,
    Stores,
    TooManyPending,
    open_stores,
)
from triopoll.store import _delayed_places as module
from triopoll.store._names import ClusterLayout


@pytest.fixture
def prefix(key: str) -> str:
    """So that no other test has messages in these places."""
    return f"{key}:"


@pytest.fixture
async def stores(redis_cluster: ClusterRig, prefix: str) -> AsyncIterator[Stores]:
    url = redis_cluster.url
    async with open_stores(url, limit=5, redis_prefix=prefix) as stores:
        yield stores


async def schedule(stores: Stores, key: str, seconds: float = 900) -> None:
    message = DelayedMessage(NewMessage(key, b"x", "a"), seconds)
    (result,) = await stores.delayed.schedule([message])
    assert isinstance(result, Scheduled)


async def test_changes_of_others(
    stores: Stores, redis_cluster: ClusterRig, prefix: str
) -> None:
    """A worker that has looked at all places finds what others store and cancel."""
    url = redis_cluster.url
    async with open_stores(url, limit=5, redis_prefix=prefix) as others:
        assert (await stores.delayed.look()).storage == ""
        for n in range(10):
            await schedule(others, f"k{n}", 900 + n)
        found = await stores.delayed.look()
        assert (found.due, found.pending) == ({}, 10)
        assert 890 < found.pause <= 900
        await schedule(others, "k5", 0)
        found = await stores.delayed.look()
        assert list(found.due) == ["k5"]
        # Until it is delivered, it is found again.
        assert list((await stores.delayed.look()).due) == ["k5"]
        assert await stores.delayed.deliver("k5", found.due["k5"])
        assert await others.delayed.cancel("k0", "a") is True
        found = await stores.delayed.look()
        assert (found.due, found.pending) == ({}, 8)


async def test_changes_that_were_not_noted(
    stores: Stores, redis_cluster: ClusterRig, prefix: str
) -> None:
    """By a publisher that died, or in a failover: a look at all places finds them."""
    names = ClusterLayout(prefix, "").control
    await schedule(stores, "k0")
    await stores.delayed.look()
    await schedule(stores, "k1", 0)
    with redis_cluster.client() as admin:
        admin.execute_command("DEL", names.due_places, names.due_counts)
    # The number of the last change went back.
    found = await stores.delayed.look()
    assert (list(found.due), found.pending) == (["k1"], 2)


async def test_all_places_from_time_to_time(
    stores: Stores,
    redis_cluster: ClusterRig,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where nothing says that there is anything new."""
    names = ClusterLayout(prefix, "").control
    monkeypatch.setattr(module, "_LOOK_AT_ALL", 0.0)
    await schedule(stores, "k0")
    await stores.delayed.look()
    await schedule(stores, "k1", 0)
    with redis_cluster.client() as admin:
        # delete() uses what redis-py 6 warns of.
        admin.execute_command("DEL", names.due_places)
    found = await stores.delayed.look()
    assert (list(found.due), found.pending) == (["k1"], 2)


async def test_the_limit_of_several_workers(
    redis_cluster: ClusterRig, prefix: str
) -> None:
    """Each learns of others' messages with its own, and asks when it is full."""
    options = {
        "limit": 5,
        "redis_prefix": prefix,
        "pending_limits": PendingLimits(in_total=3),
    }
    async with (
        open_stores(redis_cluster.url, **options) as one,  # type: ignore[arg-type]
        open_stores(redis_cluster.url, **options) as two,  # type: ignore[arg-type]
    ):
        assert isinstance(one.delayed, RedisDelayed)
        await schedule(one, "k0")
        await schedule(one, "k1")
        await schedule(two, "k2")
        message = DelayedMessage(NewMessage("k3", b"x", "a"), 900)
        (refused,) = await two.delayed.schedule([message])
        assert isinstance(refused, TooManyPending)
        assert await one.delayed.cancel("k0", "a") is True
        await schedule(two, "k3")
