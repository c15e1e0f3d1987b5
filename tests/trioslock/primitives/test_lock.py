from __future__ import annotations

import math

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend, open_pair
from trio.testing import assert_checkpoints

from trioslock import (
    SESSION,
    Client,
    Data,
    Lock,
    LockLost,
    NotHeld,
)


async def test_one_holder_at_a_time(
    backend: Backend, client: Client, other: Client
) -> None:
    """A counter that is read, yielded over and written back counts right."""
    key = backend.key("lock")
    counter = 0

    async def work(lock: Lock) -> None:
        nonlocal counter
        for _ in range(5):
            async with lock:
                seen = counter
                await trio.lowlevel.checkpoint()
                counter = seen + 1

    async with trio.open_nursery() as nursery:
        shared = client.lock(key)
        for _ in range(4):
            nursery.start_soon(work, shared)
            nursery.start_soon(work, other.lock(key))
    assert counter == 40
    assert await backend.claims(key) == NOTHING


async def test_waiters_are_served_in_order(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("lock")
    order = []

    async def wait(number: int) -> None:
        async with other.lock(key):
            order.append(number)

    async with trio.open_nursery() as nursery:
        async with client.lock(key):
            for number in range(4):
                nursery.start_soon(wait, number)
                await backend.until(key, 1, number + 1)
    assert order == [0, 1, 2, 3]


async def test_a_grant_has_its_own_lock_id_and_says_what_it_is(
    backend: Backend, client: Client
) -> None:
    lock = client.lock(backend.key("lock"))
    first = await lock.acquire()
    assert first.held
    assert first.key == lock.key
    assert first.expires_at == math.inf
    assert "held" in repr(first)
    await first.release()
    assert "released" in repr(first)
    second = await lock.acquire()
    assert second.lock_id != first.lock_id
    await second.release()
    assert "lease SESSION" in repr(lock)


async def test_try_acquire_takes_only_what_is_free(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("lock")
    async with await client.lock(key).try_acquire():
        with pytest.raises(trio.WouldBlock):
            await other.lock(key).try_acquire()
    assert await backend.claims(key) == NOTHING


async def test_show_and_locked(backend: Backend, client: Client, other: Client) -> None:
    key = backend.key("lock")
    lock = other.lock(key)
    assert not await lock.locked()
    assert await lock.show() is None
    grant = await client.lock(key).acquire(data=Data.set("mine"))
    assert await lock.locked()
    holder = await lock.show()
    assert holder is not None
    assert holder.lock_id == grant.lock_id
    assert holder.levels == 1
    assert holder.data is not None
    assert holder.data.text == "mine"
    await grant.release()


async def test_a_grant_brings_the_value_that_the_key_had(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("lock")
    grant = await client.lock(key).acquire(data=Data.set("first"))
    assert grant.data is None
    before = await grant.update(Data.set("second"))
    assert before is not None
    assert before.text == "first"

    async def wait() -> None:
        async with other.lock(key) as theirs:
            assert theirs.data is not None
            assert theirs.data.text == "second!"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await backend.until(key, 1, 1)
        await grant.release(Data.append("!"))


async def test_release_twice_is_once(backend: Backend, client: Client) -> None:
    """A second release does not free the next holder's grant."""
    lock = client.lock(backend.key("lock"))
    first = await lock.acquire()
    await first.release()
    second = await lock.acquire()
    with assert_checkpoints():
        await first.release()
    assert await lock.locked()
    await second.release()


async def test_a_body_may_release_early(backend: Backend, client: Client) -> None:
    lock = client.lock(backend.key("lock"))
    async with lock as grant:
        await grant.release()
        assert not await lock.locked()


async def test_every_call_is_a_checkpoint(backend: Backend, client: Client) -> None:
    lock = client.lock(backend.key("lock"))
    with assert_checkpoints():
        grant = await lock.acquire()
    with assert_checkpoints():
        await grant.extend(SESSION)
    with assert_checkpoints():
        await grant.update(Data.set("x"))
    with assert_checkpoints():
        await lock.locked()
    with assert_checkpoints():
        await grant.release()
    with assert_checkpoints():
        grant = await lock.try_acquire()
    with assert_checkpoints():
        await lock.release_head()


async def test_extend_changes_the_lease(backend: Backend, client: Client) -> None:
    lock = client.lock(backend.key("lock"), lease=30)
    async with lock as grant:
        assert 20 < grant.expires_at - trio.current_time() <= 30
        await grant.extend(300)
        assert 290 < grant.expires_at - trio.current_time() <= 300
        await grant.extend(SESSION)
        assert grant.expires_at == math.inf


async def test_release_head_ends_someone_elses_grant(
    backend: Backend, client: Client, other: Client
) -> None:
    """Its holder finds out at the end of the body."""
    key = backend.key("lock")
    with pytest.raises(LockLost) as caught:
        async with client.lock(key):
            await other.lock(key).release_head()
    assert caught.value.reason == "expired"
    assert caught.value.key == client.lock(key).key
    with pytest.raises(NotHeld):
        await other.lock(key).release_head()


async def test_a_stolen_grant_cannot_be_extended_or_released(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("lock")
    grant = await client.lock(key).acquire()
    await other.lock(key).release_head()
    thief = await other.lock(key).acquire()
    with pytest.raises(LockLost) as caught:
        await grant.extend(SESSION)
    assert caught.value.reason == "taken"
    assert not grant.held
    with pytest.raises(LockLost):
        await grant.update(Data.set("x"))
    await grant.release()
    assert await backend.claims(key) == (1, 0)
    await thief.release()


async def test_an_extension_that_takes_the_key_anew_is_a_loss(
    backend: Backend, client: Client, other: Client
) -> None:
    """Somebody else may have had it in between; and nothing stays held."""
    key = backend.key("lock")
    grant = await client.lock(key).acquire()
    await other.lock(key).release_head()
    with pytest.raises(LockLost):
        await grant.extend(SESSION)
    assert await backend.claims(key) == NOTHING


async def test_a_released_grant_cannot_be_extended(
    backend: Backend, client: Client
) -> None:
    grant = await client.lock(backend.key("lock")).acquire()
    await grant.release()
    with pytest.raises(NotHeld):
        await grant.extend(SESSION)


async def test_releasing_what_the_server_took_away_says_so(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("lock")
    grant = await client.lock(key).acquire()
    await other.lock(key).release_head()
    with pytest.raises(NotHeld):
        await grant.release()


@pytest.mark.slow
async def test_the_end_of_a_lease_cancels_the_body(
    backend: Backend, client: Client
) -> None:
    key = backend.key("lock")
    with pytest.raises(LockLost) as caught:
        async with client.lock(key, lease=0.3, renew=False):
            await trio.sleep(5)
    assert caught.value.reason == "expired"
    await backend.until(key, 0, 0)


@pytest.mark.slow
async def test_a_loss_is_told_to_who_waits_for_it(
    backend: Backend, client: Client
) -> None:
    """Without a body, by the server's notice."""
    grant = await client.lock(backend.key("lock"), lease=0.2, renew=False).acquire()
    with trio.fail_after(5):
        loss = await grant.wait_lost()
    assert loss.reason == "expired"
    assert "lost (expired)" in repr(grant)
    with trio.fail_after(1):
        await grant.wait_lost()
    with pytest.raises(LockLost):
        async with grant:
            await trio.sleep(5)


@pytest.mark.slow
async def test_a_body_keeps_its_own_error_when_the_grant_is_lost(
    backend: Backend, client: Client
) -> None:
    with pytest.raises(ValueError, match="mine") as caught:
        async with client.lock(backend.key("lock"), lease=0.2, renew=False):
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("mine")
    assert "its lease has ended" in caught.value.__notes__[0]


@pytest.mark.slow
async def test_a_group_of_errors_loses_only_the_cancellations_of_the_loss(
    backend: Backend, client: Client
) -> None:
    async def fail_late() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("mine")

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="mine")) as caught:
        async with client.lock(backend.key("lock"), lease=0.2, renew=False):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail_late)
                nursery.start_soon(trio.sleep_forever)
    assert "its lease has ended" in caught.value.__notes__[0]


async def test_the_bodys_error_releases_and_leaves_as_it_is(
    backend: Backend, client: Client
) -> None:
    key = backend.key("lock")
    with pytest.raises(ValueError, match="mine") as caught:
        async with client.lock(key):
            raise ValueError("mine")
    assert not hasattr(caught.value, "__notes__")
    assert await backend.claims(key) == NOTHING


async def test_a_cancelled_body_releases_before_it_leaves(
    backend: Backend, client: Client
) -> None:
    key = backend.key("lock")
    with trio.CancelScope() as scope:
        async with client.lock(key):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert await backend.claims(key) == NOTHING


async def test_nested_bodies_of_one_handle(backend: Backend, client: Client) -> None:
    """Each exit finds its own grant."""
    key = backend.key("lock")
    lock = client.semaphore(key, 2)
    async with lock as outer:
        async with lock as inner:
            assert inner.lock_id != outer.lock_id
        assert outer.held
        assert not inner.held
        assert await backend.claims(key) == (1, 0)


async def test_a_grant_is_entered_once(backend: Backend, client: Client) -> None:
    grant = await client.lock(backend.key("lock")).acquire()
    async with grant:
        with pytest.raises(RuntimeError, match="entered already"):
            async with grant:
                pass


async def test_what_is_still_held_is_given_back_when_the_client_ends(
    backend: Backend,
) -> None:
    key = backend.key("lock")
    async with open_pair(backend) as (_, watcher):
        async with backend.open_client() as client:
            grant = await client.lock(key, lease=600).acquire()
            assert await watcher.lock(key).locked()
        assert not grant.held
        assert await backend.claims(key) == NOTHING
        with pytest.raises(trio.ClosedResourceError):
            await client.lock(key).acquire()
        await grant.release()


async def test_a_lease_must_be_above_zero(backend: Backend, client: Client) -> None:
    for lease in (0, -1, math.nan):
        with pytest.raises(ValueError, match="above 0"):
            client.lock("k", lease=lease)
