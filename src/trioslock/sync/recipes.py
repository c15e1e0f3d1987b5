"""The recipes of `trioslock.recipes` in blocking code.

Each takes a blocking `Client` or `Database` as its first argument.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from trio import WouldBlock

from .. import recipes
from .._arguments import check_type, shown
from .._errors import LockLost
from ..client import Key
from ..primitives import Lease
from ..recipes import Leader
from ._background import Body
from ._client import Database
from ._events import TokenBucket
from ._grant import Blocking, BodyContext, Grant
from ._iterators import Waiting

T = TypeVar("T")

_LEASE: Lease = 15.0


def _check_database(db: Database) -> Database:
    return check_type(db, Database, "db", "a blocking Client or Database")


@dataclass(frozen=True, slots=True)
class Term:
    """The leadership of this process; see `trioslock.recipes.Term`.

    Attributes:
        name: The name that followers see.
        token: The fencing token, larger than those of all leaders before.
        grant: The grant of the leader's key: look at ``held``, or call ``check()``.
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


class LeaderChanges(Waiting[Leader | None]):
    """An iterator over the leaders of a key; made by `Election.changes`."""


class Election(Blocking):
    """A handle on the leadership of a key; see `trioslock.recipes.Election`."""

    def __init__(
        self,
        db: Database,
        key: Key,
        *,
        name: str | None = None,
        lease: Lease = _LEASE,
    ) -> None:
        super().__init__(_check_database(db).background)
        self._election = recipes.Election(db.trio_database, key, name=name, lease=lease)

    def __repr__(self) -> str:
        return repr(self._election)

    @property
    def name(self) -> str:
        """What followers see of this process."""
        return self._election.name

    def lead(
        self, *, timeout: float | None = None
    ) -> AbstractContextManager[Term, bool | None]:
        """Wait until this process leads; lead for the body of a ``with``.

        The body goes on when the leadership is lost: call ``term.grant.check()``. See
        `trioslock.recipes.Election.lead`.
        """

        def wrap(term: recipes.Term) -> Term:
            return Term(term.name, term.token, Grant(self._background, term.grant))

        return BodyContext(
            lambda: Body(self._background, self._election.lead, wrap, timeout)
        )

    def current(self, *, timeout: float | None = None) -> Leader | None:
        """Return who leads now; see `trioslock.recipes.Election.current`."""
        return self.call(self._election.current, timeout)

    def changes(self) -> LeaderChanges:
        """Return an iterator over the leaders, without end."""
        return LeaderChanges(self._background, self._election.changes().__anext__)


def leader(
    db: Database,
    key: Key,
    *,
    name: str | None = None,
    lease: Lease = _LEASE,
    timeout: float | None = None,
) -> AbstractContextManager[Term, bool | None]:
    """Wait until this process leads; see `Election.lead`."""
    return Election(db, key, name=name, lease=lease).lead(timeout=timeout)


class OncePer(Blocking):
    """A handle on one time slot of a job; see `trioslock.recipes.OncePer`."""

    def __init__(
        self, db: Database, key: Key, slot: str | float, *, keep: float | None = None
    ) -> None:
        super().__init__(_check_database(db).background)
        self._job = recipes.OncePer(db.trio_database, key, slot, keep=keep)

    def __repr__(self) -> str:
        return repr(self._job)

    @property
    def slot(self) -> str:
        """The name of the slot."""
        return self._job.slot

    def claim(self, *, timeout: float | None = None) -> bool:
        """Take the slot if no process has it; see `trioslock.recipes.OncePer.claim`."""
        return self.call(self._job.claim, timeout, lambda _: self._job.give_back())

    def give_back(self, *, timeout: float | None = None) -> None:
        """Give back the slot; see `trioslock.recipes.OncePer.give_back`."""
        self.call(self._job.give_back, timeout)


def once_per(
    db: Database,
    key: Key,
    slot: str | float,
    *,
    keep: float | None = None,
    timeout: float | None = None,
) -> bool:
    """Return whether this process is the one that runs a job in a time slot."""
    return OncePer(db, key, slot, keep=keep).claim(timeout=timeout)


def worker_pool(
    db: Database,
    key: Key,
    permits: int,
    *,
    lease: Lease = _LEASE,
    timeout: float | None = None,
) -> AbstractContextManager[Worker, bool | None]:
    """Wait for one of ``permits`` places; see `trioslock.recipes.worker_pool`.

    The body of the ``with`` goes on when the place is lost: call
    ``worker.permit.check()``.
    """
    background = _check_database(db).background
    make = partial(recipes.worker_pool, db.trio_database, key, permits, lease=lease)
    make()

    def wrap(worker: recipes.Worker) -> Worker:
        return Worker(worker.number, Grant(background, worker.permit))

    return BodyContext(lambda: Body(background, make, wrap, timeout))


def barrier(
    db: Database,
    key: Key,
    parties: int,
    *,
    keep: float = 3600.0,
    lease: Lease = _LEASE,
    timeout: float | None = None,
) -> None:
    """Wait until ``parties`` of them wait; see `trioslock.recipes.barrier`."""
    _check_database(db).call(
        partial(
            recipes.barrier, db.trio_database, key, parties, keep=keep, lease=lease
        ),
        timeout,
    )


def rate_limit(db: Database, key: Key, n: int, per: float) -> TokenBucket:
    """Return a limit of ``n`` times in any ``per`` seconds, over all clients.

    See `trioslock.recipes.rate_limit`.
    """
    return _check_database(db).token_bucket(key, n, per, sliding=True)


class CacheLock:
    """A handle on the computation of one cache entry; it may be shared.

    As `trioslock.recipes.CacheLock`; ``read`` and ``compute`` are called in the calling
    thread.
    """

    def __init__(self, db: Database, key: Key, *, lease: Lease = _LEASE) -> None:
        self._lock = _check_database(db).lock(key, lease=lease)
        self._free = db.event(key, default="set", ttl=1)

    def __repr__(self) -> str:
        return f"<CacheLock by {self._lock!r}>"

    def get(
        self,
        read: Callable[[], T | None],
        compute: Callable[[], T],
        *,
        timeout: float | None = None,
    ) -> T:
        """Return the entry; compute it if it is missing and no other process does.

        Args:
            read: Reads the cache; returns None if the entry is missing.
            compute: Computes the entry *and stores it in the cache*. It is not
                interrupted when the lease is lost; another process may compute then.
            timeout: Seconds to wait for another process; not for the functions.

        Raises:
            TypeError: An argument cannot be called.
            TimeoutError: The other process took longer.
        """
        for name, function in (("read", read), ("compute", compute)):
            if not callable(function):
                raise TypeError(f"{name} must be callable, not {shown(function)}")
        ends_at = None if timeout is None else time.monotonic() + timeout
        while True:
            value = read()
            if value is not None:
                return value
            left = None if ends_at is None else max(0.0, ends_at - time.monotonic())
            try:
                grant = self._lock.try_acquire()
            except (WouldBlock, LockLost):
                self._free.wait(timeout=left)
                continue
            try:
                with grant:
                    value = read()
                    return compute() if value is None else value
            except LockLost as lost:
                if lost.key != self._lock.key:
                    raise


def cache_lock(db: Database, key: Key, *, lease: Lease = _LEASE) -> CacheLock:
    """Return a handle on the computation of one cache entry; see `CacheLock`."""
    return CacheLock(db, key, lease=lease)
