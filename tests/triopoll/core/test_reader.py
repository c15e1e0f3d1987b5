"""Reading and waiting over an engine in this process, on a clock that jumps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from bench.calls import CallCounter, mark_task
from tests.triopoll.logrig import LIMIT, LogRig, messages, open_log_rig
from trio.testing import MockClock, wait_all_tasks_blocked

from triopoll.core.held_keys import HeldKeys
from triopoll.core.log_notifier import SHARED_READ
from triopoll.core.outcomes import Failure, OperationFailed
from triopoll.core.wait_items import (
    EventItem,
    EventState,
    GroupItem,
    GroupState,
    Item,
    ItemState,
    LogItem,
    ReadResult,
)
from triopoll.store import ALL, NEW, BadCursor, Page, StoreFailed, StoreUnreachable


def data(seen: ItemState | Failure) -> list[bytes]:
    assert isinstance(seen, ReadResult)
    return [message.data for message in seen.page.messages]


async def by_itself(
    rig: LogRig, key: str, cursor: str, limit: int, seconds: float
) -> ReadResult | Failure:
    return await messages(rig, key, cursor, limit, seconds)


async def among_others(
    rig: LogRig, key: str, cursor: str, limit: int, seconds: float
) -> ReadResult | Failure:
    items = [LogItem("other", NEW, 1), LogItem(key, cursor, limit)]
    seen = await rig.reader.wait_any(items, seconds)
    return seen if isinstance(seen, Failure) else as_result(seen[1])


async def beside_signals(
    rig: LogRig, key: str, cursor: str, limit: int, seconds: float
) -> ReadResult | Failure:
    items = [EventItem("e"), LogItem(key, cursor, limit), GroupItem("g")]
    seen = await rig.reader.wait_any(items, seconds)
    return seen if isinstance(seen, Failure) else as_result(seen[1])


def as_result(seen: ItemState) -> ReadResult:
    assert isinstance(seen, ReadResult)
    return seen


async def followed(
    rig: LogRig, key: str, cursor: str, limit: int, seconds: float
) -> ReadResult | Failure:
    try:
        with rig.reader.follow(LogItem(key, cursor, limit), None) as log:
            return await rig.reader.next_page(log, seconds)
    except OperationFailed as error:
        return error.failure


Read = Callable[[LogRig, str, str, int, float], Awaitable[ReadResult | Failure]]
each_way = pytest.mark.parametrize(
    "read", [by_itself, among_others, beside_signals, followed]
)


@each_way
async def test_what_is_there(
    autojump_clock: MockClock, rig: LogRig, read: Read
) -> None:
    """It is returned at once, in order, so many at most, and stays where it is."""
    await rig.log.put("k", b"1", b"2", b"3")
    result = await read(rig, "k", ALL, 2, 30)
    assert data(result) == [b"1", b"2"]
    cursor = as_result(result).page.cursor  # type: ignore[arg-type]
    for _ in range(2):
        assert data(await read(rig, "k", cursor, 9, 30)) == [b"3"]
    assert trio.current_time() == 0


@each_way
async def test_nothing_comes(
    autojump_clock: MockClock, rig: LogRig, read: Read
) -> None:
    """The wait ends at its time, with a cursor that misses nothing."""
    await rig.log.put("k", b"1")
    result = await read(rig, "k", NEW, 9, 25)
    assert data(result) == []
    assert trio.current_time() == pytest.approx(25)
    await rig.log.put("k", b"2")
    cursor = as_result(result).page.cursor  # type: ignore[arg-type]
    assert data(await read(rig, "k", cursor, 9, 25)) == [b"2"]


@each_way
async def test_a_read_without_waiting(
    autojump_clock: MockClock, rig: LogRig, read: Read
) -> None:
    """Nothing is parked."""
    assert data(await read(rig, "k", NEW, 9, 0)) == []
    assert trio.current_time() == 0
    assert await rig.waiting() == 0


@each_way
async def test_a_message_comes(
    autojump_clock: MockClock, rig: LogRig, read: Read, no_sweep: None
) -> None:
    """The wait ends at that moment."""

    async def publish() -> None:
        await trio.sleep(3)
        await rig.log.put("k", b"1")
        assert await rig.wake("k")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish)
        assert data(await read(rig, "k", NEW, 9, 25)) == [b"1"]
    assert trio.current_time() == pytest.approx(3)


@each_way
async def test_a_publisher_dies_before_the_wake(
    autojump_clock: MockClock, rig: LogRig, read: Read
) -> None:
    """The message is found all the same, within 5 s."""

    async def publish() -> None:
        await trio.sleep(3)
        await rig.log.put("k", b"1")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish)
        assert data(await read(rig, "k", NEW, 9, 25)) == [b"1"]
    assert trio.current_time() < 8


@each_way
@pytest.mark.slow
async def test_a_wake_at_every_point(
    autojump_clock: MockClock, read: Read, no_sweep: None
) -> None:
    """Wherever append and wake fall, before, in or after the read: never lost, or hot.

    The sweep is off, so only the wake can end the wait before its time.
    """
    for append_at in range(0, 30, 1):
        for wake_at in (0, 1, 2, 3, 5, 8, 13):
            async with open_log_rig() as rig:
                start = await read(rig, "k", NEW, 9, 0)
                cursor = as_result(start).page.cursor  # type: ignore[arg-type]
                rig.log.reads = 0
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(publish_after, rig, append_at, wake_at)
                    result = await read(rig, "k", cursor, 9, 25)
                assert data(result) == [b"1"]
                assert trio.current_time() < 1, (append_at, wake_at)
                assert rig.log.reads <= 8, (append_at, wake_at)


async def publish_after(rig: LogRig, append_at: int, wake_at: int) -> None:
    for _ in range(append_at):
        await trio.lowlevel.checkpoint()
    await rig.log.put("k", b"1")
    for _ in range(wake_at):
        await trio.lowlevel.checkpoint()
    await rig.wake("k")


@each_way
@pytest.mark.slow
async def test_a_departure_at_every_point(
    autojump_clock: MockClock, read: Read
) -> None:
    """Nothing waits on slock when the linger is over, and nothing was taken."""
    for steps in range(1, 80):
        async with open_log_rig() as rig:
            ended: list[object] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(leave_after, steps, rig, read, ended)
                nursery.start_soon(publish_after, rig, 20, 3)
            await trio.sleep(6)
            assert len(rig.notifier) == 0
            assert await rig.waiting() == 0
            assert data(await messages(rig, "k", ALL, 9, 0)) == [b"1"]
            if ended:
                return
    raise AssertionError("the wait never got to its end")


async def leave_after(steps: int, rig: LogRig, read: Read, ended: list[object]) -> None:
    async with trio.open_nursery() as nursery:

        async def leave() -> None:
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

        nursery.start_soon(leave)
        ended.append(await read(rig, "k", NEW, 9, 25))
        nursery.cancel_scope.cancel()


@each_way
async def test_the_drain(autojump_clock: MockClock, rig: LogRig, read: Read) -> None:
    """It ends the wait as if nothing had come."""

    async def drain() -> None:
        await trio.sleep(2)
        await rig.drain.release(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        assert data(await read(rig, "k", NEW, 9, 25)) == []
    assert trio.current_time() == pytest.approx(2)
    await rig.log.put("k", b"1")
    assert data(await read(rig, "k", ALL, 9, 25)) == [b"1"]


@each_way
async def test_a_gap(autojump_clock: MockClock, rig: LogRig, read: Read) -> None:
    """It is reported at once, without waiting."""
    result = await read(rig, "k", "00000000.1.0001", 9, 25)
    assert as_result(result).page.gap  # type: ignore[arg-type]
    assert trio.current_time() == 0


@each_way
async def test_a_text_that_is_no_cursor(
    autojump_clock: MockClock, rig: LogRig, read: Read
) -> None:
    """It is the caller's error."""
    with pytest.raises(BadCursor):
        await read(rig, "k", "nonsense", 9, 25)


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (StoreUnreachable("away"), Failure.STORE_UNREACHABLE),
        (StoreFailed("no"), Failure.STORE_FAILED),
        (None, Failure.STORE_UNREACHABLE),
    ],
)
@each_way
async def test_the_store_fails(
    autojump_clock: MockClock,
    rig: LogRig,
    read: Read,
    fault: Exception | None,
    failure: Failure,
) -> None:
    """At the first look or at one after a wake, within the limit.

    After a wake, what all wait for together comes before that.
    """

    async def fail() -> None:
        rig.log.fault, rig.log.hangs = fault, fault is None

    await fail()
    assert await read(rig, "k", NEW, 9, 25) is failure
    assert trio.current_time() <= LIMIT
    rig.log.fault, rig.log.hangs = None, False

    async def fail_later() -> None:
        await trio.sleep(1)
        await fail()
        await rig.wake("k")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_later)
        assert await read(rig, "k", NEW, 9, 60) is failure
    assert trio.current_time() <= 2 * LIMIT + SHARED_READ + 1.1


@each_way
async def test_the_store_goes_away_during_the_wait(
    autojump_clock: MockClock, rig: LogRig, read: Read
) -> None:
    """The wait goes on, as it may come back; at the end it is no timeout."""

    async def fail() -> None:
        await trio.sleep(1)
        rig.log.fault = StoreUnreachable("away")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        # The sweep notices it without any wake.
        assert await read(rig, "k", NEW, 9, 25) is Failure.STORE_UNREACHABLE
    assert trio.current_time() == pytest.approx(25)


@each_way
async def test_a_store_that_was_away(
    autojump_clock: MockClock, rig: LogRig, read: Read
) -> None:
    """A wait that began when it was back does not fail for it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(messages, rig, "k", NEW, 9, 25)
        await trio.sleep(1)
        rig.log.fault = StoreUnreachable("away")
    assert not rig.notifier.store_up
    await trio.sleep(10)
    rig.log.fault = None
    result = await read(rig, "k", NEW, 9, 0.1)
    assert data(result) == []


async def test_a_wait_that_is_ended(autojump_clock: MockClock, rig: LogRig) -> None:
    """With a failure as its outcome."""

    async def end() -> None:
        await trio.sleep(1)
        for wait in list(rig.waits._parked):
            wait.end(Failure.TOO_MANY_WAITS)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        found = await messages(rig, "k", NEW, 9, 25)
    assert found is Failure.TOO_MANY_WAITS


@pytest.mark.parametrize("read", [by_itself, among_others])
async def test_slock_is_away(
    autojump_clock: MockClock, rig: LogRig, read: Read
) -> None:
    """Messages are found without it; the monitor does not end such a wait."""

    async def publish() -> None:
        await trio.sleep(2)
        rig.monitor.up = False
        rig.waits.end_all(Failure.SLOCK_UNREACHABLE)
        await rig.log.put("k", b"1")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish)
        assert data(await read(rig, "k", NEW, 9, 25)) == [b"1"]
    assert trio.current_time() < 7


@each_way
async def test_the_process_is_full(
    autojump_clock: MockClock, rig: LogRig, read: Read
) -> None:
    """What is there is answered; a wait is refused."""
    async with trio.open_nursery() as nursery:
        for number in range(64):
            nursery.start_soon(messages, rig, "x", NEW, 9, 60 + number)
        await wait_all_tasks_blocked()
        assert await read(rig, "k", NEW, 9, 25) is Failure.TOO_MANY_WAITS
        await rig.log.put("k", b"1")
        assert data(await read(rig, "k", ALL, 9, 25)) == [b"1"]
        nursery.cancel_scope.cancel()


async def test_more_logs_than_may_be_watched(autojump_clock: MockClock) -> None:
    """It is the same answer as for too many waits."""
    async with open_log_rig(max_keys=1) as rig:
        items = [LogItem("a", NEW, 1), LogItem("b", NEW, 1)]
        assert await rig.reader.wait_any(items, 1) is Failure.TOO_MANY_WAITS


async def test_many_waits_read_once(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """Those who look for the same after a wake share the look, and its encoding."""
    results: list[ReadResult | Failure] = []

    async def poll(cursor: str) -> None:
        results.append(await messages(rig, "k", cursor, 9, 25))

    await rig.log.put("k", b"0")
    start = as_result(await messages(rig, "k", NEW, 9, 0))  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        for _ in range(60):
            nursery.start_soon(poll, start.page.cursor)
        await wait_all_tasks_blocked()
        rig.log.reads = 0
        await rig.log.put("k", b"1")
        await rig.wake("k")
    assert rig.log.reads == 1
    assert len({id(result) for result in results}) == 1
    assert data(results[0]) == [b"1"]


async def test_a_shared_look_that_fails_belongs_to_no_reader(
    autojump_clock: MockClock,
    rig: LogRig,
    no_sweep: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is made before they are woken; an error in it ends neither them nor wakes."""
    read = rig.log.read
    found: list[ReadResult | Failure] = []

    async def fail_once(*args: Any, **options: Any) -> Page:
        monkeypatch.setattr(rig.log, "read", read)
        raise RuntimeError("a fault of ours")

    async def poll() -> None:
        found.append(await messages(rig, "k", cursor, 9, 25))

    first = as_result(await messages(rig, "k", NEW, 9, 0))  # type: ignore[arg-type]
    cursor = first.page.cursor
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(poll)
        await wait_all_tasks_blocked()
        monkeypatch.setattr(rig.log, "read", fail_once)
        await rig.log.put("k", b"1")
        await rig.wake("k")
    assert [data(each) for each in found] == [[b"1"]] * 3
    assert rig.log.read == read


# --- events and groups ------------------------------------------------------------


async def test_an_event(autojump_clock: MockClock, rig: LogRig) -> None:
    """Set, set during the wait, or not at all."""
    event = rig.publisher.event("e", ttl=60)
    items: list[Item] = [EventItem("e"), EventItem("f", "set")]
    assert await rig.reader.wait_any(items, 0) == [EventState(False), EventState(True)]
    items = [EventItem("e"), EventItem("g")]

    async def set_soon() -> None:
        await trio.sleep(1)
        await event.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(set_soon)
        seen = await rig.reader.wait_any(items, 25)
        assert seen == [EventState(True), EventState(False)]
    assert trio.current_time() == pytest.approx(1)
    assert await rig.reader.wait_any(items, 25) == [EventState(True), EventState(False)]
    await event.clear()
    assert await rig.reader.wait_any(items, 5) == [EventState(False)] * 2
    assert trio.current_time() == pytest.approx(6)
    assert await rig.waiting() == 0


async def test_a_group(autojump_clock: MockClock, rig: LogRig) -> None:
    """After a version each wake is reported once, with or without a parked wait."""
    group = rig.publisher.group_event("g", ttl=300, version=5)
    await group.clear()
    seen = await rig.reader.wait_any([GroupItem("g")], 3)
    assert seen == [GroupState(False, 5)]
    await group.wakeup()
    await group.wakeup()
    seen = await rig.reader.wait_any([GroupItem("g", 5)], 3)
    assert seen == [GroupState(True, 7)]
    assert trio.current_time() == pytest.approx(3)

    async def wake_soon() -> None:
        await trio.sleep(1)
        await group.wakeup()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wake_soon)
        seen = await rig.reader.wait_any([EventItem("e"), GroupItem("g", 7)], 3)
        assert seen == [EventState(False), GroupState(True, 8)]
    assert trio.current_time() == pytest.approx(4)
    assert await rig.waiting() == 0


async def test_a_group_that_the_server_has_forgotten(
    autojump_clock: MockClock, rig: LogRig
) -> None:
    """A reader with an earlier version may have missed a wake, so its wait ends."""
    (seen,) = await read_group(rig, GroupItem("g"))
    assert not seen.ready
    assert seen.version > 1e15
    (again,) = await read_group(rig, GroupItem("g", seen.version))
    assert again == seen
    rig.peer.flush_database(0)
    (later,) = await read_group(rig, GroupItem("g", seen.version))
    assert later.ready
    assert later.version > seen.version
    # A version from the future is news too.
    assert await read_group(rig, GroupItem("g", later.version + 9)) == [later]


async def test_a_group_whose_lease_has_ended(
    autojump_clock: MockClock, rig: LogRig
) -> None:
    """A wake before that is not lost to a reader that was away."""
    (seen,) = await read_group(rig, GroupItem("g"))
    await rig.publisher.group_event("g", ttl=10, version=seen.version).clear()
    await rig.publisher.group_event("g", ttl=10).wakeup()
    await trio.sleep(60)
    (later,) = await read_group(rig, GroupItem("g", seen.version))
    assert later.ready


async def read_group(rig: LogRig, item: GroupItem) -> list[GroupState]:
    seen = await rig.reader.wait_any([item], 1)
    assert isinstance(seen, list)
    return [each for each in seen if isinstance(each, GroupState)]


async def test_everything_that_is_ready(autojump_clock: MockClock, rig: LogRig) -> None:
    """Messages, events and groups in one answer, in the order asked for."""
    await rig.log.put("k", b"1")
    await rig.publisher.event("e", ttl=60).set()
    await rig.publisher.group_event("g", ttl=60, version=5).clear()
    items = [EventItem("e"), LogItem("k", ALL, 9), GroupItem("g", 4), EventItem("f")]
    seen = await rig.reader.wait_any(items, 25)
    assert isinstance(seen, list)
    assert data(seen[1]) == [b"1"]
    assert [seen[0], *seen[2:]] == [
        EventState(True),
        GroupState(True, 5),
        EventState(False),
    ]


async def test_fifty_of_them(autojump_clock: MockClock, rig: LogRig) -> None:
    """One wait covers all, and the one that comes ends it."""
    items: list[Item] = [LogItem(f"k{n}", NEW, 9) for n in range(48)]
    items += [EventItem("e"), LogItem("k7", ALL, 9)]

    async def publish() -> None:
        await trio.sleep(1)
        await rig.log.put("k7", b"1")
        await rig.wake("k7")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish)
        seen = await rig.reader.wait_any(items, 25)
    assert isinstance(seen, list)
    assert [n for n, each in enumerate(seen) if each.ready] == [7, 49]
    assert trio.current_time() == pytest.approx(1)


@pytest.mark.parametrize("item", [EventItem("e"), GroupItem("g")])
async def test_signals_without_slock(
    autojump_clock: MockClock, rig: LogRig, item: Item
) -> None:
    """They are refused, unless a message is there; a wait for them is ended."""
    items = [item, LogItem("k", ALL, 9)]

    async def lose_slock() -> None:
        await trio.sleep(1)
        rig.monitor.up = False
        rig.waits.end_all(Failure.SLOCK_UNREACHABLE)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lose_slock)
        away = Failure.SLOCK_UNREACHABLE
        assert await rig.reader.wait_any(items, 25) is away
    assert trio.current_time() == pytest.approx(1)
    assert await rig.reader.wait_any(items, 25) is away
    await rig.log.put("k", b"1")
    seen = await rig.reader.wait_any(items, 25)
    assert isinstance(seen, list)
    assert not seen[0].ready
    assert data(seen[1]) == [b"1"]


async def test_a_database_that_is_flushed(
    autojump_clock: MockClock, rig: LogRig
) -> None:
    """It is an error for events, and no timeout."""
    found: list[object] = []

    async def wait() -> None:
        found.append(await rig.reader.wait_any([EventItem("e")], 25))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        rig.peer.flush_database(0)
    assert found == [Failure.SLOCK_REFUSED]


async def test_a_group_that_is_a_lock(autojump_clock: MockClock, rig: LogRig) -> None:
    """Slock refuses."""
    async with rig.publisher.lock("g"):
        seen = await rig.reader.wait_any([GroupItem("g", 2**64 - 1)], 25)
    assert seen is Failure.SLOCK_REFUSED


async def test_repr(autojump_clock: MockClock, rig: LogRig) -> None:
    """It shows what is under way."""
    shown = (
        "<Reader: <ParkedWaits: 0 of 64>, <LogNotifier: 0 logs, 0 of them lingering>>"
    )
    assert repr(rig.reader) == shown


@pytest.mark.parametrize("waits", [False, True])
async def test_many_logs_together_are_no_longer_than_a_page(
    rig: LogRig, autojump_clock: MockClock, waits: bool
) -> None:
    """Else one short request makes an answer of fifty pages, a mebibyte each."""
    many = [LogItem("k", ALL, 1000)] * 50
    if waits:
        first = await messages(rig, "k", NEW, 1, 0)
        assert isinstance(first, ReadResult)
        many = [LogItem("k", first.page.cursor, 1000)] * 50

    async def put() -> None:
        await trio.sleep(1 if waits else 0)
        await rig.log.put("k", *[b"x" * 2**16] * 50)
        await rig.wake("k")

    async with trio.open_nursery() as nursery:
        if waits:
            nursery.start_soon(put)
        else:
            await put()
        seen = await rig.reader.wait_any(many, 25)
    assert isinstance(seen, list)
    pages = [data(each) for each in seen]
    assert all(pages)
    # The message that reaches the bytes of a page still belongs to it.
    assert sum(len(message) for page in pages for message in page) <= 2**20 + 50 * 2**16


@pytest.mark.parametrize("cursor", [NEW, ALL])
async def test_a_log_that_cannot_be_read_is_not_answered_as_if_it_had_been(
    rig: LogRig, monkeypatch: pytest.MonkeyPatch, cursor: str
) -> None:
    """Without a cursor its reader would ask from "new" again, and miss what came."""
    read = rig.log.read

    async def read_but_one(key: str, *args: Any, **more: Any) -> Page:
        if key == "broken":
            raise StoreFailed("it is no log")
        return await read(key, *args, **more)

    monkeypatch.setattr(rig.log, "read", read_but_one)
    await rig.log.put("k", b"1")
    items = [LogItem("k", ALL, 1), LogItem("broken", cursor, 1)]
    seen = await rig.reader.wait_any(items, 0)
    if cursor == NEW:
        assert seen is Failure.STORE_FAILED
    else:
        assert isinstance(seen, list)
        assert [each.ready for each in seen] == [True, False]


async def test_a_wait_takes_few_calls(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """One that finds nothing, parks, is woken and reads: 42 calls above its backends.

    The channel of its log lingers from the wait before, as between two polls.
    """
    first = await messages(rig, "k", NEW, 9, 1)
    cursor = as_result(first).page.cursor  # type: ignore[arg-type]
    counter = CallCounter(resumptions=True, only_marked=True)

    async def wait() -> None:
        mark_task()
        assert data(await messages(rig, "k", cursor, 9, 25)) == [b"1"]

    with counter.run():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(1)
            await rig.log.put("k", b"1")
            await rig.wake("k")
    assert counter.within("triopoll.core") <= 38, counter.typical().most_common()
    assert counter.within("triopoll.ops") <= 4, counter.typical().most_common()


async def test_a_visitor_that_waits_for_ever_new_groups(
    autojump_clock: MockClock, rig: LogRig
) -> None:
    """What it leaves held on slock is bounded; groups that it has asked for go on."""
    rig.waits.held = HeldKeys(per_visitor=2)
    found = [
        await rig.reader.wait_any([GroupItem(key)], 1, "visitor") for key in "abcda"
    ]
    refused = [each is Failure.TOO_MANY_HELD_KEYS for each in found]
    assert refused == [False, False, True, True, False]
    assert (await rig.client.state()).held == 2
    assert not isinstance(await rig.reader.wait_any([GroupItem("c")], 1), Failure)
    await trio.sleep(310)
    found = [await rig.reader.wait_any([GroupItem("d")], 1, "visitor")]
    assert not isinstance(found[0], Failure)


async def test_a_visitor_that_waits_for_ever_new_logs(
    autojump_clock: MockClock,
) -> None:
    """Beyond its bound no key is held; a message is found by the sweep."""
    async with open_log_rig(held=HeldKeys(per_visitor=2)) as rig:
        for key in "abc":
            await messages(rig, key, NEW, 9, 1, "visitor")
        assert (await rig.client.state()).held == 2

        async def publish() -> None:
            await trio.sleep(10)
            await rig.log.put("c", b"1")
            assert not await rig.wake("c")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            began = trio.current_time()
            assert data(await messages(rig, "c", NEW, 9, 25, "visitor")) == [b"1"]
        assert 10 <= trio.current_time() - began < 15


# --- logs that are followed -----------------------------------------------------------


async def test_page_after_page(autojump_clock: MockClock, rig: LogRig) -> None:
    """From where the last one ended, whatever comes between two calls."""
    await rig.log.put("k", b"1", b"2", b"3")
    found: list[bytes] = []
    with rig.reader.follow(LogItem("k", ALL, 2), None) as log:
        found += data(await rig.reader.next_page(log, 30))
        await rig.log.put("k", b"4")
        found += data(await rig.reader.next_page(log, 30))
        assert found == [b"1", b"2", b"3", b"4"]
        assert not data(await rig.reader.next_page(log, 0))
        assert not data(await rig.reader.next_page(log, 1))
        await rig.log.put("k", b"5")
        assert await rig.wake("k")
        assert data(await rig.reader.next_page(log, 30)) == [b"5"]
    assert trio.current_time() < LIMIT


async def test_a_wait_that_ends_in_its_read_loses_nothing(
    autojump_clock: MockClock, rig: LogRig
) -> None:
    """The wake is used up then, and the next call reads first."""
    with rig.reader.follow(LogItem("k", NEW, 9), None) as log:
        assert not data(await rig.reader.next_page(log, 30))
        read_now = rig.log.read

        async def read_slowly(*args: Any, **more: Any) -> Page:
            await trio.sleep(2)
            return await read_now(*args, **more)

        rig.log.read = read_slowly  # type: ignore[method-assign]
        await rig.log.put("k", b"1")
        assert await rig.wake("k")
        assert not data(await rig.reader.next_page(log, 1))
        rig.log.read = read_now  # type: ignore[method-assign]
        assert data(await rig.reader.next_page(log, 0)) == [b"1"]
