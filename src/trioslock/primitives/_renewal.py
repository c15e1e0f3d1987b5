"""Renew a lease of seconds while a body runs; know how old a lease can be.

What makes it less than obvious: the server drops an update whose end is within a
second of the present one (a minute for leases in minutes), and answers as if it
had been done. So each renewal asks for a little more than the lease, and the part that
the server may have dropped is not counted on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import LockError, SlockError
from ..link import Requester
from ..protocol import FOREVER, CommandType, ExpiryFlag, PlainCommand
from ._lease import Lease, SessionLease

_MINUTES = int(ExpiryFlag.MINUTES)
_PINGS = 4
"""PINGs within one lease of a request that waits."""

SHARE = 3
"""A lease is renewed when this fraction of it, one third, has gone by."""

EXTRA = 2
"""Seconds that a renewal asks for above the lease. The server does not drop an end
that is so much later than the present one."""


def equal_within(expiry_flag: int) -> float:
    """Return by how many seconds the server may leave an updated lease short."""
    return 60.0 if expiry_flag & _MINUTES else 1.0


class LeaseRenewer:
    """Renews the lease of one grant.

    Args:
        renew: Asks for a lease of so many seconds.
        asked_at: When the present lease was asked for.
        lease: Its seconds.
    """

    def __init__(
        self,
        renew: Callable[[float], Awaitable[None]],
        asked_at: float,
        lease: float,
    ) -> None:
        self._renew = renew
        self._asked_at = asked_at
        self._lease = lease
        self._scope = trio.CancelScope()
        self._alarm = trio.CancelScope()

    def change(self, lease: Lease) -> None:
        """Continue with another lease, which was asked for just now."""
        self._lease = FOREVER if isinstance(lease, SessionLease) else lease
        self._asked_at = trio.current_time()
        # The sleep that is under way ends at the new time.
        self._alarm.deadline = self._due

    def stop(self) -> None:
        """Renew no more; a renewal that is under way gets its answer."""
        self._scope.cancel()

    @enable_ki_protection
    async def run(self) -> None:
        """Renew until stopped, or until there is nothing left to renew."""
        with self._scope:
            while True:
                await self._sleep()
                # Before it is sent: a slow answer makes the next one no later.
                self._asked_at = trio.current_time()
                try:
                    await self._renew(self._lease + EXTRA)
                except (LockError, trio.ClosedResourceError):
                    # The grant is lost, which `Grant.lost` has reported; or it was
                    # released.
                    return
                except SlockError:
                    # No leader for now, for example. Trying again costs nothing; if
                    # it goes on, the end of the lease ends the body.
                    continue

    @property
    def _due(self) -> float:
        return self._asked_at + self._lease / SHARE

    async def _sleep(self) -> None:
        """Sleep until the next renewal is due; `change` may move that."""
        self._alarm = trio.CancelScope(deadline=self._due)
        with self._alarm:
            await trio.sleep_forever()


class QueueProof:
    """Finds out until when a request that waits cannot have been granted.

    An answer to a PING that comes before the grant was sent before it, so the grant is
    younger than that PING. The latest PING does not count: answers that arrive in one
    read are handed out in another order than they came.

    Args:
        requester: Sends the PINGs.
        asked_at: When the request was sent.
        lease: Seconds of the lease; a quarter of it lies between two PINGs.

    Attributes:
        waited_until: The latest time at which it is certain that it still waited.
    """

    def __init__(self, requester: Requester, asked_at: float, lease: float) -> None:
        self.waited_until = asked_at
        self._requester = requester
        self._pause = lease / _PINGS
        self._scope = trio.CancelScope()

    def stop(self) -> None:
        """Ask no more: the request has its answer."""
        self._scope.cancel()

    @enable_ki_protection
    async def run(self) -> None:
        """Ask until stopped, or until the client is closed."""
        before = self.waited_until
        with self._scope:
            while True:
                await trio.sleep(self._pause)
                asked_at = trio.current_time()
                try:
                    await self._ping()
                except trio.ClosedResourceError:
                    return
                except SlockError:
                    # Sent again over the next connection.
                    continue
                self.waited_until, before = before, asked_at

    async def _ping(self) -> None:
        request_id = self._requester.new_id()
        await self._requester.ask(PlainCommand(int(CommandType.PING), request_id))
