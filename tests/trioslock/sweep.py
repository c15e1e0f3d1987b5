"""Cancel something at each place where it can be cancelled.

An operation runs again and again in a task of its own. The n-th run is cancelled at
its n-th step, in one of two ways:

- ``"parked"``: the task has just given up control and waits for something. What it
  sent may be on its way.
- ``"awake"``: what it waited for is there, but the task has not run yet. The
  cancellation comes too late for whatever it waited for.

The sweep ends with the first run that gets through before its step comes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import trio
from trio.lowlevel import Task, add_instrument, current_task, remove_instrument

Way = Literal["parked", "awake"]
LIMIT = 60


class _AtStep(trio.abc.Instrument):
    """Do something at the n-th step of one task."""

    def __init__(
        self, task: Task, act: Callable[[], None], step: int, way: Way
    ) -> None:
        self._task = task
        self._act = act
        self._left = step
        self._way = way

    def after_task_step(self, task: Task) -> None:
        if task is self._task and self._way == "parked":
            self._count()

    def task_scheduled(self, task: Task) -> None:
        if task is self._task and self._way == "awake":
            self._count()

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._act()


async def run_interrupted_at(
    operation: Callable[[], Awaitable[object]],
    act: Callable[[], None],
    step: int,
    way: Way = "parked",
) -> None:
    """Run it, and call ``act`` at its n-th step, if there is one."""
    instrument = _AtStep(current_task(), act, step, way)
    add_instrument(instrument)
    try:
        await operation()
    finally:
        remove_instrument(instrument)


async def run_cancelled_at(
    operation: Callable[[], Awaitable[object]], step: int, way: Way
) -> bool:
    """Run it, cancel it at a step; return whether it was still running then."""
    with trio.CancelScope() as scope:
        await run_interrupted_at(operation, scope.cancel, step, way)
    return scope.cancel_called


async def sweep(
    operation: Callable[[], Awaitable[object]],
    check: Callable[[], Awaitable[None]],
    way: Way,
) -> int:
    """Cancel at each step; return how many there were.

    Args:
        operation: What is swept. If it gets through it must give back all it took.
        check: Asserts that nothing is left; runs after each.
        way: When within the step.
    """
    for step in range(1, LIMIT):
        running = await run_cancelled_at(operation, step, way)
        await check()
        if not running:
            return step - 1
    raise AssertionError(f"the operation takes more than {LIMIT} steps")
