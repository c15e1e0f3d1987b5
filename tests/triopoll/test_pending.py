"""Waits without a task, waited for in a task."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from triopoll.pending import Waiter, wait_in_task


class Wait:
    """A `Pending` that a test ends."""

    def __init__(self, deadline: float = math.inf) -> None:
        self.deadline = deadline
        self.waiter: Waiter[str] | None = None
        self.at_start: Callable[[Waiter[str]], None] = lambda waiter: None
        self.proceeds: list[str | None] = []
        self.seen: list[str] = []

    def start(self, waiter: Waiter[str]) -> None:
        self.seen.append("start")
        self.waiter = waiter
        self.at_start(waiter)

    def expire(self) -> str:
        self.seen.append("expire")
        return "expired"

    async def proceed(self) -> str | None:
        await trio.lowlevel.checkpoint()
        self.seen.append("proceed")
        return self.proceeds.pop(0)

    def withdraw(self) -> None:
        self.seen.append("withdraw")


async def waited(wait: Wait, results: list[str]) -> None:
    results.append(await wait_in_task(wait))


async def test_a_result_that_comes_later(autojump_clock: MockClock) -> None:
    wait, results = Wait(deadline=5), list[str]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waited, wait, results)
        await wait_all_tasks_blocked()
        assert wait.waiter is not None
        wait.waiter.settle("settled")
    assert results == ["settled"]
    assert wait.seen == ["start", "withdraw"]


async def test_a_result_that_is_there_at_once_is_kept(
    autojump_clock: MockClock,
) -> None:
    """Also by a task that is being cancelled: what was taken must reach its client."""
    wait, results = Wait(), list[str]()
    with trio.CancelScope() as scope:
        scope.cancel()
        wait.at_start = lambda waiter: waiter.settle("settled")
        await waited(wait, results)
    assert results == ["settled"]


async def test_the_time_is_over(autojump_clock: MockClock) -> None:
    wait = Wait(deadline=5)
    assert await wait_in_task(wait) == "expired"
    assert trio.current_time() == pytest.approx(5)
    assert wait.seen == ["start", "expire", "withdraw"]


async def test_a_call_back(autojump_clock: MockClock) -> None:
    """The task proceeds, and parks the wait again as long as there is no result."""
    wait = Wait(deadline=5)
    wait.at_start = lambda waiter: waiter.call_back()
    wait.proceeds = [None, "at last"]
    assert await wait_in_task(wait) == "at last"
    assert wait.seen == ["start", "proceed", "start", "proceed", "withdraw"]


@pytest.mark.parametrize("proceeds", [False, True])
async def test_a_cancellation_withdraws(
    autojump_clock: MockClock, proceeds: bool
) -> None:
    wait, results = Wait(), list[str]()
    if proceeds:
        wait.at_start = lambda waiter: waiter.call_back()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waited, wait, results)
        if not proceeds:
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert results == []
    assert wait.seen[-1:] in (["withdraw"], [])
    assert "proceed" not in wait.seen
