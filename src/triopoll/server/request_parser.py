"""HTTP/1.1 requests out of the bytes of one connection. Sans-IO.

Rules of this file:

- `RequestReader.receive_data` takes bytes. `next_request` and `next_body` return
  NEED_DATA until there are enough. What the client did wrong is an `HttpError`, with
  the status to answer; the connection is of no use after it.
- A head is cut off at its first empty line and matched as a whole against the grammar
  of RFC 9112. The grammar is taken strictly: no bare LF, no folded header, one space
  between the parts of the first line. Request smuggling needs two parsers that read one
  request differently, so what is doubtful is refused.
- The size of a head is limited before it is parsed. Pipelined requests wait as bytes,
  not as objects, and nothing but its headers stays in memory while a request is parked.
- An upgrade that the application does not take up is an ordinary request with an
  ordinary body (Java's HTTP client offers h2c with each request).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final, Literal, NoReturn

from .chunked_body import ChunkedBody
from .errors import HttpError

__all__ = ["NEED_DATA", "NeedData", "RequestHead", "RequestReader"]

_END_OF_HEAD = b"\r\n\r\n"

# Possessive quantifiers (++, *+) keep the time linear for a head that does not match.
_FIRST_LINE = rb"([A-Z_-]++) ([\x21-\x7e]++) HTTP/(\d\.\d)\r\n"
_HEADER = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n"
_HEAD = re.compile(_FIRST_LINE + rb"((?:" + _HEADER + rb")*+)\r\n")
_FIRST_LINE_ONLY = re.compile(_FIRST_LINE)
# For lines that are known to match _HEADER.
_NAME_AND_VALUE = re.compile(rb"([^:]++):([^\r]*+)\r\n")

# Headers that the server itself acts on. Of those in _ONCE a second one is refused:
# they say where the message ends and which host it is for.
_ONCE = frozenset((b"host", b"content-length", b"transfer-encoding"))
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_UNDERSTOOD = _ONCE | {b"connection", b"expect", b"upgrade"}

# RFC 9110, section 7.2, with the host of RFC 3986, section 3.2.2.
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9._~!$&'()*+,;=%-]++)(?::[0-9]{0,5}+)?"
)
# RFC 9112, section 3.2.2: a server must accept the form that clients send to a proxy.
_ABSOLUTE_FORM = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*+://[^/?#]++(/[^?]*+)?(\?.*+)?")
# Seventeen digits and more are the length of no body.
_LENGTH = re.compile(rb"[0-9]{1,16}+")


class NeedData(enum.Enum):
    """The type of NEED_DATA."""

    NEED_DATA = enum.auto()


NEED_DATA: Final = NeedData.NEED_DATA


@dataclass(slots=True)
class RequestHead:
    """One request head.

    Attributes:
        method: As sent, in capitals for the methods there are.
        target: As sent; ASCII, starts with "/" or is "*".
        version: "1.0" or "1.1".
        headers: In order, names in lower case.
        keep_alive: Whether the client keeps the connection open for another request.
        expects_continue: Whether it waits for "100 Continue" before its body.
        upgrades: The protocol that it asks for, in lower case, else b"".
        body_length: Bytes of the body; None if it is chunked.
    """

    method: str
    target: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    keep_alive: bool
    expects_continue: bool
    upgrades: bytes
    body_length: int | None = 0


class RequestReader:
    """Cut the bytes of one connection into requests and bodies.

    Attributes:
        body_complete: The body of the last request has been returned whole.
    """

    __slots__ = (
        "_buffer",
        "_chunks",
        "_max_head_bytes",
        "_max_headers",
        "_remaining",
        "_searched",
        "body_complete",
    )

    def __init__(self, max_head_bytes: int, max_headers: int) -> None:
        self._max_head_bytes = max_head_bytes
        self._max_headers = max_headers
        self._buffer = bytearray()
        # How much of the buffer is known not to have the end of a head.
        self._searched = 0
        # The rest of the current body: chunked, or so many bytes.
        self._chunks: ChunkedBody | None = None
        self._remaining = 0
        self.body_complete = True

    @property
    def buffered(self) -> int:
        """Return how many bytes have been received and not been used."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._buffer += data

    def take_rest(self) -> bytes:
        """Remove and return the bytes behind an upgrade request."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def next_request(self) -> RequestHead | Literal[NeedData.NEED_DATA]:
        """Return the next request head.

        Raises:
            HttpError: The head is malformed or too large, or asks for something that
                this server does not do.
        """
        head = self._cut_head()
        if head is None:
            return NEED_DATA
        request = _parse_head(head, self._max_headers)
        length = request.body_length
        self._chunks = ChunkedBody(self._max_head_bytes) if length is None else None
        self._remaining = length or 0
        self.body_complete = length == 0
        return request

    def next_body(self) -> bytes | Literal[NeedData.NEED_DATA]:
        """Return the next piece of the body; `body_complete` says whether it was last.

        Raises:
            HttpError: The chunked framing is malformed or too large.
        """
        if self.body_complete:
            return b""
        if not self._buffer:
            return NEED_DATA
        if self._chunks is None:
            piece = bytes(self._buffer[: self._remaining])
            del self._buffer[: self._remaining]
            self._remaining -= len(piece)
            self.body_complete = not self._remaining
        else:
            piece = self._chunks.take(self._buffer)
            self.body_complete = self._chunks.complete
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
            # The end may be cut in two by this read and the next.
            self._searched = max(0, len(self._buffer) - len(_END_OF_HEAD) + 1)
            return None
        self._searched = 0
        end += len(_END_OF_HEAD)
        head = bytes(self._buffer[:end])
        del self._buffer[:end]
        return head


def _parse_head(head: bytes, max_headers: int) -> RequestHead:
    match = _HEAD.fullmatch(head)
    if match is None:
        raise HttpError(400, _why_malformed(head))
    method, target, version, lines = match.groups()
    if version not in (b"1.1", b"1.0") or method in (b"CONNECT", b"PRI"):
        _refuse_protocol(method)
    if lines.count(b"\r\n") > max_headers:
        raise HttpError(431, "the request has too many headers")
    headers: list[tuple[bytes, bytes]] = []
    found: dict[bytes, bytes] = {}
    for name, value in _NAME_AND_VALUE.findall(lines):
        name, value = name.lower(), value.strip(b" \t")
        headers.append((name, value))
        if name in _UNDERSTOOD:
            found[name] = value if name not in found else _join(found, name, value)
    host = found.get(b"host")
    if version == b"1.1" if host is None else _HOST.fullmatch(host) is None:
        raise HttpError(400, "the request needs a Host header with the name of a host")
    connection = found.get(b"connection")
    tokens = _tokens(connection) if connection else ()
    return RequestHead(
        method=method.decode(),
        target=target if target[:1] == b"/" else _to_origin_form(target),
        version=version.decode(),
        headers=headers,
        keep_alive=(
            b"close" not in tokens and (version == b"1.1" or b"keep-alive" in tokens)
        ),
        expects_continue=found.get(b"expect", b"").lower() == b"100-continue",
        # RFC 9110, section 7.8: HTTP/1.0 has no upgrades.
        upgrades=(
            found.get(b"upgrade", b"").lower()
            if b"upgrade" in tokens and version == b"1.1"
            else b""
        ),
        body_length=_body_length(found, version) if found.keys() & _FRAMING else 0,
    )


def _why_malformed(head: bytes) -> str:
    if _FIRST_LINE_ONLY.match(head) is None:
        return "malformed request: the first line is not METHOD /TARGET HTTP/1.1"
    return "malformed request: a header is not NAME: VALUE on one line"


def _refuse_protocol(method: bytes) -> NoReturn:
    if method == b"PRI":  # RFC 9113, section 3.4
        raise HttpError(400, "HTTP/2 without TLS is not served; use HTTP/1.1")
    if method == b"CONNECT":
        raise HttpError(405, "CONNECT is not served")
    raise HttpError(505, "only HTTP/1.0 and HTTP/1.1 are served")


def _join(found: dict[bytes, bytes], name: bytes, value: bytes) -> bytes:
    """Return the value of a header that has come once before."""
    if name in _ONCE:
        raise HttpError(400, f"the request has more than one {name.decode()} header")
    return found[name] + b"," + value


def _tokens(connection: bytes) -> list[bytes]:
    return [token.strip(b" \t") for token in connection.lower().split(b",")]


def _body_length(found: dict[bytes, bytes], version: bytes) -> int | None:
    """Return the length of a body; None if it is chunked."""
    length, encoding = found.get(b"content-length"), found.get(b"transfer-encoding")
    if encoding is None and length is not None and _LENGTH.fullmatch(length):
        return int(length)
    if encoding is None:
        raise HttpError(400, "Content-Length is not a number of bytes")
    # Of the two, one proxy on the way may have used this one, and another that one.
    if length is not None or version == b"1.0":
        raise HttpError(400, "Transfer-Encoding is not for this request")
    if encoding.lower() != b"chunked":
        raise HttpError(400, "the only Transfer-Encoding that is read is chunked")
    return None


def _to_origin_form(target: bytes) -> bytes:
    if target == b"*":
        return target
    match = _ABSOLUTE_FORM.fullmatch(target)
    if match is None:
        raise HttpError(400, "the request target is malformed")
    path, query = match.groups(b"")
    return (path or b"/") + query
