"""What the commands share: options, exit codes, and errors as one line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import cast

import trio

from .._errors import LockLost, SlockError
from ..client import parse_url

__all__ = [
    "CONFLICT",
    "DEFAULT",
    "LOST",
    "NOT_STARTED",
    "UNREACHABLE",
    "USAGE",
    "Commands",
    "add_url",
    "fail",
    "leaves",
    "run",
    "seconds",
    "whole_number",
]

# argparse has no public name for what add_subparsers returns.
Commands = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]
"""What the families of commands add their parsers to."""

CONFLICT = 1
"""Exit code: not granted, or nothing there."""

USAGE = 2
"""Exit code: wrong words on the command line."""

NOT_STARTED = 69
"""Exit code: the command cannot be started; flock has the same."""

UNREACHABLE = 74
"""Exit code: the server cannot be reached, or has refused."""

LOST = 75
"""Exit code: the lock was lost while the command ran."""

DEFAULT = " (default: %(default)s)"
"""The end of the help of an option that has a default."""


def add_url(parser: argparse.ArgumentParser) -> None:
    """Add ``--url``, whose default is ``TRIOSLOCK_URL``."""
    parser.add_argument(
        "--url",
        type=_url,
        # A default that is text is checked as a word is.
        default=os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658/0"),
        help="server; TRIOSLOCK_URL sets the default" + DEFAULT,
    )


def _url(word: str) -> str:
    try:
        parse_url(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return word


def seconds(word: str) -> float:
    """Read a number of seconds above 0."""
    try:
        number = float(word)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of seconds above 0")
    return number


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a reader of a whole number within bounds."""
    bounds = f"from {least} on" if most is None else f"from {least} to {most}"

    def read(word: str) -> int:
        number = int(word) if word.isascii() and word.isdigit() else -1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"{word!r} is not a whole number {bounds}")
        return number

    return read


def fail(text: str, program: str = "trioslock") -> None:
    """Print one line on stderr, after the name of the program."""
    print(f"{program}: {text}", file=sys.stderr)


def run(
    function: Callable[[argparse.Namespace], Awaitable[int]],
    options: argparse.Namespace,
    *,
    program: str = "trioslock",
    refusals: tuple[type[Exception], ...] = (),
) -> int:
    """Run a command in trio, and return its exit code.

    Errors of the client become one line. A Ctrl-C is 130, and a reader of the output
    that has gone is 141, both without a word.

    Args:
        function: Does the work, and returns the exit code.
        options: Its argument.
        program: Its name, for the lines of errors.
        refusals: Errors that count as `UNREACHABLE`, beside those of the client.

    Raises:
        BaseException: Any other error.
    """
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            # The console script sets it for the time of the imports.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = trio.run(function, options)
        # What does not fit into a closed pipe fails here, not after this.
        sys.stdout.flush()
    except BaseException as error:  # noqa: ASYNC103  # no trio run is left to cancel
        codes = [_exit_code(leaf, program, refusals) for leaf in leaves(error)]
        if None in codes:
            raise
        code = max(filter(None, codes))
    return code


def leaves(error: BaseException) -> list[BaseException]:
    """Return the errors in a group and its groups, or the one error."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    group = cast("BaseExceptionGroup[BaseException]", error)
    return [leaf for each in group.exceptions for leaf in leaves(each)]


def _exit_code(
    error: BaseException, program: str, refusals: tuple[type[Exception], ...]
) -> int | None:
    """Return the exit code of an error, and print its line; None for a bug."""
    match error:
        case KeyboardInterrupt():
            return 128 + signal.SIGINT
        case BrokenPipeError():
            # Python flushes stdout once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 128 + signal.SIGPIPE
        case LockLost():
            code = LOST
        case SlockError() | OSError():
            code = UNREACHABLE
        case ValueError():
            code = USAGE
        case _ if isinstance(error, refusals):
            code = UNREACHABLE
        case _:
            return None
    fail(str(error), program)
    return code
