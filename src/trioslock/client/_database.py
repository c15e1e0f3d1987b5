"""The factories: one method for each primitive, on one database of the server."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import lru_cache, partial

from ..link import ClientSession
from ..primitives import (
    NO_FLAGS,
    SESSION,
    ConcurrencyLimiter,
    DatabaseState,
    Event,
    FencedLock,
    Flags,
    GroupEvent,
    HeldKey,
    Holder,
    Lease,
    Lock,
    ReentrantHolds,
    RLock,
    RWLock,
    Semaphore,
    Subscription,
    TokenBucket,
    TreeLock,
    Value,
    Waiter,
    list_holders,
    list_keys,
    list_waiters,
    read_state,
)
from ..primitives._event import Default
from ..protocol import FOREVER, to_key
from ._subscribe import OpenSubscription
from ._url import check_database

Key = str | bytes
"""A name of any length; 16 bytes are the key itself (see `to_key`)."""

_KEPT_HANDLES = 1024


def _plain_lock(session: ClientSession, db: int, flags: Flags, key: Key) -> Lock:
    return Lock(session, to_key(key), db=db, flags=flags)


class Database:
    """The factories of one database. Handles cost nothing: make them as needed.

    A ``lease`` is how long a grant lasts: `SESSION` (as long as the
    connection), seconds, or ``FOREVER``. A ``priority`` is a place in the queue,
    0 to 255, highest first. ``flags`` are wishes that go with each request; what
    is not given comes from the database, and its from the client.

    Attributes:
        number: 0 to 254.
        flags: What handles get that ask for no flags of their own.
    """

    def __init__(
        self,
        session: ClientSession,
        number: int,
        *,
        flags: Flags = NO_FLAGS,
        holds: ReentrantHolds | None = None,
    ) -> None:
        self.number: int = check_database(number)
        self.flags = flags
        self._session = session
        self._holds = ReentrantHolds() if holds is None else holds
        # A handle keeps nothing, so the one that was made before does as well; to
        # make one takes as long as to send its command.
        self._plain_lock: Callable[[Key], Lock] = lru_cache(_KEPT_HANDLES)(
            partial(_plain_lock, session, number, flags)
        )

    def __repr__(self) -> str:
        return f"<Database {self.number} of {self._session!r}>"

    def db(self, number: int, *, flags: Flags | None = None) -> Database:
        """Return a database of the same server, 0 to 254.

        Args:
            number: Which one.
            flags: What its handles get that ask for none, these by default.

        Raises:
            ValueError: The number is not one of these.
        """
        flags = self._or_default(flags)
        return Database(self._session, number, flags=flags, holds=self._holds)

    def lock(
        self,
        key: Key,
        *,
        lease: Lease = SESSION,
        fenced: bool = False,
        priority: int | None = None,
        flags: Flags | None = None,
        renew: bool = True,
    ) -> Lock:
        """Return a handle on a lock, which one holder at a time has.

        Args:
            key: Its name.
            lease: How long a grant lasts.
            fenced: Give each grant a token that is larger than all before it.
                Costs a second command and a permanent key.
            priority: Place in the queue; all who wait should give one, or none.
            flags: Wishes that go with each request.
            renew: Renew a lease of seconds while the body of a grant runs.
        """
        plain = renew and not fenced and priority is None and flags is None
        if plain and lease is SESSION:
            return self._plain_lock(key)
        make = FencedLock if fenced else Lock
        return make(
            self._session,
            to_key(key),
            db=self.number,
            lease=lease,
            priority=priority,
            flags=self._or_default(flags),
            renew=renew,
        )

    def rlock(
        self,
        key: Key,
        *,
        lease: Lease = SESSION,
        flags: Flags | None = None,
        renew: bool = True,
    ) -> RLock:
        """Return a handle on a lock that the task which holds it may take again.

        Args:
            key: Its name.
            lease: How long the key is held; each further level starts it anew.
            flags: Wishes that go with each request.
            renew: Renew a lease of seconds while the body of a grant runs.
        """
        return RLock(
            self._session,
            to_key(key),
            self._holds,
            db=self.number,
            lease=lease,
            flags=self._or_default(flags),
            renew=renew,
        )

    def rwlock(
        self,
        key: Key,
        *,
        lease: Lease = SESSION,
        flags: Flags | None = None,
        renew: bool = True,
    ) -> RWLock:
        """Return a handle on a key that many readers or one writer hold.

        Args:
            key: Its name.
            lease: How long a grant of either side lasts.
            flags: Wishes that go with each request.
            renew: Renew a lease of seconds while the body of a grant runs.
        """
        return RWLock(
            self._session,
            to_key(key),
            db=self.number,
            lease=lease,
            flags=self._or_default(flags),
            renew=renew,
        )

    def semaphore(
        self,
        key: Key,
        permits: int,
        *,
        lease: Lease = SESSION,
        priority: int | None = None,
        flags: Flags | None = None,
        renew: bool = True,
    ) -> Semaphore:
        """Return a handle on a number of permits.

        Args:
            key: Their name.
            permits: 1 to 65,535; all who use the key must agree on it.
            lease: How long a permit lasts.
            priority: Place in the queue; all who wait should give one, or none.
            flags: Wishes that go with each request.
            renew: Renew a lease of seconds while the body of a grant runs.
        """
        return Semaphore(
            self._session,
            to_key(key),
            permits,
            db=self.number,
            lease=lease,
            priority=priority,
            flags=self._or_default(flags),
            renew=renew,
        )

    def event(self, key: Key, *, default: Default = "clear", ttl: float) -> Event:
        """Return a handle on an event.

        Args:
            key: Its name. Do not use it for a lock as well.
            default: What the event is when nobody has touched it.
            ttl: Seconds after which a touched event falls back to its default,
                or ``FOREVER``.
        """
        return Event(
            self._session, to_key(key), db=self.number, default=default, ttl=ttl
        )

    def group_event(
        self,
        key: Key,
        *,
        member: int | None = None,
        version: int = 0,
        ttl: float,
        flags: Flags | None = None,
    ) -> GroupEvent:
        """Return a handle of one member on a group event.

        Args:
            key: Its name. Do not use it for a lock as well.
            member: Number of the member; None for a fresh one for each wait.
            version: The version that the member knows.
            ttl: Seconds after which a cleared group falls back to set, or
                ``FOREVER``.
            flags: Wishes that go with each clear.
        """
        return GroupEvent(
            self._session,
            to_key(key),
            db=self.number,
            member=member,
            version=version,
            ttl=ttl,
            flags=self._or_default(flags),
        )

    def concurrency(
        self,
        key: Key,
        limit: int,
        *,
        lease: Lease = SESSION,
        priority: int | None = None,
        flags: Flags | None = None,
        renew: bool = True,
    ) -> ConcurrencyLimiter:
        """Return a handle on a limit of how many may be at something at once.

        Args:
            key: Its name.
            limit: 1 to 65,535; all who use the key must agree on it.
            lease: How long one holder may take.
            priority: Place in the queue; all who wait should give one, or none.
            flags: Wishes that go with each request.
            renew: Renew a lease of seconds while the body of a grant runs.
        """
        return ConcurrencyLimiter(
            self._session,
            to_key(key),
            limit,
            db=self.number,
            lease=lease,
            priority=priority,
            flags=self._or_default(flags),
            renew=renew,
        )

    def token_bucket(
        self,
        key: Key,
        tokens: int,
        per: float,
        *,
        priority: int | None = None,
        flags: Flags | None = None,
    ) -> TokenBucket:
        """Return a handle on a limit of how often something may happen.

        Args:
            key: Its name.
            tokens: How many may be taken in each period, 1 to 65,535; all who
                use the key must agree on it.
            per: Seconds of the period; from 3 on rounded up to whole ones.
            priority: Place in the queue; all who wait should give one, or none.
            flags: Wishes that go with each request.
        """
        return TokenBucket(
            self._session,
            to_key(key),
            tokens,
            per,
            db=self.number,
            priority=priority,
            flags=self._or_default(flags),
        )

    def tree(
        self,
        key: Key,
        *,
        lease: Lease = SESSION,
        flags: Flags | None = None,
        renew: bool = True,
    ) -> TreeLock:
        """Return a handle on the root of a tree of keys.

        Args:
            key: Name of the root; `TreeLock.child` makes the nodes below.
            lease: How long a leaf is held.
            flags: Wishes that go with each request.
            renew: Renew a lease of seconds while the body of a grant runs.
        """
        return TreeLock(
            self._session,
            to_key(key),
            db=self.number,
            lease=lease,
            flags=self._or_default(flags),
            renew=renew,
        )

    def value(
        self, key: Key, *, ttl: float = FOREVER, flags: Flags | None = None
    ) -> Value:
        """Return a handle on a value that is stored on a key.

        Args:
            key: Its name. Do not use it for a lock as well.
            ttl: Seconds that the value is kept after a change, or ``FOREVER``.
            flags: Wishes that go with each change.
        """
        return Value(
            self._session,
            to_key(key),
            db=self.number,
            ttl=ttl,
            name=key,
            flags=self._or_default(flags),
        )

    def subscribe(
        self,
        *masks: bytes,
        buffer: int = 64,
        server_buffer: int = 1_048_576,
    ) -> AbstractAsyncContextManager[Subscription, bool]:
        """Subscribe to what happens to keys, for the body of an ``async with``.

        The server tells of refused and timed-out requests and of ended leases, where
        they were made with ``Flags(publish=True)``; of grants and releases it tells
        nothing. It has to be started with ``--subscribe_enabled``.

        Args:
            masks: Key masks of 16 bytes. A key matches if it has a bit in common
                with the first half of one in its first 8 bytes, or with the second
                half in its last 8. All keys match if there is none.
            buffer: Messages kept for a slow reader; then the oldest are dropped, and
                counted.
            server_buffer: Bytes that the server keeps for the subscription; when
                they are full it closes the connection, and the subscription is
                made anew.

        Returns:
            A context manager that gives the `Subscription`, an async iterator.

        Raises:
            ValueError: A mask is not 16 bytes or all zero, or a buffer is too small.
            ServerError: On entering: the server takes no subscriptions.
            ConnectionLost: On entering: the server cannot be reached.

        Cancellation:
            Nothing is left but, after ``close_grace`` seconds without an answer,
            what the server ends by itself within ``session_ttl`` seconds.
        """
        session = self._session.fork()
        subscription = Subscription(
            session,
            secrets.randbits(32),
            db=self.number,
            masks=masks,
            buffer=buffer,
            server_buffer=server_buffer,
            outlive=session.session_ttl,
        )
        return OpenSubscription(session, subscription)

    async def holders(self, key: Key) -> list[Holder]:
        """Return all holders of a key, in order of their grants.

        Raises:
            NoLeader: The server cannot reach a leader.
            ConnectionLost: The connection broke before the answer.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nobody sees the answer.
        """
        return await list_holders(self._session, self.number, to_key(key))

    async def waiters(self, key: Key) -> list[Waiter]:
        """Return all who wait for a key, in the order they stand in.

        The server lists the waiters of keys that are held; of a free key, as
        that of an event which is clear by default, it tells none.

        Raises:
            NoLeader: The server cannot reach a leader.
            ConnectionLost: The connection broke before the answer.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nobody sees the answer.
        """
        return await list_waiters(self._session, self.number, to_key(key))

    async def keys(self) -> list[HeldKey]:
        """Return all keys of this database that somebody holds.

        Raises:
            NoLeader: The server cannot reach a leader.
            ServerError: The list is larger than the server sends (1 MiB).
            ConnectionLost: The connection broke before the answer.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nobody sees the answer.
        """
        return await list_keys(self._session, self.number)

    async def state(self) -> DatabaseState:
        """Return what the server has counted in this database.

        Raises:
            ConnectionLost: The connection broke before the answer.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nobody sees the answer.
        """
        return await read_state(self._session, self.number)

    def _or_default(self, flags: Flags | None) -> Flags:
        return self.flags if flags is None else flags
