r"""Framing of the text dialect: RESP arrays in, RESP replies out.

A request is an array of bulk strings, ``*1\r\n$4\r\nPING\r\n``, and nothing else:
no inline commands, no LF without CR. `RespReader` splits the stream into requests, in
two ways. What arrives whole, in the form that every client library sends, is split at
its line ends in one go. Everything else (a request in pieces, a word that holds a line
end, a count with a leading zero) goes through a parser that keeps its place, so that
no byte is read twice however slowly the bytes arrive.

Source: snower/slock 2.1.12, ``protocol/textparse.go`` (``ParseRequest``,
``BuildResponse``). Stricter than there: a bulk string must end in CR LF right behind
its announced length, a negative length is an error and no empty word, and size and
number of words are limited.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from ..._errors import RemoteProtocolError

MAX_REQUEST_SIZE = 2 * 1_048_576
"""Largest sum of the words of one request: a value of 1 MiB, and as much again."""

MAX_REQUEST_WORDS = 1024
"""Most words of one request."""

_MAX_LINE = 32
"""Longest ``*count`` or ``$length`` line, its CR LF included."""

_CRLF = b"\r\n"
_SIZE_LINES: Final = {size: b"$%d" % size for size in range(4096)}


class RespRequest(NamedTuple):
    """One request of the text dialect: at least one word."""

    words: list[bytes]


class CommandError(RemoteProtocolError):
    """A text request that is answered with an error; the connection goes on."""


class RespReader:
    """Split a stream of bytes into text requests.

    Bytes are parsed by ``next_request``. The buffers hold one incomplete request
    (`MAX_REQUEST_SIZE`) and what was received since.
    """

    __slots__ = (
        "_buffer",
        "_consumed",
        "_count",
        "_error",
        "_incoming",
        "_offset",
        "_ready",
        "_size",
        "_words",
    )

    def __init__(self) -> None:
        self._incoming = bytearray()
        self._ready: deque[list[bytes]] = deque()
        self._error: RemoteProtocolError | None = None
        self._buffer = bytearray()
        self._offset = 0
        # Of the request that is being parsed: the words so far, their number in the
        # end (0: its first line is still to come), their size, and the number of its
        # bytes that have left the buffer.
        self._words: list[bytes] = []
        self._count = 0
        self._size = 0
        self._consumed = 0

    @property
    def buffered(self) -> int:
        """Bytes received and not parsed into requests yet."""
        return len(self._incoming) + len(self._buffer) + self._consumed

    def receive(self, data: bytes | bytearray) -> None:
        """Take bytes."""
        self._incoming += data

    def next_request(self) -> list[bytes] | None:
        """Return the words of the next whole request, or None.

        Raises:
            RemoteProtocolError: The next bytes are no request. Each further call
                raises the same error.
        """
        if not self._ready and self._incoming:
            self._parse_incoming()
        if self._ready:
            return self._ready.popleft()
        if self._error is not None:
            raise self._error
        return None

    def _parse_incoming(self) -> None:
        try:
            # First the rest of a request that has begun; what follows may be plain.
            if self.buffered > len(self._incoming):
                self._buffer += self._incoming
                self._incoming.clear()
                if not self._parse(1):
                    return
                self._incoming, self._buffer = self._buffer, self._incoming
            data = bytes(self._incoming)
            self._incoming.clear()
            self._buffer += self._split_whole(data)
            self._parse(len(data))
        except RemoteProtocolError as cause:
            self._error = cause
            self._buffer.clear()
            self._consumed = 0

    def _split_whole(self, data: bytes) -> bytes:
        """Remove the whole requests in plain form from the front; return the rest."""
        lines = data.split(_CRLF)
        last = len(lines) - 1
        start = 0
        while start < last:
            count = lines[start][1:]
            if lines[start][:1] != b"*" or not count.isdigit() or len(count) > 4:
                break
            end = start + 1 + 2 * int(count)
            if end > last or not 0 < int(count) <= MAX_REQUEST_WORDS:
                break
            words = lines[start + 2 : end : 2]
            # A word that holds a line end was split, so its length does not match.
            sizes = list(map(_SIZE_LINES.get, map(len, words)))
            if sizes != lines[start + 1 : end : 2]:
                break
            self._ready.append(words)
            start = end
        return _CRLF.join(lines[start:]) if start else data

    def _parse(self, most: int) -> int:
        """Parse at most ``most`` requests from the buffer; return how many."""
        found = 0
        # Negative where the request began in bytes that have left the buffer.
        start = -self._consumed
        while found < most and self._parse_part():
            if len(self._words) == self._count:
                self._ready.append(self._words)
                self._words = []
                self._count = self._size = 0
                start = self._offset
                found += 1
        self._consumed = self._offset - start
        del self._buffer[: self._offset]
        self._offset = 0
        return found

    def _parse_part(self) -> bool:
        """Parse a request's first line or one word; False when it is not whole yet."""
        if self._count:
            return self._parse_word()
        count = self._parse_number(b"*")
        if count is None:
            return False
        # The real server reads 0 and less as 1.
        self._count = max(count, 1)
        self._check_limits(0)
        return True

    def _parse_word(self) -> bool:
        start = self._offset
        size = self._parse_number(b"$")
        if size is None:
            return False
        self._check_limits(size)
        end = self._offset + size
        line_end = self._buffer[end : end + len(_CRLF)]
        if not _CRLF.startswith(line_end):
            raise RemoteProtocolError(
                "a word of a text request is longer than its announced length"
            )
        if len(line_end) < len(_CRLF):
            self._offset = start
            return False
        self._words.append(bytes(self._buffer[self._offset : end]))
        self._size += size
        self._offset = end + len(_CRLF)
        return True

    def _parse_number(self, mark: bytes) -> int | None:
        """Parse a line of ``mark`` and a number; None when it is not whole yet."""
        line = bytes(self._buffer[self._offset : self._offset + _MAX_LINE])
        if not line.startswith(mark) and line:
            raise RemoteProtocolError(
                f"a text request has {line[:1]!r} where {mark!r} is expected"
            )
        text, line_feed, _ = line.partition(b"\n")
        if not line_feed and len(line) < _MAX_LINE:
            return None
        number = parse_integer(text[1:-1]) if text.endswith(b"\r") else None
        if number is None:
            raise RemoteProtocolError("a line of a text request has no number")
        self._offset += len(text) + 1
        return number

    def _check_limits(self, size: int) -> None:
        if size < 0:
            raise RemoteProtocolError("a text request has a word of negative length")
        if self._count > MAX_REQUEST_WORDS or self._size + size > MAX_REQUEST_SIZE:
            raise RemoteProtocolError(
                f"a text request is above {MAX_REQUEST_WORDS} words "
                f"or {MAX_REQUEST_SIZE} bytes"
            )


def parse_integer(word: bytes) -> int | None:
    """Parse a decimal number of 64 bits with an optional sign; None for anything else.

    ``int`` alone would also accept blanks and underscores.
    """
    if word.isdigit() and len(word) < 19:
        return int(word)
    digits = word[1:] if word[:1] in {b"-", b"+"} else word
    if not digits.isdigit() or len(digits) > 19:
        return None
    number = int(word)
    return number if -(1 << 63) <= number < 1 << 63 else None


def read_integer(word: bytes, message: str) -> int:
    """Parse a number as `parse_integer` does.

    Raises:
        CommandError: It is none; ``message`` is the reply.
    """
    number = parse_integer(word)
    if number is None:
        raise CommandError(message)
    return number


# Replies.

OK = b"+OK\r\n"
PONG = b"+PONG\r\n"
NIL = b"$-1\r\n"


def simple(text: str) -> bytes:
    """Return a status line."""
    return b"+" + text.encode() + _CRLF


def error(text: str) -> bytes:
    """Return an error line; line ends in the text become blanks."""
    clean = text.replace("\r", " ").replace("\n", " ")
    return b"-" + clean.encode() + _CRLF


def integer(number: int) -> bytes:
    """Return a number."""
    return b":%d\r\n" % number


def bulk(value: bytes) -> bytes:
    """Return one bulk string."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def bulk_number(number: int) -> bytes:
    """Return a number as a bulk string, which is how LOCK replies carry one."""
    return bulk(b"%d" % number)


def array(values: Iterable[bytes]) -> bytes:
    """Return an array of bulk strings, whatever their number."""
    items = [bulk(value) for value in values]
    return b"*%d\r\n" % len(items) + b"".join(items)


def listing(values: Iterable[bytes]) -> bytes:
    """Return values as the server answers lists.

    No value is an empty status line, one value is a bare bulk string, and only
    several are an array.

    Source: ``BuildResponse``.
    """
    items = list(values)
    if len(items) > 1:
        return array(items)
    return bulk(items[0]) if items else simple("")
