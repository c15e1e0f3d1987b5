"""The client: one connection, and a factory for each primitive."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType

import trio
from trio.lowlevel import enable_ki_protection

from .._arguments import check_bool, check_int, check_seconds, check_type
from ..link import (
    Backoff,
    CallSoon,
    Changes,
    ClientSession,
    Connector,
    OpenTransport,
    ReplicaSession,
    ReplicaSet,
    SessionSettings,
    SessionStatistics,
    connector,
)
from ..protocol import ID_SIZE, CommandType, PlainCommand
from ..transport import connect_tcp
from ._database import Database
from ._service import Service
from ._url import parse_url


class Client(Database):
    """A connected client, and the database of its URL. Made by `open_client`."""

    def __repr__(self) -> str:
        return f"<Client of database {self.number}: {self._session!r}>"

    def write_by(self, call_soon: CallSoon) -> None:
        """Let connections write from the loop whose guest trio is.

        Args:
            call_soon: Calls a function in the next pass of that loop.
        """
        self._session.write_by(call_soon)

    @property
    def client_id(self) -> bytes:
        """The 16 bytes under which the server knows this client's first connection."""
        return self._session.settings.client_id

    async def ping(self) -> float:
        """Send a PING; return the seconds until its answer.

        Raises:
            ConnectionLost: The connection broke before the answer.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The answer is dropped.
        """
        started_at = trio.current_time()
        session = self._session
        await session.ask(PlainCommand(int(CommandType.PING), session.new_id()))
        return trio.current_time() - started_at

    async def wait_connected(self) -> None:
        """Wait until there is a connection; return at once if there is.

        Raises:
            ConnectionLost: The client has given up reconnecting.
            trio.ClosedResourceError: The client is closed.
        """
        await self._session.wait_connected()

    def statistics(self) -> SessionStatistics:
        """Return counts of what the client holds and waits for now."""
        return self._session.statistics()

    def add_member(self, host: str, port: int) -> None:
        """Connect to one more member of the replica set.

        Members that others name as their leader are added without this.

        Raises:
            ValueError: This is no client of a replica set, or there are as many
                members as are kept (64).
            trio.ClosedResourceError: The client is closed.
        """
        check_type(host, str, "host", "text")
        check_int(port, "port", 1, 65_535)
        self._replica_set().add_member(host, port)

    def changes(self) -> Changes:
        """Return an async iterator over the states of the replica set.

        The first is the present one. A slow reader gets the latest state, not
        each one between. It ends when the client is closed.

        Raises:
            ValueError: This is no client of a replica set.
        """
        return self._replica_set().changes()

    def _replica_set(self) -> ReplicaSet:
        if not isinstance(self._session, ReplicaSession):
            raise ValueError(
                "this client has one server: name several hosts in its URL to "
                "make it a client of a replica set"
            )
        return self._session.replica_set


class _OpenClient(AbstractAsyncContextManager[Client, bool]):
    """Run a client and its session around the body of an ``async with``."""

    def __init__(self, session: ClientSession, db: int, wait_connected: bool) -> None:
        self._client = Client(session, db)
        self._session = session
        self._wait_connected = wait_connected
        self._service = Service(
            session.run, session.settle, grace=session.settings.close_grace
        )

    @enable_ki_protection
    async def __aenter__(self) -> Client:
        session = self._session
        await self._service.start(
            session.wait_attempted if self._wait_connected else trio.lowlevel.checkpoint
        )
        return self._client

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return await self._service.stop(exc_type, exc, traceback)


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
) -> AbstractAsyncContextManager[Client, bool]:
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
    target = parse_url(url)
    check_seconds(heartbeat, "heartbeat")
    check_bool(wait_connected, "wait_connected")
    settings = SessionSettings(
        client_id=secrets.token_bytes(ID_SIZE) if client_id is None else client_id,
        session_ttl=session_ttl,
        connect_timeout=connect_timeout,
        backoff=backoff,
        close_grace=close_grace,
        max_inflight=max_inflight,
    )
    address, *others = target.addresses
    if others:
        return open_replica_client(
            [(address.host, address.port) for address in target.addresses],
            connect_tcp,
            settings,
            heartbeat=heartbeat,
            db=target.db,
            wait_connected=wait_connected,
        )
    open_transport = partial(connect_tcp, address.host, address.port)
    return open_session_client(
        connector(open_transport, heartbeat=heartbeat),
        settings,
        db=target.db,
        wait_connected=wait_connected,
    )


def open_session_client(
    connect: Connector,
    settings: SessionSettings,
    *,
    db: int = 0,
    wait_connected: bool = True,
) -> AbstractAsyncContextManager[Client, bool]:
    """Open a client over any kind of connection, as `open_client` does over TCP.

    Args:
        connect: Makes each connection.
        settings: How the client behaves.
        db: The database whose factories the client has.
        wait_connected: As for `open_client`.
    """
    return _OpenClient(ClientSession(connect, settings), db, wait_connected)


def open_replica_client(
    addresses: Sequence[tuple[str, int]],
    open_transport: OpenTransport,
    settings: SessionSettings,
    *,
    heartbeat: float,
    db: int = 0,
    wait_connected: bool = True,
) -> AbstractAsyncContextManager[Client, bool]:
    """Open a client of a replica set over any kind of connection.

    Args:
        addresses: Host and port of each member that is known.
        open_transport: Opens a connection to a host and port.
        settings: How the client behaves.
        heartbeat: As for `open_client`.
        db: The database whose factories the client has.
        wait_connected: As for `open_client`; what is waited for is a leader.

    Raises:
        ValueError: The settings say not to reconnect.
    """
    session = ReplicaSession(addresses, open_transport, settings, heartbeat=heartbeat)
    return _OpenClient(session, db, wait_connected)
