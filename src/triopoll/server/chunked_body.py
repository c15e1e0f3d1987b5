"""A chunked request body out of the bytes of one connection. Sans-IO.

The grammar is that of RFC 9112, section 7.1, taken strictly: lines end in CRLF, the
size is one to fifteen hexadecimal digits, extensions and trailers are checked and
dropped. What does not match is an `HttpError`. Bytes behind the body stay in the
buffer.
"""

# Addresses and buffers come from the standard library without a closer type:
# pyright: reportUnnecessaryComparison=false

from __future__ import annotations

import re

from .errors import HttpError

__all__ = ["ChunkedBody"]

# Sixteen digits could be a size that no file has: nginx refuses them too.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15}+)(?:;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_TRAILER_LINE = re.compile(
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+)?\r\n"
)
_CRLF = b"\r\n"


class ChunkedBody:
    """Cut the data of one chunked body out of a buffer.

    Attributes:
        complete: The last chunk and its trailers have been taken.
    """

    __slots__ = ("_line_limit", "_remaining", "_trailer_bytes", "complete")

    def __init__(self, line_limit: int) -> None:
        """Begin before the first chunk.

        Args:
            line_limit: Greatest length in bytes of a size line with its extensions, and
                of all trailers together. Neither is data, so without a limit a peer
                could send them for ever.
        """
        self._line_limit = line_limit
        # Bytes of the current chunk that are still to come, its CRLF included.
        self._remaining = 0
        # None before the last chunk; then how many bytes of trailers there were.
        self._trailer_bytes: int | None = None
        self.complete = False

    def take(self, buffer: bytearray) -> bytes:
        """Remove from the buffer what is understood; return the data in it.

        Raises:
            HttpError: 400 where the bytes are not a chunked body, 431 where a size line
                or the trailers are too long.
        """
        pieces: list[bytes] = []
        place = 0
        while not self.complete:
            if self._remaining:
                end = self._take_data(buffer, place, pieces)
            else:
                end = self._take_line(buffer, place)
            if end == place:
                break  # what is left is not whole yet
            place = end
        del buffer[:place]
        return b"".join(pieces)

    def _take_data(self, buffer: bytearray, place: int, pieces: list[bytes]) -> int:
        """Take data, or the CRLF behind it; return where it ends."""
        end = min(len(buffer), place + self._remaining)
        data_end = min(end, place + self._remaining - len(_CRLF))
        if data_end > place:
            pieces.append(bytes(buffer[place:data_end]))
            self._remaining -= data_end - place
            return data_end
        if end - place < len(_CRLF):
            return place
        if buffer[place:end] != _CRLF:
            raise HttpError(400, "malformed body: a chunk does not end with its size")
        self._remaining = 0
        return end

    def _take_line(self, buffer: bytearray, place: int) -> int:
        """Take a size line or a trailer; return where it ends."""
        # Not the CRLF: a line that ends in a bare LF is to be refused, not waited for.
        end = buffer.find(b"\n", place) + 1
        length = (end or len(buffer)) - place + (self._trailer_bytes or 0)
        if length > self._line_limit:
            raise HttpError(431, "chunk extensions or trailers are too large")
        if not end:
            return place
        if self._trailer_bytes is None:
            self._begin_chunk(buffer, place, end)
        else:
            self._take_trailer(buffer, place, end)
        return end

    def _begin_chunk(self, buffer: bytearray, place: int, end: int) -> None:
        match = _SIZE_LINE.fullmatch(buffer, place, end)
        if match is None:
            raise HttpError(400, "malformed body: a line is not the size of a chunk")
        size = int(match[1], 16)
        if size:
            self._remaining = size + len(_CRLF)
        else:
            self._trailer_bytes = 0

    def _take_trailer(self, buffer: bytearray, place: int, end: int) -> None:
        if _TRAILER_LINE.fullmatch(buffer, place, end) is None:
            raise HttpError(400, "malformed body: a trailer is not NAME: VALUE")
        assert self._trailer_bytes is not None
        self._trailer_bytes += end - place
        self.complete = end - place == len(_CRLF)
