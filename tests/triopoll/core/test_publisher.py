"""Publishing over an engine in this process, on a clock that jumps."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from tests.triopoll.logrig import (
    LIMIT,
    PREFIX,
    SETTINGS,
    LogRig,
    delayed_of,
    messages,
    open_log_rig,
)
from trio.testing import MockClock, wait_all_tasks_blocked

from triopoll.core.log_notifier import group_key
from triopoll.core.outcomes import Failure
from triopoll.core.publisher import (
    ClearEvent,
    Draft,
    Pending,
    Published,
    Publisher,
    SetEvent,
    Signalled,
    Stored,
    Unpublished,
    WakeGroup,
)
from triopoll.core.wait_items import GroupItem, GroupState, ReadResult
from triopoll.store import (
    ALL,
    NEW,
    Appended,
    DelayedMessage,
    MessageLog,
    NewMessage,
    StoreError,
    StoreFailed,
    StoreUnreachable,
)
from trioslock import Event, GroupEvent


@pytest.fixture
def publisher(rig: LogRig) -> Publisher:
    return publisher_of(rig)


def publisher_of(rig: LogRig, log: MessageLog | None = None) -> Publisher:
    return Publisher(
        rig.client,
        rig.log if log is None else log,
        rig.notifier,
        rig.monitor,
        rig.metrics,
        SETTINGS,
        delayed_of(rig),
    )


def stored(result: Published) -> Stored:
    assert isinstance(result, Stored)
    return result


async def kept(rig: LogRig, key: str) -> list[bytes]:
    result = await messages(rig, key, ALL, 99, 0)
    assert isinstance(result, ReadResult)
    return [message.data for message in result.page.messages]


async def test_messages(
    autojump_clock: MockClock, rig: LogRig, publisher: Publisher
) -> None:
    """They are in their logs, in order, under the ids that readers get."""
    drafts = [NewMessage("a", b"1"), NewMessage("b", b"2"), NewMessage("a", b"3")]
    results = list(map(stored, await publisher.publish(drafts)))
    assert [each.waiting for each in results] == [0, 0, 0]
    assert all(each.woken and not each.duplicate for each in results)
    assert await kept(rig, "a") == [b"1", b"3"]
    result = await messages(rig, "b", ALL, 9, 0)
    assert isinstance(result, ReadResult)
    assert result.page.messages[0].id == results[1].id
    assert rig.metrics.published == {"message": 3}


async def test_waits_are_woken(
    autojump_clock: MockClock, rig: LogRig, publisher: Publisher, no_sweep: None
) -> None:
    """At once; their number is not known."""
    async with trio.open_nursery() as nursery:
        read_results: list[object] = []

        async def read() -> None:
            read_results.append(await messages(rig, "a", NEW, 9, 25))

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        (result,) = await publisher.publish([NewMessage("a", b"1")])
        assert stored(result).waiting is None
    assert isinstance(read_results[0], ReadResult)
    assert trio.current_time() < 0.1


async def test_a_duplicate(
    autojump_clock: MockClock, rig: LogRig, publisher: Publisher, no_sweep: None
) -> None:
    """It is stored once, and wakes all the same: the first may have died before."""
    await rig.log.append([NewMessage("a", b"0", id="first")])
    start = await messages(rig, "a", NEW, 9, 0)
    assert isinstance(start, ReadResult)
    await rig.log.append([NewMessage("a", b"1", id="x")])
    seen: list[object] = []

    async def follow() -> None:
        with rig.notifier.subscribe(("a",)) as subscription:
            await subscription.wait()
            seen.append("armed")
            await subscription.wait()
            seen.append("woken")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await wait_all_tasks_blocked()
        (result,) = await publisher.publish([NewMessage("a", b"1", id="x")])
    assert stored(result).duplicate
    assert seen == ["armed", "woken"]
    assert await kept(rig, "a") == [b"0", b"1"]


async def test_delayed_messages(
    autojump_clock: MockClock, rig: LogRig, publisher: Publisher
) -> None:
    """They are pending beside what is stored at once; one that is stored is not."""
    drafts: list[Draft] = [
        DelayedMessage(NewMessage("a", b"1", id="later"), 60),
        NewMessage("a", b"2", id="now"),
        DelayedMessage(NewMessage("a", b"3", id="now"), 60),
        DelayedMessage(NewMessage("a", b"4", id="later"), 90),
    ]
    first, now, again, replaced = await publisher.publish(drafts)
    assert isinstance(first, Pending)
    assert (first.key, first.name, first.replaced) == ("a", "later", False)
    assert isinstance(replaced, Pending)
    assert replaced.replaced
    assert stored(again).duplicate
    assert stored(again).id == stored(now).id
    assert await kept(rig, "a") == [b"2"]
    assert rig.metrics.published == {"message": 1, "delayed": 3}
    assert rig.metrics.delayed == {"scheduled": 1, "replaced": 1}


async def test_events_and_groups(
    autojump_clock: MockClock, rig: LogRig, publisher: Publisher
) -> None:
    """In the order given; a group that was set is cleared, and its version goes on."""
    event = rig.publisher.event("e", ttl=60)
    other = rig.publisher.event("f", default="set", ttl=60)
    drafts: list[Draft] = [SetEvent("e", "clear", 60), ClearEvent("f", "set", 60)]
    assert await publisher.publish(drafts) == [Signalled()] * 2
    assert await event.is_set()
    assert not await other.is_set()
    drafts = [ClearEvent("e", "clear", 60), SetEvent("f", "set", 60)]
    assert await publisher.publish(drafts) == [Signalled()] * 2
    assert not await event.is_set()
    assert await other.is_set()

    (first,) = await publisher.publish([WakeGroup("g")])
    assert isinstance(first, Signalled)
    assert first.version is not None
    (second,) = await publisher.publish([WakeGroup("g")])
    assert second == Signalled(first.version + 1)
    seen = await rig.reader.wait_any([GroupItem("g", first.version)], 25)
    assert seen == [GroupState(True, first.version + 1)]


async def test_slock_is_away(
    autojump_clock: MockClock, rig: LogRig, publisher: Publisher, no_sweep: None
) -> None:
    """Messages are stored, and found at once in this process; the rest is an error."""
    read_results: list[object] = []

    async def read() -> None:
        read_results.append(await messages(rig, "a", NEW, 9, 25))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        rig.monitor.up = False
        message, event = await publisher.publish(
            [NewMessage("a", b"1"), SetEvent("e", "clear", 60)]
        )
    assert not stored(message).woken
    assert stored(message).waiting is None
    assert event == Unpublished(Failure.SLOCK_UNREACHABLE)
    assert isinstance(read_results[0], ReadResult)
    assert trio.current_time() < 0.1


async def test_slock_refuses(
    autojump_clock: MockClock, rig: LogRig, publisher: Publisher
) -> None:
    """What it refuses is an error of that item alone."""
    async with rig.publisher.lock("e"), rig.publisher.lock(group_key(PREFIX, "a")):
        results = await publisher.publish(
            [
                NewMessage("a", b"1"),
                SetEvent("e", "clear", 60),
                SetEvent("f", "clear", 60),
            ]
        )
    assert isinstance(results[0], Stored)
    assert results[1:] == [Unpublished(Failure.SLOCK_REFUSED), Signalled()]


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (StoreUnreachable("away"), Failure.STORE_UNREACHABLE),
        (StoreFailed("full"), Failure.STORE_FAILED),
        (None, Failure.STORE_UNREACHABLE),
    ],
)
async def test_the_store_fails(
    autojump_clock: MockClock,
    rig: LogRig,
    monkeypatch: pytest.MonkeyPatch,
    fault: StoreError | None,
    failure: Failure,
) -> None:
    """Of the messages only, within the limit."""

    class Faulty(type(rig.log)):  # type: ignore[misc]
        async def append(
            self, messages: Sequence[NewMessage]
        ) -> list[Appended | StoreError]:
            if fault is None:
                await trio.sleep_forever()
            return [fault or StoreError()] * len(messages)

    log = Faulty()
    publisher = publisher_of(rig, log)
    results = await publisher.publish([NewMessage("a", b"1"), WakeGroup("g")])
    assert results[0] == Unpublished(failure)
    assert isinstance(results[1], Signalled)
    assert trio.current_time() <= LIMIT
    assert rig.metrics.published == {"group": 1}


async def test_a_publisher_that_leaves(
    autojump_clock: MockClock, no_sweep: None
) -> None:
    """Wherever it does: a stored message wakes its waits, since the wake follows."""
    for steps in range(1, 40):
        async with open_log_rig() as rig:
            publisher = publisher_of(rig)
            read_results: list[object] = []
            async with trio.open_nursery() as nursery:

                async def read(read_results: list[object], rig: LogRig) -> None:
                    read_results.append(await messages(rig, "a", NEW, 9, 25))

                nursery.start_soon(read, read_results, rig)
                await wait_all_tasks_blocked()
                ended = await leave_after(steps, publisher)
                if not await kept(rig, "a"):
                    nursery.cancel_scope.cancel()
            if read_results:
                assert isinstance(read_results[0], ReadResult)
                assert read_results[0].ready
            if ended:
                return
    raise AssertionError("the publish never got to its end")


async def leave_after(steps: int, publisher: Publisher) -> bool:
    ended = False
    async with trio.open_nursery() as nursery:

        async def leave() -> None:
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

        nursery.start_soon(leave)
        await publisher.publish([NewMessage("a", b"1")])
        ended = not nursery.cancel_scope.cancel_called
        nursery.cancel_scope.cancel()
    return ended


async def test_slock_that_answers_nothing(
    autojump_clock: MockClock, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs the limit once for the wakes and once for the rest, not for each."""

    async def hang(*args: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(GroupEvent, "wakeup", hang)
    monkeypatch.setattr(Event, "set", hang)
    drafts: list[Draft] = [NewMessage(f"k{n}", b"1") for n in range(5)]
    drafts += [SetEvent("e", "clear", 60)] * 20
    results = await publisher.publish(drafts)
    assert trio.current_time() <= 2 * LIMIT
    assert not any(stored(each).woken for each in results[:5])
    assert results[5:] == [Unpublished(Failure.SLOCK_UNREACHABLE)] * 20


async def test_repr(autojump_clock: MockClock, publisher: Publisher) -> None:
    """It shows what it works with."""
    assert repr(publisher).startswith("<Publisher: <")
