"""A crowd that is woken at once leaves room for others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trioslock import Client, Event
from trioslock.link._fair_queue import FairQueue
from trioslock.protocol import CommandType, LockResult, PlainResult, Result
from trioslock.testing import open_network

LOCK, PUBLISH = int(CommandType.LOCK), int(CommandType.PUBLISH)
CROWD = 2000


def result(key: bytes, number: int, kind: int = LOCK) -> LockResult:
    request_id = number.to_bytes(16, "big")
    return LockResult(kind, request_id, 0, 0, 0, b"", key, 0, 0, 0, 0)


def keyed(taken: Sequence[Result]) -> list[LockResult]:
    """Return the results that are about a key."""
    return [each for each in taken if isinstance(each, LockResult)]


@given(st.lists(st.sampled_from([b"a", b"b", b"c"])), st.lists(st.integers(1, 9)))
def test_each_key_keeps_its_order(keys: Sequence[bytes], counts: list[int]) -> None:
    """All comes out, however much is taken at a time."""
    backlog = FairQueue()
    for number, key in enumerate(keys):
        backlog.add(result(key, number))
    out: list[LockResult] = []
    for count in [*counts, len(keys)]:
        taken = backlog.take(count)
        assert len(taken) <= count
        out += keyed(taken)
    assert not backlog
    assert len(backlog) == 0
    for key in set(keys):
        numbers = [
            int.from_bytes(each.request_id, "big") for each in out if each.key == key
        ]
        assert numbers == [i for i, each in enumerate(keys) if each == key]


def test_keys_take_turns() -> None:
    """Who came last on another key is in the first handful."""
    backlog = FairQueue()
    for number in range(100):
        backlog.add(result(b"crowd", number))
    backlog.add(result(b"lone", 100))
    assert [each.key for each in keyed(backlog.take(3))] == [
        b"crowd",
        b"lone",
        b"crowd",
    ]
    assert repr(backlog) == "<FairQueue: 98 results of 1 keys>"


def test_what_was_published_stays_in_order() -> None:
    """Subscribers are told of changes in the order in which they happened."""
    backlog = FairQueue()
    said = [result(b"ab"[i % 2 : i % 2 + 1], i, PUBLISH) for i in range(6)]
    for each in said:
        backlog.add(each)
    backlog.add(PlainResult(int(CommandType.PING), b"", 0))
    assert backlog.take(6) == said


async def woken(event: Event, name: str, order: list[str]) -> None:
    await event.wait()
    order.append(name)


async def test_a_lone_task_is_not_behind_a_crowd(autojump_clock: MockClock) -> None:
    """Its event is set last, and it still runs among the first."""
    order: list[str] = []
    async with open_network() as network, network.open_client() as client:
        async with network.open_client() as publisher, trio.open_nursery() as nursery:
            for _ in range(CROWD):
                nursery.start_soon(woken, client.event("crowd", ttl=9), "crowd", order)
            nursery.start_soon(woken, client.event("lone", ttl=9), "lone", order)
            await wait_all_tasks_blocked()
            nursery.start_soon(publisher.event("crowd", ttl=9).set)
            nursery.start_soon(publisher.event("lone", ttl=9).set)
        assert len(order) == CROWD + 1
        assert order.index("lone") < CROWD / 4


async def leave(client: Client, order: list[str], scope: trio.CancelScope) -> None:
    with scope:
        await woken(client.event("crowd", ttl=9), "left", order)


async def test_who_leaves_before_its_turn(autojump_clock: MockClock) -> None:
    """The wake has been read, and to the task it has not come."""
    order: list[str] = []
    async with open_network() as network, network.open_client() as client:
        scope = trio.CancelScope()
        async with network.open_client() as publisher, trio.open_nursery() as nursery:
            for _ in range(CROWD):
                nursery.start_soon(woken, client.event("crowd", ttl=9), "crowd", order)
            await wait_all_tasks_blocked()
            nursery.start_soon(leave, client, order, scope)
            await wait_all_tasks_blocked()
            await publisher.event("crowd", ttl=9).set()
            while not order:
                await trio.lowlevel.checkpoint()
            scope.cancel()
        assert order == ["crowd"] * CROWD
        assert (await client.state()).waiting == 0
        statistics = client.statistics()
        assert (statistics.in_flight, statistics.unsettled) == (0, 0)


@pytest.mark.parametrize("steps", [1, 3, 20])
async def test_a_connection_that_ends_behind_a_crowd(
    autojump_clock: MockClock, steps: int
) -> None:
    """What it said before is handed out; who was not told waits anew, and is woken."""
    order: list[str] = []
    async with open_network() as network, network.open_client() as client:
        async with network.open_client() as publisher, trio.open_nursery() as nursery:
            for _ in range(CROWD):
                nursery.start_soon(woken, client.event("crowd", ttl=99), "crowd", order)
            await wait_all_tasks_blocked()
            await publisher.event("crowd", ttl=99).set()
            while not order:
                await trio.lowlevel.checkpoint()
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            network.streams[0].cut()
        assert order == ["crowd"] * CROWD
        assert client.statistics().in_flight == 0
