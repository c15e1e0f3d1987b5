"""The bound of the streams in memory, and what ends."""

from __future__ import annotations

import pytest
from tests.triopoll.store.test_stream_forks import fork
from tests.triopoll.store.test_streams_base import TEXT, made, put, text_of

from triopoll.store import (
    Budget,
    MemoryStreams,
    NewAppend,
    NewStream,
    Producer,
    StoreFull,
    StreamEntry,
)
from triopoll.store._streams_base import START, Parent


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


async def test_a_full_store() -> None:
    """What does not fit is refused and changes nothing; what ends makes room."""
    budget, clock = Budget(10000), Clock()
    streams = MemoryStreams(budget=budget, clock=clock)
    await made(streams, "a")
    await put(streams, "a", b"x" * 1000)
    short = NewStream(content_type="text/plain", ttl=10, data=b"y" * 2000)
    await made(streams, "b", short)
    taken = budget.taken
    with pytest.raises(StoreFull):
        await put(streams, "a", b"z" * 5000)
    with pytest.raises(StoreFull):
        await streams.create("c", NewStream(content_type="a/b", data=b"z" * 5000))
    with pytest.raises(StoreFull):
        await streams.create("c", fork("a", data=b"z" * 3500))
    assert budget.taken == taken
    clock.time += 11
    await put(streams, "a", b"z" * 5000)
    assert await text_of(streams, "a") == b"x" * 1000 + b"z" * 5000
    assert repr(streams) == "<MemoryStreams: 1>"


async def test_all_is_freed() -> None:
    """A stream with producers and forks leaves nothing in the budget."""
    budget = Budget()
    streams = MemoryStreams(budget=budget)
    await made(streams, "a")
    producer = Producer("p", 0, 0)
    await streams.append(
        "a", NewAppend(kind="text/plain", data=b"x", producer=producer)
    )
    await made(streams, "b", fork("a"))
    await streams.delete("a")
    await streams.delete("b")
    assert budget.taken == 0


async def test_a_copy_that_took_too_long() -> None:
    """It is dropped when room is needed, and the fork is refused."""
    budget, clock = Budget(10000), Clock()
    streams = MemoryStreams(budget=budget, clock=clock)
    await streams.stage("b", "1", [StreamEntry(START, b"x" * 5000)])
    with pytest.raises(StoreFull):
        await streams.stage("b", "2", [StreamEntry(START, b"x" * 5000)])
    clock.time += 61
    await streams.stage("b", "2", [StreamEntry(START, b"x" * 5000)])
    await streams.discard("b", "2")
    assert budget.taken == 0


class Slow(MemoryStreams):
    """Its copies end before the fork is made."""

    async def stage(self, path, fork_id, entries) -> None:  # type: ignore[no-untyped-def]
        await super().stage(path, fork_id, entries)
        await self.discard(path, fork_id)


async def test_a_fork_without_its_copy() -> None:
    """It is refused."""
    budget = Budget()
    streams = Slow(budget=budget)
    await made(streams, "a", NewStream(content_type="text/plain", data=b"x"))
    taken = budget.taken
    outcome = await streams.create("b", fork("a"))
    assert "SOURCE_DELETED" in repr(outcome)
    assert budget.taken == taken
    assert not (await made(streams, "a", TEXT)).is_new


async def test_a_source_that_is_another_one() -> None:
    """A fork that ends late does not touch what has been made at the path."""
    streams = MemoryStreams()
    view = (await made(streams, "a")).view
    assert await streams.release(Parent("a", view.id + "x"), "f") is None
    assert await streams.release(Parent("b", view.id), "f") is None
    assert await streams.look("a") == view
