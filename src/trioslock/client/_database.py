"""The factories: one method for each primitive, on one database of the server."""

# ruff: noqa: D417 - the arguments that factories share are described once, at the class

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import lru_cache, partial

from .._arguments import check_bool, check_seconds, check_type
from ..link import ClientSession
from ..primitives import (
    NO_FLAGS,
    SESSION,
    ConcurrencyLimiter,
    DatabaseState,
    Default,
    Event,
    FencedLock,
    Flags,
    GroupEvent,
    Guessed,
    HandleOptions,
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
from ..protocol import FOREVER, key_of
from ._subscribe import OpenSubscription
from ._url import check_database

Key = str | bytes
"""A name of any length; 16 bytes are the key itself (see `to_key`)."""

_KEPT_HANDLES = 1024


def _plain_lock(session: ClientSession, db: int, flags: Flags, key: Key) -> Lock:
    return Lock(HandleOptions(session, key_of(key), db, flags=flags))


class Database(Guessed):
    """The factories of one database. Handles cost little: make them as needed.

    These arguments are the same for all factories that have them:

    - ``key``: a name of any length, or the 16 bytes of the key (see `to_key`). Do not
      use one key for two kinds of handles.
    - ``lease``: how long a grant lasts: `SESSION` (as long as the connection), seconds,
      or ``FOREVER``.
    - ``priority``: position in the queue, 0 to 255, highest first; None for the end.
      All that wait for a key should give one, or none.
    - ``flags``: flags of each request; None for the database's ``flags``.
    - ``renew``: renew a lease of seconds while the body of a grant runs.

    Attributes:
        number: 0 to 254.
        flags: The flags of handles that are made without flags.
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
        self.flags: Flags = check_type(flags, Flags, "flags", "Flags")
        self._session = session
        self._holds = ReentrantHolds() if holds is None else holds
        # A handle keeps no state, so one that was made before can be used again; to
        # make one takes as long as to send its command.
        self._plain_lock: Callable[[Key], Lock] = lru_cache(_KEPT_HANDLES)(
            partial(_plain_lock, session, number, flags)
        )

    def __repr__(self) -> str:
        return f"<Database {self.number} of {self._session!r}>"

    def db(self, number: int, *, flags: Flags | None = None) -> Database:
        """Return a database of the same server.

        Args:
            number: 0 to 254.
            flags: Flags of handles that are made without flags; None for the same as
                here.

        Raises:
            ValueError: The number is out of range.
        """
        flags = self.flags if flags is None else flags
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
            fenced: Give each grant a token that is larger than all before it.
                Costs a second command and a permanent key.
        """
        # Only these options make the handle that is kept.
        plain = renew is True and fenced is False and priority is None and flags is None
        # By type: the cache would say of a list that it is unhashable.
        if plain and lease is SESSION and (type(key) is str or type(key) is bytes):
            return self._plain_lock(key)
        make = FencedLock if check_bool(fenced, "fenced") else Lock
        return make(self._options(key, lease, flags, priority=priority, renew=renew))

    def rlock(
        self,
        key: Key,
        *,
        lease: Lease = SESSION,
        flags: Flags | None = None,
        renew: bool = True,
    ) -> RLock:
        """Return a handle on a lock that the task which holds it may take again.

        Each further level starts the lease again.
        """
        return RLock(self._options(key, lease, flags, renew=renew), self._holds)

    def rwlock(
        self,
        key: Key,
        *,
        lease: Lease = SESSION,
        flags: Flags | None = None,
        renew: bool = True,
    ) -> RWLock:
        """Return a handle on a key that many readers or one writer hold.

        Both sides have the lease.
        """
        return RWLock(self._options(key, lease, flags, renew=renew))

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
            permits: 1 to 65,535; all clients that use the key must agree on it.
        """
        options = self._options(key, lease, flags, priority=priority, renew=renew)
        return Semaphore(options, permits)

    def event(self, key: Key, *, default: Default = "clear", ttl: float) -> Event:
        """Return a handle on an event.

        Args:
            default: The state of an event that no client has set or cleared.
            ttl: Seconds after which a set or cleared event falls back to its default,
                or ``FOREVER``.
        """
        check_seconds(ttl, "ttl", forever=True)
        options = HandleOptions(
            self._session, key_of(key), self.number, ttl, flags=NO_FLAGS
        )
        return Event(options, default=default)

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
            member: Number of the member; None for a fresh one for each wait.
            version: The version that the member knows.
            ttl: Seconds after which a cleared group falls back to set, or
                ``FOREVER``.
        """
        check_seconds(ttl, "ttl", forever=True)
        options = self._options(key, ttl, flags)
        return GroupEvent(options, member=member, version=version)

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
        """Return a handle on a limit of how many may do something at once.

        Args:
            limit: 1 to 65,535; all clients that use the key must agree on it.
        """
        options = self._options(key, lease, flags, priority=priority, renew=renew)
        return ConcurrencyLimiter(options, limit)

    def token_bucket(
        self,
        key: Key,
        tokens: int,
        per: float,
        *,
        sliding: bool = False,
        priority: int | None = None,
        flags: Flags | None = None,
    ) -> TokenBucket:
        """Return a handle on a limit of how often something may happen.

        Args:
            tokens: How many may be taken in each period, 1 to 65,535; all clients that
                use the key must agree on it.
            per: Seconds of the period; from 3 on rounded up to whole ones.
            sliding: Each token comes back a whole period after it was taken. Otherwise
                those of three seconds and more come back at the same time, the next
                multiple of the period.
        """
        options = self._options(key, SESSION, flags, priority=priority)
        return TokenBucket(options, tokens, per, sliding=sliding)

    def tree(
        self,
        key: Key,
        *,
        lease: Lease = SESSION,
        flags: Flags | None = None,
        renew: bool = True,
    ) -> TreeLock:
        """Return a handle on the root of a tree of keys.

        `TreeLock.child` makes the nodes below. The lease is that of a leaf.
        """
        return TreeLock(self._options(key, lease, flags, renew=renew))

    def value(
        self, key: Key, *, ttl: float = FOREVER, flags: Flags | None = None
    ) -> Value:
        """Return a handle on a value that is stored on a key.

        Args:
            ttl: Seconds that the value is kept after a change, or ``FOREVER``.
        """
        check_seconds(ttl, "ttl", forever=True)
        return Value(self._options(key, ttl, flags), name=key)

    def _options(
        self,
        key: Key,
        lease: Lease,
        flags: Flags | None,
        *,
        priority: int | None = None,
        renew: bool = True,
    ) -> HandleOptions:
        flags = self.flags if flags is None else flags
        return HandleOptions(
            self._session, key_of(key), self.number, lease, priority, flags, renew
        )

    def subscribe(
        self,
        *masks: bytes,
        buffer: int = 64,
        server_buffer: int = 1_048_576,
    ) -> AbstractAsyncContextManager[Subscription, bool]:
        """Subscribe to what happens to keys, for the body of an ``async with``.

        The server publishes refused and timed-out requests and ended leases, where
        they were made with ``Flags(publish=True)``; it never publishes grants and
        releases. It has to be started with ``--subscribe_enabled``.

        Args:
            masks: Key masks of 16 bytes. A key matches if it has a bit in common
                with the first half of one in its first 8 bytes, or with the second
                half in its last 8. All keys match if there is none.
            buffer: Messages kept for a slow reader; then the oldest are dropped, and
                counted.
            server_buffer: Bytes that the server keeps for the subscription; when
                they are full it closes the connection, and the subscription is
                made again.

        Returns:
            A context manager that gives the `Subscription`, an async iterator.

        Raises:
            ValueError: A mask is not 16 bytes or all zero, or a buffer is too small.
            ServerError: On entering: the server accepts no subscriptions.
            ConnectionLost: On entering: the server cannot be reached.

        Cancellation:
            Nothing is left but, after ``close_grace`` seconds without an answer,
            what the server ends by itself within ``session_ttl`` seconds.
        """
        # A session of its own: the server closes the connection with the subscription.
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
            The answer is dropped.
        """
        return await list_holders(self._session, self.number, key_of(key))

    async def waiters(self, key: Key) -> list[Waiter]:
        """Return all waiters of a key, in the order of the queue.

        The server lists the waiters of keys that are held; it lists none of a free
        key, such as that of an event which is clear by default.

        Raises:
            NoLeader: The server cannot reach a leader.
            ConnectionLost: The connection broke before the answer.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The answer is dropped.
        """
        return await list_waiters(self._session, self.number, key_of(key))

    async def keys(self) -> list[HeldKey]:
        """Return all keys of this database that are held.

        Raises:
            NoLeader: The server cannot reach a leader.
            ServerError: The list is larger than the server sends (1 MiB).
            ConnectionLost: The connection broke before the answer.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The answer is dropped.
        """
        return await list_keys(self._session, self.number)

    async def state(self) -> DatabaseState:
        """Return what the server has counted in this database.

        Raises:
            ConnectionLost: The connection broke before the answer.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The answer is dropped.
        """
        return await read_state(self._session, self.number)
