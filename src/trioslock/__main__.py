"""The command line: a server without a slock binary, and locks around commands."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

import trioslock

from .cli import add_hold_options, hold
from .engine import EngineLimits
from .server import DEFAULT_PORT, ServerLimits, open_server
from .storage import Storage, StorageError, open_storage

_DEFAULT = " (default: %(default)s)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        arguments: Words of the command; by default those of this process.
    """
    options = _parser().parse_args(arguments)
    if options.name != "serve":
        return hold(options, _fail)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    failures: list[Exception] = []
    try:
        trio.run(_serve, options)
    except* (OSError, StorageError) as group:
        # From a task of the server it comes in a group.
        failures = _leaves(group)
    for failure in failures:
        _fail(_text_of(failure))
    return 1 if failures else 0


def _fail(text: str) -> None:
    print(f"trioslock: {text}", file=sys.stderr)


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _text_of(error: Exception) -> str:
    """Return an error's text; that of an OSError without its number."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trioslock",
        description="A slock server in Python, and locks around commands.",
    )
    parser.add_argument(
        "--version", action="version", version=f"trioslock {trioslock.__version__}"
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    _add_holds(commands)
    serve = commands.add_parser(
        "serve",
        help="serve the slock protocol on TCP",
        description="Serve the slock protocol on TCP until SIGTERM or SIGINT. Without "
        "--data, locks are kept in memory only and are gone when the server ends.",
    )
    add = serve.add_argument
    server, engine = ServerLimits(), EngineLimits()
    add("--host", default="127.0.0.1", help="address to listen on" + _DEFAULT)
    add(
        "--port",
        type=_whole_number(0, 65_535),
        default=DEFAULT_PORT,
        help="port; 0 takes any free one" + _DEFAULT,
    )
    add("--subscribe-enabled", action="store_true", help="accept subscriptions")
    for name, default, text in (
        ("connections", server.connections, "connections open at once"),
        (
            "output-bytes",
            server.output_bytes,
            "bytes kept for a peer that does not read, before it is cut",
        ),
        ("keys", engine.keys, "keys that are held or waited for"),
        ("waiters", engine.waiters, "waiters of all keys"),
        ("data-bytes", engine.data_size, "bytes of the data of one key"),
    ):
        add(
            f"--max-{name}",
            type=_whole_number(1),
            default=default,
            metavar="N",
            help=text + _DEFAULT,
        )
    add("--data", type=Path, metavar="DIR", help="keep locks in DIR over a restart")
    add(
        "--fsync",
        choices=("second", "always"),
        default="second",
        help="with --data: sync to the disk once a second, or before each answer"
        + _DEFAULT,
    )
    return parser


def _add_holds(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> None:
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
    lock.set_defaults(permits=None)
    add_hold_options(lock)
    semaphore = commands.add_parser(
        "semaphore",
        help="run a command while one of several permits is held",
        description="Run a command while one of PERMITS permits is held.",
        epilog="example: trioslock semaphore backups 2 -- ./backup.sh",
    )
    semaphore.add_argument("key", metavar="KEY")
    semaphore.add_argument("permits", type=_whole_number(1, 65_535), metavar="PERMITS")
    semaphore.set_defaults(fence_env=None)
    add_hold_options(semaphore)


def _whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a reader of a whole number within bounds."""
    bounds = f"from {least} on" if most is None else f"from {least} to {most}"

    def read(word: str) -> int:
        number = int(word) if word.isascii() and word.isdigit() else -1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"{word!r} is not a whole number {bounds}")
        return number

    return read


async def _serve(options: argparse.Namespace) -> None:
    limits = ServerLimits(
        connections=options.max_connections, output_bytes=options.max_output_bytes
    )
    engine_limits = EngineLimits(
        keys=options.max_keys,
        waiters=options.max_waiters,
        data_size=options.max_data_bytes,
    )
    async with (
        _open_storage(options) as storage,
        open_server(
            options.host,
            options.port,
            limits=limits,
            engine_limits=engine_limits,
            subscribe_enabled=options.subscribe_enabled,
            allow_shutdown=True,
            storage=storage,
        ) as server,
    ):
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            print(f"listening on {server.address}", flush=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_shut_down_on_signal, signals, server.begin_shutdown)
                await server.wait_ended()
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open_storage(options: argparse.Namespace) -> AsyncGenerator[Storage | None]:
    """Open the storage of ``--data``, if it is given; close it after the server."""
    if options.data is None:
        yield None
        return
    storage = open_storage(options.data, fsync=options.fsync)
    try:
        yield storage
    finally:
        storage.close()


async def _shut_down_on_signal(
    signals: AsyncIterator[int], begin_shutdown: Callable[[], None]
) -> None:
    async for _ in signals:
        begin_shutdown()


if __name__ == "__main__":
    sys.exit(main())
