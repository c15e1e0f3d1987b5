"""The signals that the application handles: those that stop a server, and a reload.

At SIGTERM uvicorn and granian wait for the running requests, so a parked poll delays
them up to its own end; Hypercorn waits some seconds and cuts it. None of them tells the
application first. So a handler is put in front of the server's: it answers the parked
polls, and the server has nothing to wait for.

The server's handler is called too. Where there was none, as in the processes of
``hypercorn -k trio``, the signal ends the process as it would have done, after the
drain.

A reload is only handled where the server leaves SIGHUP to the application, which
``triopoll serve`` does.
"""

from __future__ import annotations

import inspect
import math
import signal
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from types import FrameType

import trio

from .drain import Drain

__all__ = ["call_at_reloads", "drain_on_signals"]

# A signal that comes again within so many seconds is a repetition: Hypercorn and
# multiprocessing send one after the other. Later it means that the drain must not go
# on.
_REPEATED = 1.0

# Seconds for the answers of the drain to be written before a signal ends the process.
_WRITE_SECONDS = 0.5


@asynccontextmanager
async def drain_on_signals(drain: Drain, window: float) -> AsyncGenerator[None]:
    """Drain when SIGTERM or SIGINT comes inside the block, or else at its end.

    At the end of the block most requests have ended already, but granian does not wait
    for websockets. Nothing is done where the server drives the drain itself, and
    outside the main thread, in which alone signal handlers can be set.

    Args:
        drain: What to begin and release.
        window: Seconds over which the waits are ended.

    Cancellation:
        The handlers are as they were before; a drain that goes on stops.
    """
    if drain.driven or threading.current_thread() is not threading.main_thread():
        yield
        return
    token = trio.lowlevel.current_trio_token()
    asked, drained, dying = trio.Event(), trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drain_when, asked, drain, window, drained)
        nursery.start_soon(_die_when, drained, dying)
        ask, die = partial(_soon, token, asked.set), partial(_soon, token, dying.set)
        with (
            _handling_before(signal.SIGINT, ask),
            _handling_before(signal.SIGTERM, ask, die),
        ):
            yield
        asked.set()
        await drained.wait()
        nursery.cancel_scope.cancel()


async def call_at_reloads(
    call: Callable[[], object],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call at each SIGHUP, and at each SIGURG, which a supervisor sends instead.

    Outside the main thread, in which alone signals can be received, nothing is done.

    Args:
        call: Returns at once.
        task_status: Is started when no signal is missed any more.

    Cancellation:
        The handlers are as they were before.
    """
    if threading.current_thread() is not threading.main_thread():
        task_status.started()
        await trio.lowlevel.checkpoint()
        return
    with trio.open_signal_receiver(signal.SIGHUP, signal.SIGURG) as signals:
        task_status.started()
        async for _ in signals:
            call()


def _soon(token: trio.lowlevel.TrioToken, call: Callable[[], None]) -> None:
    # Another library may have put this handler back in place after the run.
    with suppress(trio.RunFinishedError):
        token.run_sync_soon(call)


async def _drain_when(
    asked: trio.Event, drain: Drain, window: float, drained: trio.Event
) -> None:
    await asked.wait()
    await drain.release(window)
    drained.set()


async def _die_when(drained: trio.Event, dying: trio.Event) -> None:
    await drained.wait()
    await dying.wait()
    await trio.sleep(_WRITE_SECONDS)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


@contextmanager
def _handling_before(
    signum: signal.Signals,
    ask: Callable[[], object],
    die: Callable[[], object] | None = None,
) -> Generator[None]:
    """Call `ask` at a signal, then the handler that it had.

    Args:
        signum: Which signal.
        ask: Called in the signal handler.
        die: Called after it, where the signal would have ended the process.
    """
    before = signal.getsignal(signum)
    # An ignored signal stays ignored. SIGINT without a handler ends the process at
    # once.
    if not callable(before) and (before != signal.SIG_DFL or die is None):
        yield
        return

    first_at = math.inf

    # Where the interrupted frame is not protected, trio's handler raises
    # KeyboardInterrupt in it. That may be a request's task, and Hypercorn logs the
    # error of a request and goes on. From a protected frame it goes to the main task.
    @trio.lowlevel.enable_ki_protection
    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first_at
        ask()
        if callable(before):
            before(number, inspect.currentframe())
        elif die is not None and first_at == math.inf:
            first_at = time.monotonic()
            die()
        elif time.monotonic() - first_at > _REPEATED:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(signum, handle)
    try:
        yield
    finally:
        # The server may have set its own again before it ends.
        if signal.getsignal(signum) is handle:
            signal.signal(signum, before)
