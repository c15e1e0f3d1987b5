"""One HTTP request and its response, as the two callables that ASGI wants."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import trio

from triopoll.asgi.types import Message, Scope

from .config import ServerSettings
from .request_parser import NEED_DATA, HttpError, RequestHead, RequestReader
from .response_writer import ResponseWriter
from .stream import ClientStream, PeerGone

__all__ = ["HttpCycle", "to_scope"]

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def to_scope(request: RequestHead, *, kind: str, base: Scope) -> Scope:
    """Return the ASGI scope of a request.

    Args:
        request: Its path need be neither UTF-8 nor known.
        kind: "http" or "websocket".
        base: What all scopes of the connection share: client, server, state.
    """
    raw_path, _, query = request.target.partition(b"?")
    path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    return {
        **base,
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": request.version,
        "scheme": "http" if kind == "http" else "ws",
        "method": request.method,
        # A path that is no UTF-8 has no good spelling; no route will match this one.
        "path": path.decode("utf-8", "replace"),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": request.headers,
        "state": base["state"].copy(),
    }


class HttpCycle:
    """Serve one request over the wire.

    There is no reader task: while the application waits in `receive`, it is that call
    that reads, and so notices a client that leaves, or one that pipelines and leaves.
    Neither callable is a checkpoint when it has nothing to wait for.

    Attributes:
        receiving: The application waits in `receive`.
        refusal: What is wrong with the body, once `receive` has come across it.
    """

    __slots__ = (
        "_body_deadline",
        "_body_given",
        "_must_continue",
        "_reader",
        "_settings",
        "_wire",
        "_writer",
        "receiving",
        "refusal",
    )

    def __init__(
        self,
        request: RequestHead,
        reader: RequestReader,
        writer: ResponseWriter,
        wire: ClientStream,
        settings: ServerSettings,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._wire = wire
        self._settings = settings
        self._must_continue = request.expects_continue and request.version == "1.1"
        self._body_given = False
        self._body_deadline = trio.current_time() + settings.body_deadline
        self.receiving = False
        self.refusal: HttpError | None = None

    @property
    def reusable(self) -> bool:
        """Return whether another request may follow on the connection."""
        return (
            self._wire.alive
            and self._writer.complete
            and self._writer.keep_alive
            and self.refusal is None
            and self._reader.body_complete
            and self._reader.reusable
        )

    @property
    def status(self) -> int | None:
        """Return the status of the response, None where none has been sent."""
        return self._writer.status if self._writer.started else None

    async def receive(self) -> Message:
        """Return a piece of the body, or ``http.disconnect`` once the client has left.

        A malformed or late body is a disconnect too; `refusal` then says why.

        Cancellation:
            No byte is lost.
        """
        if self._body_given:
            self.receiving = True
            try:
                await self._until_gone()
            finally:
                self.receiving = False
            return {"type": "http.disconnect"}
        try:
            piece = await self._next_piece()
        except HttpError as error:
            self.refusal = error
            piece = None
        except PeerGone:
            piece = None
        if piece is None:
            self._body_given = True
            return {"type": "http.disconnect"}
        self._body_given = self._reader.body_complete
        more = not self._body_given
        return {"type": "http.request", "body": piece, "more_body": more}

    async def send(self, message: Message) -> None:
        """Send a part of the response.

        Raises:
            PeerGone: The client has left or does not read.
            RuntimeError: The message does not fit here.

        Cancellation:
            The connection is not used for another request.
        """
        if message["type"] == "http.response.start":
            self._writer.start(message["status"], message.get("headers", ()))
            # A body left unread stands between this request and the next.
            if not self._reader.body_complete:
                self._writer.keep_alive = False
        elif message["type"] == "http.response.body":
            await self._send_body(message)
        else:
            raise RuntimeError(f"{message['type']!r} is no message of an HTTP response")

    async def _send_body(self, message: Message) -> None:
        if not self._wire.alive:
            raise PeerGone("the client has left")
        more = bool(message.get("more_body"))
        data = self._writer.data(message.get("body", b""), more=more)
        if data:
            await self._wire.send(data)

    async def _next_piece(self) -> bytes | None:
        piece = self._reader.next_body()
        while piece is NEED_DATA:
            if not await self._more_body():
                return None
            piece = self._reader.next_body()
        return piece

    async def _more_body(self) -> bool:
        if self._must_continue:
            self._must_continue = False
            if not self._writer.opened:
                await self._wire.send(_CONTINUE)
        with trio.CancelScope(deadline=self._body_deadline) as scope:
            data = await self._wire.receive()
            self._reader.receive_data(data)
            return bool(data)
        assert scope.cancelled_caught
        raise HttpError(408, "the body did not arrive in time")

    async def _until_gone(self) -> None:
        while self._wire.alive and self.refusal is None and not self._writer.complete:
            data = await self._wire.receive()
            if not data:
                return
            self._reader.receive_data(data)
            if self._reader.buffered > self._settings.max_ahead_bytes:
                self._wire.alive = False
                return
        await trio.lowlevel.checkpoint()
