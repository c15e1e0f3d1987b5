"""The command line: ``trioslock serve`` runs a server without a slock binary."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from .engine import EngineLimits
from .server import DEFAULT_PORT, ServerLimits, open_server
from .storage import Storage, StorageError, open_storage


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        arguments: Words of the command; by default those of this process.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    failures: list[Exception] = []
    try:
        trio.run(_serve, options)
    except* (OSError, StorageError) as group:
        # From a task of the server it comes in a group.
        failures = _leaves(group)
    for failure in failures:
        print(f"trioslock: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trioslock", description="A slock server in Python, for one node."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="serve the slock protocol on TCP",
        description="Serve the slock protocol on TCP until SIGTERM or SIGINT. What is "
        "held is kept in memory only and is gone when the server ends.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = serve.add_argument
    server, engine = ServerLimits(), EngineLimits()
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=DEFAULT_PORT, help="port; 0 takes any free one")
    add("--subscribe-enabled", action="store_true", help="take subscriptions")
    add(
        "--max-connections",
        type=_positive,
        default=server.connections,
        help="connections open at once",
    )
    add(
        "--max-output-bytes",
        type=_positive,
        default=server.output_bytes,
        help="kept for a peer that does not read, before it is cut",
    )
    add("--max-keys", type=_positive, default=engine.keys, help="keys in use")
    add("--max-waiters", type=_positive, default=engine.waiters, help="waiters")
    add(
        "--max-data-bytes",
        type=_positive,
        default=engine.data_size,
        help="largest data of a key",
    )
    add("--data", type=Path, metavar="DIR", help="keep what is held over a restart")
    add(
        "--fsync",
        choices=("second", "always"),
        default="second",
        help="with --data: let the disk catch up once a second, or wait for it "
        "before each answer",
    )
    return parser


def _positive(word: str) -> int:
    number = int(word)
    if number <= 0:
        raise ValueError(f"{number} is not positive")
    return number


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
    """Open the storage that the options name, if any; close it behind the server."""
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
