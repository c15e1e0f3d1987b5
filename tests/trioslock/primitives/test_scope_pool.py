"""A scope that is kept and used again does what trio's own does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from trioslock.embedded import open_embedded
from trioslock.primitives import _grant, _scope_pool
from trioslock.primitives._scope_pool import TESTED_TRIO, enter_scope, leave_scope


@pytest.fixture(params=["kept", "first", "long"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A scope that was used before, one that was not, or trio's own way alone."""
    monkeypatch.setattr(_scope_pool, "_free", [])
    monkeypatch.setattr(_scope_pool, "_reuse", request.param != "long")
    way: str = request.param
    return way


@contextmanager
def body(way: str = "") -> Iterator[trio.CancelScope]:
    if way == "kept" and not _scope_pool._free:
        leave_scope(enter_scope(), None, None, None)
        assert len(_scope_pool._free) == 1
    scope = enter_scope()
    try:
        yield scope
    except BaseException as error:
        if not leave_scope(scope, type(error), error, error.__traceback__):
            raise
    else:
        assert leave_scope(scope, None, None, None)


def test_the_trio_of_the_tests_is_known() -> None:
    assert trio.__version__ in TESTED_TRIO


async def test_a_scope_is_used_again_where_nothing_has_happened(way: str) -> None:
    scopes = []
    for _ in range(3):
        with body() as scope, assert_checkpoints():
            await trio.lowlevel.checkpoint()
        scopes.append(scope)
    assert (scopes[0] is scopes[1] is scopes[2]) == (way != "long")


async def test_cancelling_it_ends_its_body_alone(way: str) -> None:
    async def cancel(scope: trio.CancelScope) -> None:
        scope.cancel()

    async with trio.open_nursery() as nursery:
        with body(way) as scope:
            nursery.start_soon(cancel, scope)
            await trio.sleep_forever()
        assert scope.cancelled_caught
        await trio.lowlevel.checkpoint()
    with body(way) as another:
        await trio.lowlevel.checkpoint()
    assert another is not scope


async def test_cancelled_and_left_without_a_checkpoint(way: str) -> None:
    with body(way) as scope:
        scope.cancel()
    await trio.lowlevel.checkpoint()
    assert scope not in _scope_pool._free


async def test_a_scope_around_it_cancels_it(way: str) -> None:
    with trio.CancelScope() as outer:
        with body(way) as scope:
            outer.cancel()
            await trio.sleep_forever()
    assert outer.cancelled_caught
    assert not scope.cancelled_caught
    assert scope not in _scope_pool._free


async def test_entered_in_a_cancelled_scope(way: str) -> None:
    with body(way):
        pass
    with trio.CancelScope() as outer:
        outer.cancel()
        with body() as scope:
            await trio.lowlevel.checkpoint()
    assert outer.cancelled_caught
    assert scope not in _scope_pool._free
    with body(way):
        await trio.lowlevel.checkpoint()


async def test_a_deadline_that_it_gets_meanwhile(
    way: str, autojump_clock: MockClock
) -> None:
    with body(way) as scope:
        scope.deadline = trio.current_time() + 5
        await trio.sleep_forever()
    assert trio.current_time() == 5
    with body(way) as unharmed:
        unharmed.deadline = trio.current_time() + 5
    with body(way):
        await trio.sleep(10)
    assert unharmed not in _scope_pool._free


async def test_one_within_another(way: str) -> None:
    with body(way) as outer:
        with body() as inner:
            with trio.CancelScope() as innermost:
                inner.cancel()
                await trio.sleep_forever()
            raise AssertionError("unreachable")
        assert inner.cancelled_caught
        assert not innermost.cancelled_caught
        await trio.lowlevel.checkpoint()
    assert not outer.cancelled_caught


async def test_an_error_goes_through(way: str) -> None:
    with pytest.raises(ValueError, match="mine"):
        with body(way):
            raise ValueError("mine")
    await trio.lowlevel.checkpoint()


async def test_out_of_turn_is_trio_s_complaint(way: str) -> None:
    with pytest.raises(RuntimeError, match="corrupted"):
        with body(way):
            within = trio.CancelScope()
            within.__enter__()
    await trio.lowlevel.checkpoint()


async def test_tasks_within_are_cancelled_with_it(way: str) -> None:
    with body(way) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


async def test_a_task_that_is_started_may_move_with_it(way: str) -> None:
    """``started`` hangs the task's scopes into another nursery."""
    done = trio.Event()

    async def serve(task_status: trio.TaskStatus[None]) -> None:
        with body(way):
            task_status.started()
            await done.wait()
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        done.set()


async def test_no_more_are_kept_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scope_pool, "_MAX_FREE", 2)
    with body(), body(), body():
        await trio.lowlevel.checkpoint()
    assert len(_scope_pool._free) <= 2


def test_runs_in_several_threads_share_what_is_kept() -> None:
    async def use() -> None:
        for _ in range(200):
            with body():
                await trio.lowlevel.checkpoint()
            with trio.CancelScope() as outer, body():
                outer.cancel()
                await trio.lowlevel.checkpoint()

    threads = [threading.Thread(target=trio.run, args=(use,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("by_itself", [False, True])
async def test_no_interrupt_comes_between_a_scope_and_its_grant(
    monkeypatch: pytest.MonkeyPatch, by_itself: bool
) -> None:
    """A scope without its grant would stay on the task's stack for good."""
    seen: list[bool] = []

    def looking() -> trio.CancelScope:
        scope = enter_scope()
        seen.append(trio.lowlevel.currently_ki_protected())
        return scope

    monkeypatch.setattr(_grant, "enter_scope", looking)
    async with open_embedded() as client:
        lock = client.lock("k")
        entering = await lock.acquire() if by_itself else lock
        async with entering:
            pass
    assert seen == [True]
