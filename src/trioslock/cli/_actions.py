"""Commands about one key that have actions of their own, as ``event set``."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from functools import partial

from ..protocol import FOREVER
from ._common import Commands, add_url, run, seconds
from ._output import add_json

__all__ = ["add_action", "add_actions", "add_ttl"]


def add_actions(
    commands: Commands[argparse.ArgumentParser], name: str, text: str, examples: str
) -> Commands[argparse.ArgumentParser]:
    """Add a command; return what its actions are added to.

    Args:
        commands: What the command is added to.
        name: Of the command.
        text: Says what it does.
        examples: Lines for the end of its help.
    """
    parser = commands.add_parser(
        name,
        help=text,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser.add_subparsers(dest="action", required=True, metavar="ACTION")


def add_action(
    actions: Commands[argparse.ArgumentParser],
    name: str,
    text: str,
    function: Callable[[argparse.Namespace], Awaitable[int]],
) -> argparse.ArgumentParser:
    """Add an action on a key; its ``ttl`` is without end unless it has `add_ttl`.

    Args:
        actions: From `add_actions`.
        name: Of the action.
        text: Says what it does.
        function: Does it, and returns the exit code.
    """
    parser = actions.add_parser(name, help=text, description=text.capitalize() + ".")
    add_url(parser)
    add_json(parser)
    parser.add_argument("key", metavar="KEY")
    parser.set_defaults(run=partial(run, function), ttl=FOREVER)
    return parser


def add_ttl(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``--ttl``, with the help ``text``."""
    parser.add_argument(
        "--ttl", type=seconds, default=FOREVER, metavar="SECONDS", help=text
    )
