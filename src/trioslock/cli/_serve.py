"""``trioslock serve``: a server without a slock binary."""

from __future__ import annotations

import argparse
import logging
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from ..protocol import MAX_DATA_SIZE
from ._common import DEFAULT, Commands, fail, leaves, whole_number

if TYPE_CHECKING:
    from ..storage import Storage

__all__ = ["LIMITS", "add_commands"]

LIMITS = (
    ("connections", 10_000, "connections open at once"),
    (
        "output-bytes",
        64 * 1_048_576,
        "bytes kept for a peer that does not read, before it is cut",
    ),
    ("keys", 1_000_000, "keys that are held or waited for"),
    ("waiters", 2_000_000, "waiters of all keys"),
    ("data-bytes", MAX_DATA_SIZE, "bytes of the data of one key"),
)
"""The options ``--max-NAME``: name, default and help.

The defaults are those of the server and the engine, which are not imported here: all
other commands would start later for it.
"""


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``serve``."""
    parser = commands.add_parser(
        "serve",
        help="serve the slock protocol on TCP",
        description="Serve the slock protocol on TCP until SIGTERM or SIGINT. Without "
        "--data, locks are kept in memory only and are gone when the server ends.",
        epilog="example: trioslock serve --port 5658 --data /var/lib/trioslock",
    )
    parser.set_defaults(run=_run)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on" + DEFAULT)
    add(
        "--port",
        type=whole_number(0, 65_535),
        default=5658,
        help="port; 0 takes any free one" + DEFAULT,
    )
    add("--subscribe-enabled", action="store_true", help="accept subscriptions")
    for name, default, text in LIMITS:
        add(
            f"--max-{name}",
            type=whole_number(1),
            default=default,
            metavar="N",
            help=text + DEFAULT,
        )
    add("--data", type=Path, metavar="DIR", help="keep locks in DIR over a restart")
    add(
        "--fsync",
        choices=("second", "always"),
        default="second",
        help="with --data: sync to the disk once a second, or before each answer"
        + DEFAULT,
    )


def _run(options: argparse.Namespace) -> int:
    from ..storage import StorageError  # noqa: PLC0415  # see LIMITS

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    failures: list[BaseException] = []
    try:
        trio.run(_serve, options)
    except* (OSError, StorageError) as group:
        # From a task of the server it comes in a group.
        failures = leaves(group)
    for failure in failures:
        fail(_text_of(failure))
    return 1 if failures else 0


def _text_of(error: BaseException) -> str:
    """Return an error's text; that of an OSError without its number."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


async def _serve(options: argparse.Namespace) -> None:
    from ..engine import EngineLimits  # noqa: PLC0415  # see LIMITS
    from ..server import ServerLimits, open_server  # noqa: PLC0415  # see LIMITS

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
    from ..storage import open_storage  # noqa: PLC0415  # see LIMITS

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
