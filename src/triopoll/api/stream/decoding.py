"""Read requests for streams: path, headers, query and body to what is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Raw

from ...access.headers import header_values
from ...asgi.messages import Request
from ...settings import Settings
from ...store import (
    START,
    ForkPoint,
    NewAppend,
    NewStream,
    Producer,
    Where,
    kind_of,
    parse_offset,
)
from ..validation import MALFORMED, BadRequest, check_json_value, explain_malformed

__all__ = [
    "JSON",
    "BodyTooLong",
    "StreamQuery",
    "check_path",
    "read_append",
    "read_creation",
    "read_query",
    "source_path",
]

Live: TypeAlias = Literal["", "long-poll", "sse"]

JSON = "application/json"
PREFIX = "/v1/stream/"
_DEFAULT_TYPE = "application/octet-stream"
_MAX_PATH_BYTES = 8192
# Of Content-Type, Stream-Seq and Producer-Id.
_MAX_HEADER_BYTES = 256
_MAX_NUMBER = 2**53 - 1
_BODY = "the body"

_TYPE = re.compile(r"[!-.0-~]+/[!-.0-~]+[ -~]*", re.ASCII)
_TTL = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,16}", re.ASCII)
_PLAIN = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
# RFC 3339.
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
_FRACTION = re.compile(r"\.([0-9]+)")
_PRODUCER = ("Producer-Id", "Producer-Epoch", "Producer-Seq")
_VALUES = msgspec.json.Decoder(list[Raw])


class BodyTooLong(BadRequest):
    """The body has more bytes than an append may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamQuery:
    """What a read asks for.

    Attributes:
        after: Where to begin; None: at the end.
        live: How to wait; "" reads once.
        cursor: As the client knows it; None for none.
    """

    after: Where
    live: Live
    cursor: int | None


def check_path(path: str) -> str:
    """Return a stream's path as it is.

    Raises:
        BadRequest: It is too long, not UTF-8, or one that proxies and browsers change
            on its way: with an empty segment, or with one of dots.
    """
    if "\ufffd" in path or not path.isprintable():
        raise BadRequest("the path has characters that are not printable UTF-8")
    if len(path.encode()) > _MAX_PATH_BYTES:
        raise BadRequest(f"the path is longer than {_MAX_PATH_BYTES} bytes")
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise BadRequest("the path has a segment that is empty, . or ..")
    return path


# --- reading --------------------------------------------------------------------------


def read_query(request: Request) -> StreamQuery:
    """Read the query of a GET.

    Raises:
        BadQuery: It has too many fields.
        BadRequest: A parameter cannot be used.
    """
    parameters = request.parameters
    offsets, lives = parameters.values("offset"), parameters.values("live")
    if len(offsets) > 1 or len(lives) > 1:
        raise BadRequest("offset or live is given more than once")
    live: Live = ""
    if lives:
        if lives[0] not in ("long-poll", "sse"):
            raise BadRequest("live is neither long-poll nor sse")
        live = "sse" if lives[0] == "sse" else "long-poll"
        if not offsets:
            raise BadRequest("live needs an offset; -1 is the beginning")
    cursors = parameters.values("cursor")
    is_known = len(cursors) == 1 and _DIGITS.fullmatch(cursors[0])
    return StreamQuery(
        after=_offset(offsets[0]) if offsets else START,
        live=live,
        cursor=int(cursors[0]) if is_known else None,
    )


def _offset(text: str) -> Where:
    if text == "now":
        return None
    if text == "-1":
        return START
    offset = parse_offset(text)
    if offset is None:
        raise BadRequest("the offset must be -1, now, or one from an answer")
    return offset


# --- creating -------------------------------------------------------------------------


def read_creation(request: Request, settings: Settings, now: float) -> NewStream:
    """Read a PUT.

    Args:
        request: For a stream.
        settings: For the limits.
        now: Unix seconds.

    Raises:
        BadRequest: A header or the body cannot be used.
    """
    fork = _fork(request)
    given = _content_type(request)
    if not given and fork is not None and request.body:
        raise BadRequest("a fork with a body needs a Content-Type")
    content_type = given or ("" if fork else _DEFAULT_TYPE)
    ttl, expires, expires_at = _end(request)
    if longest := settings.stream_max_ttl:
        if ttl is None and expires_at is None and fork is None:
            ttl = longest
        last = (expires_at or 0) / 1000 - now
        if (ttl or 0) > longest or last > longest:
            raise BadRequest(f"streams are kept for at most {longest} s here")
    return NewStream(
        content_type=content_type,
        ttl=ttl,
        expires=expires,
        expires_at=expires_at,
        closed=_closes(request),
        data=_data(request, kind_of(content_type), settings, allows_none=True),
        fork=fork,
    )


def source_path(text: str) -> str:
    """Return the path of a stream that is named as in its URL.

    Raises:
        BadRequest: It is none.
    """
    if not text.startswith(PREFIX):
        raise BadRequest(f"Stream-Forked-From does not begin with {PREFIX}")
    path = unquote_to_bytes(text[len(PREFIX) :].encode("latin-1", "replace"))
    return check_path(path.decode("utf-8", "replace"))


def _fork(request: Request) -> ForkPoint | None:
    source = _header(request, "Stream-Forked-From")
    offset = _header(request, "Stream-Fork-Offset")
    sub_offset = _header(request, "Stream-Fork-Sub-Offset")
    if source is None:
        if offset is not None or sub_offset is not None:
            raise BadRequest("a fork needs Stream-Forked-From")
        return None
    place = None if offset is None else parse_offset(offset)
    if offset == "-1":
        place = START
    elif offset is not None and place is None:
        raise BadRequest("Stream-Fork-Offset is not an offset")
    count = "0" if sub_offset is None else sub_offset
    if not _PLAIN.fullmatch(count):
        raise BadRequest("Stream-Fork-Sub-Offset is not a plain number")
    return ForkPoint(source_path(source), place, int(count))


def _end(request: Request) -> tuple[int | None, str, int | None]:
    """Return TTL, and the end as text and in Unix milliseconds."""
    ttl = _header(request, "Stream-TTL")
    expires = _header(request, "Stream-Expires-At")
    if ttl is not None and expires is not None:
        raise BadRequest("there are Stream-TTL and Stream-Expires-At")
    if ttl is not None:
        if not _TTL.fullmatch(ttl):
            raise BadRequest("Stream-TTL is not a plain number of seconds")
        return int(ttl), "", None
    if expires is None:
        return None, "", None
    try:
        if not _TIME.fullmatch(expires):
            raise ValueError
        # Python before 3.12 reads no more than six digits.
        text = _FRACTION.sub(lambda match: f".{match[1][:6]:<06}", expires.upper())
        at = datetime.fromisoformat(text)
        return None, expires, max(1, round(at.timestamp() * 1000))
    except ValueError:
        raise BadRequest("Stream-Expires-At is not a time of RFC 3339") from None


# --- appending ------------------------------------------------------------------------


def read_append(request: Request, settings: Settings) -> NewAppend:
    """Read a POST.

    Raises:
        BadRequest: A header or the body cannot be used.
    """
    closes = _closes(request)
    if not request.body and not closes:
        raise BadRequest("the body is empty, and Stream-Closed is not true")
    given = _content_type(request)
    if request.body and not given:
        raise BadRequest("a body needs a Content-Type")
    seq = _header(request, "Stream-Seq")
    if seq == "":
        raise BadRequest("Stream-Seq is empty")
    kind = kind_of(given)
    return NewAppend(
        kind=kind,
        data=_data(request, kind, settings) if request.body else b"",
        seq=None if seq is None else seq.encode("latin-1"),
        closes=closes,
        producer=_producer(request),
    )


def _producer(request: Request) -> Producer | None:
    values = [_header(request, name) for name in _PRODUCER]
    if values == [None, None, None]:
        return None
    producer, *numbers = values
    if producer is None or None in numbers:
        raise BadRequest(f"{', '.join(_PRODUCER)} come together or not at all")
    if not producer:
        raise BadRequest("Producer-Id is empty")
    epoch, seq = [
        _producer_number(name, text or "")
        for name, text in zip(_PRODUCER[1:], numbers, strict=True)
    ]
    return Producer(producer, epoch, seq)


def _producer_number(name: str, text: str) -> int:
    if not _DIGITS.fullmatch(text) or int(text) > _MAX_NUMBER:
        raise BadRequest(f"{name} is not a plain number up to {_MAX_NUMBER}")
    return int(text)


# --- what both have -------------------------------------------------------------------


def _header(request: Request, name: str) -> str | None:
    values = header_values(request, name.lower().encode())
    if len(values) > 1:
        raise BadRequest(f"{name} is given more than once")
    if not values:
        return None
    limit = _MAX_PATH_BYTES * 3 if name == "Stream-Forked-From" else _MAX_HEADER_BYTES
    if len(values[0]) > limit:
        raise BadRequest(f"{name} is longer than {limit} bytes")
    return values[0].decode("latin-1").strip()


def _content_type(request: Request) -> str:
    given = _header(request, "Content-Type")
    if given and not _TYPE.fullmatch(given):
        raise BadRequest("Content-Type is not a type such as text/plain")
    return given or ""


def _closes(request: Request) -> bool:
    # Every other value is as if there were none.
    return (_header(request, "Stream-Closed") or "").lower() == "true"


def _data(
    request: Request, kind: str, settings: Settings, *, allows_none: bool = False
) -> bytes:
    """Return what is stored of a body: JSON messages are joined by commas."""
    body, limit = request.body, settings.stream_max_append_bytes
    if len(body) > limit:
        raise BodyTooLong(f"an append is longer than {limit} bytes")
    if kind != JSON or not body:
        return body
    try:
        check_json_value(body, _BODY)
        text = body.strip(b" \t\r\n")
        if not text.startswith(b"["):
            return text
        values = _VALUES.decode(text)
    except MALFORMED:
        raise BadRequest(explain_malformed(body, _BODY)) from None
    if not (values or allows_none):
        raise BadRequest("the body is an empty array, which has no messages")
    return b",".join(map(bytes, values))
