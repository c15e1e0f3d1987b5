"""Waking after a change, and completing what has begun."""

from __future__ import annotations

import trio
from tests.triopoll.logrig import LIMIT, open_log_rig
from trio.testing import MockClock, wait_all_tasks_blocked

from triopoll.core.waker import Waker, complete


async def test_a_wait_is_woken(autojump_clock: MockClock, no_sweep: None) -> None:
    """Through slock, and without it in this process."""
    async with open_log_rig() as rig:
        waker = Waker(rig.notifier, rig.monitor, rig.metrics, LIMIT)
        assert repr(waker) == f"<Waker: {rig.notifier!r}>"
        with rig.notifier.subscribe(["k"]) as subscription:
            await subscription.wait()
            await wait_all_tasks_blocked()
            for is_up in (True, False):
                rig.monitor.up = is_up
                with trio.fail_after(1):
                    await waker.wake("k")
                    assert "k" in await subscription.wait()
                await trio.sleep(1)
    errors = rig.metrics.backend_errors
    assert errors == {("slock", "unreachable"): 1}


async def test_completed_whoever_is_cancelled(autojump_clock: MockClock) -> None:
    """The result is the operation's; the cancellation takes effect afterwards."""
    done: list[int] = []

    async def operation(number: int) -> int:
        await trio.sleep(1)
        done.append(number)
        return number

    assert await complete(operation, 1) == 1
    with trio.move_on_after(0.5) as scope:
        await complete(operation, 2)
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert done == [1, 2]
