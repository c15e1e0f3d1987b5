"""Several worker processes on the same listening sockets.

The workers are this same command with ``--workers 1`` and inherited sockets; nothing
of the application is loaded in here. A worker that dies is started again after a
backoff. A worker that cannot start at all ends everything: waiting would not help.

The sockets are shared, not bound once per worker with SO_REUSEPORT, because the queue
of connections that a dead or draining worker leaves behind is then served by others.
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

from triopoll.settings import CREW_VARIABLE, SIBLINGS_VARIABLE

__all__ = ["EXIT_CUT", "EXIT_STARTUP", "supervise", "watch_lifeline"]

logger = logging.getLogger("triopoll.serving")

# 2 is argparse's own for a wrong command line.
EXIT_CUT = 1  # somebody was cut off
EXIT_STARTUP = 3  # the application or its address refused to start

# What a worker is sent. Not SIGINT, which Python makes an exception, with a traceback,
# of a worker that is still starting.
_WORD_FOR = {signal.SIGTERM: signal.SIGTERM, signal.SIGINT: signal.SIGUSR1}

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 30.0
_HEALTHY_AFTER = 60.0  # a worker that lived so long starts the backoff anew


async def supervise(
    command: Sequence[str], sockets: Sequence[socket.socket], workers: int
) -> int:
    """Run workers until SIGTERM or SIGINT; pass the signal on and wait for them.

    Args:
        command: The command line of one worker; it finds its sockets by number, and
            by ``--lifeline`` the pipe that tells it when this process has gone.
        sockets: Listening sockets, which the workers inherit. They are closed here
            as soon as the workers drain.
        workers: How many.

    Returns:
        The greatest exit code of the workers that ran to the end: 0 if no client was
        cut off, EXIT_STARTUP if a worker could not start.

    Cancellation:
        The workers are killed.
    """
    lifeline, ours = os.pipe()
    inherited = [lifeline, *(sock.fileno() for sock in sockets)]
    # For what workers tell each other; only this user can enter it.
    with (
        tempfile.TemporaryDirectory(prefix="triopoll-") as directory,
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
    ):
        crew = _Workers([*command, "--lifeline", str(lifeline)], inherited, directory)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crew.pass_on, signals, sockets)
            await crew.run(workers)
            nursery.cancel_scope.cancel()
    os.close(lifeline)
    os.close(ours)
    return crew.exit_code


async def watch_lifeline(lifeline: int) -> None:
    """Drain this worker when its supervisor is gone, however that ended.

    Args:
        lifeline: The reading end of a pipe that only the supervisor can write to.
            Nothing is ever written; its end is the news.
    """
    await trio.lowlevel.wait_readable(lifeline)
    logger.error("the supervisor is gone")
    os.kill(os.getpid(), signal.SIGTERM)


class _Workers:
    """The worker processes and what has become of them."""

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
            self._stop(_WORD_FOR[signal.Signals(number)])
            # Clients must be refused once the workers have closed theirs.
            for sock in sockets:
                sock.close()

    async def _keep_up(self, place: int) -> None:
        """Have a worker in this place until the crew stops."""
        backoff = _FIRST_BACKOFF
        has_started = False
        while not self._stopping.is_set():
            begun = trio.current_time()
            code = await self._run_one(place)
            if self._stopping.is_set():
                self.exit_code = max(self.exit_code, _verdict(code))
                return
            if code == EXIT_STARTUP and not has_started:
                logger.error("worker %d cannot start", place)
                self.exit_code = EXIT_STARTUP
                self._stop(signal.SIGTERM)
                return
            has_started = True
            if trio.current_time() - begun > _HEALTHY_AFTER:
                backoff = _FIRST_BACKOFF
            logger.error("worker %d died (%d): again in %.1f s", place, code, backoff)
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
                    env={**os.environ, **self._whereabouts(place)},
                    # A terminal's Ctrl-C reaches the whole group; we pass it on.
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

    def _whereabouts(self, place: int) -> dict[str, str]:
        """Tell a worker which of how many it is, and where the others are."""
        return {
            CREW_VARIABLE: str(os.getpid()),
            SIBLINGS_VARIABLE: f"{place}/{self._count}:{self._directory}",
        }

    def _stop(self, number: signal.Signals) -> None:
        self._stopping.set()
        for process in self._processes.values():
            process.send_signal(number)


def _verdict(code: int) -> int:
    """Return what the end of a worker that was stopped says about its clients.

    One that serves handles these signals. One that they have killed was still
    starting, or had ended already: it had no clients.
    """
    if -code in _WORD_FOR.values():
        return 0
    return code if code >= 0 else EXIT_CUT
