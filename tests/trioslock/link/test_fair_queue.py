"""Many tasks that are woken at once leave passes to other tasks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trioslock import Client, Event
from trioslock.link._fair_queue import FairQueue
from trioslock.protocol import (
    CommandType,
    LockResult,
    PlainResult,
    Result,
    encode_result,
)
from trioslock.testing import open_network

LOCK, PUBLISH = int(CommandType.LOCK), int(CommandType.PUBLISH)
MANY = 2000


def result(key: bytes, number: int, kind: int = LOCK) -> LockResult:
    request_id = number.to_bytes(16, "big")
    return LockResult(kind, request_id, 0, 0, 0, b"", key, 0, 0, 0, 0)


def keyed(taken: Sequence[Result | bytes]) -> list[LockResult]:
    """Return the results that are about a key."""
    return [each for each in taken if isinstance(each, LockResult)]


@given(st.lists(st.sampled_from([b"a", b"b", b"c"])), st.lists(st.integers(1, 9)))
def test_each_key_keeps_its_order(keys: Sequence[bytes], counts: list[int]) -> None:
    """All comes out, however much is taken at a time."""
    queue = FairQueue()
    for number, key in enumerate(keys):
        queue.add(result(key, number))
    out: list[LockResult] = []
    for count in [*counts, len(keys)]:
        taken = queue.take(count)
        assert len(taken) <= count
        out += keyed(taken)
    assert not queue
    assert len(queue) == 0
    for key in set(keys):
        numbers = [
            int.from_bytes(each.request_id, "big") for each in out if each.key == key
        ]
        assert numbers == [i for i, each in enumerate(keys) if each == key]


def test_keys_take_turns() -> None:
    """The last result, of another key, is among the first three."""
    queue = FairQueue()
    for number in range(100):
        queue.add(result(b"many", number))
    queue.add(result(b"lone", 100))
    assert [each.key for each in keyed(queue.take(3))] == [
        b"many",
        b"lone",
        b"many",
    ]
    assert repr(queue) == "<FairQueue: 98 results of 1 keys>"


def test_frames_and_results_of_a_key_share_a_queue() -> None:
    """A frame does not overtake a result of its key that was read before it."""
    queue = FairQueue()
    first, last = result(b"k" * 16, 1), result(b"k" * 16, 3)
    frame = encode_result(result(b"k" * 16, 2)._replace(lock_id=bytes(16)))
    other = encode_result(result(b"o" * 16, 4)._replace(lock_id=bytes(16)))
    for item in (first, frame, last, other):
        queue.add(item)
    assert queue.take(9) == [first, other, frame, last]


def test_what_was_published_stays_in_order() -> None:
    """Subscribers get events in the order in which they happened."""
    queue = FairQueue()
    said = [result(b"ab"[i % 2 : i % 2 + 1], i, PUBLISH) for i in range(6)]
    for each in said:
        queue.add(each)
    queue.add(PlainResult(int(CommandType.PING), b"", 0))
    assert queue.take(6) == said


async def woken(event: Event, name: str, order: list[str]) -> None:
    await event.wait()
    order.append(name)


async def test_a_lone_task_is_not_behind_a_crowd(autojump_clock: MockClock) -> None:
    """Its event is set last, and it still runs among the first."""
    order: list[str] = []
    async with open_network() as network, network.open_client() as client:
        async with network.open_client() as publisher, trio.open_nursery() as nursery:
            for _ in range(MANY):
                nursery.start_soon(woken, client.event("many", ttl=9), "many", order)
            nursery.start_soon(woken, client.event("lone", ttl=9), "lone", order)
            await wait_all_tasks_blocked()
            nursery.start_soon(publisher.event("many", ttl=9).set)
            nursery.start_soon(publisher.event("lone", ttl=9).set)
        assert len(order) == MANY + 1
        assert order.index("lone") < MANY / 4


async def leave(client: Client, order: list[str], scope: trio.CancelScope) -> None:
    with scope:
        await woken(client.event("many", ttl=9), "left", order)


async def test_who_leaves_before_its_turn(autojump_clock: MockClock) -> None:
    """The wake has been read, and to the task it has not come."""
    order: list[str] = []
    async with open_network() as network, network.open_client() as client:
        scope = trio.CancelScope()
        async with network.open_client() as publisher, trio.open_nursery() as nursery:
            for _ in range(MANY):
                nursery.start_soon(woken, client.event("many", ttl=9), "many", order)
            await wait_all_tasks_blocked()
            nursery.start_soon(leave, client, order, scope)
            await wait_all_tasks_blocked()
            await publisher.event("many", ttl=9).set()
            while not order:
                await trio.lowlevel.checkpoint()
            scope.cancel()
        assert order == ["many"] * MANY
        assert (await client.state()).waiting == 0
        statistics = client.statistics()
        assert (statistics.in_flight, statistics.unsettled) == (0, 0)


@pytest.mark.parametrize("steps", [1, 3, 20])
async def test_a_connection_that_ends_behind_a_crowd(
    autojump_clock: MockClock, steps: int
) -> None:
    """Results before it are delivered; the other tasks wait anew, and are woken."""
    order: list[str] = []
    async with open_network() as network, network.open_client() as client:
        async with network.open_client() as publisher, trio.open_nursery() as nursery:
            for _ in range(MANY):
                nursery.start_soon(woken, client.event("many", ttl=99), "many", order)
            await wait_all_tasks_blocked()
            await publisher.event("many", ttl=99).set()
            while not order:
                await trio.lowlevel.checkpoint()
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            network.streams[0].cut()
        assert order == ["many"] * MANY
        assert client.statistics().in_flight == 0
