"""Write what became of a request for a stream: status, headers and body."""

from __future__ import annotations

from collections.abc import Sequence

from ...asgi.messages import UNCACHED, Headers, Response
from ...core.outcomes import Failure
from ...store import (
    NewAppend,
    Refused,
    StreamAppended,
    StreamCreated,
    StreamPage,
    StreamRefusal,
    StreamView,
    kind_of,
)
from ..v1.responses import failure_response, respond
from ..v1.serializers import ErrorResponse
from .decoding import JSON, StreamQuery

__all__ = [
    "STREAM_HEADERS_OF_ANSWERS",
    "append_response",
    "created_response",
    "head_response",
    "not_modified",
    "page_body",
    "page_response",
    "refusal_response",
    "refused_response",
]

# Besides what every response has: no page of another site may embed a stream, and one
# that is opened as a document runs no script.
STREAM_HEADERS_OF_ANSWERS: Headers = (
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"sandbox"),
)
# What has been appended stays as it is; what is at the end grows.
_FINAL = b"%b, max-age=60, stale-while-revalidate=300"
_GROWS = b"%b, no-cache"
_TRUE = b"true"

_STATUSES = {
    StreamRefusal.UNKNOWN: (404, "there is no stream of this path"),
    StreamRefusal.DELETED: (410, "the stream is deleted; its forks live"),
    StreamRefusal.CONFLICT: (409, "there is a stream of this path that differs"),
    StreamRefusal.CLOSED: (409, "the stream is closed"),
    StreamRefusal.WRONG_TYPE: (409, "the stream has another content type"),
    StreamRefusal.OLD_SEQ: (409, "Stream-Seq is not above the last one"),
    StreamRefusal.STALE_EPOCH: (403, "the producer has a newer epoch"),
    StreamRefusal.NEW_EPOCH: (400, "a new epoch begins with Producer-Seq 0"),
    StreamRefusal.SEQ_GAP: (409, "an append of this producer is missing before"),
    StreamRefusal.STREAM_FULL: (413, "the stream would be longer than it may be"),
    StreamRefusal.LOST_OFFSET: (410, "the offset is not one of this stream"),
    StreamRefusal.FORK_OFFSET: (400, "the source has not got so much"),
    StreamRefusal.SOURCE_UNKNOWN: (404, "there is no stream to be forked"),
    StreamRefusal.SOURCE_DELETED: (409, "the stream to be forked is deleted"),
    StreamRefusal.TOO_MANY_FORKS: (409, "the stream has as many forks as it may"),
}


def created_response(created: StreamCreated, location: str) -> Response:
    """Answer a PUT: 201 with the stream's address, or 200 for one that was there."""
    headers = [
        (b"content-type", _text(created.view.content_type)),
        *_end(created.view),
        *UNCACHED,
    ]
    if created.is_new:
        headers.append((b"location", location.encode("ascii")))
    return Response(b"", 201 if created.is_new else 200, headers)


def append_response(new: NewAppend, appended: StreamAppended) -> Response:
    """Answer a POST: 200 for new data of a producer, and else 204."""
    headers = [(b"stream-next-offset", _text(appended.tail)), *UNCACHED]
    if appended.closed:
        headers.append((b"stream-closed", _TRUE))
    status = 204
    if new.producer is not None:
        headers.append((b"producer-epoch", b"%d" % new.producer.epoch))
        headers.append((b"producer-seq", b"%d" % (appended.seq or 0)))
        if new.data and not appended.duplicate:
            status = 200
    return Response(b"", status, headers)


def head_response(view: StreamView) -> Response:
    """Answer a HEAD."""
    headers = [
        (b"content-type", _text(view.content_type)),
        *_end(view),
        *UNCACHED,
    ]
    if view.ttl is not None:
        headers.append((b"stream-ttl", b"%d" % view.ttl))
    if view.expires:
        headers.append((b"stream-expires-at", _text(view.expires)))
    return Response(b"", 200, headers)


# --- reading --------------------------------------------------------------------------


def page_response(
    page: StreamPage, query: StreamQuery, cursor: int, *, shared: bool
) -> Response:
    """Answer a GET that is no stream of events.

    Args:
        page: What was found.
        query: What was asked for.
        cursor: For the next live read.
        shared: Whether a cache may give the response to others.
    """
    is_empty = not page.entries
    if query.live and is_empty:
        headers = [*_place(page), (b"stream-cursor", b"%d" % cursor), *UNCACHED]
        return Response(b"", 204, headers)
    headers = [(b"content-type", _text(page.view.content_type)), *_place(page)]
    if query.live:
        headers.append((b"stream-cursor", b"%d" % cursor))
    if query.after is None and is_empty:
        headers += UNCACHED
    else:
        whom = b"public" if shared else b"private"
        is_final = bool(query.live) or not page.up_to_date or page.view.closed
        headers.append((b"etag", etag(page)))
        headers.append((b"cache-control", (_FINAL if is_final else _GROWS) % whom))
    return Response(page_body(page), 200, headers)


def not_modified(response: Response, known: Sequence[bytes]) -> Response:
    """Return 304 in place of a page that the client has, by its If-None-Match."""
    headers = dict(response.headers)
    tag = headers.get(b"etag")
    names = {name.strip() for value in known for name in value.split(b",")}
    weak = {name.removeprefix(b"W/") for name in names}
    if response.status != 200 or tag is None or not ({b"*", tag} & weak):
        return response
    kept = [(n, v) for n, v in response.headers if n != b"content-type"]
    return Response(b"", 304, kept, woken=response.woken)


def etag(page: StreamPage) -> bytes:
    """Return a name of what a page has; closing the stream changes that of its end."""
    mark = ":closed" if page.view.closed and page.up_to_date else ""
    return _text(f'"{page.view.id}:{page.start}:{page.end}{mark}"')


def page_body(page: StreamPage) -> bytes:
    """Return what a page has, made once for all that share it."""
    body = page.encoded.get("body")
    if body is None:
        pieces = [entry.data for entry in page.entries]
        if kind_of(page.view.content_type) == JSON:
            body = b"[%b]" % b",".join(pieces)
        else:
            body = b"".join(pieces)
        page.encoded["body"] = body
    return body


def _place(page: StreamPage) -> list[tuple[bytes, bytes]]:
    headers = [(b"stream-next-offset", _text(page.end))]
    if page.up_to_date:
        headers.append((b"stream-up-to-date", _TRUE))
        if page.view.closed:
            headers.append((b"stream-closed", _TRUE))
    return headers


def _end(view: StreamView) -> list[tuple[bytes, bytes]]:
    headers = [(b"stream-next-offset", _text(view.tail))]
    return [*headers, (b"stream-closed", _TRUE)] if view.closed else headers


# --- refusals -------------------------------------------------------------------------


def refusal_response(
    refused: Refused | Failure, received: int | None = None
) -> Response:
    """Answer what was refused, or has failed.

    Args:
        refused: Why.
        received: The sequence number that the producer has sent.
    """
    if isinstance(refused, Failure):
        return failure_response(refused)
    status, message = _STATUSES[refused.reason]
    headers: list[tuple[bytes, bytes]] = []
    if refused.tail is not None:
        headers.append((b"stream-next-offset", _text(refused.tail)))
        headers.append((b"stream-closed", _TRUE))
    if refused.epoch is not None:
        headers.append((b"producer-epoch", b"%d" % refused.epoch))
    if refused.expected is not None:
        headers.append((b"producer-expected-seq", b"%d" % refused.expected))
        headers.append((b"producer-received-seq", b"%d" % (received or 0)))
    return refused_response(status, refused.reason.value, message, headers)


def refused_response(
    status: int, code: str, message: str, headers: Headers = ()
) -> Response:
    """Answer in the format of `/v1`."""
    return respond(ErrorResponse(code, message), status, *headers)


def _text(value: object) -> bytes:
    return str(value).encode("latin-1")
