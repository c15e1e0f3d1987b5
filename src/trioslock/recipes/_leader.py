"""One leader among all processes that want to lead, and followers that see who it is.

The leader holds a fenced lock. Its name and its token are the value of the lock's key.
They are stored after the grant, because the token is known only then; until that is
done, followers see no leader. The leader then wakes the followers with a change signal.
A leader that is killed wakes none, so they also wait for the key to be free.

What users of etcd's election have to do themselves, and what is done here: its
``Campaign`` returns as if elected when its session has ended (mailgun/holster#38), and
its ``Observe`` does not report that there is no leader (cagriekin/charts#326).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Self

import trio

from .._arguments import check_type
from .._errors import ConnectionLost, LockLost, RemoteProtocolError
from ..client import Database, Key
from ..primitives import Grant, Lease, release_unusable
from ..protocol import Data
from ._holding import Holding
from ._keys import DEFAULT_LEASE, derived_key, logged_at_once
from ._waiting import ChangeSignal, wait_first


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads, as followers see it.

    Attributes:
        name: The name under which it leads.
        token: Its fencing token, larger than those of all leaders before it.
    """

    name: str
    token: int


@dataclass(frozen=True, slots=True)
class Term:
    """The leadership of this process.

    Attributes:
        name: The name that followers see.
        token: The fencing token, larger than those of all leaders before.
        grant: The grant of the leader's key: ``held``, ``expires_at``,
            ``await wait_lost()``. To step down leave the body instead of releasing it.
    """

    name: str
    token: int
    grant: Grant


class Election:
    """A handle on the leadership of a key; it keeps no state and may be shared.

    Args:
        db: The client, or a database of it.
        key: A name that all candidates and followers use, and nothing else.
        name: What followers see of this process: any text, such as its address. The
            host's name and the process id if left out.
        lease: Seconds after which another process can lead when the leader is killed,
            frozen or cut off; or `SESSION`, see `Database`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The key is empty, the lease is not above 0, or the database is one
            with ``Flags(require_ack=True)``, which do not go with fencing tokens.
    """

    def __init__(
        self,
        db: Database,
        key: Key,
        *,
        name: str | None = None,
        lease: Lease = DEFAULT_LEASE,
    ) -> None:
        check_type(db, Database, "db", "a Client or a Database")
        if name is None:
            name = f"{socket.gethostname()}:{os.getpid()}"
        self.name: str = check_type(name, str, "name", "text")
        # A server that restarts must not let another lead while this one does.
        self._lock = db.lock(key, lease=lease, fenced=True, flags=logged_at_once(db))
        self._free = db.event(key, default="set", ttl=1)
        self._db = db
        self._signal_key = derived_key(key, "leader")

    def __repr__(self) -> str:
        return f"<Election by {self._lock!r}: {self.name!r}>"

    def lead(self) -> AbstractAsyncContextManager[Term, bool]:
        """Wait until this process leads; lead for the body of an ``async with``.

        The body is cancelled when the leadership is lost, and with a lease of seconds
        in any case before another process can lead; `LockLost` is then raised from the
        exit. At its end the process steps down: the candidate that has waited longest
        leads.

        Returns:
            A context manager that gives the `Term`. Make one for each use.

        Raises:
            LockLost: On leaving: the leadership was lost. A body that fails by itself
                keeps its error, with a note about the loss.
            ConnectionLost: On entering: the client does not reconnect.
            NoLeader: On entering: the server cannot reach a leader of its replica set.
            trio.ClosedResourceError: On entering: the client is closed.

        Cancellation:
            On entering: the candidacy is withdrawn. On leaving: held back until the
            key is released, for at most the client's grace.
        """
        return Holding(self._campaign)

    async def current(self) -> Leader | None:
        """Return who leads now.

        Returns:
            The leader; None if there is none, or one that has not said its name yet.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        return (await self._look())[1]

    def changes(self) -> LeaderChanges:
        """Return an async iterator over the leaders, without end.

        The first item is who leads now. Each further one differs from the one before
        it; a slow reader gets the latest, not each one between.
        """
        return LeaderChanges(
            self._look, self._free.wait, ChangeSignal(self._db, self._signal_key)
        )

    async def _look(self) -> tuple[bool, Leader | None]:
        """Return whether a process holds the key, and the leader that it says to be."""
        holder = await self._lock.show()
        return holder is not None, None if holder is None else _leader(holder.data)

    async def _campaign(self) -> tuple[Term, Grant]:
        """Wait until the key is granted and the followers know of it."""
        signal = ChangeSignal(self._db, self._signal_key)
        while True:
            grant = await self._acquire()
            try:
                term = await self._announce(grant, signal)
            except LockLost:
                term = None
            except BaseException:
                await release_unusable(grant)
                raise
            if term is not None:
                return term, grant
            await release_unusable(grant)

    async def _acquire(self) -> Grant:
        while True:
            try:
                # The value of the leader before must not count as this one's.
                return await self._lock.acquire(data=Data.unset())
            except (ConnectionLost, LockLost):
                # A fenced wait is not sent again by itself. This waits for the next
                # connection, and raises if there will be none.
                await self._lock.show()

    async def _announce(self, grant: Grant, signal: ChangeSignal) -> Term | None:
        """Store the name and wake the followers; return None if the lease ends first.

        Raises:
            LockLost: The grant had ended.
        """
        assert grant.token is not None
        with trio.CancelScope(deadline=grant.expires_at):
            await grant.update([str(grant.token), self.name])
            await signal.send()
            return Term(self.name, grant.token, grant)
        return None


def leader(
    db: Database,
    key: Key,
    *,
    name: str | None = None,
    lease: Lease = DEFAULT_LEASE,
) -> AbstractAsyncContextManager[Term, bool]:
    """Wait until this process leads; lead for the body of an ``async with``.

    ``Election(db, key, name=name, lease=lease).lead()``: see there. Followers use
    `Election.changes` and `Election.current`.
    """
    return Election(db, key, name=name, lease=lease).lead()


_Look = Callable[[], Awaitable[tuple[bool, Leader | None]]]
_Wait = Callable[[], Awaitable[object]]


class LeaderChanges:
    """An async iterator over the leaders of a key; made by `Election.changes`.

    Between two items nothing waits on the server, so it needs no closing.
    """

    def __init__(self, look: _Look, wait_free: _Wait, signal: ChangeSignal) -> None:
        self._look = look
        self._wait_free = wait_free
        self._signal = signal
        self._seen: list[Leader | None] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Leader | None:
        """Wait for another leader than the last one that was returned.

        Returns:
            The leader, or None while there is none.

        Raises:
            LockError: The server ended the wait (its database was flushed).
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing waits on the server. The next call misses nothing.
        """
        while True:
            # First: a change that comes after the look ends the wait.
            await self._signal.prepare()
            held, leader = await self._look()
            if [leader] != self._seen:
                self._seen = [leader]
                return leader
            waits: list[_Wait] = [self._signal.wait]
            if held:
                waits.append(self._wait_free)
            await wait_first(*waits)


def _leader(data: Data | None) -> Leader | None:
    """Read the value of the key; None if it is none of a leader's."""
    try:
        items = () if data is None else data.array
        # An empty name is no item.
        name = b"".join(items[1:]).decode("utf-8", "replace")
        return Leader(name, int(b"".join(items[:1])))
    except (ValueError, RemoteProtocolError):
        return None
