"""Signals that stop a server which does not drain by itself."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import pytest
import trio
import trio.testing

from triopoll.ops.drain import Drain
from triopoll.ops.signals import call_at_reloads, drain_on_signals

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture
def caught() -> Iterator[list[int]]:
    """What a server's handlers have been called with."""
    caught: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    yield caught
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_drains_and_reaches_the_server(
    caught: list[int], number: int
) -> None:
    """Parked waits end, and the server's handler is called, each time."""
    drain = Drain()
    before = signal.getsignal(number)
    async with drain_on_signals(drain, 0.01):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain.wait)
            await trio.testing.wait_all_tasks_blocked()
            assert drain.parked == 1
            signal.raise_signal(number)
            signal.raise_signal(number)
    assert drain.released
    assert caught == [number, number]
    assert signal.getsignal(number) is before


async def test_a_server_that_goes_without_a_signal(caught: list[int]) -> None:
    """Waits that are still parked at the end of the block end before it does."""
    drain = Drain()
    async with trio.open_nursery() as nursery:
        async with drain_on_signals(drain, 0.01):
            nursery.start_soon(drain.wait)
            await trio.testing.wait_all_tasks_blocked()
            assert drain.parked == 1
        assert not drain.parked
    assert not caught


async def test_a_server_that_drains_by_itself(caught: list[int]) -> None:
    """Nothing is done: the server calls the drain."""
    drain = Drain()
    drain.driven = True
    async with drain_on_signals(drain, 0.01):
        signal.raise_signal(signal.SIGTERM)
        await trio.testing.wait_all_tasks_blocked()
    assert not drain.draining
    assert caught == [signal.SIGTERM]


def test_another_thread(caught: list[int]) -> None:
    """No handler may be set in it, so nothing is done."""

    async def main() -> None:
        async with drain_on_signals(Drain(), 0.01):
            pass

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    thread.join()


async def test_signals_without_a_handler() -> None:
    """An ignored signal stays ignored; SIGINT without a handler does not drain."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        async with drain_on_signals(drain := Drain(), 0.01):
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
            signal.raise_signal(signal.SIGTERM)
            await trio.testing.wait_all_tasks_blocked()
            assert not drain.draining
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, interrupt)


@pytest.fixture
def default_sigterm() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("default_sigterm")
async def test_sigterm_without_a_handler_that_comes_twice_at_once() -> None:
    """It drains as one that came once; the process does not end before."""
    drain = Drain()
    async with drain_on_signals(drain, 60):
        with drain.interruptible():
            for _ in range(3):
                signal.raise_signal(signal.SIGTERM)
            await trio.sleep_forever()
    assert drain.released
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


ALONE = """
import signal, trio
from triopoll.ops import signals
from triopoll.ops.drain import Drain

async def main():
    async with signals.drain_on_signals(Drain(), 0.01):
        signal.raise_signal(signal.SIGTERM)
        %s
        await trio.sleep_forever()

signals._REPEATED = 0
trio.run(main)
"""


@pytest.mark.parametrize("again", ["", "signal.raise_signal(signal.SIGTERM)"])
def test_sigterm_without_a_handler(again: str) -> None:
    """It ends the process after the drain, or at once when it comes a second time."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE % again], timeout=90, check=False
    )
    assert done.returncode == -signal.SIGTERM


INTERRUPTED = """
import signal, trio
from triopoll.ops.drain import Drain
from triopoll.ops.signals import call_at_reloads, drain_on_signals

async def request():
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException as error:
        print("the request got", repr(error))

async def main():
    async with drain_on_signals(Drain(), 0.01), trio.open_nursery() as nursery:
        nursery.start_soon(request)
        await trio.sleep_forever()

try:
    trio.run(main)
except* KeyboardInterrupt:
    print("ended")
"""


def test_ctrl_c_in_the_middle_of_a_request() -> None:
    """It ends the server, not the request alone: Hypercorn would log it and go on."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        timeout=90,
        check=False,
        capture_output=True,
    )
    assert done.stdout == b"ended\n", done.stderr


async def test_a_handler_that_was_set_later_stays(caught: list[int]) -> None:
    """One that is put back after the run does nothing but call the former one."""
    async with drain_on_signals(Drain(), 0.01):
        handler = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN

    async def main() -> None:
        async with drain_on_signals(Drain(), 0.01):
            stale.append(signal.getsignal(signal.SIGTERM))

    assert callable(handler)
    signal.signal(signal.SIGTERM, handler)
    stale: list[object] = []
    await trio.to_thread.run_sync(trio.run, main)
    signal.raise_signal(signal.SIGTERM)
    assert caught == [signal.SIGTERM]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGURG])
async def test_a_reload(number: signal.Signals) -> None:
    """Each signal is a call: that of an operator, and that of a supervisor."""
    calls: list[None] = []
    before = signal.getsignal(number)
    async with trio.open_nursery() as nursery:
        await nursery.start(call_at_reloads, lambda: calls.append(None))
        for count in (1, 2):
            signal.raise_signal(number)
            await trio.testing.wait_all_tasks_blocked()
            assert len(calls) == count
        nursery.cancel_scope.cancel()
    assert signal.getsignal(number) is before


def test_a_reload_in_another_thread() -> None:
    """No signal can be received in it, so nothing is done."""
    thread = threading.Thread(target=trio.run, args=(call_at_reloads, int))
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
