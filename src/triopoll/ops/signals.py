"""Drain at the signal that stops a server which knows of no drain.

At SIGTERM uvicorn and granian wait for the running requests, so a parked poll holds
them up to its own end; Hypercorn gives it some seconds and cuts it. None of them tells
the application before. So the signal is looked at on its way to the server: parked
polls are answered, and whatever the server does goes quickly.

The handler that was there is called all the same. Where there was none, as in the
processes of ``hypercorn -k trio``, the signal does what it would have done, after the
drain.
"""

from __future__ import annotations

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

__all__ = ["drain_on_signals"]

# A signal that comes again within so many seconds says the same once more, as Hypercorn
# and multiprocessing do one after the other; later, that somebody has no more patience.
_TWICE = 1.0

# Seconds for the answers of the drain to leave before a signal ends the process.
_LEAVE = 0.5


@asynccontextmanager
async def drain_on_signals(drain: Drain, window: float) -> AsyncGenerator[None]:
    """Drain when SIGTERM or SIGINT comes inside of the block, or else at its end.

    A server that lets the block end has let most requests end before; granian does not
    wait for websockets. It does nothing where the server drives the drain itself, and
    outside of the main thread, which no signal comes to.

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
        with _passing(signal.SIGINT, ask), _passing(signal.SIGTERM, ask, die):
            yield
        asked.set()
        await drained.wait()
        nursery.cancel_scope.cancel()


def _soon(token: trio.lowlevel.TrioToken, call: Callable[[], None]) -> None:
    # Somebody may have put our handler back in place after the run.
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
    await trio.sleep(_LEAVE)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


@contextmanager
def _passing(
    signum: signal.Signals,
    ask: Callable[[], object],
    die: Callable[[], object] | None = None,
) -> Generator[None]:
    """Call `ask` at a signal, then what handled it before.

    Args:
        signum: Which signal.
        ask: Is called in a signal handler.
        die: Is called after it, where the signal would have ended the process.
    """
    before = signal.getsignal(signum)
    if not callable(before) and (before != signal.SIG_DFL or die is None):
        yield
        return

    told_at = math.inf

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal told_at
        ask()
        if callable(before):
            before(number, frame)
        elif die is not None and told_at == math.inf:
            told_at = time.monotonic()
            die()
        elif time.monotonic() - told_at > _TWICE:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(signum, handle)
    try:
        yield
    finally:
        # The server may have put back its own on its way out.
        if signal.getsignal(signum) is handle:
            signal.signal(signum, before)
