"""``trioslock lock`` and ``trioslock semaphore``: run a command while a key is held."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import AsyncIterator, Callable

import trio

from .._errors import LockLost, SlockError
from ..client import Client, open_client
from ..primitives import SESSION, Grant, Lock, Semaphore
from ._child import Child

__all__ = ["LOST", "NOT_STARTED", "UNREACHABLE", "add_hold_options", "hold"]

NOT_STARTED = 69
"""Exit code: the command cannot be started; flock has the same."""

UNREACHABLE = 74
"""Exit code: the server cannot be reached, or has refused."""

LOST = 75
"""Exit code: the lock was lost while the command ran."""

_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
_DEFAULT = " (default: %(default)s)"


def add_hold_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that lock and semaphore share, and the command."""
    add = parser.add_argument
    url = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658/0")
    add("--url", default=url, help="server, or TRIOSLOCK_URL" + _DEFAULT)
    waits = parser.add_mutually_exclusive_group()
    waits.add_argument(
        "-n", "--no-wait", action="store_true", help="fail at once if it is held"
    )
    waits.add_argument(
        "-w", "--timeout", type=_seconds, metavar="SECONDS", help="wait no longer"
    )
    add(
        "-E",
        "--conflict-exit-code",
        type=int,
        choices=range(256),
        default=1,
        metavar="CODE",
        help="exit code when it was not granted" + _DEFAULT,
    )
    add(
        "--lease",
        type=_seconds,
        metavar="SECONDS",
        help="renewed lease; without it, the lock lasts as long as the connection",
    )
    add(
        "--on-lost",
        choices=("term", "kill", "ignore"),
        default="term",
        help="what the command gets when the lock is lost" + _DEFAULT,
    )
    add(
        "--grace",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="from SIGTERM to SIGKILL when the lock is lost" + _DEFAULT,
    )
    add("command", nargs="+", metavar="COMMAND", help="command and its words, after --")


def hold(options: argparse.Namespace, fail: Callable[[str], None]) -> int:
    """Run the command while the key is held; return the exit code.

    Args:
        options: What `add_hold_options` has read, with ``key``.
        fail: Called with one line about each failure.
    """
    try:
        return trio.run(_hold, options, fail)
    except* LockLost as group:
        fail(_text_of(group))
        return_code = LOST
    except* (SlockError, ValueError) as group:
        fail(_text_of(group))
        return_code = UNREACHABLE
    return return_code


def _text_of(group: BaseExceptionGroup[Exception]) -> str:
    """Return the text of the first error of a group."""
    error = group.exceptions[0]
    return _text_of(error) if isinstance(error, BaseExceptionGroup) else str(error)


async def _hold(options: argparse.Namespace, fail: Callable[[str], None]) -> int:
    # What the caller ignores, as nohup does, the command ignores too.
    caught = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
    run = _Run(options, fail)
    with trio.open_signal_receiver(*caught) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.follow, signals, nursery.cancel_scope)
            await run.hold()
            nursery.cancel_scope.cancel()
    return run.code


class _Run:
    """One run of the command, from the wait for the key to the exit code."""

    def __init__(
        self, options: argparse.Namespace, fail: Callable[[str], None]
    ) -> None:
        self.code: int = options.conflict_exit_code
        self._options = options
        self._fail = fail
        self._child: Child | None = None

    async def follow(
        self, signals: AsyncIterator[int], scope: trio.CancelScope
    ) -> None:
        """Pass signals on; before the command runs, they end the wait."""
        async for signum in signals:
            if self._child is not None:
                self._child.pass_on(signum)
            else:
                self.code = 128 + signum
                scope.cancel()

    async def hold(self) -> None:
        """Wait for the key, and run the command while it is held."""
        async with open_client(self._options.url) as client:
            grant = await self._acquire(client)
            if grant is None:
                return
            async with grant:
                await self._run(grant)

    async def _acquire(self, client: Client) -> Grant | None:
        handle = _handle(client, self._options)
        if self._options.no_wait:
            try:
                return await handle.try_acquire()
            except trio.WouldBlock:
                return None
        with trio.move_on_after(self._options.timeout or float("inf")):
            return await handle.acquire()
        return None

    async def _run(self, grant: Grant) -> None:
        environment = dict(os.environ)
        if self._options.fence_env and grant.token is not None:
            environment[self._options.fence_env] = str(grant.token)
        try:
            self._child = Child(self._options.command, environment)
        except OSError as error:
            self._fail(f"{self._options.command[0]}: {error.strerror}")
            self.code = NOT_STARTED
            return
        try:
            self.code = await self._child.wait()
        except trio.Cancelled:
            # It is shielded, and lasts as long as the command does.
            await self._end(self._child)  # noqa: ASYNC102
            raise

    async def _end(self, child: Child) -> None:
        """Do what --on-lost says."""
        if self._options.on_lost == "ignore":
            self._fail("the lock is lost; the command runs on")
            with trio.CancelScope(shield=True):
                await child.wait()
        else:
            kill = self._options.on_lost == "kill"
            await child.end(0 if kill else self._options.grace)


def _handle(client: Client, options: argparse.Namespace) -> Lock | Semaphore:
    lease = SESSION if options.lease is None else options.lease
    if options.permits is not None:
        return client.semaphore(options.key, options.permits, lease=lease)
    fenced = options.fence_env is not None
    return client.lock(options.key, lease=lease, fenced=fenced)


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of seconds above 0")
    return seconds
