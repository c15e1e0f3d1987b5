"""A trio task stands in for a body that runs elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioslock.aio._elsewhere import Elsewhere

log: list[str] = []


@asynccontextmanager
async def manager() -> AsyncIterator[str]:
    log.append("enter")
    try:
        yield "value"
    except trio.Cancelled:
        log.append("cancelled")
        raise
    finally:
        log.append("leave")


async def test_it_is_open_until_the_body_leaves() -> None:
    log.clear()
    elsewhere = Elsewhere(manager(), log.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(elsewhere.run)
        await wait_all_tasks_blocked()
        assert log == ["enter", "value"]
        elsewhere.leave()
    assert log == ["enter", "value", "leave"]


async def test_a_cancellation_leaves_as_a_cancelled_body() -> None:
    log.clear()
    elsewhere = Elsewhere(manager(), log.append)
    with trio.move_on_after(0):
        await elsewhere.run()
    assert log == ["enter", "value", "cancelled", "leave"]


async def test_what_entering_raises_is_raised() -> None:
    @asynccontextmanager
    async def failing() -> AsyncIterator[None]:
        await trio.lowlevel.checkpoint()
        raise ValueError("own")
        yield

    with pytest.raises(ValueError, match="own"):
        await Elsewhere(failing(), log.append).run()
