"""``live=sse``: the pages of a stream as server-sent events, and its end as one."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, field

import trio

from ...access import Permit
from ...asgi.messages import Headers, Response, StreamingResponse, StreamWriter
from ...core.backend_calls import count_failure
from ...core.outcomes import Failure, OperationFailed
from ...core.stream_wait import StreamRead
from ...core.streams import StreamFollower, Streams
from ...ops.drain import Drain
from ...settings import Settings
from ...store import Refused, StreamPage, kind_of
from ..event_stream import MEDIA_TYPE, encode_comment, encode_event
from ..v1.responses import shortened
from ..v1.serializers import encode
from .cursors import next_cursor
from .decoding import JSON, StreamQuery
from .log_view import LogFollower, LogView
from .replies import page_body, refusal_response

__all__ = ["EventStream", "encode_control", "encode_data"]

# Nothing keeps a stream of events, and nginx must not buffer it.
_HEADERS: Headers = (
    (b"content-type", MEDIA_TYPE.encode()),
    (b"cache-control", b"no-cache, no-store"),
    (b"x-accel-buffering", b"no"),
)
_BASE64: Headers = ((b"stream-sse-data-encoding", b"base64"),)


@dataclass(slots=True)
class EventStream:
    """One reader of one stream.

    Attributes:
        source: What is read.
        name: The path of a stream, or the key of a log.
        query: What was asked for.
        permit: To wait for it.
        drain: Ends the stream when the server stops.
        settings: For how long a connection lasts, and what keeps it alive.
        response: What the endpoint returns.
    """

    source: Streams | LogView
    name: str
    query: StreamQuery
    permit: Permit
    drain: Drain
    settings: Settings
    response: StreamingResponse = field(init=False)

    def __post_init__(self) -> None:
        self.response = StreamingResponse(self._write)

    async def _write(self, writer: StreamWriter) -> Response | None:
        """Send the stream until it is closed, or until it is time to come back.

        Cancellation:
            The same offset finds what has not arrived.
        """
        source, visitor = self.source, self.permit.visitor.bucket
        refused: Refused | Failure | None = None
        with self.permit:
            try:
                with source.follow(self.name, self.query.after, visitor) as follower:
                    refused = await self._send_pages(writer, follower)
            except OperationFailed as error:
                refused = count_failure(source.metrics, error.failure)
        if writer.started:
            return None
        return self.permit.ended if refused is None else refusal_response(refused)

    async def _send_pages(
        self, writer: StreamWriter, follower: StreamFollower | LogFollower
    ) -> Refused | Failure | None:
        """Send pages; return why there are no more, None at the end."""
        found = await follower.next(0)
        if not isinstance(found, StreamRead):
            return found
        self.response.headers = headers_of(found.page)
        until = trio.current_time() + shortened(self.settings.sse_lifetime)
        cursor = next_cursor(self.query.cursor, time.time())
        await self._send_page(writer, found, cursor)
        while not (found.page.view.closed and found.page.up_to_date):
            left = until - trio.current_time()
            if left <= 0 or self.drain.released:
                return None
            next_page = await follower.next(min(left, self.settings.sse_ping))
            if not isinstance(next_page, StreamRead):
                return next_page
            if next_page.ready:
                found = next_page
                cursor = max(cursor, next_cursor(None, time.time()))
                await self._send_page(writer, found, cursor)
            else:
                await writer.send(encode_comment())
        return None

    async def _send_page(
        self, writer: StreamWriter, found: StreamRead, cursor: int
    ) -> None:
        piece = encode_data(found.page) + encode_control(found.page, cursor)
        await writer.send(piece, found.woken)


def headers_of(page: StreamPage) -> Headers:
    """Return the head of a stream of events."""
    is_text = _is_text(page)
    return _HEADERS if is_text else (*_HEADERS, *_BASE64)


def encode_data(page: StreamPage) -> bytes:
    """Return the data event of a page, made once for all that share it.

    Returns:
        No bytes for a page without entries.
    """
    if not page.entries:
        return b""
    event = page.encoded.get("event")
    if event is None:
        body = page_body(page)
        data = body if _is_text(page) else base64.b64encode(body)
        event = page.encoded["event"] = encode_event(data, event="data")
    return event


def encode_control(page: StreamPage, cursor: int) -> bytes:
    """Return the control event that follows: where the reader is, and what next."""
    control: dict[str, object] = {"streamNextOffset": str(page.end)}
    is_closed = page.view.closed and page.up_to_date
    if not is_closed:
        control["streamCursor"] = str(cursor)
    if page.up_to_date:
        control["upToDate"] = True
    if is_closed:
        control["streamClosed"] = True
    return encode_event(encode(control), event="control")


def _is_text(page: StreamPage) -> bool:
    kind = kind_of(page.view.content_type)
    return kind == JSON or kind.startswith("text/")
