"""Cancel something at each place where it can be cancelled.

An operation runs again and again in a task of its own. The n-th run is cancelled at
its n-th step, in one of these ways:

- ``"parked"``: the task has just given up control and waits for something. What it
  sent may be on its way.
- ``"awake"``: what it waited for is there, but the task has not run yet. The
  cancellation comes too late for whatever it waited for.
- ``"pass"``: the steps are passes of the scheduler, whatever task runs in them. So the
  cancellation also comes between two steps of the task. Every other run is cancelled
  once more, by another scope, one pass later.

The sweep ends with the first run that gets through before its step comes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import trio
from trio.lowlevel import Task, add_instrument, current_task, remove_instrument

Way = Literal["parked", "awake", "pass"]
LIMIT = 60
MOST_PASSES = 120


class _AtStep(trio.abc.Instrument):
    """Do something at some steps of one task."""

    def __init__(self, task: Task, acts: dict[int, Callable[[], None]]) -> None:
        self._task = task
        self._acts = acts
        self._step = 0

    def count(self) -> None:
        self._step += 1
        act = self._acts.get(self._step)
        if act is not None:
            act()


class _WhenParked(_AtStep):
    def after_task_step(self, task: Task) -> None:
        if task is self._task:
            self.count()


class _WhenAwake(_AtStep):
    def task_scheduled(self, task: Task) -> None:
        if task is self._task:
            self.count()


class _EachPass(_AtStep):
    def after_io_wait(self, timeout: float) -> None:
        self.count()


_INSTRUMENTS: dict[Way, type[_AtStep]] = {
    "parked": _WhenParked,
    "awake": _WhenAwake,
    "pass": _EachPass,
}


@contextmanager
def acting(acts: dict[int, Callable[[], None]], way: Way) -> Iterator[None]:
    """Call each of ``acts`` at its step of what the current task does meanwhile."""
    instrument = _INSTRUMENTS[way](current_task(), acts)
    add_instrument(instrument)
    try:
        yield
    finally:
        remove_instrument(instrument)


async def run_interrupted_at(
    operation: Callable[[], Awaitable[object]],
    act: Callable[[], None],
    step: int,
    way: Way = "parked",
) -> None:
    """Run it, and call ``act`` at its n-th step, if there is one."""
    with acting({step: act}, way):
        await operation()


async def run_cancelled_at(
    operation: Callable[[], Awaitable[object]], step: int, way: Way
) -> bool:
    """Run it, cancel it at a step; return whether it was still running then."""
    with trio.CancelScope() as outer:
        with trio.CancelScope() as inner:
            acts = {step: inner.cancel}
            if way == "pass" and step % 2:
                acts[step + 1] = outer.cancel
            with acting(acts, way):
                await operation()
    return inner.cancel_called


async def sweep(
    operation: Callable[[], Awaitable[object]],
    check: Callable[[], Awaitable[None]],
    way: Way,
) -> int:
    """Cancel at each step; return how many there were.

    Args:
        operation: What is swept. If it gets through it must release all it took.
        check: Asserts that nothing is left; runs after each.
        way: When within the step.
    """
    limit = MOST_PASSES if way == "pass" else LIMIT
    for step in range(1, limit):
        running = await run_cancelled_at(operation, step, way)
        await check()
        if not running:
            return step - 1
    raise AssertionError(f"the operation takes more than {limit} steps")


async def passes(count: int) -> None:
    """Let the scheduler make so many passes."""
    for _ in range(count):
        await trio.lowlevel.cancel_shielded_checkpoint()
