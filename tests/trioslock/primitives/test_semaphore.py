from __future__ import annotations

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend

from trioslock import Client, NotHeld


async def test_permits_are_shared_by_all_clients(
    backend: Backend, client: Client, other: Client
) -> None:
    """As many hold it as there are permits; the next one waits."""
    key = backend.key("sem")
    ours, theirs = client.semaphore(key, 2), other.semaphore(key, 2)
    async with ours, theirs:
        assert await ours.in_use() == 2
        assert await theirs.available() == 0
        with pytest.raises(trio.WouldBlock):
            await theirs.try_acquire()
    assert await backend.claims(key) == NOTHING


async def test_a_release_lets_the_next_one_in(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("sem")
    granted = []

    async def wait() -> None:
        async with other.semaphore(key, 1):
            granted.append(True)

    async with trio.open_nursery() as nursery:
        async with client.semaphore(key, 1):
            nursery.start_soon(wait)
            await backend.until(key, 1, 1)
            assert not granted
    assert granted
    assert await backend.claims(key) == NOTHING


async def test_a_grant_releases_its_own_permit(
    backend: Backend, client: Client
) -> None:
    """Releasing the second grant leaves the first, unlike upstream's release."""
    key = backend.key("sem")
    semaphore = client.semaphore(key, 3)
    first = await semaphore.acquire()
    second = await semaphore.acquire()
    await second.release()
    (holder,) = await client.holders(key)
    assert holder.lock_id == first.lock_id
    await first.release()


async def test_release_takes_the_first_permit_of_any_client(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("sem")
    grant = await other.semaphore(key, 2).acquire()
    await client.semaphore(key, 2).release()
    assert await backend.claims(key) == NOTHING
    with pytest.raises(NotHeld):
        await grant.release()


async def test_release_of_nothing_is_an_error(backend: Backend, client: Client) -> None:
    with pytest.raises(NotHeld, match="has no holder"):
        await client.semaphore(backend.key("sem"), 2).release()


async def test_exactly_the_permitted_number_is_admitted(
    backend: Backend, client: Client
) -> None:
    """pyslock sends the count where one less belongs, and admits one too many."""
    key = backend.key("sem")
    semaphore = client.semaphore(key, 2)
    grants = [await semaphore.acquire(), await semaphore.acquire()]
    with pytest.raises(trio.WouldBlock):
        await semaphore.try_acquire()
    for grant in grants:
        await grant.release()


@pytest.mark.parametrize("permits", [0, -1, 65_536])
async def test_a_number_that_cannot_be_is_refused(client: Client, permits: int) -> None:
    with pytest.raises(ValueError, match="permits must be 1 to 65535"):
        client.semaphore("sem", permits)


async def test_the_most_permits_there_can_be(backend: Backend, client: Client) -> None:
    async with client.semaphore(backend.key("sem"), 65_535) as grant:
        assert grant.held


async def test_repr_shows_key_and_permits(client: Client) -> None:
    semaphore = client.semaphore(b"0123456789abcdef", 7, priority=3)
    assert "0123456789abcdef" in repr(semaphore)
    assert "7 permits" in repr(semaphore)
    assert "priority 3" in repr(semaphore)
