"""Run a command while something is held, and end it when that is lost."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

from .._errors import LockLost
from ..client import Client, open_client
from ._child import Child
from ._common import DEFAULT, LOST, NOT_STARTED, UNREACHABLE, add_url, fail, seconds

__all__ = ["HeldCommand", "NotGranted", "add_held_options"]

_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)

Take = Callable[[Client], AbstractAsyncContextManager[int | None]]
"""Returns what holds the key for its body, and gives the fencing token if there is one.

It raises `NotGranted` on entering if it does not wait, and `LockLost` on leaving.
"""


class NotGranted(Exception):
    """The key is held by others."""


def add_held_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of all commands that run one, and the words of that one."""
    add = parser.add_argument
    add_url(parser)
    add(
        "--on-lost",
        choices=("term", "kill", "ignore"),
        default="term",
        help="what the command gets when the lock is lost" + DEFAULT,
    )
    add(
        "--on-lost-exec",
        type=_words,
        metavar="PROGRAM",
        help="program and its words, which runs when the lock is lost",
    )
    add(
        "--grace",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="from SIGTERM to SIGKILL when the lock is lost" + DEFAULT,
    )
    add(
        "command",
        nargs=argparse.REMAINDER,
        action=_CommandWords,
        metavar="-- COMMAND",
        help="command and its words; options of trioslock stand before the key",
    )


class _CommandWords(argparse.Action):
    """Keep all words of the command, each -- but the one before it included."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        # Whether the first -- is still there depends on the version of Python.
        words = list(values or ())
        words = words[1:] if words[:1] == ["--"] else words
        if not words:
            parser.error("a command is needed after the key")
        if words[0].startswith("-"):
            parser.error(f"{words[0]} stands after the key; options go before it")
        namespace.command = words


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    if not words:
        raise argparse.ArgumentTypeError("an empty text is no program")
    return words


class HeldCommand:
    """One command, from the wait for the key to the exit code.

    Args:
        options: What `add_held_options` has read.
        take: Takes what is held.
        timeout: Seconds in which the server must be connected and the key granted.
        again: Whether to wait for the key once more when a loss has ended the command.
        conflict_code: Exit code when the key is not granted.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        take: Take,
        *,
        timeout: float = float("inf"),
        again: bool = False,
        conflict_code: int,
    ) -> None:
        self._options = options
        self._take = take
        self._timeout = timeout
        self._again = again
        self._code = conflict_code
        # While the command runs.
        self._child: Child | None = None

    async def run(self) -> int:
        """Run it, and return the exit code.

        Raises:
            ConnectionLost: The server cannot be reached.
            SlockError: The server has refused.

        Cancellation:
            As with a loss: the command is ended as ``--on-lost`` says.
        """
        # What the caller ignores, as nohup does, the command ignores too.
        caught = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
        with trio.open_signal_receiver(*caught) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow, signals, nursery.cancel_scope)
                await self._connect()
                nursery.cancel_scope.cancel()
        return self._code

    async def _follow(
        self, signals: AsyncIterator[int], scope: trio.CancelScope
    ) -> None:
        """Pass signals on; before the command runs, they end the wait."""
        async for signum in signals:
            if self._child is not None:
                self._child.pass_on(signum)
            else:
                self._code = 128 + signum
                scope.cancel()

    async def _connect(self) -> None:
        is_connected = False
        with trio.move_on_after(self._timeout) as limit:
            async with open_client(self._options.url) as client:
                is_connected = True
                while await self._hold(client, limit):
                    pass
        if limit.cancelled_caught and not is_connected:
            fail(f"not connected to {self._options.url} after {self._timeout:g} s")
            self._code = UNREACHABLE

    async def _hold(self, client: Client, limit: trio.CancelScope) -> bool:
        """Run the command while the key is held; return whether to do it once more."""
        is_started = is_ended = False
        try:
            async with self._take(client) as token:
                limit.deadline = float("inf")
                # A signal or the time limit may have come together with the grant.
                await trio.lowlevel.checkpoint_if_cancelled()
                is_started = self._start(token)
                if is_started:
                    await self._wait()
                is_ended = True
        except NotGranted:
            return False
        except LockLost as error:
            if not is_started:
                raise
            fail(str(error))
            if self._options.on_lost == "ignore":
                return False
            self._code = LOST
            return self._again and not is_ended
        finally:
            self._child = None
        return False

    def _start(self, token: int | None) -> bool:
        environment = dict(os.environ)
        if self._options.fence_env and token is not None:
            environment[self._options.fence_env] = str(token)
        self._child = _start(self._options.command, environment)
        if self._child is None:
            self._code = NOT_STARTED
        return self._child is not None

    async def _wait(self) -> None:
        assert self._child is not None
        try:
            self._code = await self._child.wait()
        except trio.Cancelled:
            # It is shielded, and lasts as long as the command does.
            await self._end(self._child)  # noqa: ASYNC102
            raise

    async def _end(self, child: Child) -> None:
        """Start the program of --on-lost-exec, and do what --on-lost says."""
        helper = self._start_helper(child)
        with trio.CancelScope(shield=True):
            match self._options.on_lost:
                case "ignore":
                    fail("the lock is lost; the command runs on")
                case "kill":
                    child.kill()
                case _:
                    await child.end(self._options.grace)
            self._code = await child.wait()
            if helper is not None:
                await helper.wait()

    def _start_helper(self, child: Child) -> Child | None:
        words = self._options.on_lost_exec
        if words is None:
            return None
        own = {"TRIOSLOCK_KEY": self._options.key, "TRIOSLOCK_PID": str(child.pid)}
        return _start(words, {**os.environ, **own})


def _start(words: list[str], environment: dict[str, str]) -> Child | None:
    """Start a program; print a line and return None if that is not possible."""
    try:
        return Child(words, environment)
    except OSError as error:
        fail(f"{words[0]}: {error.strerror}")
        return None
