"""``trioslock watch``: what a server holds, again and again."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import trio

from .._errors import SlockError
from ..client import Client, open_client, parse_url
from ..link import Backoff
from ._common import DEFAULT, Commands, add_url, fail, run, seconds, whole_number
from ._output import add_json, show, show_json
from ._snapshot import Snapshot, failed, take
from ._view import View, record, view

__all__ = ["add_commands"]

_ANSWER = 5.0
"""Seconds that a snapshot may take before it counts as failed."""

_EXAMPLES = """\
examples:
  trioslock watch                        the keys with most waiters first
  trioslock watch report                 who holds and who waits for one key
  trioslock watch --count 1 --json       one snapshot, for a program

On a terminal it is a table that is drawn again, if the extra "cli" is installed:
pip install 'trioslock[cli]'. q or Ctrl-C ends it.
"""


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``watch``."""
    parser = commands.add_parser(
        "watch",
        help="show databases, keys, holders, waiters and rates, again and again",
        description="Show what a server or a replica set holds, again and again.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_url(parser)
    add_json(parser)
    add = parser.add_argument
    add(
        *("-i", "--interval"),
        type=seconds,
        default=1.0,
        metavar="SECONDS",
        help="time between two snapshots" + DEFAULT,
    )
    add(
        *("-c", "--count"),
        type=whole_number(1),
        metavar="NUMBER",
        help="end after so many snapshots",
    )
    add(
        *("-r", "--rows"),
        type=whole_number(1, 500),
        default=20,
        metavar="NUMBER",
        help="most keys, or holders and waiters of the one key" + DEFAULT,
    )
    add("key", nargs="?", metavar="KEY", help="this key of the URL's database only")
    parser.set_defaults(run=partial(run, _run))


_Show = Callable[[Snapshot, Snapshot | None], None]


async def _run(options: argparse.Namespace) -> int:
    async with open_client(options.url, backoff=Backoff(limit=1.0)) as client:
        # In this order: the screen puts something else in the place of sys.stdout.
        with _keys_of_terminal() as terminal, _output(options) as output:
            async with trio.open_nursery() as nursery:
                if terminal is not None:
                    nursery.start_soon(_quit, terminal, nursery.cancel_scope)
                await _follow(client, options, output)
                nursery.cancel_scope.cancel()
    return 0


async def _follow(client: Client, options: argparse.Namespace, output: _Show) -> None:
    """Show snapshots until there were enough."""
    several = len(parse_url(options.url).addresses) > 1
    before: Snapshot | None = None
    taken = 0
    while taken != options.count:
        if taken:
            await trio.sleep(options.interval)
        now = await _snapshot(client, several, options)
        output(now, before)
        before = now
        taken += 1


async def _snapshot(
    client: Client, several: bool, options: argparse.Namespace
) -> Snapshot:
    """Return a snapshot; that of a server which does not answer has an error."""
    error = f"no answer in {_ANSWER:g} s"
    with trio.move_on_after(_ANSWER):
        try:
            return await take(client, several, options.rows, options.key)
        except SlockError as caught:
            error = str(caught)
    return await failed(client, several, error)


def _output(options: argparse.Namespace) -> AbstractContextManager[_Show]:
    """Return what shows snapshots: as JSON, in a table, or in plain lines."""

    def show_record(now: Snapshot, before: Snapshot | None) -> None:
        show_json(record(now, before, options.rows, options.key))

    def show_lines(now: Snapshot, before: Snapshot | None) -> None:
        for line in shape(now, before).text():
            show(line)

    def shape(now: Snapshot, before: Snapshot | None) -> View:
        return view(options.url, now, before, options.rows, options.key)

    if options.json:
        return nullcontext(show_record)
    if _draws():
        try:
            from ._screen import open_screen  # noqa: PLC0415  # only with the extra
        except ImportError:
            fail("for a table that is drawn again: pip install 'trioslock[cli]'")
        else:
            return open_screen(shape)
    return nullcontext(show_lines)


def _draws() -> bool:
    """Return whether stdout can move its cursor."""
    dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown", "")
    return sys.stdout.isatty() and not dumb


@contextmanager
def _keys_of_terminal() -> Generator[int | None]:
    """Let each key of the terminal be read at once; None if there is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield None
        return
    import termios  # noqa: PLC0415  # not on all platforms
    import tty  # noqa: PLC0415

    terminal = sys.stdin.fileno()
    if not _in_foreground(terminal):
        yield None
        return
    attributes = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield terminal
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, attributes)


def _in_foreground(terminal: int) -> bool:
    """Return whether to change the terminal does not stop this process."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        # Not the terminal of this session.
        return False


async def _quit(terminal: int, scope: trio.CancelScope) -> None:
    """Cancel the scope when q is pressed, or the terminal is gone."""
    while True:
        await trio.lowlevel.wait_readable(terminal)
        typed = os.read(terminal, 64)
        if not typed or b"q" in typed or b"Q" in typed:
            scope.cancel()
            return
