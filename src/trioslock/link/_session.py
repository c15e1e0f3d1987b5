"""A client's requests over one connection after another.

The session is what primitives see (`Requester`). It has one request table at a time: a
`Link` while connected, a `Disconnected` between connections. When a connection ends,
its entries move to the disconnected table, where each decides whether it stands by.
When there is a new connection they move on to it: first attempts in doubt are undone,
then session leases are renewed, then the requests that stand by are sent, all in one
write.

How sure a holder can be after a lost connection: a session lease may end at any
moment from then on, since the server renews it only while the connection lives.
The holder gets the loss reported when the server denies the renewal on reconnect, and
at the latest ``session_ttl`` after the loss. What must not happen twice in between
needs a fencing token.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count
from math import ceil
from struct import Struct

import trio
from trio.lowlevel import (
    ParkingLot,
    current_task,
    enable_ki_protection,
    wait_task_rescheduled,
)

from .._errors import ConnectionLost, SlockError
from .._forks import give_up_in_children
from ..protocol import (
    ID_SIZE,
    Command,
    ExpiryFlag,
    LockCommand,
    LockResult,
    PreparedLock,
    Result,
    TimeoutFlag,
    WireDuration,
)
from ..transport import NETWORK_ERRORS, Transport
from ._backoff import Backoff, Retries
from ._client_ids import ClientIds
from ._entries import (
    BegunLock,
    BegunUnlock,
    ExpectedReply,
    PendingCall,
    PendingCallback,
    PendingLock,
    PendingPreparedLock,
    PendingPreparedUnlock,
    PendingUnlock,
    PendingUpdate,
)
from ._link import Link
from ._orphans import OrphanRequest
from ._request_table import BaseLink, CallSoon, Disconnected, RequestTable
from ._requester import (
    SEQUENCE_BYTES,
    BegunRelease,
    BegunWait,
    LossListener,
    PreparedEnded,
    WaitEnded,
    attempt_of,
)
from ._settings import SessionSettings, SessionStatistics, reason_of

# An id is a random prefix of the session, a counter, and two bytes of zeros that
# number the follow-ups of an attempt.
_PREFIX_SIZE = 8
_ID = Struct(f">{_PREFIX_SIZE}sQ")
_ID_STEP = 256**SEQUENCE_BYTES


class ClientSession:
    """Requests of one client, over one connection after another.

    Args:
        connect: Makes a connection that has shaken hands; it raises a network
            error, or a `SlockError`, if it cannot.
        settings: How to behave.
    """

    def __init__(self, connect: Connector, settings: SessionSettings) -> None:
        self.settings = settings
        self.on_publish: Callable[[LockResult], None] | None = None
        self.on_connected: Callable[[], None] | None = None
        self.client_ids: ClientIds = ClientIds(settings.client_id)
        self._connect = connect
        self._table: RequestTable = Disconnected(self)
        # The table while it is a connection, else None.
        self._link: BaseLink | None = None
        self._nursery: trio.Nursery | None = None
        # Tasks that wait for a connection, or for room on it.
        self._gate = ParkingLot()
        self._attempted = trio.Event()
        # Exists while `settle` waits for the table to become empty.
        self._quiet: trio.Event | None = None
        # Why new requests are refused; None while they are accepted.
        self._refusal: Exception | None = None
        self._error: Exception | None = None
        self._connections = 0
        self._strays = 0
        self._id_prefix = secrets.token_bytes(_PREFIX_SIZE)
        self._id_numbers = count(_ID_STEP, _ID_STEP)
        self._limit = settings.max_inflight
        ttl = ceil(settings.session_ttl)
        self._wait = WireDuration(ttl, int(TimeoutFlag.KEEPALIVE))
        self._session_lease = WireDuration(ttl, int(ExpiryFlag.KEEPALIVE))
        self._call_soon: CallSoon | None = None
        self._process = os.getpid()
        give_up_in_children(self)

    def forked(self) -> None:
        """Refuse everything in a child: connection and grants are its parent's."""
        self._link = None
        self._table = Disconnected(self)
        self._refusal = RuntimeError(
            f"this client belongs to process {self._process}, and this is process "
            f"{os.getpid()}, forked from it: open a client here"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._table!r}>"

    def statistics(self) -> SessionStatistics:
        """Return what is under way now."""
        table = self._table
        return SessionStatistics(
            connected=self._link is not None,
            in_flight=table.in_flight,
            unsettled=table.load,
            held=len(table.held),
            tasks_waiting_to_send=len(self._gate),
            connections=self._connections,
            strays=self._strays + table.strays,
            round_trip=table.round_trip,
            error=None if self._error is None else reason_of(self._error),
        )

    # The interface of primitives: see Requester.

    @property
    def session_ttl(self) -> float:
        """Seconds that waits and session leases outlive their connection."""
        return self.settings.session_ttl

    @property
    def wait(self) -> WireDuration:
        """Timeout of a LOCK whose wait goes on as long as the connection."""
        return self._wait

    @property
    def session_lease(self) -> WireDuration:
        """Lease of a LOCK that is held as long as the connection."""
        return self._session_lease

    def new_id(self) -> bytes:
        """Return 16 bytes for one attempt, different from all others."""
        return _ID.pack(self._id_prefix, next(self._id_numbers))

    def follow_up(self, request_id: bytes) -> bytes:
        """Return the next request id for a grant made under ``request_id``."""
        return self._table.follow_up(request_id)

    @enable_ki_protection
    async def acquire(
        self,
        command: LockCommand,
        listener: LossListener | None = None,
        *,
        replay: bool = True,
    ) -> LockResult:
        """Send a LOCK and wait for its answer: see `Requester.acquire`."""
        table = self._table
        if self._link is None or table.load >= self._limit:
            table = await self._admit()
        entry = PendingLock(table, command, listener, current_task(), replay)
        # Sent before it is registered: `post` raises if it cannot encode the command,
        # and no reply can arrive before the next checkpoint.
        table.post(command)
        table.locks[command.request_id] = entry
        result: LockResult = await wait_task_rescheduled(entry.abort)
        return result

    @enable_ki_protection
    def begin_acquire(self, command: LockCommand, ended: WaitEnded) -> BegunWait:
        """Send a LOCK and return: see `Requester.begin_acquire`."""
        if self._refusal is not None:
            raise _copy_of(self._refusal)
        table = self._table
        if table.load >= self._limit:
            raise trio.WouldBlock
        # Without a connection it stands by in the table for the next one.
        entry = PendingCallback(table, command, ended)
        table.post(command)
        table.locks[command.request_id] = entry
        return entry

    @enable_ki_protection
    def acquire_prepared(
        self, prepared: PreparedLock, attempt: bytes, listener: LossListener
    ) -> Awaitable[LockResult | None]:
        """Send a prepared LOCK and wait: see `Requester.acquire_prepared`."""
        table = self._table
        if self._link is None or table.load >= self._limit:
            return self._acquire_prepared_later(prepared, attempt, listener)
        entry = PendingPreparedLock(table, prepared, attempt, listener, current_task())
        table.post_lock(prepared, attempt)
        table.locks[attempt] = entry
        return wait_task_rescheduled(entry.abort)  # noqa: ASYNC105 - by the caller

    @enable_ki_protection
    async def _acquire_prepared_later(
        self, prepared: PreparedLock, attempt: bytes, listener: LossListener
    ) -> LockResult | None:
        await self._admit()
        return await self.acquire_prepared(prepared, attempt, listener)

    @enable_ki_protection
    async def request(
        self, command: LockCommand, *, replay: bool = False, linger: bool = False
    ) -> LockResult:
        """Send a command that is answered at once: see `Requester.request`."""
        table = await self._admit()
        entry = PendingCall(table, command, current_task(), replay, linger)
        return await self._call(table, entry)

    @enable_ki_protection
    async def update(self, command: LockCommand) -> LockResult:
        """Send an UPDATE of a grant: see `Requester.update`."""
        table = await self._admit()
        return await self._call(table, PendingUpdate(table, command, current_task()))

    @enable_ki_protection
    async def release(self, command: LockCommand) -> LockResult:
        """Send the UNLOCK of a grant: see `Requester.release`."""
        table = self._table
        table.held.pop(attempt_of(command.request_id), None)
        # While connected a release is sent even by a client that closes: `settle` waits
        # for its answer.
        if self._link is None and (refusal := self._refuse_release()):
            table.release_later(command)
            await trio.lowlevel.checkpoint()
            raise refusal
        # A release is not subject to the limit of `_admit`: it makes room.
        return await self._call(table, PendingUnlock(table, command, current_task()))

    @enable_ki_protection
    def release_prepared(
        self, prepared: PreparedLock, attempt: bytes
    ) -> Awaitable[LockResult | None]:
        """Send a prepared UNLOCK: see `Requester.release_prepared`."""
        table = self._table
        if self._link is None:
            return self.release(prepared.unlock(attempt))
        table.held.pop(attempt, None)
        entry = PendingPreparedUnlock(table, prepared, attempt, current_task())
        table.post_unlock(prepared, attempt)
        table.unlocks[attempt] = entry
        return wait_task_rescheduled(entry.abort)  # noqa: ASYNC105 - by the caller

    @property
    def ready(self) -> bool:
        """Whether there is a connection with room: see `Requester.ready`."""
        return (
            self._link is not None
            and self._table.load < self._limit
            and self._refusal is None
        )

    @enable_ki_protection
    def begin_prepared(
        self,
        prepared: PreparedLock,
        attempt: bytes,
        listener: LossListener,
        ended: PreparedEnded,
    ) -> BegunWait:
        """Send a prepared LOCK and return: see `Requester.begin_prepared`."""
        table = self._table
        entry = BegunLock(table, prepared, attempt, listener, ended)
        table.post_lock(prepared, attempt)
        table.locks[attempt] = entry
        return entry

    @enable_ki_protection
    def begin_release(
        self, prepared: PreparedLock, attempt: bytes, ended: PreparedEnded
    ) -> BegunRelease:
        """Send a prepared UNLOCK and return: see `Requester.begin_release`."""
        table = self._table
        table.held.pop(attempt, None)
        entry = BegunUnlock(table, prepared, attempt, ended)
        if self._link is None and (refusal := self._refuse_release()):
            table.release_later(entry.command)
            entry.fail(refusal)
            return entry
        table.post_unlock(prepared, attempt)
        table.unlocks[attempt] = entry
        return entry

    def write_by(self, call_soon: CallSoon) -> None:
        """Let connections write from the loop whose guest trio is.

        Args:
            call_soon: Calls a function in the next pass of that loop.
        """
        self._call_soon = call_soon
        if self._link is not None:
            self._link.write_by(call_soon)

    def forget(self, request_id: bytes) -> None:
        """End the notices about a grant that ends without a release."""
        self._table.held.pop(attempt_of(request_id), None)

    def post(self, command: LockCommand) -> None:
        """Send a command without waiting for its answer: see `Requester.post`."""
        link = self._link
        if link is not None:
            link.post(command)
            link.register(command, OrphanRequest(link, command))

    def expect(self, command: LockCommand) -> ExpectedReply:
        """Expect an answer that comes by itself: see `Requester.expect`."""
        entry = ExpectedReply(self._table, command)
        self._table.register(command, entry)
        return entry

    def start_soon(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task beside the others: see `Requester.start_soon`."""
        if self._refusal is None and self._nursery is not None:
            self._nursery.start_soon(task)

    @enable_ki_protection
    async def ask(self, command: Command) -> Result:
        """Send a command that is no LOCK or UNLOCK: see `Requester.ask`."""
        table = await self._admit()
        return await table.ask(command)

    async def _call(self, table: RequestTable, entry: PendingCall) -> LockResult:
        table.post(entry.command)
        table.register(entry.command, entry)
        result: LockResult = await wait_task_rescheduled(entry.abort)
        return result

    def _refuse_release(self) -> Exception | None:
        if self._refusal is not None:
            return _copy_of(self._refusal)
        if self._table.expired:
            return ConnectionLost(
                f"there has been no connection for {self.session_ttl:g} s"
            )
        return None

    async def _admit(self) -> RequestTable:
        """Wait for a connection with room; a checkpoint only if there is none."""
        # In a loop: another task may have taken the room before this one runs.
        while self._refusal is None:
            if self._link is not None and self._table.load < self._limit:
                return self._table
            await self._gate.park()
        raise _copy_of(self._refusal)

    # The interface of the request table: see Owner.

    def made(self, request_id: bytes) -> bool:
        """Return whether an id is one of ``new_id`` or a follow-up of one."""
        return request_id.startswith(self._id_prefix)

    def load_reduced(self) -> None:
        """Admit as many tasks as there is room for."""
        free = self._limit - self._table.load
        if self._gate and free > 0 and self._link is not None:
            self._gate.unpark(count=free)
        if self._quiet is not None and not self._table.load:
            self._quiet.set()

    def linger(self, call: PendingCall) -> None:
        """Give a cancelled call the client's grace to get its answer."""
        assert self._nursery is not None
        self._nursery.start_soon(self._end_linger, call)

    @enable_ki_protection
    async def _end_linger(self, call: PendingCall) -> None:
        await trio.sleep(self.settings.close_grace)
        call.give_up()

    def published(self, result: LockResult) -> None:
        """Hand an event to the subscription."""
        if self.on_publish is not None:
            self.on_publish(result)

    # The life of the session.

    def fork(self) -> ClientSession:
        """Return another session to the same server, under a client id of its own."""
        return ClientSession(self._connect, with_new_client_id(self.settings))

    @enable_ki_protection
    async def run(self) -> None:
        """Stay connected until cancelled, or until reconnecting is given up.

        Cancellation:
            Every pending request fails with ``trio.ClosedResourceError``.
        """
        closed = trio.ClosedResourceError("this client is closed")
        try:
            async with trio.open_nursery() as self._nursery:
                await self._stay_connected()
                self._refuse(_given_up(self._error) or closed)
                self._nursery.cancel_scope.cancel()
        finally:
            self._refuse(closed)

    async def wait_attempted(self) -> None:
        """Wait until the first attempt to connect is over.

        Raises:
            ConnectionLost: It has failed.
        """
        await self._attempted.wait()
        if self._link is None and self._error is not None:
            raise ConnectionLost(f"cannot connect: {self._error!r}") from self._error

    async def wait_connected(self) -> None:
        """Wait until there is a connection.

        Raises:
            ConnectionLost: The client has given up reconnecting.
            trio.ClosedResourceError: The client is closed.
        """
        await trio.lowlevel.checkpoint()
        await self._admit()

    async def settle(self) -> None:
        """Release everything, and wait until the server has answered.

        New requests are refused from now on; tasks that still wait get
        ``trio.ClosedResourceError``.

        Cancellation:
            What is not settled is left to the server: waits and session leases
            end with the connection.
        """
        self._refuse(trio.ClosedResourceError("this client is closed"))
        if self._link is not None and self._table.load:
            self._quiet = trio.Event()
            await self._quiet.wait()
        else:
            await trio.lowlevel.checkpoint()

    async def _stay_connected(self) -> None:
        retries = Retries(self.settings.backoff or Backoff())
        while (link := await self._reconnect(retries)) is not None:
            started_at = trio.current_time()
            self._attach(link)
            try:
                await link.run()
            finally:
                self._detach(link)
            if self.settings.backoff is None:
                return
            await trio.sleep(retries.delay_after(trio.current_time() - started_at))

    async def _reconnect(self, retries: Retries) -> BaseLink | None:
        """Try until connected; None if there is to be no further attempt."""
        while True:
            try:
                with trio.fail_after(self.settings.connect_timeout):
                    return await self._connect(self)
            except (*NETWORK_ERRORS, SlockError, trio.TooSlowError) as error:
                self._error = error
                self._attempted.set()
            if self.settings.backoff is None:
                return None
            await trio.sleep(retries.delay_after(0))

    def _attach(self, link: BaseLink) -> None:
        disconnected = self._table
        assert isinstance(disconnected, Disconnected)
        # First, so that an entry that resumes and a task that it wakes use the link.
        self._table = self._link = link
        if self._call_soon is not None:
            link.write_by(self._call_soon)
        self._connections += 1
        self._error = None
        disconnected.resume_all(link)
        self._attempted.set()
        if self.on_connected is not None:
            self.on_connected()
        self.load_reduced()

    def _detach(self, link: BaseLink) -> None:
        self._link = None
        self._table = disconnected = Disconnected(self)
        self._strays += link.strays
        self._error = ConnectionLost(
            f"the connection ended: {link.ended_by or 'closed'}"
        )
        link.suspend_all(disconnected)
        assert self._nursery is not None
        self._nursery.start_soon(self._expire_after_ttl, disconnected)
        # Without a connection there is nothing left that `settle` could wait for.
        if self._quiet is not None:
            self._quiet.set()

    @enable_ki_protection
    async def _expire_after_ttl(self, disconnected: Disconnected) -> None:
        await trio.sleep(self.session_ttl)
        if self._table is disconnected:
            disconnected.expire()

    def _refuse(self, error: Exception) -> None:
        """Refuse new requests, and fail those that wait, from now on."""
        # The first reason stays: it is the cause of the later ones.
        if self._refusal is None:
            self._refusal = error
        self._table.close_all(self._refusal)
        self._attempted.set()
        self._gate.unpark_all()


def with_new_client_id(settings: SessionSettings) -> SessionSettings:
    """Return the same settings for another client."""
    return replace(settings, client_id=secrets.token_bytes(ID_SIZE))


def _given_up(error: Exception | None) -> ConnectionLost | None:
    """Return what requests fail with when there will be no other connection."""
    if error is None or isinstance(error, ConnectionLost):
        return error
    lost = ConnectionLost(f"cannot connect: {error!r}")
    lost.__cause__ = error
    return lost


def _copy_of(error: Exception) -> Exception:
    """Return a copy to raise: each raise makes the traceback of an error longer."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy


Connector = Callable[[ClientSession], Awaitable[BaseLink]]
"""Makes a connection for a session, and shakes hands with its client id."""


def connector(
    open_transport: Callable[[], Awaitable[Transport]], *, heartbeat: float
) -> Connector:
    """Return a connector that connects over transports.

    Args:
        open_transport: Opens a new one each time; raises a network error if it
            cannot.
        heartbeat: As for `Link`.
    """

    async def connect(session: ClientSession) -> Link:
        link = Link(await open_transport(), session, heartbeat=heartbeat)
        await link.shake_hands(session.client_ids.next())
        return link

    return connect
