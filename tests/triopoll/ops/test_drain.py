"""The drain: parked waits end in chunks, oldest first, within the window."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing

from triopoll.ops.drain import Drain


async def _park(drain: Drain, ended: list[int], number: int) -> None:
    with drain.interruptible() as scope:
        await trio.sleep_forever()
    assert scope.cancelled_caught
    ended.append(number)


async def test_begin_turns_readiness_off_and_leaves_waits_parked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """After begin, waits are still parked and new ones may park."""
    drain = Drain()
    ended: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_park, drain, ended, 0)
        await trio.testing.wait_all_tasks_blocked()
        drain.begin()
        nursery.start_soon(_park, drain, ended, 1)
        await trio.sleep(10)
        assert drain.draining
        assert not drain.released
        assert drain.parked == 2
        assert ended == []
        assert repr(drain) == "<triopoll.Drain: draining, 2 parked>"
        nursery.cancel_scope.cancel()
    assert drain.parked == 0


async def test_a_crowd_is_spread_over_the_window_oldest_first(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """1,000 waits and a window of 10 s end in order, evenly, in about 10 s."""
    drain = Drain()
    ended: list[int] = []
    async with trio.open_nursery() as nursery:
        for number in range(1000):
            nursery.start_soon(_park, drain, ended, number)
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(drain.release, 10)
        await trio.sleep(5)
        assert 450 < len(ended) < 650
        await trio.sleep(5.1)
        assert len(ended) == 1000
        # Within one chunk of five the order is trio's own.
        assert all(abs(place - number) < 5 for place, number in enumerate(ended))


async def test_a_handful_leaves_without_waiting_for_the_window(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Five waits and a window of an hour are done at once."""
    drain = Drain()
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(_park, drain, [], number)
        await trio.testing.wait_all_tasks_blocked()
        await drain.release(3600)
    assert trio.current_time() < 0.2


async def test_a_window_of_zero_ends_all_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Without a window nothing is spread."""
    drain = Drain()
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(drain.wait)
        await trio.testing.wait_all_tasks_blocked()
        await drain.release(0)
    assert trio.current_time() == 0


async def test_a_wait_entered_after_the_release_ends_at_once() -> None:
    """A late request gets "poll again" instead of parking on a dying server."""
    drain = Drain()
    await drain.release(0)
    with drain.interruptible() as scope:
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert repr(drain) == "<triopoll.Drain: released, 0 parked>"


async def test_a_cancelled_wait_is_forgotten() -> None:
    """The wait of a client that left is not in the drain any more."""
    drain = Drain()
    assert repr(drain) == "<triopoll.Drain: open, 0 parked>"
    with trio.move_on_after(0):
        await drain.wait()
    assert drain.parked == 0


async def test_a_cancelled_release_can_be_taken_up_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Cancelling the release leaves the rest parked, and a second call ends them."""
    drain = Drain()
    ended: list[int] = []
    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(partial(_park, drain, ended, number))
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await drain.release(10)
        await trio.testing.wait_all_tasks_blocked()
        assert 0 < drain.parked < 100
        assert drain.parked + len(ended) == 100
        await drain.release(0)
    assert len(ended) == 100


async def test_a_callback_is_called_once_and_not_after_its_block() -> None:
    """`calling` is for waits that are not a cancel scope, such as websockets."""
    drain = Drain()
    called: list[str] = []
    with drain.calling(partial(called.append, "left")):
        pass
    with drain.calling(partial(called.append, "parked")):
        await drain.release(0)
        await drain.release(0)
    with drain.calling(partial(called.append, "late")):
        pass
    assert called == ["parked", "late"]


@pytest.mark.parametrize("window", [0.0, 0.01])
async def test_release_of_nothing_is_a_checkpoint(window: float) -> None:
    """Nothing parked: release returns, and still lets others run."""
    with trio.testing.assert_checkpoints():
        await Drain().release(window)
