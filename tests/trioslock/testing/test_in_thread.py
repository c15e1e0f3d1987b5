"""A trio run in a thread, called from outside."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from trioslock.testing import open_in_thread


@asynccontextmanager
async def text() -> AsyncGenerator[str]:
    await trio.lowlevel.checkpoint()
    yield "value"


def test_it_is_called_from_outside_and_leaves_no_thread() -> None:
    """Functions run in the thread; what they return or raise comes back."""
    with open_in_thread(text, name="one of a test") as thread:
        assert thread.value == "value"
        assert thread.call(threading.current_thread).name == "one of a test"
        assert repr(thread) == "<InThread: open, 'value'>"

        async def run() -> int:
            await trio.lowlevel.checkpoint()
            return 7

        async def fail() -> None:
            await trio.lowlevel.checkpoint()
            raise KeyError("in the run")

        assert thread.run(run) == 7
        with pytest.raises(KeyError, match="in the run"):
            thread.run(fail)
        with pytest.raises(ZeroDivisionError):
            thread.call(lambda: 1 // 0)
    assert repr(thread) == "<InThread: ended, 'value'>"
    assert "one of a test" not in [each.name for each in threading.enumerate()]


def test_its_clock_goes_forward() -> None:
    """All that is due by then is done when the call returns."""
    with open_in_thread(text, name="clock") as thread:
        thread.stop_clock()
        done: list[float] = []

        async def sleep(seconds: float) -> None:
            await trio.sleep(seconds)
            done.append(seconds)

        async def start() -> float:
            await trio.lowlevel.checkpoint()
            for seconds in (10, 3600):
                trio.lowlevel.spawn_system_task(sleep, seconds)
            return trio.current_time()

        begun = thread.run(start)
        thread.advance(11)
        assert done == [10]
        assert thread.call(trio.current_time) == pytest.approx(begun + 11)
        with pytest.raises(ValueError, match="seconds"):
            thread.advance(-1)


def test_what_fails_to_open_is_raised() -> None:
    """And no thread is left."""

    @asynccontextmanager
    async def broken() -> AsyncGenerator[None]:
        await trio.lowlevel.checkpoint()
        raise OSError("no port")
        yield

    with pytest.raises(OSError, match="no port"):
        with open_in_thread(broken, name="broken"):
            pytest.fail("it is not open")
    assert "broken" not in [each.name for each in threading.enumerate()]


def test_what_ends_the_run_is_raised_at_the_end() -> None:
    """An error of a task is not lost."""

    @asynccontextmanager
    async def failing() -> AsyncGenerator[trio.Nursery]:
        async with trio.open_nursery() as nursery:
            yield nursery

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("a task")

    with pytest.RaisesGroup(pytest.RaisesExc(KeyError, match="a task")):
        with open_in_thread(failing, name="failing") as thread:
            thread.call(lambda: thread.value.start_soon(fail))
            thread._ended.exception(10)
