"""``triopoll top``: what the admin page shows, in a terminal."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Generator
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import trio

from trioslock.cli import (
    DEFAULT,
    UNREACHABLE,
    USAGE,
    Commands,
    add_json,
    run,
    safe,
    seconds,
    whole_number,
)

from ..client._errors import TransientError
from ..client._http import HttpConnection, Site
from ..settings import CLIENT_VARIABLES
from .client_options import add_client_options
from .top_view import lines_of

__all__ = ["KEY_VARIABLE", "add_top"]

*_, KEY_VARIABLE = CLIENT_VARIABLES
_PATH = "/admin/api/overview"
# Seconds that an overview may take: each worker may take one.
_ANSWER = 5.0
_MAX_KEY_BYTES = 1024
# Alternative screen, and back.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"

_Show: TypeAlias = Callable[[list[str]], None]

_EPILOG = f"""\
The key of an operator comes from the variable {KEY_VARIABLE}, or from the first line
of a file. It is not taken from the command line, where other users can read it.
"""


class _Failed(Exception):
    """There is no overview; the message says why."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def add_top(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``top``; `run` of the parsed options executes it.

    Args:
        commands: What ``add_subparsers()`` has returned.
    """
    parser = commands.add_parser(
        "top",
        help="show waits, rates, slock and Redis of a running service",
        description="Show what the workers of a running service do, again and again.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_client_options(parser)
    add = parser.add_argument
    add(
        "--admin-key-file",
        type=Path,
        metavar="FILE",
        help=f"file with the operator's key; default: the variable {KEY_VARIABLE}",
    )
    add(
        *("-i", "--interval"),
        type=seconds,
        default=2.0,
        metavar="SECONDS",
        help="time between two looks" + DEFAULT,
    )
    add("--once", action="store_true", help="look once, and end")
    add(
        *("-r", "--rows"),
        type=whole_number(1, 100),
        default=10,
        metavar="NUMBER",
        help="most rows of a table" + DEFAULT,
    )
    add_json(parser)
    parser.set_defaults(run=partial(run, _run, program="triopoll"))


async def _run(options: argparse.Namespace) -> int:
    try:
        headers = {"Authorization": f"Bearer {_key(options.admin_key_file)}"}
        async with aclosing(HttpConnection(Site.parse(options.url))) as http:
            with _output(options) as show:
                await _follow(http, headers, options, show)
    except (_Failed, ValueError) as error:
        print(f"triopoll: {safe(str(error))}", file=sys.stderr)
        return error.code if isinstance(error, _Failed) else USAGE
    return 0


def _key(file: Path | None) -> str:
    """Return the operator's key.

    Raises:
        ValueError: There is no key, or it is none that a header can have.
    """
    key = os.environ.get(KEY_VARIABLE, "") if file is None else _first_line(file)
    key = key.strip()
    if not (key and key.isascii() and key.isprintable()):
        source = KEY_VARIABLE if file is None else str(file)
        raise ValueError(f"{source} has no key of an operator")
    return key


def _first_line(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            lines = opened.read(_MAX_KEY_BYTES).splitlines()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    return lines[0].decode("ascii", "replace") if lines else ""


async def _follow(
    http: HttpConnection,
    headers: dict[str, str],
    options: argparse.Namespace,
    show: _Show,
) -> None:
    """Show overviews until there were enough, or the service refuses."""
    while True:
        try:
            overview = await _ask(http, headers, options.url)
            show(_shown(overview, options))
        except _Failed as failed:
            # What does not answer now may answer later.
            if options.once or failed.code == USAGE:
                raise
            show([_error_line(failed, options)])
        if options.once:
            return
        await trio.sleep(options.interval)


async def _ask(http: HttpConnection, headers: dict[str, str], url: str) -> Any:
    """Return an overview.

    Raises:
        _Failed: There is none.
    """
    try:
        response = await http.request("GET", _PATH, headers, seconds=_ANSWER)
    except TransientError as error:
        raise _Failed(f"{url} does not answer: {error}", UNREACHABLE) from None
    if response.status == 200:
        try:
            return json.loads(response.body)
        except ValueError:
            message = f"{url} has answered something else than JSON"
            raise _Failed(message, UNREACHABLE) from None
    reasons = {401: "the key is not one of an operator", 404: "the admin API is off"}
    reason = reasons.get(response.status, f"HTTP {response.status}")
    is_final = response.status in reasons
    raise _Failed(f"{url}: {reason}", USAGE if is_final else UNREACHABLE)


def _shown(overview: Any, options: argparse.Namespace) -> list[str]:
    if options.json:
        return [json.dumps(overview)]
    try:
        return list(lines_of(overview, options.url, options.rows, time.time()))
    except (LookupError, TypeError, ValueError, AttributeError):
        message = f"{options.url} has answered something else than an overview"
        raise _Failed(message, UNREACHABLE) from None


def _error_line(failed: _Failed, options: argparse.Namespace) -> str:
    return json.dumps({"error": str(failed)}) if options.json else safe(str(failed))


@contextmanager
def _output(options: argparse.Namespace) -> Generator[_Show]:
    """Return what shows lines: on a screen of their own, or one after the other."""
    is_dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown", "")
    if options.json or options.once or is_dumb or not sys.stdout.isatty():
        yield _print
        return
    sys.stdout.write(_ENTER)
    try:
        yield _draw
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def _print(lines: list[str]) -> None:
    encoding = sys.stdout.encoding or "ascii"
    for line in lines:
        # A terminal that has no bars gets question marks.
        print(line.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def _draw(lines: list[str]) -> None:
    """Draw as many lines as fit, each over the one before."""
    size = shutil.get_terminal_size()
    cut = [line[: size.columns] + _REST_OF_LINE for line in lines[: size.lines - 1]]
    _print([_HOME + "\n".join(cut) + "\n" + _REST])
