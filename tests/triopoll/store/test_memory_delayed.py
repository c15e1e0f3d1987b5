"""Delayed messages in memory: what only this store does."""

from __future__ import annotations

import pytest

from triopoll.store import (
    Appended,
    Budget,
    DelayedMessage,
    MemoryDelayed,
    MemoryLog,
    NewMessage,
    Scheduled,
    StoreFull,
)


async def test_the_budget() -> None:
    """What is pending counts, until it is cancelled, replaced or delivered."""
    budget = Budget(8000)
    delayed = MemoryDelayed(MemoryLog(budget=budget), budget=budget)
    long = DelayedMessage(NewMessage("k", bytes(5000), "a"), 60)
    (result,) = await delayed.schedule([long])
    assert isinstance(result, Scheduled)
    other = DelayedMessage(NewMessage("k", bytes(5000), "b"), 60)
    (refused,) = await delayed.schedule([other])
    assert isinstance(refused, StoreFull)
    assert repr(delayed) == "<MemoryDelayed: 1 pending>"
    (result,) = await delayed.schedule([DelayedMessage(NewMessage("k", b"", "a"), 60)])
    assert isinstance(result, Scheduled)
    assert await delayed.cancel("k", "a") is True
    assert budget.taken == 0


async def test_a_log_without_room() -> None:
    """The message is put off, and delivered when there is room again."""
    now = [1_700_000_000.0]
    budget = Budget(10_000)
    log = MemoryLog(budget=budget, clock=lambda: now[0])
    delayed = MemoryDelayed(log, budget=budget, clock=lambda: now[0])
    await delayed.schedule([DelayedMessage(NewMessage("k", b"x", "a"), 1)])
    taken = budget.limit - budget.taken
    budget.take(taken)
    now[0] += 2
    found = await delayed.look()
    assert found.due == {"k": ["a"]}
    with pytest.raises(StoreFull):
        await delayed.deliver("k", found.due["k"])
    found = await delayed.look()
    assert (found.due, found.pause) == ({}, 5.0)
    budget.free(taken)
    now[0] += 5
    assert len(await delayed.deliver("k", ["a", "unknown"])) == 1
    (again,) = await log.append([NewMessage("k", b"x", "a")])
    assert isinstance(again, Appended)
    assert again.duplicate
