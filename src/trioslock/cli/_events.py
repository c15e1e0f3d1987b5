"""``trioslock event``: set and clear an event, and wait for one."""

from __future__ import annotations

import argparse
from math import inf

import trio

from ..client import open_client
from ..primitives import Event
from ..protocol import Data
from ._actions import add_action, add_actions, add_ttl
from ._common import CONFLICT, DEFAULT, Commands, seconds
from ._output import show_data, show_json, typed

__all__ = ["add_commands"]

_EXAMPLES = """\
examples:
  trioslock event set built --data v1.2 --ttl 3600
  version=$(trioslock event wait built --timeout 600) && ./deploy "$version"
  trioslock event clear built
"""
_TTL = "time until it falls back to its default (without it: never)"


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``event`` and its commands."""
    text = "set or clear an event, or wait until it is set"
    actions = add_actions(commands, "event", text, _EXAMPLES)
    setter = _add(actions, "set", "set it, and wake all that wait for it")
    setter.add_argument("--data", metavar="TEXT", help="value that waiters get")
    add_ttl(setter, _TTL)
    add_ttl(_add(actions, "clear", "clear it: whoever waits from now on, waits"), _TTL)
    waiter = _add(actions, "wait", "wait until it is set, and print its value")
    waiter.add_argument(
        "-w", "--timeout", type=seconds, metavar="SECONDS", help="wait no longer"
    )


def _add(
    actions: Commands[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    parser = add_action(actions, name, text, _run)
    parser.add_argument(
        "--default",
        choices=("set", "clear"),
        default="clear",
        help="state without any set or clear; the same for all its users" + DEFAULT,
    )
    return parser


async def _run(options: argparse.Namespace) -> int:
    code = 0
    async with open_client(options.url) as client:
        event = client.event(options.key, default=options.default, ttl=options.ttl)
        if options.action == "wait":
            code = await _wait(event, options)
        else:
            await _change(event, options)
    return code


async def _change(event: Event, options: argparse.Namespace) -> None:
    if options.action == "set":
        await event.set(options.data)
    else:
        await event.clear()
    if options.json:
        show_json({"key": options.key, "set": options.action == "set"})


async def _wait(event: Event, options: argparse.Namespace) -> int:
    data: Data | None = None
    with trio.move_on_after(options.timeout or inf) as scope:
        data = await event.wait()
    was_set = not scope.cancelled_caught
    if options.json:
        show_json({"key": options.key, "set": was_set, "data": typed(data)})
    elif data is not None:
        show_data(data)
    return 0 if was_set else CONFLICT
