"""Waits for more of a stream, or for its end, without a task."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from tests.triopoll.streamrig import StreamRig, open_stream_rig
from tests.triopoll.waiters import Calls
from trio.testing import MockClock, wait_all_tasks_blocked

from triopoll.core.parked_waits import WaitedKey
from triopoll.core.stream_wait import StreamRead, StreamWait
from triopoll.store import (
    START,
    NewAppend,
    NewStream,
    Refused,
    StreamRefusal,
    Where,
)


@pytest.fixture
async def rig() -> AsyncIterator[StreamRig]:
    async with open_stream_rig() as rig:
        yield rig


async def parked(
    rig: StreamRig, after: Where = START, path: str = "s"
) -> tuple[StreamWait, Calls]:
    begun = await rig.streams.begin_read(path, after, 25)
    assert isinstance(begun, StreamWait), begun
    calls = Calls()
    begun.start(calls)
    await wait_all_tasks_blocked()
    return begun, calls


async def settled(calls: Calls) -> Any:
    await wait_all_tasks_blocked()
    (found,) = calls.results
    assert calls.call_backs == 0
    return found


async def test_one_read_serves_all_who_are_at_the_same_offset(
    autojump_clock: MockClock, rig: StreamRig, no_sweep: None
) -> None:
    """And they share the page, so that its body is encoded once."""
    waits = [await parked(rig) for _ in range(4)]
    reads = rig.store.reads
    await rig.append(b"x")
    pages = [(await settled(calls)).page for _, calls in waits]
    assert [entry.data for entry in pages[0].entries] == [b"x"]
    assert all(page is pages[0] for page in pages)
    assert rig.store.reads == reads + 1
    assert rig.metrics.waits["stream"].ended == {"fired": 4}


async def test_followers_share_it_too(
    autojump_clock: MockClock, rig: StreamRig, no_sweep: None
) -> None:
    """A reader of events at the same offset needs no read of its own."""
    pages: list[object] = []

    async def follow() -> None:
        with rig.streams.follow("s", START) as follower:
            found = await follower.next(25)
            assert isinstance(found, StreamRead)
            pages.append(found.page)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        _, calls = await parked(rig)
        reads = rig.store.reads
        await rig.append(b"x")
    assert (await settled(calls)).page is pages[0]
    assert rig.store.reads == reads + 1


async def test_its_end_and_its_deletion(
    autojump_clock: MockClock, rig: StreamRig, no_sweep: None
) -> None:
    """Both settle the wait; a refusal is counted."""
    tail = await rig.append(b"x")
    _, calls = await parked(rig, tail)
    await rig.append(b"", closes=True)
    found = await settled(calls)
    assert (found.page.view.closed, found.page.entries) == (True, [])
    await rig.streams.create("t", NewStream(content_type="text/plain"))
    _, calls = await parked(rig, path="t")
    assert await rig.elsewhere.delete("t") is None
    assert await settled(calls) == Refused(reason=StreamRefusal.UNKNOWN)
    assert rig.metrics.streams["not_found"] == 1


async def test_the_end_of_the_time(autojump_clock: MockClock, rig: StreamRig) -> None:
    """The offset continues from there; a page without entries is no end."""
    tail = await rig.append(b"x")
    wait, _ = await parked(rig, None)
    found = wait.expire()
    assert isinstance(found, StreamRead)
    assert (found.page.end, found.ready) == (tail, False)
    assert len(rig.notifier) == 1  # lingers for the next poll
    assert rig.metrics.waits["stream"].ended == {"timeout": 1}


async def test_a_wake_without_an_append(
    autojump_clock: MockClock, rig: StreamRig, no_sweep: None
) -> None:
    """The wait goes on, and a stream's time does not begin anew."""
    wait, calls = await parked(rig)
    touched: list[bool] = []
    read = rig.store.read

    async def note(*args: Any, touches: bool = True) -> Any:
        touched.append(touches)
        return await read(*args, touches=touches)

    rig.store.read = note  # type: ignore[method-assign]
    assert await rig.elsewhere_notifier.notify("s")
    await wait_all_tasks_blocked()
    assert (calls.results, set(touched)) == ([], {False})
    wait.withdraw()


async def test_what_is_there_needs_no_wait(
    autojump_clock: MockClock, rig: StreamRig
) -> None:
    """And leaves no subscription; the same without a wait at all."""
    await rig.append(b"x")
    assert isinstance(await rig.streams.begin_read("s", START, 25), StreamRead)
    assert isinstance(await rig.streams.read("s", START), StreamRead)
    new = NewAppend(closes=True)
    await rig.elsewhere.append("s", new)
    assert isinstance(await rig.streams.begin_read("s", None, 25), StreamRead)
    assert len(rig.notifier) == 0


async def test_what_operators_see_of_a_wait(
    autojump_clock: MockClock, rig: StreamRig
) -> None:
    """The stream, and the offset that it was read up to."""
    wait, _ = await parked(rig)
    (waited,) = wait.waited_keys()
    read = wait.expire()
    assert isinstance(read, StreamRead)
    assert waited == WaitedKey("s", str(read.page.end))
