"""``trioslock lock`` and ``trioslock semaphore``: run a command while a key is held."""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import trio

from ..client import Client
from ..primitives import SESSION, Grant, Lock, Semaphore
from ._common import CONFLICT, DEFAULT, Commands, run, seconds, whole_number
from ._held import HeldCommand, NotGranted, add_held_options

__all__ = ["add_commands"]


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
    lock.set_defaults(run=partial(run, _hold), permits=None)
    _add_options(lock)
    semaphore = commands.add_parser(
        "semaphore",
        help="run a command while one of several permits is held",
        description="Run a command while one of PERMITS permits is held.",
        epilog="example: trioslock semaphore backups 2 -- ./backup.sh",
    )
    semaphore.add_argument("key", metavar="KEY")
    semaphore.add_argument("permits", type=whole_number(1, 65_535), metavar="PERMITS")
    semaphore.set_defaults(run=partial(run, _hold), fence_env=None)
    _add_options(semaphore)


def _add_options(parser: argparse.ArgumentParser) -> None:
    waits = parser.add_mutually_exclusive_group()
    waits.add_argument(
        "-n", "--no-wait", action="store_true", help="fail at once if it is held"
    )
    waits.add_argument(
        "-w",
        "--timeout",
        type=seconds,
        default=float("inf"),
        metavar="SECONDS",
        help="take no longer to connect and to get it",
    )
    parser.add_argument(
        "-E",
        "--conflict-exit-code",
        type=int,
        choices=range(256),
        default=CONFLICT,
        metavar="CODE",
        help="exit code when it was not granted" + DEFAULT,
    )
    parser.add_argument(
        "--lease",
        type=seconds,
        default=SESSION,
        metavar="SECONDS",
        help="renewed lease; without it, the lock lasts as long as the connection",
    )
    add_held_options(parser)


async def _hold(options: argparse.Namespace) -> int:
    command = HeldCommand(
        options,
        partial(_take, options),
        timeout=options.timeout,
        conflict_code=options.conflict_exit_code,
    )
    return await command.run()


@asynccontextmanager
async def _take(
    options: argparse.Namespace, client: Client
) -> AsyncGenerator[int | None]:
    async with await _acquire(_handle(client, options), options.no_wait) as grant:
        yield grant.token


async def _acquire(handle: Lock | Semaphore, no_wait: bool) -> Grant:
    if not no_wait:
        return await handle.acquire()
    try:
        return await handle.try_acquire()
    except trio.WouldBlock:
        raise NotGranted from None


def _handle(client: Client, options: argparse.Namespace) -> Lock | Semaphore:
    if options.permits is not None:
        return client.semaphore(options.key, options.permits, lease=options.lease)
    fenced = options.fence_env is not None
    return client.lock(options.key, lease=options.lease, fenced=fenced)
