"""Wait for one of several things, or for a change that may have come already."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import trio

from .._errors import ConnectionLost, NotHeld, SlockError
from ..client import Database
from ..protocol import FOREVER


async def wait_first(*waits: Callable[[], Awaitable[object]]) -> None:
    """Wait until one of several waits has ended; cancel the others.

    Raises:
        SlockError: What one of them has raised.
        trio.ClosedResourceError: The client is closed.

    Cancellation:
        Each of the waits is cancelled.
    """
    errors: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def run(wait: Callable[[], Awaitable[object]]) -> None:
            try:
                await wait()
            # Raised below: the nursery would raise a group.
            except (SlockError, trio.ClosedResourceError) as error:
                errors.append(error)
            nursery.cancel_scope.cancel()

        for wait in waits:
            nursery.start_soon(run, wait)
    if errors:
        raise errors[0]


class ChangeSignal:
    """Wake all that wait for a change; whoever was not waiting wakes at once later.

    It is a group event that is kept without end. To miss nothing: `prepare`, look,
    `wait`. Make one for each task that waits.

    Args:
        db: Where the key is.
        key: A key of its own.
    """

    def __init__(self, db: Database, key: bytes) -> None:
        self._group = db.group_event(key, ttl=FOREVER)

    async def prepare(self) -> None:
        """Let the next wait last until a change that comes after this.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The group may have been made.
        """
        if await self._group.is_set():
            # It is made here, perhaps because the server has forgotten it. A version
            # below those that waits know would not wake them.
            self._group.version = time.time_ns()
        await self._group.clear()

    async def send(self) -> None:
        """Wake all that wait.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            They may have been woken.
        """
        while True:
            await self.prepare()
            try:
                await self._group.wakeup()
                return
            except (NotHeld, ConnectionLost):
                # The group was removed in between, or it is not known whether they
                # were woken: waking them twice does no harm.
                continue

    async def wait(self) -> None:
        """Wait for a change.

        Raises:
            LockError: The server ended the wait (its database was flushed).
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing waits on the server.
        """
        await self._group.wait()
