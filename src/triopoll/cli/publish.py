"""``triopoll publish``: one message, from an argument or from standard input."""

from __future__ import annotations

import argparse
import os
import sys

import trio

from trioslock.cli import (
    DEFAULT,
    UNREACHABLE,
    Commands,
    fail,
    seconds,
    show,
    show_json,
)

from .client_options import add_client_command, client_of

__all__ = ["add_publish"]

# Above what a service may be configured to accept in one request.
_LONGEST = 2**26
_EXAMPLES = """\
examples:
  triopoll publish orders "order 17 is paid"
  make 2>&1 | triopoll publish builds
  TRIOPOLL_CLIENT_API_KEY=... triopoll publish --url https://push.example.com orders hi
"""


def add_publish(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``publish``."""
    parser = add_client_command(
        commands,
        "publish",
        _run,
        "api_key",
        help="publish a message, and print its id",
        description="Publish a message to all readers of a key, and print its id. This "
        "is repeated while the service cannot be reached; the message is stored once.",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("key", metavar="KEY")
    add(
        "data",
        nargs="?",
        default="-",
        metavar="DATA",
        help=f"the message; - reads it from standard input{DEFAULT}",
    )
    add("--id", help="name under which the service stores it only once")
    add("--ttl", type=seconds, metavar="SECONDS", help="time for which it is kept")
    add(
        *("-w", "--timeout"),
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="try no longer" + DEFAULT,
    )


async def _run(options: argparse.Namespace) -> int:
    data = _read() if options.data == "-" else os.fsencode(options.data)
    async with client_of(options) as client:
        with trio.move_on_after(options.timeout):
            published = await client.publish(
                options.key, data, id=options.id, ttl=options.ttl
            )
            if options.json:
                show_json({"id": published.id, "duplicate": published.duplicate})
            else:
                show(published.id)
            return 0
    fail(
        f"no answer within {options.timeout:g} s: the message may be stored", "triopoll"
    )
    return UNREACHABLE


def _read() -> bytes:
    data = sys.stdin.buffer.read(_LONGEST + 1)
    if len(data) > _LONGEST:
        raise ValueError(f"standard input has more than {_LONGEST} bytes")
    return data
