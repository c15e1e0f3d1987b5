"""Waits for what a read finds after a wake, tried with waits for messages."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from tests.triopoll.logrig import LIMIT, LogRig
from tests.triopoll.waiters import Calls
from trio.testing import MockClock, wait_all_tasks_blocked

from triopoll.core.log_notifier import SHARED_READ, Wake
from triopoll.core.log_wait import LogWait
from triopoll.core.outcomes import Failure
from triopoll.core.wait_items import LogItem, ReadResult
from triopoll.store import NEW, StoreUnreachable


def data(calls: Calls) -> list[bytes]:
    (result,) = calls.results
    assert isinstance(result, ReadResult)
    return [message.data for message in result.page.messages]


async def begin(rig: LogRig, key: str = "k", seconds: float = 25) -> LogWait:
    found = await rig.reader.begin_messages(LogItem(key, NEW, 9), seconds)
    assert isinstance(found, LogWait)
    return found


async def parked(rig: LogRig, key: str = "k") -> tuple[LogWait, Calls]:
    """Return a wait whose channel waits on slock."""
    wait, calls = await begin(rig, key), Calls()
    wait.start(calls)
    await wait_all_tasks_blocked()
    return wait, calls


def parked_now(rig: LogRig) -> tuple[int, int]:
    """Return how many waits are registered, and how many the metrics show."""
    return len(rig.waits), rig.metrics.waits["log"].parked


async def test_one_read_settles_all(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """No task has to run for it, and each is over then."""
    waits = [await parked(rig) for _ in range(40)]
    assert parked_now(rig) == (40, 40)
    rig.log.reads = 0
    await rig.log.put("k", b"1")
    await rig.wake("k")
    await wait_all_tasks_blocked()
    assert [data(calls) for _, calls in waits] == [[b"1"]] * 40
    assert rig.log.reads == 1
    assert parked_now(rig) == (0, 0)
    assert rig.metrics.waits["log"].ended == {"fired": 40}
    assert not any(calls.call_backs for _, calls in waits)


async def test_a_wake_without_a_message(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """The wait goes on, and the next message ends it."""
    wait, calls = await parked(rig)
    before = rig.metrics.waits["log"].empty_wakes
    await rig.wake("k")
    await wait_all_tasks_blocked()
    assert calls.results == []
    assert rig.metrics.waits["log"].empty_wakes == before + 1
    await rig.log.put("k", b"1")
    await rig.wake("k")
    await wait_all_tasks_blocked()
    assert data(calls) == [b"1"]
    wait.withdraw()
    assert rig.metrics.waits["log"].ended == {"fired": 1}


async def test_the_end_of_the_time(autojump_clock: MockClock, rig: LogRig) -> None:
    """Nothing is left; the cursor continues."""
    wait, calls = await parked(rig)
    result = wait.expire()
    assert isinstance(result, ReadResult)
    assert not result.ready
    assert parked_now(rig) == (0, 0)
    assert rig.metrics.waits["log"].ended == {"timeout": 1}
    await rig.log.put("k", b"1")
    await rig.wake("k")
    await wait_all_tasks_blocked()
    assert calls.results == []


async def test_a_withdrawal(autojump_clock: MockClock, rig: LogRig) -> None:
    """At any time, and more than once; the reason is that of the first."""
    wait, calls = await parked(rig)
    wait.withdraw("replaced")
    wait.withdraw()
    assert parked_now(rig) == (0, 0)
    assert rig.metrics.waits["log"].ended == {"replaced": 1}
    never = await begin(rig)
    never.withdraw()
    assert rig.metrics.waits["log"].ended == {"replaced": 1}
    assert calls.results == []


async def test_a_read_that_fails_is_repeated_by_the_task(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """With its failure the wait ends."""
    wait, calls = await parked(rig)
    rig.log.fault = StoreUnreachable("away")
    await rig.wake("k")
    await wait_all_tasks_blocked()
    assert calls.call_backs == 1
    assert await wait.proceed() is Failure.STORE_UNREACHABLE
    assert parked_now(rig) == (0, 0)
    assert rig.metrics.waits["log"].ended == {"store_unreachable": 1}


async def test_a_slow_store(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """The task reads by itself, until the end of its time at the latest."""
    wait, calls = await begin(rig, seconds=LIMIT - 1), Calls()
    wait.start(calls)
    await wait_all_tasks_blocked()
    rig.log.hangs = True
    await rig.wake("k")
    await trio.sleep(SHARED_READ + 0.1)
    assert calls.call_backs == 1
    assert isinstance(await wait.proceed(), ReadResult)
    assert trio.current_time() == pytest.approx(LIMIT - 1)
    assert rig.metrics.waits["log"].ended == {"timeout": 1}


async def test_a_wake_while_the_task_is_at_work(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """It is not missed: parked again, the wait calls back once more."""
    wait, calls = await parked(rig)
    wait.wake("k", Wake())
    assert calls.call_backs == 1
    wait.wake("k", Wake())
    assert await wait.proceed() is None
    assert await wait.proceed() is None
    await rig.log.put("k", b"1")
    wait.wake("k", Wake())
    wait.start(calls)
    assert calls.call_backs == 2
    result = await wait.proceed()
    assert isinstance(result, ReadResult)
    assert result.ready
    assert rig.metrics.waits["log"].ended == {"fired": 1}


async def test_a_wake_before_the_wait_is_parked(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """The message may have come after the first look."""
    first, _ = await parked(rig)
    wait, calls = await begin(rig), Calls()
    await rig.log.put("k", b"1")
    await rig.wake("k")
    await wait_all_tasks_blocked()
    wait.start(calls)
    assert calls.call_backs == 1
    result = await wait.proceed()
    assert isinstance(result, ReadResult)
    assert result.ready
    first.withdraw()


async def test_a_wake_during_the_first_look(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """It has no cursor yet from which others could read for it."""
    first, _ = await parked(rig)
    reads = rig.log.read
    calls = Calls()

    async def read(*args: Any, **more: Any) -> Any:
        rig.log.read = reads  # type: ignore[method-assign]
        page = await reads(*args, **more)
        await rig.log.put("k", b"1")
        await rig.wake("k")
        await wait_all_tasks_blocked()
        return page

    rig.log.read = read  # type: ignore[method-assign]
    wait = await begin(rig)
    wait.start(calls)
    assert calls.call_backs == 1
    assert isinstance(await wait.proceed(), ReadResult)
    first.withdraw()


@pytest.mark.parametrize("proceeds", [False, True])
async def test_the_drain(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None, proceeds: bool
) -> None:
    """A parked wait ends at once; one whose task is at work, when it parks again."""
    wait, calls = await parked(rig)
    if proceeds:
        wait.wake("k", Wake())
    await rig.drain.release(0)
    if proceeds:
        assert calls.results == []
        assert await wait.proceed() is None
        wait.start(calls)
    assert data(calls) == []
    assert rig.metrics.waits["log"].ended == {"drained": 1}
    assert parked_now(rig) == (0, 0)


async def test_the_process_is_full(autojump_clock: MockClock, rig: LogRig) -> None:
    """The wait is refused when it parks."""
    waits = [await begin(rig) for _ in range(65)]
    results = []
    for wait in waits:
        calls = Calls()
        wait.start(calls)
        results.append(calls.results)
    assert results == [[]] * 64 + [[Failure.TOO_MANY_WAITS]]
    assert rig.metrics.waits["log"].ended == {"too_many_waits": 1}
    for wait in waits:
        wait.withdraw()
    assert parked_now(rig) == (0, 0)
