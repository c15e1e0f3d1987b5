"""The slock side: an engine in this process or a server elsewhere; is it up?

The client library replays waits over a new connection, so a parked poll does not learn
that slock is away; left alone it would end as a timeout, and its client would poll
again at once. The watch asks slock a question every now and then, and ends the parked
polls when there has been no answer for most of the limit.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from typing import TypeVar

import trio

import trioslock
from trioslock import ConnectionLost, GroupEvent, NoLeader, SlockError
from trioslock.embedded import open_embedded
from trioslock.server import Server, open_server

from ..settings import PREFIX, Settings
from .outcomes import Failure
from .parked_waits import ParkedWaits, Unserved

__all__ = ["SlockMonitor", "StartupError", "clear_group", "open_slock", "translating"]

_T = TypeVar("_T")

_log = logging.getLogger("triopoll.slock")

# Parts of the limit: from one question to the next, and for the answer. Together they
# stay below the limit, which is the promise to the client.
_PERIOD = 0.2
_PATIENCE = 0.6
_RETRY = 0.05
# Seconds that the waits of a worker that was killed outlive it. Short, since they hold
# nothing, and a client that reconnects asks for them anew.
_SESSION_TTL = 2.0


class StartupError(Exception):
    """The service cannot start like this; the message says what to do."""


async def translating(operation: Callable[[], Awaitable[_T]]) -> _T:
    """Ask slock something; what goes wrong is told as `Unserved`.

    Raises:
        Unserved: Slock cannot be reached, or refused.

    Cancellation:
        As that of the operation.
    """
    try:
        return await operation()
    except (ConnectionLost, NoLeader, trio.ClosedResourceError):
        raise Unserved(Failure.SLOCK_UNREACHABLE) from None
    except SlockError:
        raise Unserved(Failure.SLOCK_REFUSED) from None


async def clear_group(group: GroupEvent) -> None:
    """Clear a group event; one that is set starts above all versions it ever had.

    It is set if nobody has cleared it, if its lease has ended, or if the server has
    lost its memory. Whoever comes back with an earlier version is told then that he may
    have missed a wake, which he may.

    Raises:
        SlockError: As `GroupEvent.clear`.

    Cancellation:
        The group may have been cleared.
    """
    if await group.is_set():
        group.version = int(time.time() * 1e6)
    await group.clear()


class SlockMonitor:
    """Know whether slock answers, and end parked polls once it does not.

    Attributes:
        up: Whether the last question was answered.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[object]], waits: ParkedWaits, *, limit: float
    ) -> None:
        """Prepare to watch; `run` does it.

        Args:
            ask: Asks slock anything that it answers at once.
            waits: The polls to end when slock is down.
            limit: Seconds within which they must be answered then.
        """
        self.up = True
        self._ask = ask
        self._waits = waits
        self._limit = limit

    def __repr__(self) -> str:
        return f"<SlockMonitor: {'up' if self.up else 'down'}>"

    def check(self) -> None:
        """Raise `Unserved` while slock does not answer."""
        if not self.up:
            raise Unserved(Failure.SLOCK_UNREACHABLE)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Watch until cancelled; started once it is known whether slock is up.

        Cancellation:
            `up` stays as it was.
        """
        await self._look()
        task_status.started()
        while True:
            await trio.sleep(self._limit * _PERIOD)
            await self._look()

    async def _look(self) -> None:
        up = await self._answers()
        if up != self.up:
            _log.warning("slock %s", "answers again" if up else "does not answer")
        self.up = up
        if not up:
            self._waits.end_all(Failure.SLOCK_UNREACHABLE)

    async def _answers(self) -> bool:
        """Ask again for as long as there is patience: a lost connection may come back.

        Then the client has replayed the waits, and there is no reason to end them.
        """
        with trio.move_on_after(self._limit * _PATIENCE):
            while True:
                try:
                    await self._ask()
                    return True
                except (SlockError, trio.ClosedResourceError):
                    await trio.sleep(_RETRY)
        return False


@asynccontextmanager
async def open_slock(settings: Settings) -> AsyncGenerator[trioslock.Client]:
    """Open the client that the settings name.

    Returns:
        A client of a server, which need not be up yet; or of an engine in this
        process, which listens for publishers as well.

    Raises:
        StartupError: The URL cannot be used, or its port is taken.

    Cancellation:
        The client is closed, and so is the engine.
    """
    async with AsyncExitStack() as stack:
        if settings.embedded_address is not None:
            server = await _enter_server(stack, *settings.embedded_address)
            client = open_embedded(server.host_engine)
        else:
            client = _client_of(settings.slock_url)
        yield await stack.enter_async_context(client)


async def _enter_server(stack: AsyncExitStack, host: str, port: int) -> Server:
    try:
        return await stack.enter_async_context(open_server(host, port))
    except OSError as error:
        raise StartupError(_cannot_listen(host, port, error)) from error


def _client_of(url: str) -> AbstractAsyncContextManager[trioslock.Client, bool]:
    try:
        return trioslock.open_client(
            url, wait_connected=False, session_ttl=_SESSION_TTL
        )
    except ValueError as error:
        raise StartupError(f"{PREFIX}SLOCK_URL: {error}") from error


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"{PREFIX}SLOCK_URL: cannot listen on {host}:{port}: {error}"
    return (
        f"{host}:{port} is taken: the embedded engine serves one process only. Run one "
        "worker; or run `python -m trioslock serve` (or a slock server) and set "
        f"{PREFIX}SLOCK_URL=slock://{host}:{port}"
    )
