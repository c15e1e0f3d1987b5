"""The slock client of the service, and the monitor that notices when slock is down.

The client library sends waits again over a new connection, so a parked wait does not
notice that slock is down: it would end as a timeout, and its client would poll again at
once. The monitor probes slock periodically, and ends the parked waits when slock has
not answered for most of the limit.

A slock that answers may still refuse what publishers and waits need: an engine that is
full keeps answering pings. So the probe takes a lock.
"""

from __future__ import annotations

import errno
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)

import trio

import trioslock
from trioslock import ConnectionLost, Flags, GroupEvent, LockLost, NotHeld
from trioslock.embedded import open_embedded
from trioslock.server import Server, open_server

from ..settings import PREFIX, Settings
from ..store import BackendState
from .backend_calls import SLOCK_ERRORS, slock_failure
from .outcomes import Failure, OperationFailed
from .parked_waits import ParkedWaits

__all__ = [
    "SlockMonitor",
    "StartupError",
    "clear_group",
    "open_slock",
    "probe_slock",
]

_log = logging.getLogger(__name__)

# Fractions of the limit: the pause between probes, and the time for an answer. Their
# sum stays below 1, so that an outage is noticed within the limit.
_PERIOD = 0.2
_PROBE_TIME = 0.6
# Seconds until a probe that failed is repeated.
_RETRY = 0.05
# What the log says of an outage and of a refusal, and of the end of each.
_AWAY = "does not answer", "answers again"
_REFUSES = "refuses new keys", "accepts new keys again"
# Seconds after which the lock of a probe that was interrupted is free.
_PROBE_LEASE = 1.0
# The lock of a probe need not outlive the server.
_UNLOGGED = Flags(log="never")
# Seconds that the waits of a killed worker stay on the server. Short, since they hold
# nothing, and a client that reconnects sends its waits again.
_SESSION_TTL = 2.0


class StartupError(Exception):
    """The service cannot start; the message says what to change."""


async def clear_group(group: GroupEvent) -> None:
    """Clear a group event; one that was set starts above all its earlier versions.

    A group is set if it was never cleared, if its lease has ended, or if the server
    has lost its memory. A reader that returns with an earlier version may then have
    missed a wake, and a version above all earlier ones makes it read again.

    Raises:
        SlockError: As `GroupEvent.clear`.

    Cancellation:
        The group may have been cleared.
    """
    if await group.is_set():
        group.version = int(time.time() * 1e6)
    await group.clear()


async def probe_slock(client: trioslock.Client) -> None:
    """Take a lock under a new name and release it: slock has room for one more key.

    Raises:
        SlockError: Slock does not answer, or refuses.
        trio.ClosedResourceError: The client is closed.

    Cancellation:
        The lock may be held for a second.
    """
    name = f"triopoll:probe:{secrets.token_hex(8)}"
    lock = client.lock(name, lease=_PROBE_LEASE, renew=False, flags=_UNLOGGED)
    # One that was granted, and is not held any more, says that this process was late.
    with suppress(LockLost, NotHeld):
        await (await lock.try_acquire()).release()


class SlockMonitor:
    """Probe slock periodically; end the parked waits when it does not answer.

    Attributes:
        up: Whether slock answered the last probe.
        refuses: Whether its last answer was a refusal. Parked waits go on then, since
            slock still wakes them.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[object]],
        waits: ParkedWaits,
        *,
        limit: float,
        address: str = "?",
        why: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Prepare the monitor; `run` starts it.

        Args:
            probe: Sends slock what it answers at once; raises its refusal.
            waits: The waits to end when slock is down.
            limit: Seconds from an outage within which they must be answered.
            address: Where slock is, for the log.
            why: Returns why there is no connection, for the log; None if there is one.
        """
        self.up = True
        self.refuses = False
        self._probe = probe
        self._waits = waits
        self._limit = limit
        self._address = address
        self._why = why
        self._state = BackendState(_log, "slock", clock=trio.current_time)

    def __repr__(self) -> str:
        state = "refuses" if self.refuses else "up"
        return f"<SlockMonitor: {state if self.up else 'down'}>"

    def raise_if_down(self) -> None:
        """Raise `OperationFailed` while slock does not answer."""
        if not self.up:
            raise OperationFailed(Failure.SLOCK_UNREACHABLE)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Probe until cancelled; started once the first probe has ended.

        Cancellation:
            `up` keeps its last state.
        """
        await self._check()
        task_status.started()
        while True:
            await trio.sleep(self._limit * _PERIOD)
            await self._check()

    async def _check(self) -> None:
        error = await self._try()
        if error is None:
            self.up, self.refuses = True, False
            self._state.serves(self._address)
            return
        self.refuses = slock_failure(error).failure is Failure.SLOCK_REFUSED
        self.up = self.refuses
        fault, healed = _REFUSES if self.refuses else _AWAY
        # A probe without a connection waits for one, and does not know why.
        reason = (not self.up and self._why()) or str(error) or type(error).__name__
        self._state.fails(self._address, fault, reason, healed)
        if not self.up:
            self._waits.end_all(Failure.SLOCK_UNREACHABLE)

    async def _try(self) -> Exception | None:
        """Probe until slock answers or the time is over; return what went wrong.

        A connection that is restored within this time is no outage: the client has
        sent the waits again, so there is no reason to end them.
        """
        seconds = self._limit * _PROBE_TIME
        last: Exception = ConnectionLost(f"no answer within {seconds:g} s")
        with trio.move_on_after(seconds):
            while True:
                try:
                    await self._probe()
                    return None
                except SLOCK_ERRORS as error:
                    if slock_failure(error).failure is Failure.SLOCK_REFUSED:
                        return error
                    last = error
                    await trio.sleep(_RETRY)
        return last


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
