"""One operation for several tasks."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from triopoll.core.single_flight import SingleFlight


class Operation:
    """It takes a second, and its result says how often it was begun."""

    begun = 0

    async def __call__(self) -> int:
        self.begun += 1
        await trio.sleep(1)
        return self.begun


async def test_it_is_done_once(autojump_clock: MockClock) -> None:
    """All get the result when it is there, and a task that comes later gets it too."""
    operation = Operation()
    flight = SingleFlight(operation)
    results: list[int] = []

    async def ask() -> None:
        results.append(await flight.result())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    await ask()
    assert results == [1] * 6
    assert trio.current_time() == 1


async def test_the_executing_task_is_cancelled(autojump_clock: MockClock) -> None:
    """The next one starts over; a follower that is cancelled changes nothing."""
    flight = SingleFlight(Operation())
    results: list[tuple[str, int]] = []
    scopes: dict[str, trio.CancelScope] = {}

    async def ask(name: str) -> None:
        with trio.CancelScope() as scopes[name]:
            results.append((name, await flight.result()))

    async with trio.open_nursery() as nursery:
        for name in ("leader", "follower", "next", "last"):
            nursery.start_soon(ask, name)
            await wait_all_tasks_blocked()
        await trio.sleep(0.5)
        scopes["follower"].cancel()
        scopes["leader"].cancel()
    assert sorted(results) == [("last", 2), ("next", 2)]
    assert trio.current_time() == 1.5


async def test_it_fails(autojump_clock: MockClock) -> None:
    """The error is raised in the executing task; the next one starts over."""
    outcomes: list[object] = []
    begun = 0

    async def fail_once() -> int:
        nonlocal begun
        begun += 1
        await trio.sleep(1)
        if begun == 1:
            raise OSError
        return begun

    flight = SingleFlight(fail_once)

    async def ask() -> None:
        try:
            outcomes.append(await flight.result())
        except OSError:
            outcomes.append("failed")

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
    assert outcomes == ["failed", 2, 2]
