"""A trio run in a thread of its own, which any test can call.

The test may be blocking code, or run on another event loop. A call from outside waits
for its result, and blocks the calling thread meanwhile, its event loop included. So
what is called must not wait for anything that the caller's loop has to do.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    suppress,
)
from functools import partial
from typing import Generic, Self, TypeVar

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from .._arguments import check_seconds

T = TypeVar("T")
R = TypeVar("R")

_LIMIT = 30.0
"""Seconds after which a call counts as lost: the thread has ended, or is stuck."""


class InThread(AbstractContextManager["InThread[T]"], Generic[T]):
    """What is open in a thread with a trio run; made by `open_in_thread`.

    Attributes:
        value: What the context manager gave. It belongs to the thread: use it in
            functions that `call` and `run` execute.
    """

    value: T

    def __init__(
        self, open_value: Callable[[], AbstractAsyncContextManager[T]], name: str
    ) -> None:
        self._open_value = open_value
        # A daemon: a thread that is stuck must not keep the tests from ending.
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._clock = MockClock(rate=1.0)
        self._opened: Future[None] = Future()
        self._ended: Future[None] = Future()
        self._stop = trio.Event()
        self._token: trio.lowlevel.TrioToken
        self._nursery: trio.Nursery

    def __repr__(self) -> str:
        state = "ended" if self._ended.done() else "open"
        return f"<InThread: {state}, {getattr(self, 'value', None)!r}>"

    def call(self, function: Callable[[], R]) -> R:
        """Call a function in the thread, between two steps of its tasks.

        Returns:
            What the function returned.

        Raises:
            Exception: What the function raised.
            TimeoutError: It has not returned in 30 s.
        """
        result: Future[R] = Future()

        def call() -> None:
            try:
                result.set_result(function())
            except Exception as error:  # noqa: BLE001 - raised in the caller's thread
                result.set_exception(error)

        self._token.run_sync_soon(call)
        return result.result(_LIMIT)

    def run(self, function: Callable[[], Awaitable[R]]) -> R:
        """Run an async function in a task of the thread.

        Returns:
            What the function returned.

        Raises:
            Exception: What the function raised.
            TimeoutError: It has not returned in 30 s.
        """
        result: Future[R] = Future()

        async def run() -> None:
            try:
                result.set_result(await function())
            except Exception as error:  # noqa: BLE001 - raised in the caller's thread
                result.set_exception(error)

        self.call(partial(self._nursery.start_soon, run))
        return result.result(_LIMIT)

    def advance(self, seconds: float) -> None:
        """Let the clock of the thread go forward, and do what is due by then.

        The clock also goes on by itself, unless it is stopped.

        Args:
            seconds: By how much.
        """
        check_seconds(seconds, "seconds", zero=True)
        self.run(partial(self._advance, seconds))

    def stop_clock(self) -> None:
        """Let the time of the thread stand still, but for `advance`."""
        self.call(partial(setattr, self._clock, "rate", 0.0))

    async def _advance(self, seconds: float) -> None:
        # What is under way must not be overtaken by its own time limit.
        await wait_all_tasks_blocked()
        self._clock.jump(seconds)
        await wait_all_tasks_blocked()

    def __enter__(self) -> Self:
        self._thread.start()
        self._opened.result(_LIMIT)
        if self._ended.done():
            self._thread.join()
            self._ended.result()
        return self

    def __exit__(self, *_: object) -> None:
        # It may have ended by itself, with an error.
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._stop.set)
        self._ended.result(_LIMIT)
        self._thread.join(_LIMIT)

    def _main(self) -> None:
        try:
            trio.run(self._serve, clock=self._clock)
        except BaseException as error:  # noqa: BLE001 - raised in the other thread
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)
        if not self._opened.done():
            self._opened.set_result(None)

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with self._open_value() as self.value, trio.open_nursery() as nursery:
            self._nursery = nursery
            self._opened.set_result(None)
            await self._stop.wait()
            # What is closed from here on may have time limits.
            self._clock.rate = 1.0
            nursery.cancel_scope.cancel()


def open_in_thread(
    open_value: Callable[[], AbstractAsyncContextManager[T]], *, name: str
) -> AbstractContextManager[InThread[T]]:
    """Keep an async context manager open in a thread with a trio run of its own.

    Args:
        open_value: Makes the context manager; called in the thread.
        name: The name of the thread.

    Returns:
        A context manager. On entering and leaving it raises what the other one, or a
        task of the run, has raised; and TimeoutError if that takes more than 30 s.
    """
    return InThread(open_value, name)
