"""The recipes of `trioslock.recipes` for asyncio programs.

Each takes an asyncio `Client` or `Database` as its first argument.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Self, TypeVar, cast

from .. import primitives as native
from .. import recipes
from .._arguments import check_type
from ..client import Key
from ..primitives import Lease, release_unusable
from ..recipes import Leader
from ..recipes._cache_lock import read_or_compute
from ..recipes._holding import Holding
from ._base import Grant
from ._database import Database
from ._handles import TokenBucket
from ._opening import Items
from ._portal import Portal

__all__ = [
    "CacheLock",
    "Election",
    "Leader",
    "LeaderChanges",
    "OncePer",
    "Term",
    "Worker",
    "barrier",
    "cache_lock",
    "leader",
    "once_per",
    "rate_limit",
    "worker_pool",
]

N = TypeVar("N")
F = TypeVar("F")
T = TypeVar("T")

_LEASE: Lease = 15.0


@dataclass(frozen=True, slots=True)
class Term:
    """The leadership of this process; see `trioslock.recipes.Term`.

    Attributes:
        name: The name that followers see.
        token: The fencing token, larger than those of all leaders before.
        grant: The grant of the leader's key. To step down leave the body instead of
            releasing it.
    """

    name: str
    token: int
    grant: Grant


@dataclass(frozen=True, slots=True)
class Worker:
    """A place in a pool; see `trioslock.recipes.Worker`.

    Attributes:
        number: 0 to ``permits - 1``; no other worker of the pool has it.
        permit: The grant of the pool's key.
    """

    number: int
    permit: Grant


class LeaderChanges:
    """An async iterator over the leaders of a key; made by `Election.changes`.

    Between two items nothing waits on the server, so it needs no closing.
    """

    def __init__(self, portal: Portal, changes: recipes.LeaderChanges) -> None:
        self._items = Items(portal, changes)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Leader | None:
        """Wait for another leader than the last one that was returned.

        Returns:
            The leader, or None while there is none.

        Raises:
            LockError: The server ended the wait (its database was flushed).
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            Nothing waits on the server. The next call misses nothing.
        """
        return await self._items.next()


class Election:
    """A handle on the leadership of a key; see `trioslock.recipes.Election`."""

    def __init__(
        self,
        db: Database,
        key: Key,
        *,
        name: str | None = None,
        lease: Lease = _LEASE,
    ) -> None:
        self._portal = _check_database(db).portal
        self._election = recipes.Election(db.trio_database, key, name=name, lease=lease)

    def __repr__(self) -> str:
        return f"<trioslock.aio: {self._election!r}>"

    @property
    def name(self) -> str:
        """What followers see of this process."""
        return self._election.name

    def lead(self) -> AbstractAsyncContextManager[Term, bool]:
        """Wait until this process leads; lead for the body of an ``async with``.

        See `trioslock.recipes.Election.lead`. The body is cancelled when the leadership
        is lost, in the way of ``asyncio.timeout``.
        """

        def wrap(term: recipes.Term, grant: Grant) -> Term:
            return Term(term.name, term.token, grant)

        return _hold(self._portal, self._election.lead(), wrap)

    async def current(self) -> Leader | None:
        """Return who leads now; see `trioslock.recipes.Election.current`."""
        return await self._portal.call(self._election.current)

    def changes(self) -> LeaderChanges:
        """Return an async iterator over the leaders, without end.

        See `trioslock.recipes.Election.changes`.
        """
        return LeaderChanges(self._portal, self._election.changes())


def leader(
    db: Database, key: Key, *, name: str | None = None, lease: Lease = _LEASE
) -> AbstractAsyncContextManager[Term, bool]:
    """Wait until this process leads; see `Election.lead`."""
    return Election(db, key, name=name, lease=lease).lead()


class OncePer:
    """A handle on one time slot of a job; see `trioslock.recipes.OncePer`."""

    def __init__(
        self, db: Database, key: Key, slot: str | float, *, keep: float | None = None
    ) -> None:
        self._portal = _check_database(db).portal
        self._job = recipes.OncePer(db.trio_database, key, slot, keep=keep)

    def __repr__(self) -> str:
        return f"<trioslock.aio: {self._job!r}>"

    @property
    def slot(self) -> str:
        """The name of the slot."""
        return self._job.slot

    async def claim(self) -> bool:
        """Take the slot if no process has it; see `trioslock.recipes.OncePer.claim`.

        Cancellation:
            The slot is not taken.
        """

        async def give_back(claimed: bool) -> None:
            if claimed:
                await self._job.give_back()

        return await self._portal.call_or_undo(self._job.claim, give_back)

    async def give_back(self) -> None:
        """Give back the slot; see `trioslock.recipes.OncePer.give_back`."""
        await self._portal.call(self._job.give_back)


async def once_per(
    db: Database, key: Key, slot: str | float, *, keep: float | None = None
) -> bool:
    """Return whether this process is the one that runs a job in a time slot.

    ``await OncePer(db, key, slot, keep=keep).claim()``: see there.
    """
    return await OncePer(db, key, slot, keep=keep).claim()


def worker_pool(
    db: Database, key: Key, permits: int, *, lease: Lease = _LEASE
) -> AbstractAsyncContextManager[Worker, bool]:
    """Wait for one of ``permits`` places; see `trioslock.recipes.worker_pool`.

    The body of the ``async with`` is cancelled when the place is lost.
    """
    portal = _check_database(db).portal
    pool = recipes.worker_pool(db.trio_database, key, permits, lease=lease)

    def wrap(worker: recipes.Worker, permit: Grant) -> Worker:
        return Worker(worker.number, permit)

    return _hold(portal, pool, wrap)


async def barrier(
    db: Database,
    key: Key,
    parties: int,
    *,
    keep: float = 3600.0,
    lease: Lease = _LEASE,
) -> None:
    """Wait until ``parties`` of them wait; see `trioslock.recipes.barrier`."""
    await _check_database(db).portal.call(
        recipes.barrier, db.trio_database, key, parties, keep=keep, lease=lease
    )


def rate_limit(db: Database, key: Key, n: int, per: float) -> TokenBucket:
    """Return a limit of ``n`` times in any ``per`` seconds, over all clients.

    See `trioslock.recipes.rate_limit`.
    """
    return _check_database(db).token_bucket(key, n, per, sliding=True)


class CacheLock:
    """A handle on the computation of one cache entry; it may be shared.

    As `trioslock.recipes.CacheLock`; ``read`` and ``compute`` run in the calling
    asyncio task.
    """

    def __init__(self, db: Database, key: Key, *, lease: Lease = _LEASE) -> None:
        self._lock = _check_database(db).lock(key, lease=lease)
        self._free = db.event(key, default="set", ttl=1)

    def __repr__(self) -> str:
        return f"<CacheLock by {self._lock!r}>"

    async def get(
        self,
        read: Callable[[], Awaitable[T | None]],
        compute: Callable[[], Awaitable[T]],
    ) -> T:
        """Return the entry; compute it if it is missing and no other process does.

        Args:
            read: Reads the cache; returns None if the entry is missing.
            compute: Computes the entry *and stores it in the cache*. It is cancelled
                when the lease is lost.

        Raises:
            TypeError: An argument cannot be called.
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            Nothing waits or is held on the server. If this process computes, its
            ``compute`` is cancelled and another one's begins.
        """
        return await read_or_compute(self._lock, self._free, read, compute)


def cache_lock(db: Database, key: Key, *, lease: Lease = _LEASE) -> CacheLock:
    """Return a handle on the computation of one cache entry; see `CacheLock`."""
    return CacheLock(db, key, lease=lease)


def _hold(
    portal: Portal,
    manager: AbstractAsyncContextManager[N, bool],
    wrap: Callable[[N, Grant], F],
) -> Holding[F, Grant]:
    """Hold the grants of a trio recipe for the body of an asyncio task.

    Args:
        portal: The way to trio.
        manager: The trio recipe, which is not entered: its grants are taken.
        wrap: Makes what the body gets, of what the trio body would get and the first
            grant.
    """
    trio_holding = cast("Holding[N, native.Grant]", manager)

    async def take() -> tuple[F, *tuple[Grant, ...]]:
        given, *taken = await portal.call_or_undo(trio_holding.take, _release)
        grants = [Grant(portal, each) for each in taken]
        return wrap(given, grants[0]), *grants

    return Holding(take)


async def _release(taken: tuple[Any, *tuple[native.Grant, ...]]) -> None:
    for grant in reversed(taken[1:]):
        await release_unusable(grant)


def _check_database(db: Database) -> Database:
    return check_type(db, Database, "db", "an asyncio Client or Database")
