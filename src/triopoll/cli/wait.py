"""``triopoll wait``: the next message of a key, or all that come."""

from __future__ import annotations

import argparse
import base64
from math import inf

import trio

from triopoll.client import Gap, Message, Subscription
from trioslock.cli import (
    CONFLICT,
    DEFAULT,
    UNREACHABLE,
    Commands,
    fail,
    seconds,
    show_bytes,
    show_json,
)

from .client_options import add_client_command, client_of

__all__ = ["add_wait"]

_EXAMPLES = """\
examples:
  triopoll wait builds --timeout 600 && ./deploy
  triopoll wait orders --follow --json | jq .data
  triopoll wait orders --cursor "$last"      from the id of the last message on
"""


def add_wait(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``wait``."""
    parser = add_client_command(
        commands,
        "wait",
        _run,
        "ticket",
        help="wait for a message of a key, and print it",
        description="Wait for a message of a key, and print it as a line. Lost "
        "connections are repaired, and no message is left out.",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("key", metavar="KEY")
    add(
        "--cursor",
        default="new",
        help="new: what is published from now on; all: also what is kept; or the id of "
        "a message, for what came after it" + DEFAULT,
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--once", action="store_true", help="end after a message (default)"
    )
    how.add_argument("--follow", action="store_true", help="print all that come")
    add(
        *("-w", "--timeout"),
        type=seconds,
        default=inf,
        metavar="SECONDS",
        help="wait no longer; the exit code is 1 if there was no message",
    )


async def _run(options: argparse.Namespace) -> int:
    count = 0

    def show(item: Message | Gap) -> None:
        nonlocal count
        if isinstance(item, Message):
            count += 1
            _show_message(item, as_json=options.json)
        else:
            _show_gap(item, options.key, as_json=options.json)

    async with client_of(options) as client:
        subscription = client.subscribe(
            options.key,
            cursor=options.cursor,
            gaps="items",
            limit=100 if options.follow else 1,
        )
        with trio.move_on_after(options.timeout):
            async with subscription as items:
                async for item in items:
                    show(item)
                    if count and not options.follow:
                        break
    return 0 if count else _nothing(subscription)


def _nothing(subscription: Subscription[Message | Gap]) -> int:
    """Return the exit code when the time is over, and say why if it is not the time."""
    if subscription.error is None:
        return CONFLICT
    fail(subscription.error, "triopoll")
    return UNREACHABLE


def _show_message(message: Message, *, as_json: bool) -> None:
    if not as_json:
        show_bytes([message.data])
        return
    value = message.value
    named = {"data": value}
    if isinstance(value, bytes):
        named = {"data_base64": base64.b64encode(value).decode()}
    show_json({"id": message.id, "ts": message.ts, **named})


def _show_gap(gap: Gap, key: str, *, as_json: bool) -> None:
    if as_json:
        show_json({"gap": {"lost": gap.lost}})
        return
    count = "an unknown number of" if gap.lost is None else str(gap.lost)
    fail(f"{count} messages of {key!r} are gone", "triopoll")
