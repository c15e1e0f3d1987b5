"""One guest run for each loop: how it starts, and the ways in which it ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
import trio
import uvloop
from tests.trioslock.aio.conftest import Run
from tests.trioslock.outside import Outside, open_outside
from tests.trioslock.test_forks import run_in_child

from trioslock import aio
from trioslock.aio._portal import Portal, hold_back


def test_all_clients_of_a_loop_share_one_run(run: Run) -> None:
    """Opened at the same moment, by tasks of their own, and closed in any order."""

    async def main(outside: Outside) -> None:
        async def use(number: int) -> Portal:
            async with aio.open_client(outside.url) as client:
                await barrier.wait()
                async with client.lock(f"key-{number}"):
                    await asyncio.sleep(0)
                return client._portal

        barrier = asyncio.Barrier(5)
        portals = await asyncio.gather(*(use(number) for number in range(5)))
        assert len(set(portals)) == 1
        assert "0 clients" in repr(portals[0])
        assert asyncio.get_running_loop() not in Portal._portals

    with open_outside(None) as outside:
        run(main(outside))


def test_a_client_can_follow_at_once(run: Run) -> None:
    """Also one that is opened while the run of the one before ends."""

    async def main(outside: Outside) -> None:
        async def use() -> None:
            async with aio.open_client(outside.url) as client:
                await client.ping()

        for _ in range(3):
            await use()
        first = asyncio.create_task(use())
        while not first.done():
            await asyncio.gather(use(), use())
        await first

    with open_outside(None) as outside:
        run(main(outside))


def test_loops_of_several_threads_have_runs_of_their_own() -> None:
    with open_outside(None) as outside:

        async def main() -> None:
            async with aio.open_client(outside.url) as client:
                async with client.lock("key"):
                    assert outside.claims("key")[0] == 1

        threads = [
            threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert outside.claims("key") == (0, 0)


async def test_a_trio_program_is_told_what_to_use() -> None:
    with pytest.raises(RuntimeError, match="a trio program uses trioslock itself"):
        await Portal.attach(object())


def test_a_thread_with_another_guest_is_refused(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        stop = trio.Event()
        trio.lowlevel.start_guest_run(
            stop.wait,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=lambda _: ended.set_result(None),
            host_uses_signal_set_wakeup_fd=True,
        )
        with pytest.raises(RuntimeError, match="trio runs in this thread already"):
            async with aio.open_client():
                raise AssertionError
        stop.set()
        await ended

    run(main())


def test_a_result_that_comes_with_a_cancellation_is_undone(run: Run) -> None:
    """The asyncio task goes on when that is done, or has failed."""
    undone: list[int] = []

    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:

            async def number() -> int:
                task.cancel()
                return 7

            async def undo(result: int) -> None:
                with trio.CancelScope(shield=True):
                    await client.trio_database.lock("key").locked()
                undone.append(result)
                raise aio.NotHeld("gone", key=b"key")

            async def use() -> None:
                await client.portal.call_or_undo(number, undo)

            task = asyncio.create_task(use())
            with pytest.raises(asyncio.CancelledError):
                await task
            assert undone == [7]
            await client.ping()

    with open_outside(None) as outside:
        run(main(outside))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_loop_that_ends_takes_open_clients_with_it(loop: str) -> None:
    """Opened and not closed: nothing hangs, and nothing is left on the server."""
    with open_outside(None) as outside:

        async def main() -> None:
            client = await aio.open_client(outside.url).__aenter__()
            await client.lock("key").acquire()

        (asyncio.run if loop == "asyncio" else uvloop.run)(main())
        outside.until("key", 0, 0)


def test_tasks_that_the_loop_cancels_close_their_clients() -> None:
    with open_outside(None) as outside:
        closed: list[bool] = []

        async def hold() -> None:
            async with aio.open_client(outside.url) as client, client.lock("key"):
                begun.set()
                try:
                    await asyncio.sleep(30)
                finally:
                    # Still of use while the loop ends.
                    await client.ping()
                    closed.append(True)

        async def main() -> None:
            task = asyncio.create_task(hold())
            await begun.wait()
            assert not task.done()

        begun = asyncio.Event()
        asyncio.run(main())
        assert closed == [True]
        outside.until("key", 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["asyncio.run(main())", "old()"])
def test_ctrl_c_ends_the_program(runner: str) -> None:
    """Under asyncio.run, and under a loop with Python's own handler."""
    program = f"""
import asyncio, os, signal
from trioslock import aio
async def main():
    async with aio.open_client(URL) as client, client.lock("key"):
        print("held", flush=True)
        await asyncio.sleep(30)
def old():
    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    try:
        loop.run_until_complete(task)
    except KeyboardInterrupt:
        task.cancel()
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        loop.close()
        raise
try:
    {runner}
except KeyboardInterrupt:
    print("interrupted")
"""
    with open_outside(None) as outside:
        source = program.replace("URL", repr(outside.url))
        child = subprocess.Popen(
            [sys.executable, "-c", source], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        child.send_signal(2)
        assert child.communicate(timeout=30)[0] == "interrupted\n"
        assert child.returncode == 0
        outside.until("key", 0, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_is_refused(run: Run) -> None:
    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:
            await client.lock("key").acquire()

            def refused() -> bool:
                try:
                    client.lock("other").acquire().send(None)
                except RuntimeError as error:
                    return "forked from it: open a client here" in str(error)
                return False

            assert run_in_child(refused) == 0
            await client.ping()
            assert outside.claims("key") == (1, 0)

    with open_outside(None) as outside:
        run(main(outside))


def test_a_closed_client_is_refused(run: Run) -> None:
    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:
            pass
        with pytest.raises(aio.ClosedResourceError):
            await client.ping()
        with pytest.raises(aio.ClosedResourceError):
            await client.lock("key").acquire()

    with open_outside(None) as outside:
        run(main(outside))


def test_a_grant_of_a_cancelled_call_is_released(run: Run) -> None:
    """A call that could not be cancelled any more has returned it all the same."""

    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:
            native = client._client.lock("key", lease=30)

            async def acquire() -> Any:
                with trio.CancelScope(shield=True):
                    return await native.acquire()

            task = asyncio.create_task(client._portal.call(acquire))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(outside.until, "key", 0, 0)

    with open_outside(None) as outside:
        run(main(outside))


def test_the_error_of_a_cancelled_call_is_raised(run: Run) -> None:
    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:

            async def fail() -> None:
                try:
                    await trio.sleep_forever()
                finally:
                    raise ValueError("while it was cancelled")

            task = asyncio.create_task(client._portal.call(fail))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(ValueError, match="while it was cancelled"):
                await task

    with open_outside(None) as outside:
        run(main(outside))


def test_holding_back_raises_the_cancellation_in_the_end(run: Run) -> None:
    async def main() -> None:
        event = asyncio.Event()
        task = asyncio.create_task(hold_back(event.wait))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        event.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
def test_eager_tasks() -> None:
    async def main(outside: Outside) -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]

        async def use() -> None:
            async with client.lock("key"):
                await asyncio.sleep(0)

        async with aio.open_client(outside.url) as client:
            await asyncio.gather(*(use() for _ in range(10)))

    with open_outside(None) as outside:
        asyncio.run(main(outside))
