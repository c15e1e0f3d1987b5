from __future__ import annotations

import math

import pytest
import trio
from tests.trioslock.backends import Backend

from trioslock import (
    FOREVER,
    Client,
    Data,
    RemoteProtocolError,
    ServerError,
)
from trioslock._errors import NoLeader
from trioslock.primitives import _lists


async def test_holders_come_in_order_of_their_grants(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("list")
    first = await client.semaphore(key, 3, lease=60).acquire(data=Data.set("v"))
    second = await other.semaphore(key, 3, lease=FOREVER).acquire()
    holders = await client.holders(key)
    assert [holder.lock_id for holder in holders] == [first.lock_id, second.lock_id]
    assert [holder.levels for holder in holders] == [1, 1]
    assert [holder.total for holder in holders] == [2, 2]
    for holder in holders:
        assert holder.data is not None
        assert holder.data.text == "v"
    assert holders[0].since is not None
    assert holders[0].until is not None
    assert 59 <= holders[0].until - holders[0].since <= 61
    assert holders[1].until == math.inf
    await first.release()
    await second.release()


async def test_waiters_come_in_the_order_they_stand_in(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("list")
    async with client.lock(key):
        async with trio.open_nursery() as nursery:
            for waiting in range(3):
                nursery.start_soon(other.lock(key).acquire)
                await backend.until(key, 1, waiting + 1)
            waiters = await client.waiters(key)
            nursery.cancel_scope.cancel()
    assert len({waiter.lock_id for waiter in waiters}) == 3
    assert all(waiter.until > waiter.since > 0 for waiter in waiters)


async def test_a_free_key_has_no_holder_and_no_waiter(
    backend: Backend, client: Client
) -> None:
    key = backend.key("list")
    assert await client.holders(key) == []
    assert await client.waiters(key) == []


async def test_a_database_that_was_never_used_has_nothing(client: Client) -> None:
    unused = client.db(254)
    assert await unused.holders("list") == []
    assert await unused.keys() == []
    assert (await unused.state()).held == 0


async def test_keys_are_those_that_are_held(backend: Backend, client: Client) -> None:
    key = backend.key("list")
    lock = client.lock(key)
    async with lock:
        (found,) = [held for held in await client.keys() if held.key == lock.key]
        assert found.levels == 1
        assert found.data is None
    assert all(held.key != lock.key for held in await client.keys())


async def test_state_counts(backend: Backend, client: Client) -> None:
    key = backend.key("list")
    before = await client.state()
    async with client.lock(key):
        during = await client.state()
    after = await client.state()
    assert during.in_use
    assert during.held == before.held + 1
    assert after.held == before.held
    assert after.releases == before.releases + 1


@pytest.mark.parametrize(
    ("code", "error"), [(10, NoLeader), (11, ServerError), (4, ServerError)]
)
def test_a_refusal_is_an_error(code: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        _lists._check(code, "LIST_LOCK", "")


def test_a_list_of_the_wrong_shape_is_the_servers_fault() -> None:
    with pytest.raises(RemoteProtocolError, match="where bytes belong"):
        _lists._holder({1: 5}, 1, None)
    with pytest.raises(RemoteProtocolError, match="where a number belongs"):
        _lists._waiter({1: b"id", 2: b"x"})
    with pytest.raises(RemoteProtocolError):
        _lists._find_data([(4, b"\xff")], 4)
