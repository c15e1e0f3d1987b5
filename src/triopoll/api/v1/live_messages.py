"""``/v1/messages`` with ``live=sse``: the messages of a key as server-sent events.

Each message is an event whose id is the cursor behind it, so a client that comes back
with the id of its last event, as browsers do, continues there. The events beside them:

- ``cursor``: there is nothing to send yet; its id is where the client is to continue;
- ``gap``: messages are lost;
- ``end``: the last one, with the reason, which is also how an error is reported. A
  browser that gets a status other than 200 never comes back by itself.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import cast

import trio

from ...access import Permit
from ...access.headers import header_values
from ...asgi.messages import Request, Response, StreamingResponse, StreamWriter
from ...core.followed_log import FollowedLog
from ...core.outcomes import Failure, OperationFailed
from ...core.wait_items import LogItem, ReadResult
from ...services import Services
from ...store import ALL, NEW, BadCursor, Page, parse_cursor
from ..event_stream import EVENT_STREAM, encode_comment, encode_event
from .decoding import WaitRequest
from .responses import LARGE, SPREAD_MS, failure_response, shortened
from .serializers import CursorEvent, EndEvent, GapEvent, encode, log_message

__all__ = ["stream_messages"]

_LAST_EVENT_ID = b"last-event-id"
# Milliseconds after which a browser reconnects. Those whose server has died come back
# at different times, and never at once, since a browser has no longer pauses of its own
# while it finds nobody.
_RETRY_MS = (500, 1500)
# The same after a stream that the client may not have any longer, for pages that do not
# end it: a second page with the same session would end theirs in turn.
_REFUSED_MS = 30_000


def stream_messages(
    services: Services,
    turns: trio.Lock,
    request: Request,
    wait: WaitRequest,
    permit: Permit,
) -> StreamingResponse:
    """Return the response that sends the messages of a key as they come.

    Args:
        services: What the endpoint uses.
        turns: Large pages are encoded under it.
        request: May have a Last-Event-ID.
        wait: For one log.
        permit: To be entered before the next await.

    Raises:
        BadCursor: There is no such cursor.
    """
    item = cast("LogItem", wait.items[0])
    seconds = services.settings.sse_lifetime if wait.timeout is None else wait.timeout
    cursor = _last_event_id(request) or item.cursor
    if cursor not in (NEW, ALL):
        parse_cursor(cursor)
    stream = _MessageStream(
        services, turns, permit, replace(item, cursor=cursor), shortened(seconds)
    )
    return StreamingResponse(stream.write, headers=EVENT_STREAM)


def _last_event_id(request: Request) -> str:
    values = header_values(request, _LAST_EVENT_ID)
    if len(values) > 1:
        raise BadCursor("Last-Event-ID is given more than once")
    return values[0].decode("latin-1").strip() if values else ""


@dataclass(frozen=True, slots=True)
class _MessageStream:
    """The body of one response.

    Attributes:
        services: Reads and waits.
        turns: Large pages are encoded under it.
        permit: Held while the stream lasts.
        item: What to read, and from where.
        seconds: For which the stream lasts.
    """

    services: Services
    turns: trio.Lock
    permit: Permit
    item: LogItem
    seconds: float

    async def write(self, writer: StreamWriter) -> Response | None:
        """Send events until the time is over, the server drains or a backend fails.

        Cancellation:
            Nothing is left behind.
        """
        last = b""
        with self.permit:
            last = await self._follow(writer)
        if self.permit.ended is not None:
            body = self.permit.ended.body
            last = encode_event(body, event="end", retry_ms=_REFUSED_MS)
        await writer.send(last)
        return None

    async def _follow(self, writer: StreamWriter) -> bytes:
        """Send the events; return the last one."""
        reader, drain = self.services.reader, self.services.drain
        until = trio.current_time() + self.seconds
        try:
            with reader.follow(self.item, self.permit.visitor.bucket) as log:
                found = await reader.next_page(log, 0)
                if isinstance(found, Failure):
                    return _failed(log, found)
                await writer.send(await self._opening(found))
                while (left := until - trio.current_time()) > 0 and not drain.released:
                    # The page is not kept while a slow client reads its events.
                    del found
                    ping = self.services.settings.sse_ping
                    found = await reader.next_page(log, min(left, ping))
                    if isinstance(found, Failure):
                        return _failed(log, found)
                    if found.ready:
                        await writer.send(await self._events(found), found.woken)
                    else:
                        await writer.send(encode_comment())
                return self._ended(log)
        except OperationFailed as error:
            return _failed(None, error.failure)

    async def _opening(self, found: ReadResult) -> bytes:
        retry = encode_event(None, retry_ms=random.randint(*_RETRY_MS))
        if found.ready:
            return retry + await self._events(found)
        cursor = found.page.cursor
        return retry + _named("cursor", CursorEvent(cursor), cursor)

    async def _events(self, found: ReadResult) -> bytes:
        """Return a page as events, encoded once for all who read it."""
        if found.events is not None or found.size < LARGE:
            return _events_of(found)
        async with self.turns:
            return _events_of(found)

    def _ended(self, log: FollowedLog) -> bytes:
        if not self.services.drain.released:
            return _named("end", EndEvent("timeout", log.cursor, 0), log.cursor)
        retry_ms = _RETRY_MS[0] + random.randint(0, SPREAD_MS)
        event = EndEvent("draining", log.cursor, retry_ms)
        return _named("end", event, log.cursor, retry_ms)


def _events_of(found: ReadResult) -> bytes:
    if found.events is None:
        found.events = _page_events(found.page)
    return found.events


def _page_events(page: Page) -> bytes:
    events: list[bytes] = []
    if page.gap:
        # With messages behind it, the id of the first one shows that it has arrived.
        event_id = "" if page.messages else page.cursor
        events.append(_named("gap", GapEvent("gap", page.lost), event_id))
    events += [
        encode_event(encode(log_message(message)), event_id=message.id)
        for message in page.messages
    ]
    return b"".join(events)


def _failed(log: FollowedLog | None, failure: Failure) -> bytes:
    response = failure_response(failure)
    retry_ms = 1000 * int(dict(response.headers)[b"retry-after"])
    event_id = "" if log is None or log.cursor in (NEW, ALL) else log.cursor
    return encode_event(
        response.body, event="end", event_id=event_id, retry_ms=retry_ms
    )


def _named(
    name: str,
    event: CursorEvent | GapEvent | EndEvent,
    event_id: str,
    retry_ms: int | None = None,
) -> bytes:
    return encode_event(encode(event), event=name, event_id=event_id, retry_ms=retry_ms)
