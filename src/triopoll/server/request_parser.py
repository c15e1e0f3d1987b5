"""Bytes of one connection to HTTP/1.1 requests. Sans-IO.

Rules of this file:

- `RequestReader.receive_data` takes bytes; `next_request` and `next_body` say
  NEED_DATA until there are enough. What the peer did wrong is `HttpError`, which
  carries the status to answer with; after it the connection is of no more use.
- The head is cut off here, at the first empty line, and only then given to the
  parser (httptools, that is llhttp in its strict mode). So its size has one limit,
  and pipelined requests wait as bytes, not as objects.
- A body of known length is cut off too. A chunked body shows its end only to the
  parser: bytes that came behind it in the same read are lost, so the connection is
  not reused then (`reusable` is False) and the client asks again on a new one.
- Each request has its own parser, which is dropped as soon as it can be. Nothing but
  the headers stays in memory while a request is parked.
- An upgrade that nobody takes up is an ordinary request (Java's client offers h2c
  with each one), but llhttp leaves off behind its head: its body is ours to find.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, Literal

import httptools

__all__ = ["NEED_DATA", "HttpError", "NeedData", "RequestHead", "RequestReader"]

_END_OF_HEAD = b"\r\n\r\n"
_CHUNKED_HEAD = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


class NeedData(enum.Enum):
    """The type of NEED_DATA."""

    NEED_DATA = enum.auto()


NEED_DATA: Final = NeedData.NEED_DATA


class HttpError(Exception):
    """The peer broke the protocol or a limit.

    Attributes:
        status: What to answer before closing.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(slots=True)
class RequestHead:
    """One request head.

    Attributes:
        target: As sent; ASCII, starts with "/" or is "*".
        version: "1.0" or "1.1".
        headers: In order, names in lower case.
        keep_alive: Whether the client lets the connection live on.
        expects_continue: Whether it waits for "100 Continue" before its body.
        upgrades: Whether it asks for another protocol, in lower case, else b"".
    """

    method: str
    target: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    keep_alive: bool
    expects_continue: bool
    upgrades: bytes


class RequestReader:
    """Cut the bytes of one connection into requests and bodies."""

    __slots__ = (
        "_buffer",
        "_max_head_bytes",
        "_max_headers",
        "_message",
        "_parser",
        "_remaining",
        "_searched",
        "_without_body",
        "body_complete",
        "reusable",
    )

    def __init__(self, max_head_bytes: int, max_headers: int) -> None:
        self._max_head_bytes = max_head_bytes
        self._max_headers = max_headers
        self._buffer = bytearray()
        self._searched = 0
        self._message: _Message | None = None
        self._parser: httptools.HttpRequestParser | None = None
        # Bytes of a body of known length that are still to come; None is chunked.
        self._remaining: int | None = 0
        self._without_body = 0
        self.body_complete = True
        self.reusable = True

    @property
    def buffered(self) -> int:
        """Return how many bytes were received and not yet understood."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer."""
        self._buffer += data

    def take_rest(self) -> bytes:
        """Give up the bytes behind an upgrade request."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def next_request(self) -> RequestHead | Literal[NeedData.NEED_DATA]:
        """Return the next request head.

        Raises:
            BadRequest: The head is malformed or too large, or asks for what this
                server does not do.
        """
        head = self._cut_head()
        if head is None:
            return NEED_DATA
        message = _Message()
        parser = httptools.HttpRequestParser(message)
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            message.complete = False  # llhttp has not looked for a body
        except httptools.HttpParserError as error:
            raise HttpError(400, f"malformed request: {error}") from None
        if not message.head_complete or message.overrun:
            raise HttpError(400, "malformed request: it has no HTTP/1 head")
        if len(message.headers) > self._max_headers:
            raise HttpError(431, "the request has too many headers")
        request = _to_request(message, parser)
        self._expect_body(request, message, parser)
        return request

    def next_body(self) -> bytes | Literal[NeedData.NEED_DATA]:
        """Return the next piece of the body; `body_complete` says whether it was last.

        Raises:
            BadRequest: The chunked framing is malformed.
        """
        if self.body_complete:
            return b""
        if not self._buffer:
            return NEED_DATA
        if self._remaining is not None:
            return self._cut_body(self._remaining)
        data = self.take_rest()
        piece = self._feed_chunked(data)
        self._bound_framing(0 if piece else len(data))
        return piece if piece or self.body_complete else NEED_DATA

    def _cut_head(self) -> bytes | None:
        while self._buffer.startswith(b"\r\n"):  # RFC 9112 2.2: may precede a request
            del self._buffer[:2]
        end = self._buffer.find(_END_OF_HEAD, self._searched)
        if max(end, len(self._buffer) if end < 0 else 0) > self._max_head_bytes:
            line_end = self._buffer.find(b"\r\n")
            if 0 <= line_end <= self._max_head_bytes:
                raise HttpError(431, "the request's headers are too large")
            raise HttpError(414, "the request line is too long")
        if end < 0:
            self._searched = max(0, len(self._buffer) - 3)
            return None
        self._searched = 0
        end += len(_END_OF_HEAD)
        head = bytes(self._buffer[:end])
        del self._buffer[:end]
        return head

    def _expect_body(
        self,
        request: RequestHead,
        message: _Message,
        parser: httptools.HttpRequestParser,
    ) -> None:
        length, chunked = 0, False
        if not message.complete:
            for name, value in request.headers:
                if name == b"content-length":  # llhttp let only a number pass
                    length = int(value)
                chunked = chunked or name == b"transfer-encoding"
        self._remaining = None if chunked else length
        self.body_complete = not chunked and not length
        if not chunked:
            return
        if request.upgrades:
            message = _Message()
            parser = httptools.HttpRequestParser(message)
            parser.feed_data(_CHUNKED_HEAD)
        self._without_body = 0
        self._message, self._parser = message, parser

    def _cut_body(self, remaining: int) -> bytes:
        piece = bytes(self._buffer[:remaining])
        del self._buffer[:remaining]
        self._remaining = remaining - len(piece)
        self.body_complete = not self._remaining
        return piece

    def _feed_chunked(self, data: bytes) -> bytes:
        message, parser = self._message, self._parser
        assert message is not None
        assert parser is not None
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            message.overrun = True  # the next request, in the same read, is one
        except httptools.HttpParserError as error:
            if not message.complete:
                raise HttpError(400, f"malformed body: {error}") from None
            message.overrun = True
        piece = b"".join(message.pieces)
        message.pieces.clear()
        if message.complete:
            self.reusable = self.reusable and not message.overrun
            self.body_complete = True
            self._message = self._parser = None
        return piece

    def _bound_framing(self, size: int) -> None:
        # Chunk extensions and trailers are not body: without a limit of their own a
        # peer could send them for ever, and the parser would keep them.
        self._without_body = self._without_body + size if size else 0
        if self._without_body > self._max_head_bytes:
            raise HttpError(431, "chunk extensions or trailers are too large")


class _Message:
    """What the parser tells about one message."""

    __slots__ = (
        "complete",
        "head_complete",
        "headers",
        "overrun",
        "pieces",
        "target",
    )

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.head_complete = False
        self.complete = False
        self.overrun = False

    def on_message_begin(self) -> None:
        self.overrun = self.complete

    def on_url(self, url: bytes) -> None:
        if not self.head_complete:
            self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_complete:  # trailers are not headers
            self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.head_complete = True

    def on_body(self, body: bytes) -> None:
        if not self.complete:
            self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.complete = True


def _to_request(message: _Message, parser: httptools.HttpRequestParser) -> RequestHead:
    version = parser.get_http_version()
    if version not in ("1.0", "1.1"):
        raise HttpError(505, "only HTTP/1.0 and HTTP/1.1 are served")
    method = parser.get_method().decode("ascii")
    if method == "CONNECT":
        raise HttpError(405, "CONNECT is not served")
    hosts = 0
    expects_continue = False
    upgrades = connection = b""
    for name, value in message.headers:
        match name:
            case b"host":
                hosts += 1
            case b"connection":
                connection += b"," + value.lower()
            case b"expect":
                expects_continue = value.lower() == b"100-continue"
            case b"upgrade":
                upgrades = value.lower()
            case _:
                pass
    if hosts > 1 or (not hosts and version == "1.1"):
        raise HttpError(400, "the request needs exactly one Host header")
    return RequestHead(
        method=method,
        target=_check_target(message.target),
        version=version,
        headers=message.headers,
        keep_alive=_keeps_alive(version, connection),
        expects_continue=expects_continue,
        upgrades=upgrades if parser.should_upgrade() else b"",
    )


def _keeps_alive(version: str, connection: bytes) -> bool:
    # Not llhttp's own answer: it is void once the message is complete.
    if not connection:
        return version == "1.1"
    tokens = [token.strip() for token in connection.split(b",")]
    return b"close" not in tokens and (version == "1.1" or b"keep-alive" in tokens)


def _check_target(target: bytes) -> bytes:
    if not target.isascii():
        raise HttpError(400, "the request target has bytes that are not ASCII")
    if target.startswith(b"/") or target == b"*":
        return target
    try:  # RFC 9112 3.2.2: a server must accept the absolute form
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        raise HttpError(400, "the request target is malformed") from None
    return (url.path or b"/") + (b"?" + url.query if url.query else b"")
