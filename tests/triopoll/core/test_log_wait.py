"""Waits for the first message of a log, without a task."""

from __future__ import annotations

import math

from tests.triopoll.logrig import LogRig
from tests.triopoll.waiters import Calls
from trio.testing import MockClock, wait_all_tasks_blocked

from triopoll.core.log_wait import LogWait
from triopoll.core.parked_waits import WaitedKey
from triopoll.core.wait_items import LogItem, ReadResult
from triopoll.store import ALL, NEW


async def test_what_is_there_needs_no_wait(
    autojump_clock: MockClock, rig: LogRig
) -> None:
    """And leaves no subscription."""
    await rig.log.put("k", b"1")
    found = await rig.reader.begin_messages(LogItem("k", ALL, 9), math.inf)
    assert isinstance(found, ReadResult)
    assert found.ready
    assert len(rig.notifier) == 0


async def test_the_cursor_continues_from_the_last_look(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """What was there before is not read again, and the end of the time says where."""
    await rig.log.put("k", b"1")
    begun = await rig.reader.begin_messages(LogItem("k", NEW, 9), 25)
    assert isinstance(begun, LogWait)
    calls = Calls()
    begun.start(calls)
    await wait_all_tasks_blocked()
    nothing = begun.expire()
    assert isinstance(nothing, ReadResult)
    cursor = nothing.page.cursor
    again = await rig.reader.begin_messages(LogItem("k", cursor, 9), 25)
    assert isinstance(again, LogWait)
    again.start(calls)
    await wait_all_tasks_blocked()
    await rig.log.put("k", b"2")
    await rig.wake("k")
    await wait_all_tasks_blocked()
    (found,) = calls.results
    assert [message.data for message in found.page.messages] == [b"2"]
    assert found.woken is not None
    assert sum(rig.metrics.publish_to_wake.counts) == 1


async def test_what_operators_see_of_a_wait(
    autojump_clock: MockClock, rig: LogRig
) -> None:
    """The log, and the cursor that it was read up to."""
    begun = await rig.reader.begin_messages(LogItem("k", NEW, 9), 25)
    assert isinstance(begun, LogWait)
    (waited,) = begun.waited_keys()
    begun.start(Calls())
    nothing = begun.expire()
    assert isinstance(nothing, ReadResult)
    assert waited == WaitedKey("k", nothing.page.cursor)
