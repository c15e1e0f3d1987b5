"""The client of blocking code, and the factories for its primitives.

The factories have the arguments of `trioslock.Database`, which describes them.
"""

# ruff: noqa: D417 - the arguments of the factories are described at trioslock.Database

from __future__ import annotations

import atexit
import threading
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from types import TracebackType

from .. import client as trio_client
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
from ..primitives import Subscription as TrioSubscription
from ..protocol import FOREVER
from ._background import Background, Body, check_blocking, hold, let_go
from ._events import Event, GroupEvent, TokenBucket, Value
from ._grant import Blocking, BodyContext
from ._iterators import Changes, Subscription
from ._locks import ConcurrencyLimiter, Lock, RLock, RWLock, Semaphore, TreeLock


class Database(Blocking):
    """The factories of one database; see `trioslock.Database`.

    Any thread may use it.
    """

    def __init__(self, background: Background, database: trio_client.Database) -> None:
        super().__init__(background)
        self.trio_database: trio_client.Database = database

    def __repr__(self) -> str:
        return f"<blocking {self.trio_database!r}>"

    @property
    def background(self) -> Background:
        """The thread that serves it."""
        return self._background

    @property
    def number(self) -> int:
        """0 to 254."""
        return self.trio_database.number

    @property
    def flags(self) -> Flags:
        """The flags of handles that are made without flags."""
        return self.trio_database.flags

    def db(self, number: int, *, flags: Flags | None = None) -> Database:
        """Return a database of the same server; see `trioslock.Database.db`."""
        return Database(self._background, self.trio_database.db(number, flags=flags))

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
        """Return a handle on a lock; see `trioslock.Database.lock`."""
        handle = self.trio_database.lock(
            key,
            lease=lease,
            fenced=fenced,
            priority=priority,
            flags=flags,
            renew=renew,
        )
        return Lock(self._background, handle)

    def rlock(
        self,
        key: Key,
        *,
        lease: Lease = SESSION,
        flags: Flags | None = None,
        renew: bool = True,
    ) -> RLock:
        """Return a lock that the thread which holds it may take again.

        See `trioslock.Database.rlock`; there the levels belong to a task.
        """
        handle = self.trio_database.rlock(key, lease=lease, flags=flags, renew=renew)
        return RLock(self._background, handle)

    def rwlock(
        self,
        key: Key,
        *,
        lease: Lease = SESSION,
        flags: Flags | None = None,
        renew: bool = True,
    ) -> RWLock:
        """Return a handle on a key that many readers or one writer hold."""
        handle = self.trio_database.rwlock(key, lease=lease, flags=flags, renew=renew)
        return RWLock(self._background, handle)

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
        """Return a handle on permits; see `trioslock.Database.semaphore`."""
        handle = self.trio_database.semaphore(
            key, permits, lease=lease, priority=priority, flags=flags, renew=renew
        )
        return Semaphore(self._background, handle)

    def event(self, key: Key, *, default: Default = "clear", ttl: float) -> Event:
        """Return a handle on an event; see `trioslock.Database.event`."""
        handle = self.trio_database.event(key, default=default, ttl=ttl)
        return Event(self._background, handle)

    def group_event(
        self,
        key: Key,
        *,
        member: int | None = None,
        version: int = 0,
        ttl: float,
        flags: Flags | None = None,
    ) -> GroupEvent:
        """Return a member's handle; see `trioslock.Database.group_event`."""
        handle = self.trio_database.group_event(
            key, member=member, version=version, ttl=ttl, flags=flags
        )
        return GroupEvent(self._background, handle)

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
        """Return a limit of how many at once; see `trioslock.Database.concurrency`."""
        handle = self.trio_database.concurrency(
            key, limit, lease=lease, priority=priority, flags=flags, renew=renew
        )
        return ConcurrencyLimiter(self._background, handle)

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
        """Return a limit of how often; see `trioslock.Database.token_bucket`."""
        handle = self.trio_database.token_bucket(
            key, tokens, per, sliding=sliding, priority=priority, flags=flags
        )
        return TokenBucket(self._background, handle)

    def tree(
        self,
        key: Key,
        *,
        lease: Lease = SESSION,
        flags: Flags | None = None,
        renew: bool = True,
    ) -> TreeLock:
        """Return a handle on the root of a tree; see `trioslock.Database.tree`."""
        handle = self.trio_database.tree(key, lease=lease, flags=flags, renew=renew)
        return TreeLock(self._background, handle)

    def value(
        self, key: Key, *, ttl: float = FOREVER, flags: Flags | None = None
    ) -> Value:
        """Return a handle on a value; see `trioslock.Database.value`."""
        handle = self.trio_database.value(key, ttl=ttl, flags=flags)
        return Value(self._background, handle)

    def subscribe(
        self,
        *masks: bytes,
        buffer: int = 64,
        server_buffer: int = 1_048_576,
        timeout: float | None = None,
    ) -> AbstractContextManager[Subscription, bool | None]:
        """Subscribe for the body of a ``with``; see `trioslock.Database.subscribe`.

        Args:
            timeout: Seconds that entering may take.
        """
        make = partial(
            self.trio_database.subscribe,
            *masks,
            buffer=buffer,
            server_buffer=server_buffer,
        )

        def body() -> Body[Subscription, TrioSubscription]:
            return Body(
                self._background, make, partial(Subscription, self._background), timeout
            )

        return BodyContext(body)

    def holders(self, key: Key, *, timeout: float | None = None) -> list[Holder]:
        """Return all holders of a key; see `trioslock.Database.holders`."""
        return self.call(partial(self.trio_database.holders, key), timeout)

    def waiters(self, key: Key, *, timeout: float | None = None) -> list[Waiter]:
        """Return all waiters of a key; see `trioslock.Database.waiters`."""
        return self.call(partial(self.trio_database.waiters, key), timeout)

    def keys(self, *, timeout: float | None = None) -> list[HeldKey]:
        """Return all keys that are held; see `trioslock.Database.keys`."""
        return self.call(self.trio_database.keys, timeout)

    def state(self, *, timeout: float | None = None) -> DatabaseState:
        """Return what the server has counted; see `trioslock.Database.state`."""
        return self.call(self.trio_database.state, timeout)


_ClientBody = Body["Client", trio_client.Client]


class Client(Database):
    """A connected client. Made by `open_client` or `connect`; any thread may use it."""

    def __init__(self, background: Background, client: trio_client.Client) -> None:
        super().__init__(background, client)
        self._client = client
        self._body: _ClientBody | None = None
        self._closing = threading.Lock()

    @property
    def client_id(self) -> bytes:
        """The 16 bytes under which the server knows this client's first connection."""
        return self._client.client_id

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._body is None

    def ping(self, *, timeout: float | None = None) -> float:
        """Send a PING; return the seconds until its answer."""
        return self.call(self._client.ping, timeout)

    def wait_connected(self, *, timeout: float | None = None) -> None:
        """Wait until there is a connection; see `trioslock.Client.wait_connected`."""
        self.call(self._client.wait_connected, timeout)

    def statistics(self) -> SessionStatistics:
        """Return counts of what the client holds and waits for now."""
        return self._client.statistics()

    def add_member(self, host: str, port: int) -> None:
        """Connect to one more member; see `trioslock.Client.add_member`."""

        async def add() -> None:
            self._client.add_member(host, port)

        self.call(add, None)

    def changes(self) -> Changes:
        """Return an iterator over the states of the replica set.

        See `trioslock.Client.changes`.
        """

        async def changes() -> Changes:
            return Changes(self._background, self._client.changes())

        return self.call(changes, None)

    def close(self) -> None:
        """Release everything that is held, end all waits, and close the connection.

        It takes at most the client's ``close_grace``. Further calls do nothing. In a
        child of ``os.fork`` it does nothing: the client belongs to the parent.
        """
        with self._closing:
            body, self._body = self._body, None
        if body is None or not self._background.is_usable:
            return
        _open.discard(self)
        try:
            error = body.leave()
        finally:
            let_go(self._background)
        if error is not None:
            raise error

    def opened(self, body: _ClientBody) -> None:
        """Note the task in which it is open."""
        self._body = body
        _open.add(self)


_open: set[Client] = set()


@atexit.register
def _close_all() -> None:
    """Let the server have all keys at once, when a program ends."""
    for client in tuple(_open):
        client.close()


OpenTrio = AbstractAsyncContextManager[trio_client.Client, bool]


class _OpenClient(AbstractContextManager[Client]):
    def __init__(self, open_trio: partial[OpenTrio], timeout: float | None) -> None:
        self._open_trio = open_trio
        self._timeout = timeout
        self._client: Client | None = None

    def __enter__(self) -> Client:
        check_blocking()
        background = hold()
        try:
            body: _ClientBody = Body(
                background,
                self._open_trio,
                partial(Client, background),
                self._timeout,
            )
            client = body.wait()
        except BaseException:
            let_go(background)
            raise
        client.opened(body)
        self._client = client
        return client

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._client is not None
        self._client.close()


def open_client(
    url: str = "slock://127.0.0.1:5658/0",
    *,
    client_id: bytes | None = None,
    heartbeat: float = 5.0,
    session_ttl: float = 10.0,
    connect_timeout: float = 5.0,
    backoff: Backoff | None = Backoff(),  # noqa: B008 - it is immutable
    close_grace: float = 2.0,
    max_inflight: int = 16_384,
    wait_connected: bool = True,
    timeout: float | None = None,
) -> AbstractContextManager[Client]:
    """Connect to a server for the body of a ``with``; see `trioslock.open_client`.

    Args:
        timeout: Seconds that entering may take; ``connect_timeout`` ends one attempt.

    Returns:
        A context manager that gives the `Client`. Make one for each use. What
        `trioslock.open_client` raises is raised on entering.

    Raises:
        RuntimeError: On entering: an event loop runs in this thread.
        TimeoutError: On entering: it took longer than ``timeout``.
    """
    open_trio = partial(
        trio_client.open_client,
        url,
        client_id=client_id,
        heartbeat=heartbeat,
        session_ttl=session_ttl,
        connect_timeout=connect_timeout,
        backoff=backoff,
        close_grace=close_grace,
        max_inflight=max_inflight,
        wait_connected=wait_connected,
    )
    return _OpenClient(open_trio, timeout)


def connect(
    url: str = "slock://127.0.0.1:5658/0",
    *,
    client_id: bytes | None = None,
    heartbeat: float = 5.0,
    session_ttl: float = 10.0,
    connect_timeout: float = 5.0,
    backoff: Backoff | None = Backoff(),  # noqa: B008 - it is immutable
    close_grace: float = 2.0,
    max_inflight: int = 16_384,
    wait_connected: bool = True,
    timeout: float | None = None,
) -> Client:
    """Connect to a server until `Client.close`, or until the interpreter ends.

    For programs that have no body for a ``with``: Django, Celery, a shell. The
    arguments are those of `open_client`.
    """
    return open_client(
        url,
        client_id=client_id,
        heartbeat=heartbeat,
        session_ttl=session_ttl,
        connect_timeout=connect_timeout,
        backoff=backoff,
        close_grace=close_grace,
        max_inflight=max_inflight,
        wait_connected=wait_connected,
        timeout=timeout,
    ).__enter__()
