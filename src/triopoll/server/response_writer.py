"""HTTP/1.1 responses to bytes. Sans-IO, and the only place that frames a body.

The head is held back until the first piece of the body, so that a short answer is one
write. A response whose length is not known is chunked (HTTP/1.1) or ends with the
connection (HTTP/1.0). What the application does wrong is a RuntimeError.
"""

# Addresses and buffers come from the standard library without a closer type:
# pyright: reportMatchNotExhaustive=false

from __future__ import annotations

import email.utils
import http
import time
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["ResponseWriter", "plain_response", "switching_protocols"]

_FORBIDDEN = (b"\r", b"\n", b"\0")
_STATUS_LINES = {
    int(status): f"HTTP/1.1 {int(status)} {status.phrase}\r\n".encode()
    for status in http.HTTPStatus
}


class _Fields(NamedTuple):
    """The header fields that an application sends.

    Attributes:
        lines: Those that are sent as they are.
        length: Of the body, if they say it.
        closes: Whether they end the connection.
        is_dated: Whether they have a date.
    """

    lines: bytes
    length: int | None
    closes: bool
    is_dated: bool


# Applications send the same few headers again and again: those that are not long, and
# not for one client alone, are kept, and so many of them.
_CACHED_LENGTH = 500
_CACHED = 256
_cached_fields: dict[Iterable[tuple[bytes, bytes]], _Fields] = {}


class ResponseWriter:
    """Turn the pieces of one response into bytes.

    Attributes:
        started: Bytes of the response have been returned.
        complete: All of it has been returned.
        status: Its status; None before `start`.
        keep_alive: The connection may serve another request after it.
    """

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_head",
        "_length",
        "_method",
        "_sent",
        "_version",
        "complete",
        "keep_alive",
        "started",
        "status",
    )

    def __init__(self, method: str, version: str, *, keep_alive: bool) -> None:
        self._method = method
        self._version = version
        self._head: bytes | None = None
        self._length: int | None = None
        self._sent = 0
        self._chunked = False
        self._bodiless = False
        self.started = False
        self.complete = False
        self.status: int | None = None
        self.keep_alive = keep_alive

    @property
    def opened(self) -> bool:
        """Return whether `start` has been called."""
        return self._head is not None

    def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Take status and headers.

        Args:
            status: 200 to 599.
            headers: Names in any case. ``Connection: close`` ends the connection after
                the response; other framing headers but Content-Length are dropped.

        Raises:
            RuntimeError: It was called twice, or status or a header is not valid.
        """
        if self._head is not None:
            raise RuntimeError("the response has been started already")
        if not 200 <= status <= 599:
            raise RuntimeError(f"status must be from 200 to 599, not {status}")
        self.status = status
        self._bodiless = self._method == "HEAD" or status in (204, 304)
        fields = _fields_of(headers)
        self._length = fields.length
        self.keep_alive = self.keep_alive and not fields.closes
        date = b"" if fields.is_dated else _date_line()
        line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        self._head = line + fields.lines + date

    def data(self, body: bytes, *, more: bool) -> bytes:
        """Take a piece of the body and return the bytes to write, maybe none.

        Args:
            body: The piece, maybe empty.
            more: False for the last one.

        Raises:
            RuntimeError: The response was not started or is complete, or the body is
                longer or shorter than its Content-Length.
        """
        if self._head is None:
            raise RuntimeError("the response's body comes before its start")
        if self.complete:
            raise RuntimeError("the response is complete")
        if self._length is not None and not self._bodiless:
            self._count(len(body), self._length, more=more)
        prefix = b"" if self.started else self._end_head(len(body), more=more)
        self.started = True
        self.complete = not more
        if self._bodiless:
            return prefix
        if self._chunked:
            body = _chunk(body, more=more)
        return prefix + body

    def _count(self, size: int, length: int, *, more: bool) -> None:
        # A longer or shorter body would shift the next answer on the connection.
        self._sent += size
        if self._sent > length or (not more and self._sent < length):
            raise RuntimeError(
                f"Content-Length is {length}, the body has {self._sent} bytes"
            )

    def _end_head(self, size: int, *, more: bool) -> bytes:
        assert self._head is not None
        lines = [self._head]
        if self._length is None and not self._bodiless:
            if not more:
                lines.append(b"content-length: %d\r\n" % size)
            elif self._version == "1.1":
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self.keep_alive = False
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        elif self._version == "1.0":
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        self._head = b""
        return b"".join(lines)


def plain_response(status: int, text: str) -> bytes:
    """Return a whole text/plain response that announces the end of the connection."""
    writer = ResponseWriter("GET", "1.1", keep_alive=False)
    writer.start(status, [(b"content-type", b"text/plain; charset=utf-8")])
    return writer.data(text.encode() + b"\n", more=False)


def switching_protocols(
    protocol: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """Return the head that ends HTTP on this connection.

    Raises:
        RuntimeError: A header is not valid.
    """
    lines = [b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: "]
    lines += (protocol, b"\r\n")
    for name, value in headers:
        lines.append(_header_line(name, value)[1])
    lines.append(b"\r\n")
    return b"".join(lines)


def _chunk(body: bytes, *, more: bool) -> bytes:
    # An empty chunk would end the body.
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return chunk if more else chunk + b"0\r\n\r\n"


def _header_line(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Return the name in lower case, and the line."""
    for byte in _FORBIDDEN:
        if byte in value or byte in name:
            raise RuntimeError(f"header {name!r} has a forbidden byte")
    if not name or b":" in name or b" " in name:
        raise RuntimeError(f"{name!r} is not a header name")
    return name.lower(), b"%b: %b\r\n" % (name, value)


def _fields_of(headers: Iterable[tuple[bytes, bytes]]) -> _Fields:
    """Return header fields, from the cache where they are the same as before."""
    headers = tuple(headers)
    try:
        if (fields := _cached_fields.get(headers)) is not None:
            return fields
    except TypeError:
        # ASGI allows pairs that are lists, which have no hash.
        return _parse_fields(headers)
    fields = _parse_fields(headers)
    size = sum([len(name) + len(value) for name, value in headers])
    if size <= _CACHED_LENGTH and b"set-cookie" not in fields.lines.lower():
        if len(_cached_fields) >= _CACHED:
            _cached_fields.clear()
        _cached_fields[headers] = fields
    return fields


def _parse_fields(headers: Iterable[tuple[bytes, bytes]]) -> _Fields:
    lines: list[bytes] = []
    length: int | None = None
    closes = is_dated = False
    for name, value in headers:
        key, line = _header_line(name, value)
        match key:
            case b"connection":
                closes = closes or value.lower() == b"close"
                continue
            case b"transfer-encoding" | b"keep-alive":
                continue
            case b"content-length":
                length = int(value)
            case b"date":
                is_dated = True
        lines.append(line)
    return _Fields(b"".join(lines), length, closes, is_dated)


# The date header changes once a second; formatting it costs as much as a whole head.
_date_cache: tuple[int, bytes] = (0, b"")


def _date_line() -> bytes:
    global _date_cache  # noqa: PLW0603  # a cache of one entry
    now = int(time.time())
    if now != _date_cache[0]:
        text = email.utils.formatdate(now, usegmt=True)
        _date_cache = (now, f"date: {text}\r\n".encode())
    return _date_cache[1]
