from __future__ import annotations

import math
from typing import Any

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend, MemoryBackend, open_backend
from tests.trioslock.primitives.answering import KEY, answered
from trio.testing import MockClock

from trioslock import Client, LockLost, NotHeld, RLock, ServerError
from trioslock.primitives._rlock import (
    LevelGrant,
    ReentrantHold,
    ReentrantHolds,
    _Owner,
)


async def levels_of(client: Client, key: str) -> list[int]:
    return [holder.levels for holder in await client.holders(key)]


async def test_a_task_takes_again_what_it_holds(
    backend: Backend, client: Client
) -> None:
    """Through any handle on the key; the server counts the levels."""
    key = backend.key("rlock")
    async with client.rlock(key):
        async with client.rlock(key) as inner:
            assert await levels_of(client, key) == [2]
            assert client.rlock(key).levels() == 2
            assert inner.held
        assert await levels_of(client, key) == [1]
    assert client.rlock(key).levels() == 0
    assert await backend.claims(key) == NOTHING


async def test_another_task_waits(backend: Backend, client: Client) -> None:
    """The holder is a task, not the client."""
    key = backend.key("rlock")
    order = []

    async def wait() -> None:
        async with client.rlock(key):
            order.append("other task")

    async with trio.open_nursery() as nursery:
        async with client.rlock(key), client.rlock(key):
            nursery.start_soon(wait)
            await backend.until(key, 1, 1)
            order.append("holder")
    assert order == ["holder", "other task"]
    assert await backend.claims(key) == NOTHING


async def test_another_client_waits_for_the_last_level(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("rlock")
    first = await client.rlock(key).acquire()
    second = await client.rlock(key).acquire()
    await first.release()
    with pytest.raises(trio.WouldBlock):
        await other.rlock(key).try_acquire()
    await second.release()
    async with other.rlock(key):
        pass


async def test_levels_are_released_in_any_order(
    backend: Backend, client: Client
) -> None:
    key = backend.key("rlock")
    grants = [await client.rlock(key).acquire() for _ in range(3)]
    for grant in (grants[0], grants[2], grants[1]):
        assert await backend.claims(key) != NOTHING
        await grant.release()
    assert await backend.claims(key) == NOTHING


async def test_the_last_level_gives_back_all_the_server_counts(
    backend: Backend, client: Client
) -> None:
    """A step up whose answer was lost may stand there twice; it does no harm."""
    key = backend.key("rlock")
    async with client.rlock(key) as grant:
        again = client.rlock(key)
        inner = await again.acquire()
        await inner.release()
        # What a lost answer leaves behind: the server counts one more.
        inner = await again.acquire()
        inner.hold.levels.remove(inner)  # type: ignore[attr-defined]
        assert await levels_of(client, key) == [2]
        assert grant.held
    assert await backend.claims(key) == NOTHING


async def test_more_levels_than_the_server_counts_are_refused(
    backend: Backend, client: Client
) -> None:
    key = backend.key("rlock")
    rlock = client.rlock(key)
    grants = [await rlock.acquire() for _ in range(255)]
    with pytest.raises(RuntimeError, match="255 levels already"):
        await rlock.acquire()
    assert await levels_of(client, key) == [255]
    for grant in grants:
        await grant.release()
    assert await backend.claims(key) == NOTHING


async def test_a_loss_is_the_loss_of_all_levels(
    backend: Backend, client: Client, other: Client
) -> None:
    """The next level finds out, since the server sends no notice."""
    key = backend.key("rlock")
    outer = await client.rlock(key).acquire()
    inner = await client.rlock(key).acquire()
    await other.rlock(key).release_head()
    await other.rlock(key).release_head()
    assert await backend.claims(key) == NOTHING
    with pytest.raises(LockLost, match="lease has ended"):
        await client.rlock(key).acquire()
    assert not outer.held
    assert not inner.held
    assert client.rlock(key).levels() == 0
    assert await backend.claims(key) == NOTHING


async def test_a_level_that_another_client_has_by_now_is_lost(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("rlock")
    grant = await client.rlock(key).acquire()
    await other.rlock(key).release_head()
    async with other.rlock(key):
        with pytest.raises(LockLost, match="another holder"):
            await client.rlock(key).acquire()
    assert not grant.held
    assert await backend.claims(key) == NOTHING


async def test_an_inner_release_that_finds_nothing_held_tells_the_outer_levels(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("rlock")
    async with other.rlock(key + "/beside"):
        outer: Any = await client.rlock(key).acquire()
        inner: Any = await client.rlock(key).acquire()
        assert (outer.levels, inner.levels) == (2, 2)
        await other.rlock(key).release_head()
        await other.rlock(key).release_head()
        with pytest.raises(NotHeld):
            await inner.release()
        assert not outer.held
        await outer.release()
    assert await backend.claims(key) == NOTHING


async def test_a_body_whose_lock_was_released_by_others_is_lost_at_its_end(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("rlock")
    with pytest.raises(LockLost, match="lease has ended"):
        async with client.rlock(key):
            await other.rlock(key).release_head()
    assert client.rlock(key).levels() == 0
    assert await backend.claims(key) == NOTHING


async def test_a_loss_cancels_the_bodies_of_all_levels(
    autojump_clock: MockClock,
) -> None:
    async with open_backend("memory") as backend, backend.open_client() as client:
        rlock = client.rlock("rlock", lease=3, renew=False)
        with pytest.raises(LockLost):
            async with rlock, rlock:
                await trio.sleep_forever()
        assert len(client._holds) == 0
        assert repr(client._holds) == "<ReentrantHolds: 0>"
        assert await backend.claims("rlock") == NOTHING


async def test_a_step_down_that_gets_lost_does_no_harm(
    autojump_clock: MockClock,
) -> None:
    """The server may count one level too many; the last release takes it along."""
    async with open_backend("memory") as backend, backend.open_client() as client:
        assert isinstance(backend, MemoryBackend)
        rlock = client.rlock("rlock")
        outer = await rlock.acquire()
        inner = await rlock.acquire()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inner.release)
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            backend.cut()
            await trio.sleep(0.1)
            backend.restore()
        assert outer.held
        assert (await client.holders("rlock"))[0].levels >= 1
        await outer.release()
        assert await backend.claims("rlock") == NOTHING


async def test_without_reconnecting_the_end_of_a_body_says_disconnected(
    autojump_clock: MockClock,
) -> None:
    async with open_backend("memory") as backend:
        assert isinstance(backend, MemoryBackend)
        async with backend.open_client() as client:
            with pytest.raises(LockLost) as caught:
                async with client.rlock("rlock"):
                    backend.cut()
                    await trio.sleep(0.1)
            assert caught.value.reason == "disconnected"


async def test_locked_says_whether_any_client_holds_it(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("rlock")
    assert not await other.rlock(key).locked()
    async with client.rlock(key):
        assert await other.rlock(key).locked()


async def test_extending_one_level_extends_all(
    backend: Backend, client: Client
) -> None:
    """They share one lease, so the bodies of all end with it."""
    key = backend.key("rlock")
    outer = await client.rlock(key, lease=5).acquire()
    inner = await client.rlock(key, lease=5).acquire()
    await inner.extend(60)
    assert outer.expires_at == inner.expires_at
    assert outer.expires_at > trio.current_time() + 50
    await inner.release()
    await outer.release()


async def test_all_levels_of_an_rlock_are_renewed(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    async with memory.open_client() as client:
        rlock = client.rlock("rlock", lease=3)
        first = await rlock.acquire()
        async with rlock as second:
            await first.release()
            await trio.sleep(50)
            assert second.held
            assert await memory.claims("rlock") == (1, 0)
        assert await memory.claims("rlock") == NOTHING


async def test_a_level_that_the_server_refuses_is_none() -> None:
    """Nothing is known of it then: the last release releases all levels."""
    holds = ReentrantHolds()
    rlock = RLock(answered(0, 3, 0), holds)
    first = await rlock.acquire()
    with pytest.raises(ServerError):
        await rlock.acquire()
    assert rlock.levels() == 1
    await first.release()
    assert (rlock.levels(), len(holds)) == (0, 0)


async def test_a_level_whose_release_the_server_refuses_is_released_here() -> None:
    options = answered(12)
    answering: Any = options.requester
    rlock = RLock(options, ReentrantHolds())
    hold = ReentrantHold(ReentrantHolds(), _Owner(0, KEY, trio.lowlevel.current_task()))
    prepared: Any = rlock._prepare(0, 0)
    levels = [LevelGrant(answering, prepared, answering.new_id()) for _ in range(2)]
    for level in levels:
        hold.add(level)
    with pytest.raises(ServerError):
        await levels[1].release()
    assert [level.held for level in levels] == [True, False]
    assert levels[0].levels == 1


async def test_a_grant_that_is_lost_as_it_comes_has_no_levels() -> None:
    """The notice can come in the same read as the grant."""
    options = answered(0)
    answering: Any = options.requester
    holds = ReentrantHolds()
    rlock = RLock(options, holds)
    make = rlock._grant_type
    made: list[LevelGrant] = []

    def noting(*args: Any) -> LevelGrant:
        made.append(make(*args))
        return made[-1]

    rlock._grant_type = noting  # type: ignore[assignment]
    noting.unlock_of = make.unlock_of  # type: ignore[attr-defined]
    answering.before_answer = lambda: made[0].lost("expired")
    grant: Any = await rlock.acquire()
    assert not grant.held
    assert (grant.levels, len(holds)) == (0, 0)
    grant.renewed(1, 0, 0.0)
    assert grant.expires_at == math.inf


async def test_a_level_that_fails_while_the_others_are_released_releases_the_key() -> (
    None
):
    """It is the last one then, and the server may count it."""
    options = answered(0, 12, 0)
    answering: Any = options.requester
    holds = ReentrantHolds()
    rlock = RLock(options, holds)
    first: Any = await rlock.acquire()
    answering.before_answer = lambda: first.hold.levels[1:] and first.hold.remove(first)
    with pytest.raises(ServerError):
        await rlock.acquire()
    assert [command.type for command in answering.sent] == [1, 1, 2]
    assert len(holds) == 0
