"""One websocket connection, as the two callables of ASGI.

wsproto reads and writes the frames. No extension is offered: compression costs more
memory per connection than everything else together.

There is no reader task. `receive` reads, pings and answers pings, so an application
should always have a task that waits in it (Quart-Trio has one).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

import trio
from wsproto import ConnectionType
from wsproto.connection import Connection, ConnectionState
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    TextMessage,
)
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, generate_accept_token

from triopoll.asgi.types import Message

from .config import ServerSettings
from .errors import HttpError, PeerGone
from .request_parser import RequestHead
from .response_writer import ResponseWriter, switching_protocols
from .stream import ClientStream

__all__ = ["SERVICE_RESTART", "WebSocketCycle", "is_websocket"]

# Close codes of the IANA registry: the server restarts; no close frame was received.
SERVICE_RESTART = 1012
_ABNORMAL = 1006
# Frames that are handled before other connections get a turn. One read may bring ten
# thousand, and neither a fragment nor the answer to a ping has to wait for anything.
_FRAMES_A_TURN = 4


def is_websocket(request: RequestHead) -> bool:
    """Return whether a request is the handshake of a websocket."""
    return request.upgrades == b"websocket" and request.method == "GET"


class WebSocketCycle:
    """Serve one websocket from its handshake to its close.

    Attributes:
        failed: The application has raised an error.
        subprotocols: What the client offers.
    """

    def __init__(
        self,
        request: RequestHead,
        rest: bytes,
        stream: ClientStream,
        settings: ServerSettings,
    ) -> None:
        """Check the handshake; `rest` are bytes that came with it, before its answer.

        Raises:
            HttpError: It is not a websocket handshake of RFC 6455.
        """
        headers = dict(request.headers)
        self._token = _accept_token(headers)
        self.subprotocols = _subprotocols(headers)
        self._stream = stream
        self._settings = settings
        self.failed = False
        self._rest = rest
        # Answers a handshake that the application denies.
        self._denial = ResponseWriter("GET", "1.1", keep_alive=False)
        self._frames: Connection | None = None
        self._events: Iterator[Event] = iter(())
        self._partial = bytearray()
        # How many frames may still be handled in this turn.
        self._frames_left = _FRAMES_A_TURN
        self._asked = False
        self._reading: trio.CancelScope | None = None
        self._ping_sent = False
        self._going_away = False
        self._close_code: int | None = None

    @property
    def accepted(self) -> bool:
        """Return whether the handshake has been answered with 101."""
        return self._frames is not None

    @property
    def status(self) -> int | None:
        """Return the status of the handshake's answer, None where there is none."""
        return 101 if self.accepted else self._denial.status

    @property
    def denied(self) -> bool:
        """Return whether the application has denied the handshake."""
        return self._denial.complete

    def go_away(self) -> None:
        """Make `receive` close the websocket with 1012. Called by the drain."""
        self._going_away = True
        if self._reading is not None:
            self._reading.cancel()

    async def receive(self) -> Message:
        """Return ``websocket.connect``, then messages, then ``websocket.disconnect``.

        Cancellation:
            No message is lost.
        """
        if not self._asked:
            self._asked = True
            return {"type": "websocket.connect"}
        if self._frames is None:
            await self._until_gone()
        else:
            message = await self._next_message(self._frames)
            if message is not None:
                return message
        code = _ABNORMAL if self._close_code is None else self._close_code
        return {"type": "websocket.disconnect", "code": code, "reason": ""}

    async def send(self, message: Message) -> None:
        """Accept or deny the handshake, send a message, or close.

        Raises:
            PeerGone: The client has left, or does not read.
            RuntimeError: The message is not one that may be sent now.
        """
        match message["type"]:
            case "websocket.accept":
                await self._accept(message)
            case "websocket.send":
                await self._send_data(message)
            case "websocket.close" if self._frames is not None:
                await self.close(message.get("code", 1000), message.get("reason"))
            case "websocket.close":
                await self._deny_with_403()
            case "websocket.http.response.start":
                self._denial.start(message["status"], message.get("headers", ()))
            case "websocket.http.response.body":
                await self._deny(message)
            case kind:
                raise RuntimeError(f"{kind!r} is not a message of a websocket")

    async def close(self, code: int, reason: str | None = None) -> None:
        """Send a close frame, unless the websocket is closed already.

        Cancellation:
            The client may have got half a frame. The connection is closed next.
        """
        if self._frames is None or self._close_code is not None:
            return
        self._close_code = code
        if self._reading is not None:
            self._reading.cancel()
        await self._answer(CloseConnection(code=code, reason=reason))

    async def _accept(self, message: Message) -> None:
        if self._frames is not None or self._denial.opened:
            raise RuntimeError("the handshake has been answered already")
        headers = [
            (b"sec-websocket-accept", self._token),
            *message.get("headers", ()),
        ]
        subprotocol = message.get("subprotocol")
        if subprotocol is not None:
            if subprotocol not in self.subprotocols:
                raise RuntimeError(f"the client did not offer {subprotocol!r}")
            headers.append((b"sec-websocket-protocol", subprotocol.encode("ascii")))
        head = switching_protocols(b"websocket", headers)
        self._frames = Connection(ConnectionType.SERVER)
        self._feed(self._rest)
        self._rest = b""
        await self._stream.send(head)

    async def _send_data(self, message: Message) -> None:
        if self._frames is None:
            raise RuntimeError("the websocket has not been accepted")
        data = message.get("bytes")
        event: Event = (
            TextMessage(message["text"]) if data is None else BytesMessage(data)
        )
        try:
            frame = self._frames.send(event)
        except LocalProtocolError:
            raise PeerGone("the websocket is closed") from None
        await self._stream.send(frame)

    async def _deny_with_403(self) -> None:
        self._denial.start(403, [(b"content-type", b"text/plain; charset=utf-8")])
        await self._stream.send(self._denial.data(b"Forbidden\n", more=False))

    async def _deny(self, message: Message) -> None:
        more = bool(message.get("more_body"))
        data = self._denial.data(message.get("body", b""), more=more)
        if data:
            await self._stream.send(data)

    async def _until_gone(self) -> None:
        """Wait for the client to leave before the handshake is answered."""
        while await self._read():
            if len(self._rest) > self._settings.max_ahead_bytes:
                self._stream.alive = False
                return

    async def _next_message(self, frames: Connection) -> Message | None:
        while self._close_code is None:
            # Before an event is taken: one that is taken must not be lost in a
            # cancellation.
            await self._take_turns()
            # One at a time: frames that came in one read wait as bytes, not as objects.
            event = next(self._events, None)
            if event is None:
                if not await self._read():
                    return None
            elif isinstance(event, Ping):
                await self._answer(event.response())
            elif isinstance(event, CloseConnection):
                await self._answer(event.response())
                self._close_code = event.code
            elif isinstance(event, (TextMessage, BytesMessage)):
                message = await self._assemble(event)
                if message is not None:
                    return message
        return None

    async def _take_turns(self) -> None:
        if not self._frames_left:
            self._frames_left = _FRAMES_A_TURN
            await trio.lowlevel.checkpoint()
        self._frames_left -= 1

    async def _assemble(self, event: TextMessage | BytesMessage) -> Message | None:
        # One buffer and no list: tiny fragments must cost no more than their message.
        if isinstance(event, TextMessage):
            self._partial += event.data.encode()
        else:
            self._partial += event.data
        if len(self._partial) > self._settings.websocket_max_message_bytes:
            await self.close(CloseReason.MESSAGE_TOO_BIG)
            return None
        if not event.message_finished:
            return None
        whole, self._partial = bytes(self._partial), bytearray()
        if isinstance(event, TextMessage):
            return {"type": "websocket.receive", "bytes": None, "text": whole.decode()}
        return {"type": "websocket.receive", "bytes": whole, "text": None}

    async def _answer(self, event: Event) -> None:
        assert self._frames is not None
        try:
            await self._stream.send(self._frames.send(event))
        except (LocalProtocolError, PeerGone):
            pass  # closed on this side, or the client has left: the next read ends

    async def _read(self) -> bool:
        """Feed the next bytes; return False when no more are wanted or will come."""
        while not self._going_away and self._close_code is None:
            data = await self._read_or_tick()
            if data is not None:
                self._feed(data)
                return bool(data)
            if not await self._check_alive():
                return False
        await self.close(SERVICE_RESTART)
        return False

    async def _read_or_tick(self) -> bytes | None:
        """Return bytes; None when a ping or a pong is due, or to close."""
        ping_sent = self._ping_sent
        settings = self._settings
        tick = (
            settings.websocket_pong_deadline if ping_sent else settings.websocket_ping
        )
        with trio.move_on_after(tick) as self._reading:
            try:
                return await self._stream.receive()
            finally:
                self._reading = None
        return None

    def _feed(self, data: bytes) -> None:
        self._ping_sent = False  # any byte shows that the client is there
        if self._frames is None:
            self._rest += data
        elif self._frames.state in (
            ConnectionState.OPEN,
            ConnectionState.LOCAL_CLOSING,
        ):
            self._frames.receive_data(data)
            self._events = self._frames.events()

    async def _check_alive(self) -> bool:
        if self._frames is None or self._going_away or self._close_code is not None:
            return True
        if self._ping_sent:
            self._stream.alive = False
            return False
        self._ping_sent = True
        await self._answer(Ping())
        return True


def _accept_token(headers: dict[bytes, bytes]) -> bytes:
    if headers.get(b"sec-websocket-version") != b"13":
        raise HttpError(426, "only version 13 of the websocket protocol is served")
    key = headers.get(b"sec-websocket-key", b"")
    try:
        nonce = base64.b64decode(key, validate=True)
    except binascii.Error:
        nonce = b""
    if len(nonce) != 16:
        raise HttpError(400, "Sec-WebSocket-Key must be 16 bytes in base64")
    return generate_accept_token(key)


def _subprotocols(headers: dict[bytes, bytes]) -> list[str]:
    offered = headers.get(b"sec-websocket-protocol", b"").decode("latin-1")
    return [name.strip() for name in offered.split(",") if name.strip()]
