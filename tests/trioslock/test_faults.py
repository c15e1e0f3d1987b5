"""Faults of other slock clients: each test shows one that is not here.

The letters are those of docs/reference/features.md.
"""

from __future__ import annotations

import pytest
import trio
from tests.trioslock.backends import (
    NOTHING,
    Backend,
    MemoryBackend,
    open_backend,
    until,
)
from trio.testing import MockClock

from trioslock import Client, Data, LocalProtocolError
from trioslock.protocol import to_key


async def test_long_names_are_not_cut(
    backend: Backend, client: Client, other: Client
) -> None:
    """A: two names that begin with the same 16 bytes are two keys."""
    stem = backend.key("order:payment:user:")
    async with client.lock(stem + "1"), other.lock(stem + "2"):
        with pytest.raises(trio.WouldBlock):
            await other.lock(stem + "1").try_acquire()


def test_hex_names_are_decoded_as_the_server_does() -> None:
    """B: 32 hexadecimal digits are the 16 bytes they spell."""
    assert to_key("00112233445566778899aabbccddeeff") == bytes.fromhex(
        "00112233445566778899aabbccddeeff"
    )


async def test_a_value_on_a_key_disturbs_no_other_request(
    backend: Backend, client: Client, other: Client
) -> None:
    """C: every reply about a key with data carries the data; all of it is read."""
    key = backend.key("data")
    granted = trio.Event()

    async def wait(name: str) -> None:
        async with client.lock(name):
            granted.set()

    async with trio.open_nursery() as nursery:
        async with other.lock(key) as theirs:
            await theirs.update(Data.set(b"x" * 100_000))
            unrelated = backend.key("other")
            blocker = await other.lock(unrelated).acquire()
            nursery.start_soon(wait, unrelated)
            with pytest.raises(trio.WouldBlock):
                await client.lock(key).try_acquire()
            holder = await client.lock(key).show()
            assert holder is not None
            assert holder.data is not None
            assert len(holder.data.raw) == 100_000
            await blocker.release()
            with trio.fail_after(5):
                await granted.wait()


async def test_a_wait_that_is_given_up_is_never_granted(
    backend: Backend, client: Client, other: Client
) -> None:
    """D: of seven clients none withdraws the wait when its caller goes."""
    key = backend.key("gone")
    async with client.lock(key):
        with trio.move_on_after(0.02):
            await other.lock(key).acquire()
    await backend.until(key, *NOTHING)
    async with client.lock(key):
        pass


async def test_lock_ids_of_clients_started_together_differ(
    backend: Backend, client: Client, other: Client
) -> None:
    """E: ids from a clock and a seed collide; then one frees the other's lock."""
    names = [backend.key("ids") for _ in range(20)]
    ids = []
    for name in names:
        async with client.lock(name) as grant:
            ids.append(grant.lock_id)
        async with other.lock(name) as grant:
            ids.append(grant.lock_id)
    assert len(set(ids)) == 40


async def test_one_handle_serves_many_tasks(backend: Backend, client: Client) -> None:
    """F: a second task does not overwrite what the first needs for its release."""
    lock = client.lock(backend.key("shared"))
    inside = 0

    async def work() -> None:
        nonlocal inside
        async with lock:
            inside += 1
            assert inside == 1
            await trio.lowlevel.checkpoint()
            inside -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(work)
    assert await backend.claims(lock.key) == NOTHING


async def test_the_error_of_a_body_is_not_replaced(
    backend: Backend, client: Client, other: Client
) -> None:
    """G: a release that fails adds a note to it."""
    key = backend.key("body")
    with pytest.raises(ZeroDivisionError) as caught:
        async with client.lock(key):
            await other.lock(key).release_head()
            raise ZeroDivisionError
    assert "is not held any more" in caught.value.__notes__[0]


async def test_a_failed_release_does_not_wake_an_event(
    backend: Backend, client: Client
) -> None:
    """H: a wait for an event that was given up leaves it as it was."""
    event = client.event(backend.key("event"), ttl=60)
    with trio.move_on_after(0.02) as scope:
        await event.wait()
    assert scope.cancelled_caught
    assert not await event.is_set()


async def test_numbers_that_do_not_fit_fail_in_their_caller_alone(
    backend: Backend, client: Client
) -> None:
    """I: a number out of range must not end the task that writes for all."""
    with pytest.raises(LocalProtocolError, match="65535 minutes"):
        client.lock("lock", lease=65_536 * 60)
    with pytest.raises(ValueError, match="0 to 254"):
        client.db(300)
    with pytest.raises(ValueError, match="above 0 seconds"):
        client.lock("lock", lease=-1)
    async with client.lock(backend.key("after")):
        pass


async def test_long_leases_keep_their_unit(backend: Backend, client: Client) -> None:
    """J: a lease of days is one of days, whatever the flags beside it."""
    key = backend.key("days")
    async with client.lock(key, lease=5 * 86_400) as grant:
        (holder,) = await client.holders(key)
        assert holder.since is not None
        assert holder.until is not None
        assert 5 * 86_400 <= holder.until - holder.since <= 5 * 86_400 + 61
        assert grant.expires_at > trio.current_time() + 5 * 86_400 - 61


async def test_maps_are_written_as_they_are_read(
    backend: Backend, client: Client
) -> None:
    """K: the length before a map's key is the key's, not the value's."""
    value = client.value(backend.key("map"), ttl=60)
    await value.set({"ab": "wxyz"})
    data = await value.get()
    assert data is not None
    assert data.map == {b"ab": b"wxyz"}
    await value.unset()


async def test_all_tasks_survive_a_lost_connection(
    autojump_clock: MockClock,
) -> None:
    """L: all waits of one handle are sent again, and no entry is left."""
    async with open_backend("memory") as backend:
        assert isinstance(backend, MemoryBackend)
        async with backend.open_client() as client, backend.open_client() as other:
            lock = client.lock("lock")
            done = []

            async def work() -> None:
                async with lock:
                    done.append(True)

            blocker = await other.lock("lock", lease=300).acquire()
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(work)
                await backend.until("lock", 1, 5)
                backend.cut()
                await trio.sleep(1)
                backend.restore()
                await backend.until("lock", 1, 5)
                await blocker.release()
            assert len(done) == 5
            await until(lambda: client.statistics().in_flight == 0)
        assert await backend.claims("lock") == NOTHING


async def test_what_was_given_up_while_disconnected_is_never_sent(
    autojump_clock: MockClock,
) -> None:
    """M: a request that has failed must not lock the key later on."""
    async with open_backend("memory") as backend:
        assert isinstance(backend, MemoryBackend)
        async with backend.open_client() as client:
            backend.cut()
            await trio.sleep(0.1)
            with trio.move_on_after(1) as scope:
                await client.lock("lock").acquire()
            assert scope.cancelled_caught
            backend.restore()
            await client.wait_connected()
            await client.ping()
            assert await backend.claims("lock") == NOTHING


async def test_whatever_the_old_connection_left_is_not_read_as_the_new_ones(
    autojump_clock: MockClock,
) -> None:
    """N: half a reply at the end of a connection does not shift the next one's."""
    async with open_backend("memory") as backend:
        assert isinstance(backend, MemoryBackend)
        async with backend.open_client() as client:
            await backend.inject(b"\x56\x01\x01" + bytes(17))
            backend.cut()
            await trio.sleep(0.1)
            backend.restore()
            async with client.lock("lock") as grant:
                assert grant.held
