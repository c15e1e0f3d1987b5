"""Several worker processes on the same sockets.

The workers are this same command with ``--workers 1`` and inherited sockets. The
supervisor does not load the application. A worker that dies is started again after a
backoff. If a worker cannot start at all, the supervisor stops: waiting would not help.

The sockets are shared, not bound once per worker with SO_REUSEPORT: connections that
wait in the queue of a shared socket are served by the other workers when one dies or
drains.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from functools import partial

import trio

from triopoll.settings import SUPERVISOR_VARIABLE, WORKER_VARIABLE

__all__ = ["EXIT_CUT", "EXIT_FAILED", "EXIT_STARTUP", "supervise", "watch_lifeline"]

logger = logging.getLogger(__name__)

# 2 is argparse's own for a wrong command line.
EXIT_CUT = 1  # a client was cut off
EXIT_STARTUP = 3  # the application or its address refused to start
EXIT_FAILED = 4  # the server or the application failed otherwise, with all answered

# What a worker is sent for a signal to the supervisor. Not SIGINT: a worker that is
# still starting would end with the traceback of a KeyboardInterrupt.
_WORKER_SIGNALS = {signal.SIGTERM: signal.SIGTERM, signal.SIGINT: signal.SIGUSR1}
# What it is sent for SIGHUP: a worker that has not started to handle it ignores it, by
# the default of this signal, and reads all files in its start. SIGHUP would end it.
_WORKER_RELOAD = signal.SIGURG

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 30.0
_HEALTHY_AFTER = 60.0  # the backoff starts anew after a worker that lived so long


async def supervise(
    command: Sequence[str], sockets: Sequence[socket.socket], workers: int
) -> int:
    """Run workers until SIGTERM or SIGINT; pass the signal on and wait for them.

    SIGHUP is passed on as well, as a signal that ends no worker.

    Args:
        command: The command line of one worker. It names the sockets by number;
            ``--lifeline`` is added, the pipe whose end shows that this process is gone.
        sockets: Bound sockets, which the workers inherit and listen on when they have
            started. They are closed here as soon as the workers drain.
        workers: How many.

    Returns:
        The exit code of the workers that ran to the end: EXIT_CUT if one of them cut
        a client off, else the greatest.

    Cancellation:
        The workers are killed.
    """
    lifeline, supervisor_end = os.pipe()
    inherited = [lifeline, *(sock.fileno() for sock in sockets)]
    # For the workers' metrics sockets; only this user can enter it.
    with (
        tempfile.TemporaryDirectory(prefix="triopoll-") as directory,
        trio.open_signal_receiver(*_WORKER_SIGNALS, signal.SIGHUP) as signals,
    ):
        pool = _Workers([*command, "--lifeline", str(lifeline)], inherited, directory)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.pass_on, signals, sockets)
            await pool.run(workers)
            nursery.cancel_scope.cancel()
    os.close(lifeline)
    os.close(supervisor_end)
    return pool.exit_code


async def watch_lifeline(lifeline: int) -> None:
    """Drain this worker when its supervisor has ended in whatever way.

    Args:
        lifeline: The reading end of a pipe whose writing end only the supervisor has.
            Nothing is written to it; it becomes readable when that end is closed.
    """
    await trio.lowlevel.wait_readable(lifeline)
    logger.error("the supervisor is gone: this worker drains and stops")
    os.kill(os.getpid(), signal.SIGTERM)


class _Workers:
    """The worker processes, by place, and the exit code that they lead to."""

    def __init__(
        self, command: Sequence[str], inherited: Sequence[int], directory: str
    ) -> None:
        self._command = command
        self._inherited = inherited
        self._directory = directory
        self._processes: dict[int, trio.Process] = {}
        self._stopping = trio.Event()
        self._count = 0
        self.exit_code = 0

    async def run(self, workers: int) -> None:
        self._count = workers
        async with trio.open_nursery() as nursery:
            for place in range(workers):
                nursery.start_soon(self._keep_up, place)

    async def pass_on(
        self, signals: AsyncIterator[int], sockets: Sequence[socket.socket]
    ) -> None:
        async for number in signals:
            if number == signal.SIGHUP:
                self._send(_WORKER_RELOAD)
                continue
            self._stop(_WORKER_SIGNALS[signal.Signals(number)])
            # Once the workers have closed theirs, new clients must be refused and not
            # wait in a queue that no worker serves.
            for sock in sockets:
                sock.close()

    async def _keep_up(self, place: int) -> None:
        """Keep a worker running in this place until the supervisor is stopped."""
        backoff = _FIRST_BACKOFF
        has_started = False
        while not self._stopping.is_set():
            begun = trio.current_time()
            code = await self._run_one(place)
            if self._stopping.is_set():
                self.exit_code = _both(self.exit_code, _exit_code_of(code))
                return
            if code == EXIT_STARTUP and not has_started:
                logger.error("worker %d cannot start: all workers are stopped", place)
                self.exit_code = EXIT_STARTUP
                self._stop(signal.SIGTERM)
                return
            has_started = True
            if trio.current_time() - begun > _HEALTHY_AFTER:
                backoff = _FIRST_BACKOFF
            logger.error(
                "worker %d died (exit code %d): it is started again in %.1f s",
                *(place, code, backoff),
            )
            with trio.move_on_after(backoff):
                await self._stopping.wait()
            backoff = min(2 * backoff, _LONGEST_BACKOFF)

    async def _run_one(self, place: int) -> int:
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(
                partial(
                    trio.run_process,
                    self._command,
                    check=False,
                    pass_fds=self._inherited,
                    env={**os.environ, **self._identity(place)},
                    # A terminal sends Ctrl-C to a whole process group. The supervisor
                    # passes it on, so the workers must not get it a second time.
                    process_group=0,
                )
            )
            self._processes[place] = process
            if self._stopping.is_set():
                process.terminate()
        del self._processes[place]
        code = process.returncode
        assert code is not None
        return code

    def _identity(self, place: int) -> dict[str, str]:
        """Return variables that say which worker it is and where the others are."""
        return {
            SUPERVISOR_VARIABLE: str(os.getpid()),
            WORKER_VARIABLE: f"{place}/{self._count}:{self._directory}",
        }

    def _stop(self, number: signal.Signals) -> None:
        self._stopping.set()
        self._send(number)

    def _send(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            process.send_signal(number)


def _both(one: int, other: int) -> int:
    """Return the exit code for two: that of a cut client hides every other."""
    return EXIT_CUT if EXIT_CUT in (one, other) else max(one, other)


def _exit_code_of(code: int) -> int:
    """Return what a worker that was stopped adds to the supervisor's exit code.

    A worker handles these signals as soon as it serves. One that they have killed was
    still starting, or was at its end: it had no clients.
    """
    if -code in _WORKER_SIGNALS.values():
        return 0
    return code if code >= 0 else EXIT_CUT
