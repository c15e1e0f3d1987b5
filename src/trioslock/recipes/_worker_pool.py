"""At most so many workers at a time over all machines, each with a number of its own.

A permit of a semaphore makes the queue fair. Whoever has one takes the lowest number
that is free: each number is a lock. As there are as many numbers as permits one is
free, but for the numbers of workers that were lost, whose leases end a little later.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial

import trio

from .._arguments import check_type
from .._errors import LockLost
from ..client import Database, Key
from ..primitives import Grant, Lease, release_unusable
from ._holding import Holding
from ._keys import DEFAULT_LEASE, derived_key
from ._waiting import wait_first


@dataclass(frozen=True, slots=True)
class Worker:
    """A place in a pool.

    Attributes:
        number: 0 to ``permits - 1``; no other worker of the pool has it.
        permit: The grant of the pool's key.
    """

    number: int
    permit: Grant


def worker_pool(
    db: Database, key: Key, permits: int, *, lease: Lease = DEFAULT_LEASE
) -> AbstractAsyncContextManager[Worker, bool]:
    """Wait for one of ``permits`` places; work in the body of an ``async with``.

    The body is cancelled when the place is lost; `LockLost` is then raised from the
    exit.

    Args:
        db: The client, or a database of it.
        key: A name that all workers of the pool use, and nothing else.
        permits: How many may work at once, 1 to 65,535; all must agree on it.
        lease: Seconds after which the place of a worker that was killed, frozen or cut
            off is free; or `SESSION`, see `Database`.

    Returns:
        A context manager that gives the `Worker`. Make one for each use.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The key is empty, or a number is out of range.
        LockLost: On leaving: the place was lost. A body that fails by itself keeps
            its error, with a note about the loss.
        ConnectionLost: On entering: the client does not reconnect.
        NoLeader: On entering: the server cannot reach a leader of its replica set.
        trio.ClosedResourceError: On entering: the client is closed.

    Cancellation:
        On entering: nothing waits or is held on the server. On leaving: held back until
        the place is free, for at most the client's grace.
    """
    check_type(db, Database, "db", "a Client or a Database")
    return Holding(_Pool(db, key, permits, lease).take)


class _Pool:
    """The semaphore of a pool, and the locks of its numbers."""

    def __init__(self, db: Database, key: Key, permits: int, lease: Lease) -> None:
        self._db = db
        self._permits = db.semaphore(key, permits, lease=lease)
        self._number_key = partial(derived_key, key)
        self._lease: Lease = lease

    async def take(self) -> tuple[Worker, Grant, Grant]:
        """Wait for a permit, and take a number.

        The number is released first: whoever gets the permit finds one that is free.
        """
        while True:
            permit = await self._permits.acquire()
            try:
                # It is not renewed until it is entered.
                with trio.CancelScope(deadline=permit.expires_at):
                    number, grant = await self._take_number()
                    return Worker(number, permit), permit, grant
            except BaseException:
                await release_unusable(permit)
                raise
            await release_unusable(permit)

    async def _take_number(self) -> tuple[int, Grant]:
        keys = [
            self._number_key(f"worker{number}")
            for number in range(self._permits.permits)
        ]
        while True:
            for number, key in enumerate(keys):
                try:
                    lock = self._db.lock(key, lease=self._lease)
                    return number, await lock.try_acquire()
                except (trio.WouldBlock, LockLost):
                    continue
            # Held by workers that were lost: until the first of these leases ends.
            waits = [self._db.event(key, default="set", ttl=1).wait for key in keys]
            await wait_first(*waits)
