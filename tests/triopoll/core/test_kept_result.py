"""A result that is given out again for a moment."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from triopoll.core.kept_result import KeptResult


class Maker:
    """Counts how often it is asked, and takes a second each time."""

    def __init__(self) -> None:
        self.made = 0
        self.error: Exception | None = None

    async def __call__(self) -> int:
        await trio.sleep(1)
        if self.error is not None:
            raise self.error
        self.made += 1
        return self.made


async def test_many_questions_are_one(autojump_clock: trio.testing.MockClock) -> None:
    """Those that come while it is made, and for a moment afterwards, share it."""
    kept, make, got = KeptResult[int](2), Maker(), list[int]()
    assert repr(kept) == "<KeptResult: empty, for 2 s>"

    async def ask() -> None:
        got.append(await kept.get(make))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
    await trio.sleep(1.9)
    await ask()
    assert got == [1, 1, 1, 1]
    await trio.sleep(0.2)
    await ask()
    assert got[-1] == 2
    assert repr(kept) == "<KeptResult: made, for 2 s>"


async def test_errors_and_cancellations_are_not_kept(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The next question makes the result."""
    kept, make = KeptResult[int](2), Maker()
    make.error = OSError("away")
    with pytest.raises(OSError, match="away"):
        await kept.get(make)
    make.error = None
    with trio.move_on_after(0.5) as scope:
        await kept.get(make)
    assert scope.cancelled_caught
    assert await kept.get(make) == 1
