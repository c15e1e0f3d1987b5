"""The command ``trioslock``: its parser, and the choice of a command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import trioslock

from . import _completion, _events, _hold, _info, _leader, _serve, _values, _watch  # pyright: ignore[reportPrivateUsage]

__all__ = ["main", "make_parser"]

_FAMILIES = (
    _hold,
    _leader,
    _events,
    _values,
    _info,
    _watch,
    _serve,
    _completion,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        arguments: Words of the command; by default those of this process.
    """
    options = make_parser().parse_args(arguments)
    code: int = options.run(options)
    return code


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands.

    What it reads has ``run``, a function of the options that returns the exit code,
    and ``parser``, this parser.
    """
    parser = argparse.ArgumentParser(
        prog="trioslock",
        description="A slock server in Python, and locks around commands.",
    )
    parser.add_argument(
        "--version", action="version", version=f"trioslock {trioslock.__version__}"
    )
    parser.set_defaults(parser=parser)
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    for family in _FAMILIES:
        family.add_commands(commands)
    return parser
