from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend
from tests.trioslock.recipes.sides import open_two_sides
from trio.testing import MockClock, wait_all_tasks_blocked

from trioslock import Client, LockLost
from trioslock.recipes import cache_lock


@dataclass
class Cache:
    """A cache of one entry, which takes a while to compute."""

    value: str | None = None
    seconds: float = 0.02
    computed: int = 0
    reads: int = 0
    computing: trio.Event = field(default_factory=trio.Event)

    async def read(self) -> str | None:
        self.reads += 1
        await trio.lowlevel.checkpoint()
        return self.value

    async def compute(self) -> str:
        self.computed += 1
        self.computing.set()
        await trio.sleep(self.seconds)
        self.value = f"value {self.computed}"
        return self.value


async def test_one_computes_and_all_get_the_value(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("cache")
    cache = Cache()
    values = []

    async def want(who: Client) -> None:
        values.append(await cache_lock(who, key).get(cache.read, cache.compute))

    async with trio.open_nursery() as nursery:
        for who in (client, other) * 10:
            nursery.start_soon(want, who)
    assert values == ["value 1"] * 20
    assert cache.computed == 1
    assert await backend.claims(key) == NOTHING
    assert key in repr(cache_lock(client, key))


async def test_those_that_wait_wake_at_the_same_time(
    backend: Backend, client: Client, other: Client
) -> None:
    """They read the cache once more, and take no lock for it."""
    key = backend.key("cache")
    cache = Cache()
    async with trio.open_nursery() as nursery:
        get = partial(cache_lock(client, key).get, cache.read, cache.compute)
        nursery.start_soon(get)
        await cache.computing.wait()
        for _ in range(10):
            nursery.start_soon(cache_lock(other, key).get, cache.read, cache.compute)
    assert cache.reads == 2 + 2 * 10


async def test_what_is_cached_needs_no_server(backend: Backend, client: Client) -> None:
    cache = Cache("cached")
    key = backend.key("cache")
    assert await cache_lock(client, key).get(cache.read, cache.compute) == "cached"
    assert cache.computed == 0


async def test_after_a_failure_another_computes(
    backend: Backend, client: Client, other: Client
) -> None:
    """The error is that of the caller whose computation has failed."""
    key = backend.key("cache")
    cache = Cache()
    begun = trio.Event()

    async def fail() -> str:
        begun.set()
        await backend.until(key, 1, 1)
        raise RuntimeError("cannot compute")

    async with trio.open_nursery() as nursery:

        async def want_in_vain() -> None:
            with pytest.raises(RuntimeError, match="cannot compute"):
                await cache_lock(client, key).get(cache.read, fail)

        nursery.start_soon(want_in_vain)
        await begun.wait()
        value = await cache_lock(other, key).get(cache.read, cache.compute)
    assert value == "value 1"


async def test_the_error_of_another_lock_is_the_callers(
    backend: Backend, client: Client
) -> None:
    async def lose() -> str:
        raise LockLost("another", key=b"another", reason="taken")

    with pytest.raises(LockLost, match="another"):
        await cache_lock(client, backend.key("cache")).get(Cache().read, lose)


async def test_one_that_is_cut_off_waits_with_the_rest(
    autojump_clock: MockClock,
) -> None:
    """Its computation is cancelled, another one's begins, and it gets that value."""
    async with open_two_sides() as (network, client, other):
        cache, slow = Cache(seconds=30), Cache(seconds=1000)
        values = []

        async def want(who: Client, own: Cache) -> None:
            lock = cache_lock(who, "k", lease=9)
            values.append(await lock.get(cache.read, own.compute))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(want, client, slow)
            await slow.computing.wait()
            nursery.start_soon(want, other, cache)
            await wait_all_tasks_blocked()
            network.down()
            await trio.sleep(15)
            assert (slow.computed, cache.computed) == (1, 1)
            network.up()
        assert values == ["value 1"] * 2
        assert (slow.computed, cache.computed) == (1, 1)


async def test_a_slow_computation_keeps_its_key(autojump_clock: MockClock) -> None:
    """Its lease is renewed as long as it takes."""
    async with open_two_sides() as (_, client, other):
        cache = Cache(seconds=100)
        async with trio.open_nursery() as nursery:
            for who in (client, other):
                lock = cache_lock(who, "k", lease=9)
                nursery.start_soon(lock.get, cache.read, cache.compute)
        assert cache.computed == 1


@pytest.mark.parametrize("wrong", [(1, Cache().compute), (Cache().read, 1)])
async def test_what_cannot_be_called_is_refused(
    backend: Backend, client: Client, wrong: tuple[object, object]
) -> None:
    with pytest.raises(TypeError, match="must be callable, not 1"):
        await cache_lock(client, "k").get(*wrong)  # type: ignore[arg-type]
