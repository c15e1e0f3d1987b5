"""The factories, as ``.ci/write_facades.py`` has written them."""

# ruff: noqa: D417 - the arguments that factories share are described once, at the class

from __future__ import annotations

from contextlib import AbstractAsyncContextManager as Manager

from .. import client as native
from ..client import Key
from ..link import Backoff, SessionStatistics
from ..primitives import (
    SESSION,
    DatabaseState,
    Default,
    Flags,
    HeldKey,
    Holder,
    Lease,
    Waiter,
)
from ..protocol import FOREVER
from ._handles import (
    ConcurrencyLimiter,
    Event,
    GroupEvent,
    Lock,
    RLock,
    RWLock,
    Semaphore,
    TokenBucket,
    TreeLock,
    Value,
)
from ._opening import Changes, Opening, Subscription
from ._portal import Portal


class Database:
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
    """

    def __init__(self, portal: Portal, handle: native.Database) -> None:
        self._portal = portal
        self._database = handle

    def __repr__(self) -> str:
        return f"<trioslock.aio: {self._database!r}>"

    @property
    def portal(self) -> Portal:
        """The way to its trio run."""
        return self._portal

    @property
    def trio_database(self) -> native.Database:
        """The same for trio tasks."""
        return self._database

    @property
    def number(self) -> int:
        """0 to 254."""
        return self._database.number

    @property
    def flags(self) -> Flags:
        """The flags of handles that are made without flags."""
        return self._database.flags

    def db(self, number: int, *, flags: Flags | None = None) -> Database:
        """Return a database of the same server.

        Args:
            number: 0 to 254.
            flags: Flags of handles that are made without flags; None for the same as
                here.

        Raises:
            ValueError: The number is out of range.
        """
        return Database(self._portal, self._database.db(number, flags=flags))

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
        return Lock(
            self._portal,
            self._database.lock(
                key,
                lease=lease,
                fenced=fenced,
                priority=priority,
                flags=flags,
                renew=renew,
            ),
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

        Each further level starts the lease again.
        """
        return RLock(
            self._portal,
            self._database.rlock(key, lease=lease, flags=flags, renew=renew),
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

        Both sides have the lease.
        """
        return RWLock(
            self._portal,
            self._database.rwlock(key, lease=lease, flags=flags, renew=renew),
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
            permits: 1 to 65,535; all clients that use the key must agree on it.
        """
        return Semaphore(
            self._portal,
            self._database.semaphore(
                key, permits, lease=lease, priority=priority, flags=flags, renew=renew
            ),
        )

    def event(self, key: Key, *, default: Default = "clear", ttl: float) -> Event:
        """Return a handle on an event.

        Args:
            default: The state of an event that no client has set or cleared.
            ttl: Seconds after which a set or cleared event falls back to its default,
                or ``FOREVER``.
        """
        return Event(self._portal, self._database.event(key, default=default, ttl=ttl))

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
        return GroupEvent(
            self._portal,
            self._database.group_event(
                key, member=member, version=version, ttl=ttl, flags=flags
            ),
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
        """Return a handle on a limit of how many may do something at once.

        Args:
            limit: 1 to 65,535; all clients that use the key must agree on it.
        """
        return ConcurrencyLimiter(
            self._portal,
            self._database.concurrency(
                key, limit, lease=lease, priority=priority, flags=flags, renew=renew
            ),
        )

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
        return TokenBucket(
            self._portal,
            self._database.token_bucket(
                key, tokens, per, sliding=sliding, priority=priority, flags=flags
            ),
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

        `TreeLock.child` makes the nodes below. The lease is that of a leaf.
        """
        return TreeLock(
            self._portal,
            self._database.tree(key, lease=lease, flags=flags, renew=renew),
        )

    def value(
        self, key: Key, *, ttl: float = FOREVER, flags: Flags | None = None
    ) -> Value:
        """Return a handle on a value that is stored on a key.

        Args:
            ttl: Seconds that the value is kept after a change, or ``FOREVER``.
        """
        return Value(self._portal, self._database.value(key, ttl=ttl, flags=flags))

    def subscribe(
        self, *masks: bytes, buffer: int = 64, server_buffer: int = 1048576
    ) -> Manager[Subscription, None]:
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
        return Opening(
            self._database.subscribe(
                *masks, buffer=buffer, server_buffer=server_buffer
            ),
            Subscription,
        )

    async def holders(self, key: Key) -> list[Holder]:
        """Return all holders of a key, in order of their grants.

        Raises:
            NoLeader: The server cannot reach a leader.
            ConnectionLost: The connection broke before the answer.
            ClosedResourceError: The client is closed.

        Cancellation:
            The answer is dropped.
        """
        return await self._portal.call(self._database.holders, key)

    async def waiters(self, key: Key) -> list[Waiter]:
        """Return all waiters of a key, in the order of the queue.

        The server lists the waiters of keys that are held; it lists none of a free
        key, such as that of an event which is clear by default.

        Raises:
            NoLeader: The server cannot reach a leader.
            ConnectionLost: The connection broke before the answer.
            ClosedResourceError: The client is closed.

        Cancellation:
            The answer is dropped.
        """
        return await self._portal.call(self._database.waiters, key)

    async def keys(self) -> list[HeldKey]:
        """Return all keys of this database that are held.

        Raises:
            NoLeader: The server cannot reach a leader.
            ServerError: The list is larger than the server sends (1 MiB).
            ConnectionLost: The connection broke before the answer.
            ClosedResourceError: The client is closed.

        Cancellation:
            The answer is dropped.
        """
        return await self._portal.call(self._database.keys)

    async def state(self) -> DatabaseState:
        """Return what the server has counted in this database.

        Raises:
            ConnectionLost: The connection broke before the answer.
            ClosedResourceError: The client is closed.

        Cancellation:
            The answer is dropped.
        """
        return await self._portal.call(self._database.state)


class Client(Database):
    """A connected client, and the database of its URL. Made by `open_client`."""

    def __init__(self, portal: Portal, handle: native.Client) -> None:
        super().__init__(portal, handle)
        self._client = handle

    @property
    def client_id(self) -> bytes:
        """The 16 bytes under which the server knows this client's first connection."""
        return self._client.client_id

    async def ping(self) -> float:
        """Send a PING; return the seconds until its answer.

        Raises:
            ConnectionLost: The connection broke before the answer.
            ClosedResourceError: The client is closed.

        Cancellation:
            The answer is dropped.
        """
        return await self._portal.call(self._client.ping)

    async def wait_connected(self) -> None:
        """Wait until there is a connection; return at once if there is.

        Raises:
            ConnectionLost: The client has given up reconnecting.
            ClosedResourceError: The client is closed.
        """
        await self._portal.call(self._client.wait_connected)

    def statistics(self) -> SessionStatistics:
        """Return counts of what the client holds and waits for now."""
        return self._portal.ask(self._client.statistics)

    def add_member(self, host: str, port: int) -> None:
        """Connect to one more member of the replica set.

        Members that others name as their leader are added without this.

        Raises:
            ValueError: This is no client of a replica set, or there are as many
                members as are kept (64).
            ClosedResourceError: The client is closed.
        """
        self._portal.ask(self._client.add_member, host, port)

    def changes(self) -> Changes:
        """Return an async iterator over the states of the replica set.

        The first is the present one. A slow reader gets the latest state, not
        each one between. It ends when the client is closed.

        Raises:
            ValueError: This is no client of a replica set.
        """
        return Changes(self._portal, self._client.changes())


def open_client(
    url: str = "slock://127.0.0.1:5658/0",
    *,
    client_id: bytes | None = None,
    heartbeat: float = 5.0,
    session_ttl: float = 10.0,
    connect_timeout: float = 5.0,
    backoff: Backoff | None = Backoff(),  # noqa: B008
    close_grace: float = 2.0,
    max_inflight: int = 16384,
    wait_connected: bool = True,
) -> Manager[Client, None]:
    """Connect to a server for the body of an ``async with``.

    All requests share one connection. At the end of the body everything that is
    still held is released and waits are withdrawn, for at most
    ``close_grace`` seconds, shielded from cancellation.

    Args:
        url: ``slock://host:port/database``; port 5658 and database 0 if left
            out. Several hosts (``slock://a:5658,b:5659,c:5660``) are members of
            a replica set: requests go to the member that is its leader.
        client_id: The 16 bytes under which the server knows the client's first
            connection, random if left out. Later connections share its first half.
            Never use one twice at the same time.
        heartbeat: Seconds of silence before a PING is sent to the server; after as
            many more the connection counts as broken.
        session_ttl: Seconds, rounded up to whole ones, that waits and session
            leases outlive the connection on the server.
        connect_timeout: Seconds that one attempt to connect may take.
        backoff: Delays between attempts to reconnect; None to give up when the
            connection is lost.
        close_grace: Seconds that a cancelled release, and the end of the
            client, may take to get their answers.
        max_inflight: Commands that may be unwritten or about to be withdrawn;
            further requests wait for room. Waits that are parked on the server
            do not count: what wakes them could not be sent otherwise.
        wait_connected: Enter the body when the first attempt to connect has
            succeeded. If False, enter it at once and connect meanwhile.

    Returns:
        A context manager that gives the `Client`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
        ConnectionLost: On entering: the first attempt has failed; with a replica
            set, no leader was found within ``connect_timeout``.

    Cancellation:
        Nothing is left but, after ``close_grace`` seconds without an answer,
        what the server ends by itself within ``session_ttl`` seconds.
    """
    return Opening(
        native.open_client(
            url,
            client_id=client_id,
            heartbeat=heartbeat,
            session_ttl=session_ttl,
            connect_timeout=connect_timeout,
            backoff=backoff,
            close_grace=close_grace,
            max_inflight=max_inflight,
            wait_connected=wait_connected,
        ),
        Client,
    )
