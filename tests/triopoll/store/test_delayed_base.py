"""One suite for every store of delayed messages."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from triopoll.store import (
    ALL,
    Appended,
    DelayedMessage,
    Delivered,
    LogLimits,
    MemoryDelayed,
    MemoryLog,
    MessageLog,
    NewMessage,
    PendingLimits,
    Scheduled,
    StoredMessage,
    TooManyPending,
    open_stores,
)
from triopoll.store._delayed_base import DelayedStore

LATER = 900.0


class World:
    """Delayed messages whose time can come: in memory at once, in Redis by waiting."""

    log: MessageLog
    delayed: DelayedStore

    def __init__(self, url: str, key: str) -> None:
        self.key = key
        self._url = url
        self._time = 1_700_000_000.0
        self.is_memory = url == "memory://"

    @asynccontextmanager
    async def opened(
        self,
        limits: PendingLimits | None = None,
        log_limits: LogLimits | None = None,
    ) -> AsyncIterator[World]:
        if self.is_memory:
            self.log = log = MemoryLog(log_limits, clock=lambda: self._time)
            self.delayed = MemoryDelayed(log, limits, clock=lambda: self._time)
            yield self
            return
        stores = open_stores(
            self._url, limit=5, pending_limits=limits, log_limits=log_limits
        )
        async with stores as opened:
            self.log, self.delayed = opened.log, opened.delayed
            yield self
            # Others share this Redis.
            for name in ("a", "b", "c", "d"):
                await self.delayed.cancel(self.key, name)

    def now(self) -> float:
        return self._time if self.is_memory else time.time()

    async def pass_time(self, seconds: float) -> None:
        self._time += seconds
        if not self.is_memory:
            await trio.sleep(seconds)

    async def schedule(
        self, name: str, data: bytes = b"x", seconds: float = LATER
    ) -> Scheduled:
        message = NewMessage(self.key, data, name)
        (result,) = await self.delayed.schedule([DelayedMessage(message, seconds)])
        assert isinstance(result, Scheduled)
        return result

    async def deliver(self) -> list[Delivered]:
        """Move what is due of this test's key."""
        found = await self.delayed.look()
        due = found.due.get(self.key)
        return await self.delayed.deliver(self.key, due) if due else []

    async def messages(self) -> tuple[StoredMessage, ...]:
        return (await self.log.read(self.key, ALL, 100)).messages

    async def data(self) -> list[bytes]:
        return [message.data for message in await self.messages()]


@pytest.fixture
async def world(store_url: str, key: str) -> AsyncIterator[World]:
    async with World(store_url, key).opened() as world:
        yield world


async def test_a_message_appears_when_it_is_due(world: World) -> None:
    """Not before; once; as what it is, with the time at which it appeared."""
    json = NewMessage(world.key, b'{"n":1}', "a", is_json=True)
    raw = NewMessage(world.key, b"1:\0:\xff\n", "b")
    delayed = [DelayedMessage(json, 0.2), DelayedMessage(raw, 0.1)]
    results = await world.delayed.schedule(delayed)
    for result, seconds in zip(results, (0.2, 0.1), strict=True):
        assert isinstance(result, Scheduled)
        assert abs(result.due - world.now() - seconds) < 30
        assert not result.replaced
    assert await world.data() == []
    await world.pass_time(0.25)
    before = world.now()
    first, second = await world.deliver()
    # In the order of their times.
    assert first.late >= second.late >= 0.04
    assert await world.deliver() == []
    one, other = await world.messages()
    assert (one.data, one.is_json) == (b"1:\0:\xff\n", False)
    assert (other.data, other.is_json) == (b'{"n":1}', True)
    assert abs(other.ts - before) < 30


async def test_it_is_due_at_a_time_of_day(world: World) -> None:
    """By the clock of the store; a time that has passed is due at once."""
    messages = [NewMessage(world.key, b"x", name) for name in "ab"]
    times = world.now() - 5, world.now() + LATER
    delayed = [
        DelayedMessage(message, time, is_relative=False)
        for message, time in zip(messages, times, strict=True)
    ]
    early, late = await world.delayed.schedule(delayed)
    assert isinstance(early, Scheduled)
    assert isinstance(late, Scheduled)
    assert [early.due, late.due] == pytest.approx(times, abs=0.002)
    (delivered,) = await world.deliver()
    assert delivered.late == pytest.approx(5, abs=4)
    assert len(await world.data()) == 1


async def test_what_is_due_is_moved_by_one_of_several(world: World) -> None:
    """Of movers at the same time, each message by one of them."""
    for name in "abcd":
        await world.schedule(name, name.encode(), 0)
    found = await world.delayed.look()
    moved: list[Delivered] = []

    async def move() -> None:
        moved.extend(await world.delayed.deliver(world.key, found.due[world.key]))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(move)
    assert len(moved) == 4
    assert await world.data() == [b"a", b"b", b"c", b"d"]


async def test_a_message_is_replaced(world: World) -> None:
    """Its data and its time; the earlier look does not deliver it any more."""
    await world.schedule("a", b"old", 0)
    await world.schedule("b", b"other", 0)
    found = await world.delayed.look()
    replaced = await world.schedule("a", b"new", LATER)
    assert replaced.replaced
    assert len(await world.delayed.deliver(world.key, found.due[world.key])) == 1
    assert await world.data() == [b"other"]
    assert (await world.schedule("a", b"newest", 0)).replaced
    await world.deliver()
    assert await world.data() == [b"other", b"newest"]


async def test_a_message_is_cancelled(world: World) -> None:
    """Once; one that is in its log is not, and its id is known there."""
    await world.schedule("a", b"a", 0)
    await world.schedule("b", b"b", 0)
    found = await world.delayed.look()
    assert await world.delayed.cancel(world.key, "a") is True
    assert await world.delayed.cancel(world.key, "a") is False
    assert await world.delayed.cancel(world.key, "unknown") is False
    await world.delayed.deliver(world.key, found.due[world.key])
    (message,) = await world.messages()
    assert message.data == b"b"
    assert await world.delayed.cancel(world.key, "b") == message.id


async def test_a_message_that_is_in_its_log_is_not_delayed_again(
    world: World,
) -> None:
    """A publisher who repeats its request after the delivery gets the message's id."""
    await world.schedule("a", b"1", 0)
    await world.deliver()
    again = DelayedMessage(NewMessage(world.key, b"2", "a"), LATER)
    other = DelayedMessage(NewMessage(world.key, b"3", "b"), LATER)
    first, second = await world.delayed.schedule([again, other])
    (message,) = await world.messages()
    assert first == Appended(message.id, duplicate=True)
    assert isinstance(second, Scheduled)


async def test_a_message_without_a_delay_replaces_one(world: World) -> None:
    """It is in the log then, and nothing is pending any more."""
    await world.schedule("a", b"delayed", 0)
    await world.schedule("b", b"another", 0)
    found = await world.delayed.look()
    (result,) = await world.log.append([NewMessage(world.key, b"now", "a")])
    assert isinstance(result, Appended)
    assert not result.duplicate
    assert await world.delayed.cancel(world.key, "a") == result.id
    assert len(await world.delayed.deliver(world.key, found.due[world.key])) == 1
    assert await world.data() == [b"now", b"another"]


async def test_the_first_one_is_known(world: World) -> None:
    """So that who sleeps until the next one is due is woken for an earlier one only."""
    first = await world.schedule("a", seconds=60)
    assert not (await world.schedule("b", seconds=LATER)).is_first
    assert (await world.schedule("c", seconds=30)).is_first
    assert first.due


async def test_the_pause_until_the_next_one(world: World) -> None:
    """Others' messages may be due earlier, where the storage is shared."""
    if world.is_memory:
        assert (await world.delayed.look()).storage == ""
    await world.schedule("a", seconds=300)
    found = await world.delayed.look()
    assert found.storage
    assert found.due == {}
    assert found.pending >= 1
    assert 0 < found.pause <= 300
    await world.schedule("b", seconds=20)
    assert 0 < (await world.delayed.look()).pause <= 20
    assert (await world.delayed.look()).storage == found.storage


async def test_how_long_it_is_kept(store_url: str, key: str) -> None:
    """Its time to live begins when it appears, and its log is trimmed then."""
    limits = LogLimits(max_messages=2)
    async with World(store_url, key).opened(log_limits=limits) as world:
        messages = [NewMessage(key, name.encode(), name, ttl=0.5) for name in "abcd"]
        delays = (0.2, 0.2, 0.2, 0.2)
        await world.delayed.schedule(list(map(DelayedMessage, messages, delays)))
        await world.pass_time(0.25)
        await world.deliver()
        assert await world.data() == [b"c", b"d"]
        await world.pass_time(0.75)
        assert await world.data() == []


async def test_so_many_of_one_key(store_url: str, key: str) -> None:
    """One more is refused, and a replacement is not."""
    limits = PendingLimits(per_key=2)
    async with World(store_url, key).opened(limits) as world:
        await world.schedule("a")
        await world.schedule("b")
        message = NewMessage(key, b"x", "c")
        (refused,) = await world.delayed.schedule([DelayedMessage(message, LATER)])
        assert isinstance(refused, TooManyPending)
        assert (await world.schedule("a")).replaced
        assert await world.delayed.cancel(key, "a")
        await world.schedule("c")


async def test_so_many_in_total(store_url: str, key: str) -> None:
    """Of all keys together; in a cluster as soon as the others' are known."""
    async with World(store_url, key).opened(PendingLimits(in_total=1)) as world:
        await world.delayed.schedule(
            [DelayedMessage(NewMessage(key, b"x", "a"), LATER)]
        )
        for other in (key, key + "2"):
            message = NewMessage(other, b"x", "b")
            (refused,) = await world.delayed.schedule([DelayedMessage(message, LATER)])
            assert isinstance(refused, TooManyPending)


async def test_many_are_due(world: World) -> None:
    """Part of them is returned by one look, and the rest by the next at once."""
    names = [f"n{n}" for n in range(150)]
    messages = [NewMessage(world.key, name.encode(), name) for name in names]
    await world.delayed.schedule([DelayedMessage(each, 0) for each in messages])
    rounds = 0
    while await world.deliver():
        rounds += 1
    assert rounds == 2
    assert await world.data() == [name.encode() for name in names[:100]]
