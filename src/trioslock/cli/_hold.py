"""``trioslock lock`` and ``trioslock semaphore``: run a command while a key is held."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import AsyncIterator

import trio

from ..client import Client, open_client
from ..primitives import SESSION, Grant, Lock, Semaphore
from ._child import Child
from ._common import (
    CONFLICT,
    DEFAULT,
    NOT_STARTED,
    Commands,
    add_url,
    fail,
    run,
    seconds,
    whole_number,
)

__all__ = ["add_commands"]

_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``lock`` and ``semaphore``."""
    lock = commands.add_parser(
        "lock",
        help="run a command while a lock is held",
        description="Run a command while a lock is held, as flock does on one machine.",
        epilog="example: trioslock lock --no-wait report -- ./report.sh",
    )
    lock.add_argument("key", metavar="KEY")
    lock.add_argument(
        "--fence-env", metavar="NAME", help="variable that gets the fencing token"
    )
    lock.set_defaults(run=_run, permits=None)
    _add_options(lock)
    semaphore = commands.add_parser(
        "semaphore",
        help="run a command while one of several permits is held",
        description="Run a command while one of PERMITS permits is held.",
        epilog="example: trioslock semaphore backups 2 -- ./backup.sh",
    )
    semaphore.add_argument("key", metavar="KEY")
    semaphore.add_argument("permits", type=whole_number(1, 65_535), metavar="PERMITS")
    semaphore.set_defaults(run=_run, fence_env=None)
    _add_options(semaphore)


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that lock and semaphore share, and the command."""
    add = parser.add_argument
    add_url(parser)
    waits = parser.add_mutually_exclusive_group()
    waits.add_argument(
        "-n", "--no-wait", action="store_true", help="fail at once if it is held"
    )
    waits.add_argument(
        "-w", "--timeout", type=seconds, metavar="SECONDS", help="wait no longer"
    )
    add(
        "-E",
        "--conflict-exit-code",
        type=int,
        choices=range(256),
        default=CONFLICT,
        metavar="CODE",
        help="exit code when it was not granted" + DEFAULT,
    )
    add(
        "--lease",
        type=seconds,
        metavar="SECONDS",
        help="renewed lease; without it, the lock lasts as long as the connection",
    )
    add(
        "--on-lost",
        choices=("term", "kill", "ignore"),
        default="term",
        help="what the command gets when the lock is lost" + DEFAULT,
    )
    add(
        "--grace",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="from SIGTERM to SIGKILL when the lock is lost" + DEFAULT,
    )
    add("command", nargs="+", metavar="COMMAND", help="command and its words, after --")


def _run(options: argparse.Namespace) -> int:
    return run(_hold, options)


async def _hold(options: argparse.Namespace) -> int:
    # What the caller ignores, as nohup does, the command ignores too.
    caught = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
    held = _Run(options)
    with trio.open_signal_receiver(*caught) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(held.follow, signals, nursery.cancel_scope)
            await held.hold()
            nursery.cancel_scope.cancel()
    return held.code


class _Run:
    """One run of the command, from the wait for the key to the exit code."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.code: int = options.conflict_exit_code
        self._options = options
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
            fail(f"{self._options.command[0]}: {error.strerror}")
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
            fail("the lock is lost; the command runs on")
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
