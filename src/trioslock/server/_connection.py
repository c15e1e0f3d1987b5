"""One connection of a server: a task that reads, and at times one that writes.

Nearly always the peer's socket takes at once what there is to send, in the task that
has caused it: this connection's own reader, another one that released a key, the
engine's clock. Only what the socket does not take is kept as unsent, and a task is
started to write it. A peer that does not read is cut, by the size of the unsent data or
by time.

The reader task ends the connection. All other tasks cancel `ServerConnection._scope`,
and leave the rest to the reader.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

import trio

from ..host import EngineHost
from ..transport import NETWORK_ERRORS, Transport
from ._context import ClientView, PeerInfo, ServerContext, ServerLimits
from ._session import ServerSession

logger = logging.getLogger(__name__)

_MISSED_PINGS = 3
"""So many intervals of a peer's PINGs may go by without one."""

_PIECE = 65_536
"""Bytes written under one send deadline."""


class ServerConnection:
    """Serve one peer over one transport.

    Args:
        info: The peer, for lists.
        transport: The bytes; closed when `run` returns.
        host: The engine's host.
        context: The server.
        limits: Its limits.
        new_id: Makes ids, see ``ServerSession``.
        nursery: For the writing task.
    """

    __slots__ = (
        "_active_at",
        "_drained",
        "_first_deadline",
        "_host",
        "_limits",
        "_nursery",
        "_parked",
        "_peer",
        "_ping_interval",
        "_pings",
        "_scope",
        "_session",
        "_silence",
        "_started_at",
        "_transport",
        "_unsent",
        "_unsent_size",
        "_write_scope",
        "cut",
        "info",
    )

    def __init__(
        self,
        info: PeerInfo,
        transport: Transport,
        *,
        host: EngineHost,
        context: ServerContext,
        limits: ServerLimits,
        new_id: Callable[[], bytes],
        nursery: trio.Nursery,
    ) -> None:
        self.info = info
        self.cut = False
        self._transport = transport
        self._host = host
        self._limits = limits
        self._nursery = nursery
        self._started_at = time.time()
        self._session = ServerSession(context, new_id=new_id)
        self._peer = host.attach(self._session.deliver, self._session.close, self.flush)
        self._session.connect(self._peer)
        self._scope = trio.CancelScope()
        self._write_scope = trio.CancelScope()
        # Around the read while a text command waits; cancelled when it is answered.
        self._parked: trio.CancelScope | None = None
        self._first_deadline = math.inf
        # When the last byte came or went, and how far apart the peer's PINGs are.
        self._active_at = trio.current_time()
        self._ping_interval = 0.0
        self._pings = 0
        self._silence = 0.0
        self._unsent: list[bytes] = []
        self._unsent_size = 0
        self._drained = trio.lowlevel.ParkingLot()

    def __repr__(self) -> str:
        serial, address, _ = self.info
        return f"<ServerConnection {serial} of {address}: {self._session!r}>"

    @property
    def commands(self) -> int:
        """Commands executed so far."""
        return self._session.commands

    def view(self) -> ClientView:
        """Return what ``CLIENT LIST`` shows."""
        return ClientView(
            *self.info,
            self._session.dialect.value,
            int(time.time() - self._started_at),
            self._session.client_id,
            self._session.commands,
        )

    async def run(self) -> None:
        """Serve until the peer leaves, is cut, or the session closes it.

        It raises nothing but a cancellation: no error of one connection, not even a
        bug in serving it, may end the server.

        Cancellation:
            The connection is closed; its wills have run.
        """
        try:
            with self._scope:
                await self._serve()
        except NETWORK_ERRORS:
            # The peer is gone: no error of the server.
            pass
        except Exception:
            logger.exception("%r failed; closing this connection", self)
        finally:
            self._write_scope.cancel()
            # Before the close: wills run here, and their results go to other peers.
            self._peer.detach()
            await self._transport.aclose()

    def flush(self) -> None:
        """Send the session's output, as far as that goes without waiting."""
        session = self._session
        # An answer that the journal could not keep must not leave.
        if self._host.failed:
            return
        if session.output_size:
            self._send(session.take_output())
        if self._parked is not None and not session.waiting:
            self._parked.cancel()
        if session.closing and not self._unsent_size:
            self._scope.cancel()

    def abort(self) -> None:
        """Close without waiting for anything."""
        self._scope.cancel()

    async def _serve(self) -> None:
        session = self._session
        while True:
            data = await self._read()
            if data == b"":
                break
            if data is not None:
                session.receive_data(data)
            while session.pump():
                # The journal first, then the answers: `settle` records and flushes.
                self._host.settle()
                self.flush()
                await self._let_others_run()
            self._host.settle()
            self.flush()
            if session.closing:
                break
        # The peer may have closed its sending side alone: it still gets its answers.
        while self._unsent_size:
            await self._drained.park()

    async def _read(self) -> bytes | None:
        """Return the next bytes, or None when the session can go on without more."""
        session = self._session
        if session.waiting:
            return await self._read_until_resumed()
        # The limit is for a first command that has begun, not for a silent peer.
        if session.commands or not session.buffered:
            return await self._receive()
        if self._first_deadline == math.inf:
            limit = self._limits.first_frame_seconds
            self._first_deadline = trio.current_time() + limit
        with trio.CancelScope(deadline=self._first_deadline):
            return await self._transport.receive()
        # Reached only when the deadline has passed.
        session.close()
        return None

    async def _receive(self) -> bytes:
        """Return the next bytes, ``b""`` at the end or when a peer is silent."""
        session = self._session
        if session.pings > self._pings:
            self._pings = session.pings
            self._ping_interval = max(self._ping_interval, self._silence)
        # Only a peer with a heartbeat: others may wait for hours without a word.
        if not self._pings:
            return self._note(await self._transport.receive())
        limit = max(self._limits.silent_seconds, _MISSED_PINGS * self._ping_interval)
        while (left := self._active_at + limit - trio.current_time()) > 0:
            with trio.move_on_after(left):
                return self._note(await self._transport.receive())
        logger.warning("%r was silent for %g s and is cut", self, limit)
        return b""

    def _note(self, data: bytes) -> bytes:
        """Note that the peer has sent something."""
        now = trio.current_time()
        self._silence = now - self._active_at
        self._active_at = now
        return data

    async def _read_until_resumed(self) -> bytes | None:
        """Read while a text command waits, so that the end of the peer is noticed."""
        try:
            with trio.CancelScope() as self._parked:
                # Not beyond the limit: then the end of the peer is noticed later.
                if self._session.buffered >= self._limits.waiting_input_bytes:
                    await trio.sleep_forever()
                return await self._transport.receive()
        finally:
            self._parked = None
        return None

    async def _let_others_run(self) -> None:
        # A peer that does not read its answers gets no further commands executed.
        if self._unsent_size:
            await self._drained.park()
        else:
            await trio.lowlevel.checkpoint()

    def _send(self, data: bytes) -> None:
        # What is sent postpones the PING of a peer, so it counts as a sign of life. A
        # peer that does not take it is cut by `send_seconds`.
        self._active_at = trio.current_time()
        # Behind unsent data nothing may overtake it.
        if not self._unsent_size:
            try:
                taken = self._transport.send_nowait(data)
            except NETWORK_ERRORS:
                self.abort()
                return
            if taken == len(data):
                return
            data = data[taken:]
            self._write_scope = trio.CancelScope()
            self._nursery.start_soon(self._write_unsent)
        self._unsent.append(data)
        self._unsent_size += len(data)
        if self._unsent_size > self._limits.output_bytes:
            self._cut(f"{self._unsent_size} bytes are unsent")

    def _cut(self, reason: str) -> None:
        logger.warning("%r does not read and is cut: %s", self, reason)
        self.cut = True
        self.abort()

    async def _write_unsent(self) -> None:
        # More output of this scheduler pass goes out with it.
        await trio.lowlevel.checkpoint()
        try:
            with self._write_scope:
                while self._unsent:
                    data = b"".join(self._unsent)
                    self._unsent.clear()
                    for start in range(0, len(data), _PIECE):
                        await self._write_piece(data[start : start + _PIECE])
                self._drained.unpark_all()
                self.flush()
        except NETWORK_ERRORS:
            self.abort()
        except Exception:
            logger.exception("%r failed in writing; closing this connection", self)
            self.abort()

    async def _write_piece(self, piece: bytes) -> None:
        limit = self._limits.send_seconds
        with trio.move_on_after(limit) as scope:
            await self._transport.send_all(piece)
        if scope.cancelled_caught:
            self._cut(f"it took less than 64 KiB within {limit:g} s")
            # Until the reader, which closes the transport, cancels this scope.
            await trio.sleep_forever()
        self._unsent_size -= len(piece)
