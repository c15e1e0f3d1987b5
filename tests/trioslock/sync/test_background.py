"""Calls over the background thread: time limits, interrupts, forks, the end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest
import trio

from trioslock import sync
from trioslock.sync._background import Body, Call, hold, let_go
from trioslock.testing import SlockServer


@pytest.fixture
def client(server: SlockServer) -> Iterator[sync.Client]:
    with sync.open_client(server.url) as opened:
        yield opened


def test_one_thread_for_all_clients_ends_with_the_last(server: SlockServer) -> None:
    def count() -> int:
        return sum(one.name == "trioslock.sync" for one in threading.enumerate())

    with sync.open_client(server.url):
        assert count() == 1
        with sync.open_client(server.url):
            assert count() == 1
        assert count() == 1
    assert count() == 0


def test_a_timeout_leaves_nothing_on_the_server(
    server: SlockServer, client: sync.Client
) -> None:
    with client.lock("key"):
        for seconds in (0, 0.02):
            with pytest.raises(TimeoutError, match="not done within"):
                client.lock("key").acquire(timeout=seconds)
        server.wait_claims("key", holders=1, waiters=0)


@pytest.mark.parametrize("wrong", [-1, float("nan"), "1", True])
def test_a_wrong_timeout_is_refused(client: sync.Client, wrong: float) -> None:
    with pytest.raises((TypeError, ValueError), match="timeout"):
        client.ping(timeout=wrong)


async def test_a_call_in_a_trio_run_is_refused() -> None:
    with pytest.raises(RuntimeError, match="an event loop runs in this thread"):
        sync.connect("slock://127.0.0.1:1")


def test_a_call_in_an_asyncio_loop_is_refused(client: sync.Client) -> None:
    async def call() -> None:
        client.ping()

    with pytest.raises(RuntimeError, match="an event loop runs in this thread"):
        asyncio.run(call())


def test_a_call_in_a_thread_of_a_loop_is_made(client: sync.Client) -> None:
    async def call() -> float:
        return await asyncio.to_thread(client.ping)

    assert asyncio.run(call()) > 0


def test_threads_of_gevent_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkey = ModuleType("gevent.monkey")
    monkey.is_module_patched = lambda name: name == "threading"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
    with pytest.raises(RuntimeError, match="gevent"):
        sync.connect("slock://127.0.0.1:1")


def test_a_call_after_the_end_fails() -> None:
    background = hold()
    let_go(background)

    async def never() -> None:
        raise AssertionError

    with pytest.raises(trio.ClosedResourceError, match="the client is closed"):
        Call(background, never).wait()


def test_calls_under_way_fail_at_the_end() -> None:
    background = hold()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Call(background, trio.sleep_forever).wait)
        until(lambda: len(background.pending) == 1)
        let_go(background)
        with pytest.raises(trio.ClosedResourceError):
            waiting.result(5)
    assert repr(background) == "<Background: 0 clients, 0 calls>"


def test_a_call_that_starts_when_the_run_ends_fails() -> None:
    background = hold()
    late = Call(background, trio.sleep_forever)

    async def start_late() -> None:
        kept = background.nursery
        async with trio.open_nursery() as background.nursery:
            pass
        late.start()
        background.nursery = kept

    Call(background, start_late).wait()
    let_go(background)
    with pytest.raises(trio.ClosedResourceError):
        late.wait()


def test_what_an_interrupted_call_returned_is_undone() -> None:
    """Whenever the interrupt comes: before the start, meanwhile, and after the end."""
    background = hold()
    undone: list[int] = []

    async def function() -> int:
        return 7

    async def undo(value: int) -> None:
        undone.append(value)

    for late in (False, True):
        call = Call(background, function, undo=undo)
        if late:
            assert call.wait() == 7
        background.call_soon(call.withdraw, call.fail)
        background.call_soon(call.withdraw, call.fail)
        assert call._finished.acquire(timeout=5)
    assert undone == [7]
    let_go(background)


def test_a_body_that_is_entered_too_late_is_left() -> None:
    class Slow:
        left = False

        async def __aenter__(self) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.02)

        async def __aexit__(self, *_: object) -> None:
            self.left = True

    background = hold()
    slow = Slow()
    with pytest.raises(TimeoutError):
        Body(background, lambda: slow, lambda _: None, 0.001).wait()
    assert slow.left
    let_go(background)


INTERRUPTED = """
import os, signal, sys, threading
from trioslock import sync

with sync.open_client(sys.argv[1]) as client:
    try:
        print("waits", flush=True)
        {wait}
    except KeyboardInterrupt:
        lock = client.lock("key")
        print(len(client.waiters("key")), lock.show() is not None, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "wait",
    ["client.lock('key').acquire()", "client.lock('key').__enter__()"],
)
def test_an_interrupt_withdraws_the_wait(server: SlockServer, wait: str) -> None:
    """As Ctrl-C sends it."""
    command = [sys.executable, "-c", INTERRUPTED.format(wait=wait), server.url]
    with sync.open_client(server.url) as holder, holder.lock("key"):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "waits\n"
            server.wait_claims("key", waiters=1, timeout=20)
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "0 True\n"
            assert process.wait(20) == 0
        server.wait_claims("key", holders=1, waiters=0)


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT to this process")
@pytest.mark.parametrize("kind", ["call", "body"])
def test_a_second_interrupt_does_not_end_the_withdrawal(kind: str) -> None:
    """The first one comes while it waits, the second one while it withdraws."""
    withdrawn: list[bool] = []

    async def function() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                os.kill(os.getpid(), signal.SIGINT)
                await trio.sleep(0.02)
            withdrawn.append(True)

    class Entering:
        async def __aenter__(self) -> None:
            await function()

        async def __aexit__(self, *_: object) -> None:
            raise AssertionError

    background = hold()
    call: Call[None] = Call(background, function)
    if kind == "body":
        call = Body(background, Entering, lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        call.wait()
    assert withdrawn == [True]
    assert not background.pending
    let_go(background)


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT to this process")
def test_an_interrupt_at_the_end_of_a_body_waits_for_its_end() -> None:
    ended: list[bool] = []

    class Leaving:
        async def __aenter__(self) -> None:
            pass

        async def __aexit__(self, *_: object) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            try:
                await trio.sleep_forever()
            finally:
                ended.append(True)

    background = hold()
    body: Body[None, None] = Body(background, Leaving, lambda _: None)
    body.wait()
    with pytest.raises(KeyboardInterrupt):
        body.leave()
    assert ended == [True]
    let_go(background)


SHOWERED = """
import random, signal, sys, time
from trioslock import sync

def interrupt(*_):
    if inside:
        raise KeyboardInterrupt

inside = False
with sync.open_client(sys.argv[1]) as client:
    lock = client.lock("key")
    signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    for _ in range(int(sys.argv[2])):
        grant = None
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.003))
        try:
            inside = True
            grant = lock.acquire()
            inside = False
        except KeyboardInterrupt:
            inside = False
            interrupted += 1
        finally:
            inside = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        if grant is not None:
            grant.release()
        assert lock.show() is None, "a grant is left"
    print(interrupted)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
@pytest.mark.parametrize("times", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_interrupts_at_any_moment_leave_no_grant(
    server: SlockServer, times: int
) -> None:
    command = [sys.executable, "-c", SHOWERED, server.url, str(times)]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.stderr == ""
    assert int(run.stdout) > times / 20
    assert server.claims("key") == (0, 0)


def in_child(check: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            check()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - nothing of the parent may run here
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_opens_a_client_of_its_own(
    server: SlockServer, client: sync.Client
) -> None:
    """And the one of its parent refuses to be used, but by ``close``."""

    def check() -> None:
        with pytest.raises(RuntimeError, match="open a client here"):
            client.ping()
        client.close()
        with sync.open_client(server.url) as own:
            own.lock("key").try_acquire()

    grant = client.lock("held").acquire()
    assert in_child(check) == 0
    grant.release()
    assert server.claims("key") == (0, 0)


def until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.002)
