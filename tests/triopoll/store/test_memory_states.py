"""The bound of the states in memory, and the end of each."""

from __future__ import annotations

import pytest
from msgspec import Raw
from msgspec.structs import replace

from triopoll.store import Budget, MemoryStates, StateRecord, StoreFull

DIGEST = b"d" * 32
RECORD = StateRecord(version=1, state="a", expires=10.0, kept=20.0, confirm_within=60.0)


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


async def test_a_full_store() -> None:
    """What does not fit is refused; the states stay, and what ends makes room."""
    budget, clock = Budget(5000), Clock()
    states = MemoryStates(budget=budget, clock=clock)
    await states.insert("a", DIGEST, RECORD)
    with pytest.raises(StoreFull):
        await states.insert("b", DIGEST, replace(RECORD, data=Raw(b"1" * 5000)))
    found = await states.read("a")
    assert found is not None
    longer = replace(RECORD, version=2, data=Raw(b"1" * 5000))
    with pytest.raises(StoreFull):
        await states.swap("a", found, longer, None)
    assert await states.read("a", DIGEST) == found
    taken = budget.taken
    assert await states.swap("a", found, replace(RECORD, version=2), None)
    assert budget.taken == taken
    assert await states.swap(
        "a", found._replace(mark=2), replace(RECORD, kept=30.0), None
    )
    clock.time += 25
    await states.insert("b", DIGEST, RECORD)
    assert repr(states) == "<MemoryStates: 2>"
    clock.time += 100
    await states.insert("c", DIGEST, RECORD)
    assert repr(states) == "<MemoryStates: 1>"
    clock.time += 100
    with pytest.raises(StoreFull):
        await states.insert("d", DIGEST, replace(RECORD, data=Raw(b"1" * 5000)))
    assert budget.taken == 0
