from __future__ import annotations

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend, open_backend
from tests.trioslock.primitives.answering import answered
from trio.testing import MockClock

from trioslock import (
    Client,
    Data,
    Flags,
    Lock,
    LockError,
    LockLost,
    NotHeld,
    ServerError,
)
from trioslock.protocol import ResultCode


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


async def test_the_highest_priority_goes_first_and_equals_in_turn(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("prio")
    order = []

    async def work(priority: int, name: str) -> None:
        async with other.lock(key, priority=priority):
            order.append(name)

    async with trio.open_nursery() as nursery:
        async with client.lock(key, priority=0):
            entries = [(1, "low"), (7, "high, first"), (7, "high, second"), (0, "last")]
            for waiting, entry in enumerate(entries):
                nursery.start_soon(work, *entry)
                await backend.until(key, 1, waiting + 1)
    assert order == ["high, first", "high, second", "low", "last"]
    assert await backend.claims(key) == NOTHING


async def test_a_waiting_priority_is_withdrawn_like_any_wait(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("prio")
    async with client.lock(key, priority=255):
        with trio.move_on_after(0.02) as scope:
            await other.lock(key, priority=255).acquire()
        assert scope.cancelled_caught
        await backend.until(key, 1, 0)
    assert await backend.claims(key) == NOTHING


async def test_it_is_not_taken_twice(backend: Backend, client: Client) -> None:
    """The priority stands where levels would: it must not allow any."""
    key = backend.key("prio")
    async with client.lock(key, priority=200):
        with pytest.raises(trio.WouldBlock):
            await client.lock(key, priority=200).try_acquire()


async def test_its_lease_can_be_extended(backend: Backend, client: Client) -> None:
    key = backend.key("prio")
    async with client.lock(key, priority=3, lease=5) as grant:
        await grant.extend(60)
        assert grant.expires_at > trio.current_time() + 50
    assert await backend.claims(key) == NOTHING


async def test_a_lease_can_count_from_the_request(
    autojump_clock: MockClock,
) -> None:
    """What was waited for so long is over soon after its grant; the body knows."""
    flags = Flags(lease_from_request=True)
    async with open_backend("memory") as backend, backend.open_client() as client:
        blocker = await client.lock("lock").acquire()
        asked_at = trio.current_time()
        ends = []

        async def wait(lock: Lock) -> None:
            with pytest.raises(LockLost):
                async with lock:
                    await trio.sleep_forever()
            ends.append(trio.current_time() - asked_at)

        async with trio.open_nursery() as nursery:
            lock = client.lock("lock", lease=10, renew=False, flags=flags)
            nursery.start_soon(wait, lock)
            await trio.sleep(8)
            await blocker.release()
        assert 9.9 < ends[0] <= 11.1


async def test_repr_shows_lease_and_priority(client: Client) -> None:
    assert "lease SESSION" in repr(client.lock("k"))
    assert "priority" not in repr(client.lock("k"))
    assert "lease 5, priority 7" in repr(client.lock("k", lease=5, priority=7))


@pytest.mark.parametrize("code", [4, 12])
async def test_any_other_answer_is_an_error(code: int) -> None:
    lock = Lock(answered(code))
    for operation in (lock.acquire, lock.try_acquire, lock.release_head):
        with pytest.raises(ServerError) as caught:
            await operation()
        assert caught.value.result == code


async def test_a_wait_that_the_server_refuses_is_not_would_block() -> None:
    """It says that others hold the key; a wait ends so if its database is flushed."""
    lock = Lock(answered(ResultCode.TIMEOUT))
    with pytest.raises(trio.WouldBlock):
        await lock.try_acquire()
    with pytest.raises(LockError, match="refused"):
        await lock.acquire()


class Ends:
    """Counts the end of an attempt that no task waits for."""

    def __init__(self) -> None:
        self.event = trio.Event()

    def __call__(self) -> None:
        self.event.set()


@pytest.mark.parametrize("waits", [True, False])
async def test_an_attempt_without_a_task(
    backend: Backend, client: Client, waits: bool
) -> None:
    lock = client.lock(backend.key("lock"))
    ended = Ends()
    assert lock.begins()
    begun = lock.begin_attempt(ended, waits=waits)
    await ended.event.wait()
    grant = begun.result()
    assert await backend.claims(lock.key) == (1, 0)
    await grant.release()
    assert await backend.claims(lock.key) == NOTHING


@pytest.mark.parametrize("withdrawn", [True, False])
async def test_an_attempt_without_a_task_that_is_refused(
    backend: Backend, client: Client, withdrawn: bool
) -> None:
    lock = client.lock(backend.key("lock"))
    async with lock:
        ended = Ends()
        begun = lock.begin_attempt(ended, waits=False)
        await ended.event.wait()
        if withdrawn:
            # There is nothing to withdraw any more.
            begun.withdraw()
        else:
            with pytest.raises(trio.WouldBlock):
                begun.result()
    assert await backend.claims(lock.key) == NOTHING


@pytest.mark.parametrize("granted", [True, False])
async def test_an_attempt_without_a_task_is_withdrawn(
    backend: Backend, client: Client, granted: bool
) -> None:
    """Also if it was granted before: then the grant is released."""
    lock = client.lock(backend.key("lock"))
    ended = Ends()
    async with lock:
        begun = lock.begin_attempt(ended, waits=True)
        await backend.until(lock.key, 1, 1)
        if not granted:
            begun.withdraw()
            await backend.until(lock.key, 1, 0)
    if granted:
        await ended.event.wait()
        begun.withdraw()
    await backend.until(lock.key, 0, 0)
    assert ended.event.is_set() == granted


async def test_which_attempts_begin_without_a_task(client: Client) -> None:
    """Those that are one LOCK with a lease that does not end by itself."""
    assert client.semaphore("key", 2).begins()
    for handle in (
        client.lock("key", lease=30),
        client.lock("key", fenced=True),
        client.rlock("key"),
        client.rwlock("key").write(),
        client.tree("key"),
    ):
        assert not handle.begins()
