"""One HTTP request and its response, as the two callables of ASGI."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

import trio

from triopoll.asgi.types import Message, Scope

from .config import ServerSettings
from .errors import HttpError, PeerGone
from .request_parser import NEED_DATA, RequestHead, RequestReader
from .response_writer import ResponseWriter
from .stream import ClientStream

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
        # ASGI wants text. A path that is not UTF-8 becomes one that no route has.
        "path": path.decode("utf-8", "replace"),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": request.headers,
        "state": base["state"].copy(),
    }


class HttpCycle:
    """Serve one request over the client's stream.

    There is no reader task. While the application waits in `receive`, it is that call
    that reads, and so it notices a client that leaves. Neither callable is a checkpoint
    when it has nothing to wait for.

    Attributes:
        failed: The application has raised an error.
        receiving: The application waits in `receive` for the client to leave.
        refusal: What is wrong with the body, once `receive` has come across it.
    """

    __slots__ = (
        "_body_deadline",
        "_body_returned",
        "_must_continue",
        "_reader",
        "_settings",
        "_stream",
        "_unwritten",
        "_writer",
        "failed",
        "receiving",
        "refusal",
    )

    def __init__(
        self,
        request: RequestHead,
        reader: RequestReader,
        writer: ResponseWriter,
        stream: ClientStream,
        settings: ServerSettings,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._stream = stream
        self._settings = settings
        self._must_continue = request.expects_continue and request.version == "1.1"
        self._body_returned = False
        self._body_deadline = trio.current_time() + settings.body_deadline
        self._unwritten = b""
        self.failed = False
        self.receiving = False
        self.refusal: HttpError | None = None

    @property
    def complete(self) -> bool:
        """Return whether all of the response has been sent."""
        return self._writer.complete

    @property
    def reusable(self) -> bool:
        """Return whether another request may follow on the connection."""
        return (
            self._stream.alive
            and self._writer.complete
            and self._writer.keep_alive
            and self.refusal is None
            and not self._unwritten
            and self._reader.body_complete
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
        if self._body_returned:
            self.receiving = True
            try:
                await self._until_gone()
            finally:
                self.receiving = False
            return {"type": "http.disconnect"}
        piece: bytes | None = b""
        if not self._reader.body_complete:
            piece = await self._next_piece()
        if piece is None:
            self._body_returned = True
            return {"type": "http.disconnect"}
        more = not self._reader.body_complete
        self._body_returned = not more
        return {"type": "http.request", "body": piece, "more_body": more}

    async def send(self, message: Message) -> None:
        """Send a part of the response.

        Raises:
            PeerGone: The client has left or does not read.
            RuntimeError: The message is not one that may be sent now.

        Cancellation:
            The connection is not used for another request.
        """
        kind = message["type"]
        if kind == "http.response.body":
            if not self._stream.alive:
                raise PeerGone("the client has left")
            more = message.get("more_body", False)
            data = self._writer.data(message.get("body", b""), more=more)
            if data:
                await self._stream.send(data)
        elif kind == "http.response.start":
            self._writer.start(message["status"], message.get("headers", ()))
            # What is left of the body would be taken for the next request.
            if not self._reader.body_complete:
                self._writer.keep_alive = False
        else:
            raise RuntimeError(f"{kind!r} is not a message of an HTTP response")

    def respond_now(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Write a whole response; see `Parking`."""
        self._writer.start(status, headers)
        if not self._reader.body_complete:
            self._writer.keep_alive = False
        data = self._writer.data(body, more=False)
        self._unwritten = data[self._stream.write_now(data) :]

    async def flush(self) -> None:
        """Write what `respond_now` has left.

        Raises:
            PeerGone: The client has left or does not read.

        Cancellation:
            The connection is not used for another request.
        """
        if self._unwritten:
            data, self._unwritten = self._unwritten, b""
            try:
                await self._stream.send(data)
            except BaseException:
                # The beginning of it is out.
                self._stream.alive = False
                raise

    async def _next_piece(self) -> bytes | None:
        """Return a piece of the body, None if there is no more to be had."""
        try:
            while (piece := self._reader.next_body()) is NEED_DATA:
                if not await self._receive_more():
                    return None
        except HttpError as error:
            self.refusal = error
            return None
        except PeerGone:
            return None
        return piece

    async def _receive_more(self) -> bool:
        if self._must_continue:
            self._must_continue = False
            # A client that has been answered already waits for no 100.
            if not self._writer.opened:
                await self._stream.send(_CONTINUE)
        with trio.CancelScope(deadline=self._body_deadline) as scope:
            data = await self._stream.receive()
            self._reader.receive_data(data)
            return bool(data)
        assert scope.cancelled_caught
        raise HttpError(408, "the body did not arrive in time")

    async def _until_gone(self) -> None:
        while self._stream.alive and self.refusal is None and not self._writer.complete:
            data = await self._stream.receive()
            if not data:
                return
            self._reader.receive_data(data)
            # Pipelined requests wait in memory; a client may not fill it with them.
            if self._reader.buffered > self._settings.max_ahead_bytes:
                self._stream.alive = False
                return
        await trio.lowlevel.checkpoint()
