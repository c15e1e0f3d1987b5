"""``trioslock value``: read and change a value that is stored on a key."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from ..client import open_client
from ..primitives import Value
from ..protocol import Value as PlainValue
from ._actions import add_action, add_actions, add_ttl
from ._common import CONFLICT, DEFAULT, Commands
from ._output import show, show_data, show_json, typed

__all__ = ["add_commands"]

_EXAMPLES = """\
examples:
  trioslock value set version 1.2
  trioslock value set --type number visits 0
  trioslock value incr visits
  trioslock value set --type map limits cpu=2 memory=4G
  trioslock value get --json limits
"""
_TTL = "time that it is kept after the change (without it: for good)"


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``value`` and its commands."""
    actions = add_actions(commands, "value", "read or change a value", _EXAMPLES)
    add_action(actions, "get", "print the value", partial(_run, _get))
    setter = add_action(actions, "set", "replace the value", partial(_run, _set))
    setter.add_argument(
        "--type",
        choices=tuple(_READERS),
        default="text",
        help="array: each VALUE is an item; map: each is NAME=TEXT" + DEFAULT,
    )
    setter.add_argument("value", nargs="+", metavar="VALUE")
    add_ttl(setter, _TTL)
    text = "add to a number, and print the sum"
    adder = add_action(actions, "incr", text, partial(_run, _incr))
    adder.add_argument("by", nargs="?", type=int, default=1, metavar="BY")
    add_ttl(adder, _TTL)
    text = "remove the value, if there is one"
    add_action(actions, "unset", text, partial(_run, _unset))


_Action = Callable[[Value, argparse.Namespace], Awaitable[int]]


async def _run(action: _Action, options: argparse.Namespace) -> int:
    code = 0
    async with open_client(options.url) as client:
        code = await action(client.value(options.key, ttl=options.ttl), options)
    return code  # noqa: RET504  # a return inside would not be the only one, to types


async def _get(value: Value, options: argparse.Namespace) -> int:
    data = await value.get()
    if options.json:
        show_json({"key": options.key, "data": typed(data)})
    elif data is not None:
        show_data(data)
    return CONFLICT if data is None else 0


async def _set(value: Value, options: argparse.Namespace) -> int:
    before = await value.set(_READERS[options.type](options.value))
    if options.json:
        show_json({"key": options.key, "before": typed(before)})
    return 0


async def _incr(value: Value, options: argparse.Namespace) -> int:
    total = await value.increment(options.by)
    if options.json:
        show_json({"key": options.key, "number": total})
    else:
        show(str(total))
    return 0


async def _unset(value: Value, options: argparse.Namespace) -> int:
    before = await value.unset()
    if options.json:
        show_json({"key": options.key, "before": typed(before)})
    return 0


def _one(words: Sequence[str]) -> str:
    if len(words) > 1:
        raise ValueError("only an array or a map has several values: quote the text")
    return words[0]


def _number(words: Sequence[str]) -> int:
    return int(_one(words))


def _map(words: Sequence[str]) -> dict[str, str]:
    for entry in words:
        if "=" not in entry:
            raise ValueError(f"{entry!r} is not NAME=TEXT, as an entry of a map is")
    return dict(entry.split("=", 1) for entry in words)


_READERS: dict[str, Callable[[Sequence[str]], PlainValue]] = {
    "text": _one,
    "number": _number,
    "array": list,
    "map": _map,
}
