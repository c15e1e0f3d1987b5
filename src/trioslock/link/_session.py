"""A client's requests over one connection after another.

The session is what primitives see (`Requester`). It owns the exchange of the
moment: a `Link` while connected, an `Outage` between connections. When a
connection ends, its entries are handed to the outage, where each decides
whether it stands by; when there is a new one, they are handed on to it: first
what is in doubt is withdrawn, then session leases are renewed, then the
requests that stand by are sent, all in one write.

How sure a holder can be after a lost connection: a session lease may end at any
moment from then on, since the server renews it only while the connection lives.
The holder is told when the server says no on reconnect, and at the latest
``session_ttl`` after the loss. What must not happen twice in between needs a
fencing token.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
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
from ..protocol import (
    ID_SIZE,
    Command,
    ExpiryFlag,
    LockCommand,
    LockResult,
    Pattern,
    Result,
    TimeoutFlag,
    WireDuration,
)
from ..transport import NETWORK_ERRORS
from ._backoff import Backoff
from ._entries import (
    Call,
    Expected,
    Forgotten,
    GivingBack,
    Release,
    Taking,
    Update,
    Wait,
)
from ._request_table import Connection, Exchange, Outage
from ._requester import SEQUENCE_BYTES, LossListener, attempt_of
from ._topology import SetState

_ID = Struct(">8sQ")
_ID_STEP = 256**SEQUENCE_BYTES


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How a session behaves; `trioslock.open_client` documents each."""

    client_id: bytes
    session_ttl: float = 10.0
    connect_timeout: float = 5.0
    backoff: Backoff | None = field(default_factory=Backoff)
    close_grace: float = 2.0
    max_inflight: int = 16_384

    def __post_init__(self) -> None:
        if not 1 <= self.session_ttl <= 60_000:
            raise ValueError(
                f"session_ttl must be 1 to 60000 seconds, not {self.session_ttl!r}"
            )
        if not self.connect_timeout > 0 or not self.close_grace >= 0:
            raise ValueError("connect_timeout must be > 0 and close_grace >= 0")
        if self.max_inflight < 1:
            raise ValueError(f"max_inflight must be > 0, not {self.max_inflight!r}")
        if len(self.client_id) != ID_SIZE:
            raise ValueError(
                f"a client id must be {ID_SIZE} bytes, not {self.client_id!r}"
            )


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """What a session has under way.

    Attributes:
        connected: Whether there is a connection now.
        in_flight: Commands without a reply, parked waits included.
        unsettled: Commands not written yet and withdrawals not answered yet;
            what ``max_inflight`` bounds.
        held: Grants whose loss would be told.
        tasks_waiting_to_send: Tasks for which there is no room or connection.
        connections: Connections made so far.
        strays: Replies that nobody waited for.
        round_trip: Seconds that the latest heartbeat took, or None.
        replica_set: The members and who of them leads; None for one server.
    """

    connected: bool
    in_flight: int
    unsettled: int
    held: int
    tasks_waiting_to_send: int
    connections: int
    strays: int
    round_trip: float | None
    replica_set: SetState | None = None


class Session:
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
        self._connect = connect
        self._exchange: Exchange = Outage(self)
        self._connection: Connection | None = None
        self._nursery: trio.Nursery | None = None
        self._gate = ParkingLot()
        self._attempted = trio.Event()
        self._quiet: trio.Event | None = None
        self._refusal: Exception | None = None
        self._error: Exception | None = None
        self._connections = 0
        self._strays = 0
        self._random = random.SystemRandom()
        self._id_prefix = self._random.randbytes(8)
        self._id_numbers = count(_ID_STEP, _ID_STEP)
        self._limit = settings.max_inflight
        ttl = ceil(settings.session_ttl)
        self._wait = WireDuration(ttl, int(TimeoutFlag.KEEPALIVE))
        self._session_lease = WireDuration(ttl, int(ExpiryFlag.KEEPALIVE))

    def __repr__(self) -> str:
        return f"<Session: {self._exchange!r}>"

    def statistics(self) -> SessionStatistics:
        """Return what is under way now."""
        exchange = self._exchange
        return SessionStatistics(
            connected=self._connection is not None,
            in_flight=exchange.in_flight,
            unsettled=exchange.load,
            held=len(exchange.held),
            tasks_waiting_to_send=len(self._gate),
            connections=self._connections,
            strays=self._strays + exchange.strays,
            round_trip=exchange.round_trip,
        )

    # What primitives ask for: see Requester.

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
        return self._exchange.follow_up(request_id)

    @enable_ki_protection
    async def acquire(
        self,
        command: LockCommand,
        listener: LossListener | None = None,
        *,
        replay: bool = True,
    ) -> LockResult:
        """Send a LOCK and wait for its answer: see `Requester.acquire`."""
        exchange = self._exchange
        if self._connection is None or exchange.load >= self._limit:
            exchange = await self._admit()
        entry = Wait(exchange, command, listener, current_task(), replay)
        exchange.post(command)
        exchange.locks[command.request_id] = entry
        result: LockResult = await wait_task_rescheduled(entry.abort)
        return result

    @enable_ki_protection
    def take(
        self, pattern: Pattern, attempt: bytes, listener: LossListener
    ) -> Awaitable[LockResult | None]:
        """Send the LOCK of a pattern and wait: see `Requester.take`."""
        exchange = self._exchange
        if self._connection is None or exchange.load >= self._limit:
            return self._take_later(pattern, attempt, listener)
        entry = Taking(exchange, pattern, attempt, listener, current_task())
        exchange.post_lock(pattern, attempt)
        exchange.locks[attempt] = entry
        return wait_task_rescheduled(entry.abort)  # noqa: ASYNC105 - by the caller

    @enable_ki_protection
    async def _take_later(
        self, pattern: Pattern, attempt: bytes, listener: LossListener
    ) -> LockResult | None:
        await self._admit()
        return await self.take(pattern, attempt, listener)

    @enable_ki_protection
    async def request(
        self, command: LockCommand, *, replay: bool = False, linger: bool = False
    ) -> LockResult:
        """Send a command that is answered at once: see `Requester.request`."""
        exchange = await self._admit()
        entry = Call(exchange, command, current_task(), replay, linger)
        return await self._call(exchange, entry)

    @enable_ki_protection
    async def update(self, command: LockCommand) -> LockResult:
        """Send an UPDATE of a grant: see `Requester.update`."""
        exchange = await self._admit()
        return await self._call(exchange, Update(exchange, command, current_task()))

    @enable_ki_protection
    async def release(self, command: LockCommand) -> LockResult:
        """Send the UNLOCK of a grant: see `Requester.release`."""
        exchange = self._exchange
        exchange.held.pop(attempt_of(command.request_id), None)
        if self._connection is None and (refusal := self._refuse_release()):
            exchange.owe(command)
            await trio.lowlevel.checkpoint()
            raise refusal
        return await self._call(exchange, Release(exchange, command, current_task()))

    @enable_ki_protection
    def give_back(
        self, pattern: Pattern, attempt: bytes
    ) -> Awaitable[LockResult | None]:
        """Send the UNLOCK of a pattern: see `Requester.give_back`."""
        exchange = self._exchange
        if self._connection is None:
            return self.release(pattern.unlock(attempt))
        exchange.held.pop(attempt, None)
        entry = GivingBack(exchange, pattern, attempt, current_task())
        exchange.post_unlock(pattern, attempt)
        exchange.unlocks[attempt] = entry
        return wait_task_rescheduled(entry.abort)  # noqa: ASYNC105 - by the caller

    def forget(self, request_id: bytes) -> None:
        """End the notices about a grant that is given up without a release."""
        self._exchange.held.pop(attempt_of(request_id), None)

    def tell(self, command: LockCommand) -> None:
        """Send a command whose answer nobody needs: see `Requester.tell`."""
        exchange = self._connection
        if exchange is not None:
            exchange.post(command)
            exchange.register(command, Forgotten(exchange, command))

    def expect(self, command: LockCommand) -> Expected:
        """Expect an answer that comes by itself: see `Requester.expect`."""
        entry = Expected(self._exchange, command)
        self._exchange.register(command, entry)
        return entry

    def start_soon(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task beside the others: see `Requester.start_soon`."""
        if self._refusal is None and self._nursery is not None:
            self._nursery.start_soon(task)

    @enable_ki_protection
    async def ask(self, command: Command) -> Result:
        """Send a command that is no LOCK or UNLOCK: see `Requester.ask`."""
        exchange = await self._admit()
        return await exchange.ask(command)

    async def _call(self, exchange: Exchange, entry: Call) -> LockResult:
        exchange.post(entry.command)
        exchange.register(entry.command, entry)
        result: LockResult = await wait_task_rescheduled(entry.abort)
        return result

    def _refuse_release(self) -> Exception | None:
        if self._refusal is not None:
            return _afresh(self._refusal)
        if self._exchange.expired:
            return ConnectionLost(
                f"there has been no connection for {self.session_ttl:g} s"
            )
        return None

    async def _admit(self) -> Exchange:
        """Wait for a connection with room; a checkpoint only if there is none."""
        while self._refusal is None:
            if self._connection is not None and self._exchange.load < self._limit:
                return self._exchange
            await self._gate.park()
        raise _afresh(self._refusal)

    # What the exchange asks for: see Owner.

    def room(self) -> None:
        """Admit as many tasks as there is room for."""
        free = self._limit - self._exchange.load
        if self._gate and free > 0 and self._connection is not None:
            self._gate.unpark(count=free)
        if self._quiet is not None and not self._exchange.load:
            self._quiet.set()

    def linger(self, call: Call) -> None:
        """Give a cancelled call the grace to get its answer."""
        assert self._nursery is not None
        self._nursery.start_soon(self._end_linger, call)

    @enable_ki_protection
    async def _end_linger(self, call: Call) -> None:
        await trio.sleep(self.settings.close_grace)
        call.give_up()

    def published(self, result: LockResult) -> None:
        """Hand on what the server tells a subscriber."""
        if self.on_publish is not None:
            self.on_publish(result)

    # The life of the session.

    def fork(self) -> Session:
        """Return another session to the same server, under a client id of its own."""
        return Session(self._connect, self._fork_settings(self.settings))

    def _fork_settings(self, settings: SessionSettings) -> SessionSettings:
        return replace(settings, client_id=self._random.randbytes(ID_SIZE))

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
        if self._connection is None and self._error is not None:
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
        """Give back everything, and wait until the server has heard of it.

        New requests are refused from now on; tasks that still wait get
        ``trio.ClosedResourceError``.

        Cancellation:
            What is not settled is left to the server: waits and session leases
            end with the connection.
        """
        self._refuse(trio.ClosedResourceError("this client is closed"))
        if self._connection is not None and self._exchange.load:
            self._quiet = trio.Event()
            await self._quiet.wait()
        else:
            await trio.lowlevel.checkpoint()

    async def _stay_connected(self) -> None:
        delays = self._delays()
        while (connection := await self._reconnect(delays)) is not None:
            started_at = trio.current_time()
            self._attach(connection)
            try:
                await connection.run()
            finally:
                self._detach(connection)
            if self._backoff is None:
                return
            if trio.current_time() - started_at > self._backoff.limit:
                delays = self._delays()
            await trio.sleep(next(delays))

    async def _reconnect(self, delays: Iterator[float]) -> Connection | None:
        """Try until connected; None if there is to be no further attempt."""
        while True:
            try:
                with trio.fail_after(self.settings.connect_timeout):
                    return await self._connect(self)
            except (*NETWORK_ERRORS, SlockError, trio.TooSlowError) as error:
                self._error = error
                self._attempted.set()
            if self._backoff is None:
                return None
            await trio.sleep(next(delays))

    @property
    def _backoff(self) -> Backoff | None:
        return self.settings.backoff

    def _delays(self) -> Iterator[float]:
        return (self._backoff or Backoff()).delays(self._random)

    def _attach(self, connection: Connection) -> None:
        outage = self._exchange
        assert isinstance(outage, Outage)
        self._exchange = self._connection = connection
        self._connections += 1
        self._error = None
        outage.hand_on(connection)
        self._attempted.set()
        if self.on_connected is not None:
            self.on_connected()
        self.room()

    def _detach(self, connection: Connection) -> None:
        self._connection = None
        self._exchange = outage = Outage(self)
        self._strays += connection.strays
        self._error = ConnectionLost(
            f"the connection ended: {connection.ended_by or 'closed'}"
        )
        connection.hand_over(outage)
        assert self._nursery is not None
        self._nursery.start_soon(self._end_outage, outage)
        if self._quiet is not None:
            self._quiet.set()

    @enable_ki_protection
    async def _end_outage(self, outage: Outage) -> None:
        await trio.sleep(self.session_ttl)
        if self._exchange is outage:
            outage.expire()

    def _refuse(self, error: Exception) -> None:
        """Refuse new requests, and fail those that wait, from now on."""
        if self._refusal is None:
            self._refusal = error
        self._exchange.give_back_all(self._refusal)
        self._attempted.set()
        self._gate.unpark_all()


def _given_up(error: Exception | None) -> ConnectionLost | None:
    """Return what requests are told when there will be no other connection."""
    if error is None or isinstance(error, ConnectionLost):
        return error
    lost = ConnectionLost(f"cannot connect: {error!r}")
    lost.__cause__ = error
    return lost


def _afresh(error: Exception) -> Exception:
    """Return a copy to raise: each raise makes the traceback of an error longer."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy


Connector = Callable[[Session], Awaitable[Connection]]
"""Makes a connection for a session, and shakes hands with its client id."""
