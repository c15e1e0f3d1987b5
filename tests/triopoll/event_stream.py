"""A receiver of server-sent events: the algorithm of the specification, by characters.

Written from WHATWG HTML, section 9.2.6, and independent of what encodes them.
"""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import h11
import trio

__all__ = ["Event", "EventReader", "Receiver", "reading"]


@dataclass(frozen=True)
class Event:
    """One event that was dispatched."""

    type: str
    data: str
    id: str


class Receiver:
    """Turn the bytes of a stream, cut anywhere, into events.

    Attributes:
        last_id: What a browser would send as Last-Event-ID.
        retry_ms: What the stream has last asked for.
        comments: The comments, without their colon.
    """

    def __init__(self) -> None:
        self.last_id = ""
        self.retry_ms: int | None = None
        self.comments: list[str] = []
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._line = ""
        self._after_cr = False
        self._type, self._id = "", ""
        self._data: list[str] = []

    def reconnected(self) -> Receiver:
        """Return the receiver of the next connection, which keeps id and time."""
        other = Receiver()
        other.last_id = other._id = self.last_id
        other.retry_ms = self.retry_ms
        return other

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that are complete with this piece."""
        found: list[Event] = []
        for character in self._decoder.decode(piece):
            if character == "\n" and self._after_cr:
                self._after_cr = False
                continue
            self._after_cr = character == "\r"
            if character in "\r\n":
                line, self._line = self._line, ""
                found += self._take(line)
            else:
                self._line += character
        return found

    def _take(self, line: str) -> list[Event]:
        if not line:
            return self._dispatch()
        if line[0] == ":":
            self.comments.append(line[1:])
            return []
        name, _, value = line.partition(":")
        if value[:1] == " ":
            value = value[1:]
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value and set(value) <= set("0123456789"):
            self.retry_ms = int(value)
        return []

    def _dispatch(self) -> list[Event]:
        self.last_id = self._id
        data, self._data = self._data, []
        kind, self._type = self._type or "message", ""
        return [Event(kind, "\n".join(data), self.last_id)] if data else []


class EventReader:
    """A request for server-sent events over a socket.

    Attributes:
        receiver: What takes its events out of the body.
        whole: The body has come to its end in good order.
    """

    def __init__(self, stream: trio.SocketStream, receiver: Receiver) -> None:
        self.receiver = receiver
        self.whole = False
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._events: list[Event] = []

    async def ask(self, target: str, headers: Mapping[str, str]) -> h11.Response:
        """Send the request; return the head of the response."""
        fields = [("Host", "localhost"), ("Connection", "close"), *headers.items()]
        request = h11.Request(method="GET", target=target, headers=fields)
        for event in (request, h11.EndOfMessage()):
            await self.stream.send_all(self._http.send(event) or b"")
        head = await self._next_http()
        assert isinstance(head, h11.Response), head
        return head

    async def next(self) -> Event | None:
        """Return the next event; None at the end of the body."""
        while not self._events:
            http = await self._next_http()
            if isinstance(http, h11.EndOfMessage):
                self.whole = True
                return None
            if not isinstance(http, h11.Data):
                return None
            self._events += self.receiver.feed(bytes(http.data))
        return self._events.pop(0)

    async def _next_http(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            with trio.fail_after(30):
                try:
                    data = await self.stream.receive_some()
                    self._http.receive_data(data)
                except (trio.BrokenResourceError, h11.RemoteProtocolError):
                    return None
            if not data and self._http.their_state is h11.SEND_BODY:
                try:
                    return self._http.next_event()
                except h11.RemoteProtocolError:
                    return None  # the end came before the last chunk
        return event


@asynccontextmanager
async def reading(
    port: int, query: str, *, receiver: Receiver | None = None, **headers: str
) -> AsyncIterator[EventReader]:
    """Ask for the events of `/v1/messages`, which must be served.

    A receiver that has received something before comes back with its last id.
    """
    known = receiver or Receiver()
    if known.last_id:
        headers["Last-Event-ID"] = known.last_id
    known = known.reconnected()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        reader = EventReader(stream, known)
        head = await reader.ask(f"/v1/messages?live=sse&{query}", headers)
        assert head.status_code == 200, head
        assert dict(head.headers)[b"content-type"] == b"text/event-stream"
        yield reader
