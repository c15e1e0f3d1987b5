"""``trioslock leader``: run a command while this process leads."""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from ..client import Client
from ._common import CONFLICT, Commands, run, seconds
from ._held import HeldCommand, add_held_options

__all__ = ["add_commands"]


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``leader``."""
    parser = commands.add_parser(
        "leader",
        help="run a command while this process leads",
        description="Wait until this process leads, and run a command while it does. "
        "When the command ends by itself, step down and exit with its exit code.",
        epilog="example: trioslock leader --again scheduler -- ./scheduler",
    )
    parser.set_defaults(run=partial(run, _lead))
    add = parser.add_argument
    add("key", metavar="KEY")
    add("--name", help="what followers see; without it, the host and the process id")
    add(
        "--again",
        action="store_true",
        help="when a loss has ended the command, wait to lead again",
    )
    add("--fence-env", metavar="NAME", help="variable that gets the fencing token")
    add(
        "--lease",
        type=seconds,
        metavar="SECONDS",
        help="renewed lease, after which another can lead (default: 15)",
    )
    add_held_options(parser)


async def _lead(options: argparse.Namespace) -> int:
    command = HeldCommand(
        options,
        partial(_take, options),
        again=options.again,
        # It waits without end, so this is the code of no way out.
        conflict_code=CONFLICT,
    )
    return await command.run()


@asynccontextmanager
async def _take(
    options: argparse.Namespace, client: Client
) -> AsyncGenerator[int | None]:
    # The other commands start without it.
    from ..recipes import leader  # noqa: PLC0415

    lease = {} if options.lease is None else {"lease": options.lease}
    async with leader(client, options.key, name=options.name, **lease) as term:
        yield term.token
