"""Parked waits: counted, bounded, and ended from outside."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
import trio.testing

from triopoll.core.held_keys import HeldKeys
from triopoll.core.outcomes import Failure, NothingYet, OperationFailed
from triopoll.core.parked_waits import (
    ParkedDetails,
    ParkedWait,
    ParkedWaits,
    TooManyWaits,
    WaitedKey,
)
from triopoll.ops.drain import Drain
from triopoll.ops.metrics import Metrics
from triopoll.pending import waiting_subject


async def park(waits: ParkedWaits, seconds: float, outcomes: list[object]) -> None:
    with ParkedWait(waits, seconds) as wait:
        await trio.sleep_forever()
    outcomes.append(wait.outcome)


async def test_a_wait_ends_by_its_time(autojump_clock: trio.abc.Clock) -> None:
    """Its outcome is `NothingYet`."""
    waits, outcomes = ParkedWaits(Drain(), limit=1), []
    await park(waits, 7, outcomes)
    assert trio.current_time() == pytest.approx(7)
    assert outcomes == [NothingYet()]
    assert len(waits) == 0


async def test_a_wait_that_gets_what_it_waits_for() -> None:
    """The value leaves the block; the wait is no longer counted."""
    waits = ParkedWaits(Drain(), limit=1)
    with ParkedWait(waits, 1):
        assert repr(waits) == "<ParkedWaits: 1 of 1>"
    assert repr(waits) == "<ParkedWaits: 0 of 1>"


async def test_the_limit() -> None:
    """One too many is refused, and changes nothing."""
    waits = ParkedWaits(Drain(), limit=1)
    with ParkedWait(waits, 1):
        with pytest.raises(TooManyWaits):
            with ParkedWait(waits, 1):
                pass
        assert len(waits) == 1


async def test_all_are_ended_with_a_reason(autojump_clock: trio.abc.Clock) -> None:
    """The first to end them sets the outcome."""
    waits, outcomes = ParkedWaits(Drain(), limit=9), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(park, waits, 60, outcomes)
        nursery.start_soon(park, waits, 60, outcomes)
        await trio.testing.wait_all_tasks_blocked()
        waits.end_all(Failure.SLOCK_UNREACHABLE)
        waits.end_all(Failure.SLOCK_REFUSED)
    assert outcomes == [Failure.SLOCK_UNREACHABLE] * 2
    assert trio.current_time() == 0


async def test_a_wait_that_does_not_need_slock(autojump_clock: trio.abc.Clock) -> None:
    """It continues when those that do are ended."""
    waits = ParkedWaits(Drain(), limit=9)
    with ParkedWait(waits, 3, needs_slock=False) as wait:
        waits.end_all(Failure.SLOCK_UNREACHABLE)
        await trio.sleep_forever()
    assert wait.outcome == NothingYet()
    assert trio.current_time() == pytest.approx(3)


async def test_the_drain_ends_them_as_if_nothing_came() -> None:
    """That is what makes a client poll again."""
    drain = Drain()
    waits, outcomes = ParkedWaits(drain, limit=9), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(park, waits, 60, outcomes)
        await trio.testing.wait_all_tasks_blocked()
        await drain.release(0)
    await park(waits, 60, outcomes)
    assert outcomes == [NothingYet(), NothingYet()]
    assert drain.parked == 0


async def test_a_cancelled_wait_is_not_counted() -> None:
    """The cancellation passes through."""
    waits, outcomes = ParkedWaits(Drain(), limit=9), []
    with trio.CancelScope() as scope:
        scope.cancel()
        await park(waits, 60, outcomes)
    assert scope.cancelled_caught
    assert (len(waits), outcomes) == (0, [])


async def fail(error: Exception) -> None:
    await trio.lowlevel.checkpoint()
    raise error


async def test_the_end_of_each_wait_is_counted(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Once, by its kind and by why it ended; none is parked afterwards."""
    drain, metrics = Drain(), Metrics()
    waits = ParkedWaits(drain, limit=1, metrics=metrics)
    meter = metrics.waits["log"]

    async def fire() -> None:
        with ParkedWait(waits, 60, "log"):
            assert meter.parked == 1
            with pytest.raises(TooManyWaits):
                with ParkedWait(waits, 60, "log"):
                    pass

    async def leave(reason: str | None = None) -> None:
        with trio.CancelScope() as scope:
            scope.cancel(reason)
            await park_log()

    async def expire() -> None:
        with trio.move_on_after(1):
            await park_log()

    async def be_left(error: Exception) -> None:
        with pytest.raises(type(error)), ParkedWait(waits, 60, "log"):
            await fail(error)

    async def be_ended(end: Callable[[], Awaitable[None]]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(park_log)
            await trio.testing.wait_all_tasks_blocked()
            await end()

    async def park_log() -> None:
        with ParkedWait(waits, 60, "log"):
            await trio.sleep_forever()

    async def end_all() -> None:
        waits.end_all(Failure.SLOCK_UNREACHABLE)

    await fire()
    await leave()
    await leave("some other reason")
    await leave("replaced")
    await expire()
    await be_left(OperationFailed(Failure.STORE_FAILED))
    await be_left(ZeroDivisionError())
    await park_log()
    await be_ended(end_all)
    await be_ended(partial(drain.release, 0))
    await park_log()
    assert meter.ended == {
        "too_many_waits": 1,
        "fired": 1,
        "disconnect": 2,
        "replaced": 1,
        "ticket_expired": 1,
        "store_failed": 1,
        "failed": 1,
        "timeout": 1,
        "slock_unreachable": 1,
        "drained": 2,
    }
    assert meter.parked == 0
    assert metrics.waits["event"].ended == {}


def test_the_held_keys_that_are_given_are_used() -> None:
    """Also while none are held."""
    held = HeldKeys(limit=1)
    assert ParkedWaits(Drain(), limit=1, held=held).held is held


async def test_details_for_operators(autojump_clock: trio.abc.Clock) -> None:
    """Each wait with its age, its subject and what it waits for, the oldest first."""
    waits, outcomes = ParkedWaits(Drain(), limit=9), []
    waits.notes_details = True
    waiting_subject.set("anna")
    with ParkedWait(waits, 60, "log", waited_keys=lambda: (WaitedKey("k", "c"),)):
        waiting_subject.set(None)
        await trio.sleep(3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(park, waits, 60, outcomes)
            await trio.testing.wait_all_tasks_blocked()
            assert list(waits.details()) == [
                ParkedDetails("log", 0.0, "anna", (WaitedKey("k", "c"),)),
                ParkedDetails("event", 3.0, None, ()),
            ]
            nursery.cancel_scope.cancel()


async def test_details_skip_what_has_ended() -> None:
    """A walk may be interrupted; a wait that ends meanwhile is not in it."""
    waits = ParkedWaits(Drain(), limit=9)
    with ParkedWait(waits, 60):
        with ParkedWait(waits, 60):
            walk = waits.details()
            assert next(walk).kind == "event"
        assert list(walk) == []
