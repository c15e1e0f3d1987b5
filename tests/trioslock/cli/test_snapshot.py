"""Snapshots: their order, their bounds, and their errors."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioslock import Client, ConnectionLost, NoLeader, ServerError
from trioslock.cli import _snapshot as snapshot
from trioslock.testing import SlockServer, open_network

pytestmark = pytest.mark.slow


async def wait_for(client: Client, key: str) -> None:
    async with client.lock(key):
        pass


async def test_keys_with_most_waiters_come_first() -> None:
    async with open_network() as network, network.open_client() as client:
        async with client.lock("quiet"), client.lock("busy"), client.db(3).lock("x"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_for, client, "busy")
                await wait_all_tasks_blocked()
                found = await snapshot.take(client, several=False, rows=2, key=None)
                one = await snapshot.take(client, several=False, rows=2, key="busy")
                nursery.cancel_scope.cancel()
    assert [len(each.waiters) for each in found.keys] == [1, 0]
    assert found.keys[0].key.endswith(b"busy")
    assert [len(each.holders) for each in found.keys] == [1, 1]
    assert list(found.databases) == [0, 3]
    assert (found.held_keys, found.skipped, found.unlisted) == (3, 0, [])
    assert (len(one.keys), one.keys[0].levels, len(one.keys[0].waiters)) == (1, 1, 1)


async def test_no_more_keys_are_asked_for_their_waiters_than_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "_KEYS_ASKED", 2)
    async with open_network() as network, network.open_client() as client:
        async with client.lock("a"), client.lock("b"), client.lock("c"):
            found = await snapshot.take(client, several=False, rows=1, key=None)
    assert (found.held_keys, found.skipped, len(found.keys)) == (3, 1, 1)


async def test_a_list_that_is_too_large_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def keys(_: object) -> None:
        raise ServerError("too large", result=2)

    monkeypatch.setattr("trioslock.client.Database.keys", keys)
    async with open_network() as network, network.open_client() as client:
        async with client.lock("a"):
            found = await snapshot.take(client, several=False, rows=1, key=None)
    assert (found.unlisted, found.keys) == ([0], [])


async def test_a_free_key_has_no_holders() -> None:
    async with open_network() as network, network.open_client() as client:
        found = await snapshot.take(client, several=False, rows=1, key="free")
    assert (found.keys[0].levels, found.databases) == (0, {})


async def test_a_replica_set_has_members(slock_server: SlockServer) -> None:
    from trioslock import open_client

    async with open_client(f"{slock_server.url},127.0.0.1:1") as client:
        found = await snapshot.take(client, several=True, rows=1, key=None)
        down = await snapshot.failed(client, several=True, error="gone")
    assert found.leader == ("127.0.0.1", slock_server.port)
    assert len(found.members) == len(down.members) == 2
    assert (down.error, down.databases) == ("gone", {})


async def test_results_come_in_order_and_some_at_once() -> None:
    running = most = 0

    async def double(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.lowlevel.checkpoint()
        running -= 1
        return 2 * number

    assert await snapshot.gather(double, range(100)) == [2 * n for n in range(100)]
    assert 1 < most <= 32
    assert await snapshot.gather(double, []) == []


async def test_of_many_errors_of_the_client_the_first_is_raised() -> None:
    async def fail(number: int) -> None:
        raise ConnectionLost("gone") if number else NoLeader("none")

    with pytest.raises((ConnectionLost, NoLeader)):
        await snapshot.gather(fail, range(10))


async def test_a_bug_stays_a_group() -> None:
    async def fail(_: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        await snapshot.gather(fail, range(10))
