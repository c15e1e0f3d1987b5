"""Streams over an engine in this process, on a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest
import trio
from tests.triopoll.logrig import LIMIT
from tests.triopoll.streamrig import TEXT, StreamRig, open_stream_rig
from trio.testing import MockClock, wait_all_tasks_blocked

from triopoll.core.outcomes import Failure
from triopoll.core.parked_waits import WaitedKey
from triopoll.core.stream_wait import StreamRead
from triopoll.store import (
    START,
    ForkPoint,
    NewAppend,
    NewStream,
    Producer,
    Refused,
    StoreFull,
    StoreUnreachable,
    StreamCreated,
    StreamRefusal,
)


@pytest.fixture
async def rig() -> AsyncIterator[StreamRig]:
    async with open_stream_rig() as rig:
        yield rig


def texts(read: StreamRead) -> list[bytes]:
    return [entry.data for entry in read.page.entries]


async def test_what_is_there_is_read_at_once(
    autojump_clock: MockClock, rig: StreamRig
) -> None:
    """Nothing waits, on slock or here."""
    await rig.append(b"x")
    found = await rig.read()
    assert (texts(found), found.woken, found.ready) == ([b"x"], None, True)
    assert await rig.waiting() == 0
    assert trio.current_time() == 0


async def test_an_append_in_another_process(
    autojump_clock: MockClock, rig: StreamRig, no_sweep: None
) -> None:
    """It ends all waits; one wait on slock and one read serve all of them."""
    seen: list[StreamRead] = []

    async def wait() -> None:
        seen.append(await rig.read())

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(wait)
        await trio.sleep(3)
        assert await rig.waiting() == 1
        assert len(rig.waits) == 4
        reads = rig.store.reads
        await rig.append(b"x")
    assert trio.current_time() == pytest.approx(3, abs=0.1)
    assert [texts(found) for found in seen] == [[b"x"]] * 4
    assert all(found.woken is not None for found in seen)
    assert rig.store.reads - reads <= 2


async def test_the_last_append_comes_with_the_close(
    autojump_clock: MockClock, rig: StreamRig, no_sweep: None
) -> None:
    """And a close without data ends a wait as well, as does deletion."""
    tail = await rig.append(b"x")
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            found = await rig.read(tail)
            assert (texts(found), found.page.view.closed) == ([b"y"], True)

        nursery.start_soon(wait)
        await trio.sleep(3)
        await rig.append(b"y", closes=True)
    found = await rig.read(None)
    assert (texts(found), found.ready) == ([], True)
    assert trio.current_time() == pytest.approx(3, abs=0.1)

    await rig.streams.create("t", TEXT)
    async with trio.open_nursery() as nursery:

        async def wait_for_end() -> None:
            gone = await rig.wait("t")
            assert gone == Refused(reason=StreamRefusal.UNKNOWN)

        nursery.start_soon(wait_for_end)
        await trio.sleep(3)
        assert await rig.elsewhere.delete("t") is None
    assert trio.current_time() == pytest.approx(6, abs=0.1)


@pytest.mark.parametrize("moment", [0.0, 0.001, 0.01, 5.0])
async def test_an_append_at_any_moment(
    autojump_clock: MockClock, rig: StreamRig, no_sweep: None, moment: float
) -> None:
    """No wake is missed, whenever the wait begins."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.append, b"x")
        if moment:
            await trio.sleep(moment)
        found = await rig.read()
        assert texts(found) == [b"x"]
    assert trio.current_time() < moment + 1


async def test_the_time_is_over(autojump_clock: MockClock, rig: StreamRig) -> None:
    """The same offset comes back; a server that drains says so at once."""
    tail = await rig.append(b"x")
    found = await rig.read(None)
    assert (texts(found), found.page.end, found.ready) == ([], tail, False)
    assert trio.current_time() == pytest.approx(25)
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            assert not (await rig.read(None)).ready

        nursery.start_soon(wait)
        await trio.sleep(1)
        rig.drain.begin()
        await rig.drain.release(0.1)
    assert trio.current_time() == pytest.approx(26, abs=0.5)


async def test_pages_one_after_the_other(
    autojump_clock: MockClock, rig: StreamRig, no_sweep: None
) -> None:
    """A follower gets each append once, whatever comes while it is away."""
    with rig.streams.follow("s", START) as follower:
        await rig.append(b"1")
        seen = texts_of(await follower.next(25))
        await rig.append(b"2")
        await rig.append(b"3")
        while len(seen) < 3:
            seen += texts_of(await follower.next(25))
        assert seen == [b"1", b"2", b"3"]
        quiet = await follower.next(5)
        assert isinstance(quiet, StreamRead)
        assert not quiet.ready
        with trio.move_on_after(1):
            await follower.next(25)
        await rig.append(b"4")
        assert texts_of(await follower.next(25)) == [b"4"]


def texts_of(found: StreamRead | Refused | Failure) -> list[bytes]:
    assert isinstance(found, StreamRead)
    return texts(found)


async def test_a_stream_whose_time_is_over(
    autojump_clock: MockClock, rig: StreamRig
) -> None:
    """Its readers are told within seconds."""
    await rig.streams.create("t", NewStream(content_type="a/b", ttl=5))
    found = await rig.wait("t")
    assert found == Refused(reason=StreamRefusal.UNKNOWN)
    assert 5 <= trio.current_time() < 10


async def test_a_path_that_is_free_again(rig: StreamRig) -> None:
    """A deleted source whose forks have gone is unknown to all that ask."""
    fork = NewStream(content_type="", fork=ForkPoint("s", None, 0), ttl=1)
    again = NewStream(content_type="", fork=ForkPoint("s", None, 0))
    for ask in (
        lambda: rig.streams.look("s"),
        lambda: rig.streams.read("s", START),
        lambda: rig.streams.delete("s"),
        lambda: rig.streams.append("s", NewAppend(closes=True)),
        lambda: rig.streams.create("g", again),
    ):
        await rig.streams.create("s", TEXT)
        assert isinstance(await rig.streams.create("f", fork), StreamCreated)
        assert await rig.streams.delete("s") is None
        refused = await ask()
        assert isinstance(refused, Refused)
        assert refused.reason in (StreamRefusal.DELETED, StreamRefusal.SOURCE_DELETED)
        made = await rig.streams.create("s", TEXT)
        assert made == Refused(reason=StreamRefusal.DELETED)
        rig.store._streams["f"].deadline = 0.0
        refused = await ask()
        assert isinstance(refused, Refused)
        assert refused.reason in (StreamRefusal.UNKNOWN, StreamRefusal.SOURCE_UNKNOWN)
    await rig.streams.create("s", TEXT)
    await rig.streams.create("f", fork)
    await rig.streams.delete("s")
    rig.store._streams["f"].deadline = 0.0
    assert isinstance(await rig.streams.create("s", TEXT), StreamCreated)


async def test_what_is_counted(rig: StreamRig) -> None:
    """What became of each request, by word."""
    streams = rig.streams
    await streams.create("s", TEXT)
    await streams.create("s", NewStream(content_type="a/b"))
    producer = Producer("p", 0, 0)
    new = NewAppend(kind="text/plain", data=b"x", producer=producer)
    await streams.append("s", new)
    await streams.append("s", new)
    await streams.append("s", NewAppend(closes=True))
    await streams.append("s", NewAppend(kind="text/plain", data=b"y"))
    await streams.read("u", START)
    await streams.delete("s")
    assert dict(rig.metrics.streams) == {
        "created": 1,
        "found": 1,
        "conflict": 1,
        "appended": 1,
        "duplicate": 1,
        "closed": 2,
        "not_found": 1,
        "deleted": 1,
    }
    assert repr(streams).startswith("<Streams: <MemoryStreams: 0>")


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (StoreUnreachable("gone"), Failure.STORE_UNREACHABLE),
        (StoreFull("full"), Failure.STORE_FAILED),
    ],
)
async def test_a_store_that_fails(
    rig: StreamRig, fault: Exception, failure: Failure
) -> None:
    """Each operation returns why, and is counted."""
    rig.store.fault = fault
    for outcome in (
        await rig.streams.create("s", TEXT),
        await rig.streams.append("s", NewAppend(closes=True)),
        await rig.streams.look("s"),
        await rig.streams.delete("s"),
        await rig.wait("s", START, 5),
    ):
        assert outcome is failure
    assert sum(rig.metrics.backend_errors.values()) == 5


async def test_a_store_that_fails_during_a_wait(
    autojump_clock: MockClock, rig: StreamRig
) -> None:
    """It does not look like a timeout."""
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            outcome = await rig.wait("s")
            assert outcome is Failure.STORE_UNREACHABLE

        nursery.start_soon(wait)
        await trio.sleep(1)
        rig.store.fault = StoreUnreachable("gone")


async def test_a_store_that_hangs(autojump_clock: MockClock, rig: StreamRig) -> None:
    """It is given up within the limit, and so is an append that was begun."""
    rig.store.hangs = True
    with trio.move_on_after(1) as scope:
        await rig.streams.append("s", NewAppend(closes=True))
    assert trio.current_time() == pytest.approx(LIMIT)
    assert not scope.cancelled_caught or scope.cancel_called
    assert await rig.streams.read("s", START) is Failure.STORE_UNREACHABLE


async def test_an_append_that_is_cancelled(
    autojump_clock: MockClock, rig: StreamRig, no_sweep: None
) -> None:
    """It wakes those who wait for it all the same."""
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            assert texts(await rig.read()) == [b"x"]

        nursery.start_soon(wait)
        await trio.sleep(1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await rig.append(b"x")
    assert trio.current_time() == pytest.approx(1, abs=0.1)


async def test_slock_is_down(
    autojump_clock: MockClock, rig: StreamRig, no_sweep: None
) -> None:
    """Appends are stored, and wake the waits of this process."""
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            assert texts(await rig.read()) == [b"x"]

        nursery.start_soon(wait)
        await trio.sleep(1)
        rig.monitor.up = False
        new = NewAppend(kind="text/plain", data=b"x")
        await rig.streams.append("s", new)
    assert trio.current_time() == pytest.approx(1, abs=0.1)


async def test_too_many_streams(rig: StreamRig) -> None:
    """No more of them are watched than may be."""
    with ExitStack() as stack:
        for n in range(8):
            stack.enter_context(rig.streams.follow(f"s{n}", START))
        assert await rig.wait("s") is Failure.TOO_MANY_WAITS
        assert isinstance(await rig.streams.read("s", START), StreamRead)


async def test_what_operators_see_of_a_follower(
    autojump_clock: MockClock, rig: StreamRig
) -> None:
    """The stream, and the offset behind its last page."""
    with rig.streams.follow("s", START) as follower:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follower.next, 25)
            await wait_all_tasks_blocked()
            (details,) = rig.waits.details()
            nursery.cancel_scope.cancel()
    (waited,) = details.keys
    page = await rig.streams.read("s", START)
    assert isinstance(page, StreamRead)
    assert waited == WaitedKey("s", str(page.page.end))


async def test_too_many_waits(autojump_clock: MockClock, rig: StreamRig) -> None:
    """One more is refused; a follower raises where it is not caught."""
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(rig.read)
        await wait_all_tasks_blocked()
        await trio.sleep(0.1)
        outcome = await rig.wait("s")
        assert outcome is Failure.TOO_MANY_WAITS
        with rig.streams.follow("s", START) as follower:
            assert await follower.next(25) is Failure.TOO_MANY_WAITS
        await rig.append(b"x")
