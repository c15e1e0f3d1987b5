"""Waits for an event, without a task."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import outcome
import pytest
import trio
from tests.triopoll.logrig import SlockRig, open_rig
from tests.triopoll.waiters import Calls
from trio.testing import MockClock, wait_all_tasks_blocked

from triopoll.core.event_wait import EventWait, Then
from triopoll.core.outcomes import EventFired, Failure, NothingYet
from triopoll.core.parked_waits import WaitedKey
from trioslock import ConnectionLost, Data, Event


@pytest.fixture
async def rig() -> AsyncIterator[SlockRig]:
    async with open_rig(lambda client, host: SlockRig(client, host, max_waits=2)) as it:
        yield it


def event_of(rig: SlockRig) -> Event:
    return rig.client.event("k", ttl=30)


def begin(
    rig: SlockRig, then: Then | None = None, event: Any = None
) -> tuple[EventWait, Calls]:
    event = event or event_of(rig)
    deadline = trio.current_time() + 25
    wait = EventWait(rig.waits, rig.metrics, event, "key", deadline, "event", then)
    calls = Calls()
    wait.start(calls)
    return wait, calls


def counted(rig: SlockRig) -> tuple[int, dict[str, int]]:
    meter = rig.metrics.waits["event"]
    assert len(rig.waits) == meter.parked
    return meter.parked, meter.ended


async def test_the_event_is_the_outcome(
    autojump_clock: MockClock, rig: SlockRig
) -> None:
    """Nothing is left, here and on slock."""
    _, calls = begin(rig)
    await wait_all_tasks_blocked()
    assert (await rig.waiting(), counted(rig)) == (1, (1, {}))
    await event_of(rig).set()
    await wait_all_tasks_blocked()
    assert calls.results == [EventFired()]
    assert calls.results[0].woken is not None
    assert (await rig.waiting(), counted(rig)) == (0, (0, {"fired": 1}))
    assert rig.metrics.waits["event"].wakes == 1


async def test_what_follows_the_event(autojump_clock: MockClock, rig: SlockRig) -> None:
    """It is done by the task, when the wait is not counted any more."""
    fired: list[EventFired] = []

    async def then(event: EventFired) -> Failure:
        await trio.lowlevel.checkpoint()
        fired.append(event)
        assert counted(rig) == (0, {"fired": 1})
        return Failure.STORE_FAILED

    wait, calls = begin(rig, then)
    await event_of(rig).set()
    await wait_all_tasks_blocked()
    assert (calls.results, calls.call_backs) == ([], 1)
    assert await wait.proceed() is Failure.STORE_FAILED
    assert fired == [EventFired()]
    wait.withdraw()


@pytest.mark.parametrize("how", ["expire", "withdraw", "drain", "slock down"])
async def test_another_end(autojump_clock: MockClock, rig: SlockRig, how: str) -> None:
    """The wait is withdrawn on slock, and an event that is set later ends nothing."""
    wait, calls = begin(rig)
    await wait_all_tasks_blocked()
    reason, results = "drained", [NothingYet()]
    if how == "expire":
        assert wait.expire() == NothingYet()
        reason, results = "timeout", []
    elif how == "withdraw":
        wait.withdraw()
        wait.withdraw()
        reason, results = "disconnect", []
    elif how == "drain":
        await rig.drain.release(0)
    else:
        rig.waits.end_all(Failure.SLOCK_UNREACHABLE)
        reason, results = "slock_unreachable", [Failure.SLOCK_UNREACHABLE]
    await wait_all_tasks_blocked()
    assert await rig.waiting() == 0
    await event_of(rig).set()
    await wait_all_tasks_blocked()
    assert (calls.results, calls.call_backs) == (results, 0)
    assert counted(rig) == (0, {reason: 1})


async def test_slock_ends_the_wait(autojump_clock: MockClock, rig: SlockRig) -> None:
    """It is a failure, and counted as one."""
    _, calls = begin(rig)
    await wait_all_tasks_blocked()
    rig.peer.flush_database(0)
    await wait_all_tasks_blocked()
    assert calls.results == [Failure.SLOCK_REFUSED]
    assert counted(rig) == (0, {"slock_refused": 1})
    assert rig.metrics.backend_errors["slock", "failed"] == 1


class FullClient:
    """An event whose client has no room for a wait without a task."""

    def __init__(self, ends: Exception | None = None) -> None:
        self.ends = ends
        self.is_set = trio.Event()

    def begin_wait(self, ended: Any) -> None:
        raise trio.WouldBlock

    async def wait(self) -> None:
        await self.is_set.wait()
        if self.ends is not None:
            raise self.ends


@pytest.mark.parametrize("then", [False, True])
async def test_a_client_without_room(
    autojump_clock: MockClock, rig: SlockRig, then: bool
) -> None:
    """The task waits, and is counted once."""

    async def follow(event: EventFired) -> Failure:
        await trio.lowlevel.checkpoint()
        return Failure.STORE_FAILED

    event = FullClient()
    wait, calls = begin(rig, follow if then else None, event)
    assert calls.call_backs == 1
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def set_it() -> None:
            await trio.sleep(1)
            assert counted(rig) == (1, {})
            (details,) = rig.waits.details()
            assert details.keys == (WaitedKey("key"),)
            event.is_set.set()

        found = await wait.proceed()
    assert found == (Failure.STORE_FAILED if then else EventFired())
    assert counted(rig) == (0, {"fired": 1})


async def test_a_client_without_room_until_the_end(
    autojump_clock: MockClock, rig: SlockRig
) -> None:
    """The time, a lost client and a full process end it as any other wait."""
    wait, _ = begin(rig, None, FullClient())
    assert await wait.proceed() == NothingYet()
    lost = FullClient(ConnectionLost("gone"))
    lost.is_set.set()
    wait, _ = begin(rig, None, lost)
    assert await wait.proceed() is Failure.SLOCK_UNREACHABLE
    wait, _ = begin(rig, None, FullClient())
    others = [begin(rig), begin(rig)]
    assert others[1][1].results == [Failure.TOO_MANY_WAITS]
    wait.withdraw()
    others[0][0].withdraw()


async def test_a_closed_client(autojump_clock: MockClock, rig: SlockRig) -> None:
    """It refuses at once."""

    class Closed:
        def begin_wait(self, ended: Any) -> None:
            raise trio.ClosedResourceError

    _, calls = begin(rig, None, Closed())
    assert calls.results == [Failure.SLOCK_UNREACHABLE]


async def test_an_error_after_the_wait_has_begun(
    autojump_clock: MockClock, rig: SlockRig
) -> None:
    """The client is lost for good."""
    ended: list[Any] = []

    class Lost:
        def begin_wait(self, end: Any) -> Any:
            ended.append(end)
            return rig

    _, calls = begin(rig, None, Lost())
    error: outcome.Outcome[Data | None] = outcome.Error(ConnectionLost("gone"))
    ended[0](error)
    assert calls.results == [Failure.SLOCK_UNREACHABLE]
