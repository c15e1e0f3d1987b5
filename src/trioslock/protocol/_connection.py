"""The client's side of a binary connection, without I/O.

Order of calls for the code that does the I/O:

1. ``send(command)`` returns the bytes to write; nothing is written here.
2. ``receive_data(data)`` takes what was read, ``b""`` at the end of the stream.
3. ``next_event()`` until it returns ``NEED_DATA``; or ``results()``, which
   returns everything that is whole so far in one list. Before either, plain
   successes may be read by their ``heads()``, which is faster, and skipped.

After a ``RemoteProtocolError`` the stream has lost its frames: close it. Each
further call raises the same error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final

from .._errors import RemoteProtocolError
from ._commands import Command, LockResult, Result
from ._constants import FRAME_SIZE
from ._frames import (
    decode_lock_result,
    decode_lock_results,
    decode_result,
    encode_command,
    plain_frames,
    read_heads,
    result_trailer_size,
)


class NeedData(Enum):
    """Type of the one value ``NEED_DATA``."""

    NEED_DATA = "NEED_DATA"

    def __repr__(self) -> str:
        return self.value


NEED_DATA: Final = NeedData.NEED_DATA
"""Returned when the next event is not whole yet."""


class PlainFrames:
    """Plain successes that were taken out of a `ClientSide`, to be read by their heads.

    Args:
        frames: Of 64 bytes each.
    """

    __slots__ = ("_buffer",)

    def __init__(self, frames: Iterable[bytes]) -> None:
        self._buffer = bytearray().join(frames)

    def __repr__(self) -> str:
        return f"<PlainFrames: {len(self)}>"

    def __len__(self) -> int:
        return len(self._buffer) // FRAME_SIZE

    def heads(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Return the head of each frame: see `read_heads`."""
        return read_heads(self._buffer, 0)

    def success(self, number: int) -> LockResult:
        """Return the whole result of frame number 0, 1, ..."""
        return decode_lock_result(self._buffer, number * FRAME_SIZE)


class ClientSide:
    """Turn commands into bytes, and bytes into results.

    The buffer never holds more than one incomplete frame with its trailer
    (64 bytes and at most 1 MiB) and the bytes of one ``receive_data``.
    """

    __slots__ = ("_buffer", "_error", "_offset")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._offset = 0
        self._error: RemoteProtocolError | None = None

    def __repr__(self) -> str:
        state = "broken" if self._error else f"{self.buffered} bytes buffered"
        return f"<ClientSide: {state}>"

    @property
    def buffered(self) -> int:
        """Bytes received and not returned as a result yet."""
        return len(self._buffer) - self._offset

    def send(self, command: Command) -> bytes:
        """Return the bytes of a command.

        Raises:
            LocalProtocolError: The protocol cannot carry the command.
        """
        return encode_command(command)

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer; ``b""`` is the end of the stream.

        Raises:
            RemoteProtocolError: The stream ended within a frame.
        """
        if self._error is not None:
            raise self._error
        if data:
            self._buffer += data
        elif self.buffered:
            raise self._fail(
                RemoteProtocolError(
                    f"the stream ended within a frame, {self.buffered} bytes into it"
                )
            )

    def next_event(self) -> Result | NeedData:
        """Return the next result, or ``NEED_DATA``.

        Raises:
            RemoteProtocolError: The peer sent no frame of the protocol.
        """
        if self._error is not None:
            raise self._error
        try:
            return self._next_event()
        except RemoteProtocolError as error:
            raise self._fail(error) from None

    def results(self) -> list[Result]:
        """Return all results that are whole, in order.

        Raises:
            RemoteProtocolError: The next bytes are no frame of the protocol. If
                whole results precede them, these are returned first, and the next
                call raises.
        """
        found: list[Result] = []
        if self._error is None:
            self._offset = decode_lock_results(self._buffer, self._offset, found)
        try:
            while (event := self.next_event()) is not NEED_DATA:
                # One frame the slow way, then a run of plain ones the fast way.
                found.append(event)
                self._offset = decode_lock_results(self._buffer, self._offset, found)
        except RemoteProtocolError:
            if not found:
                raise
        return found

    def heads(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Return the heads of the frames that come next: the fast way to read.

        Of a plain success nothing else need be read (see `read_heads`). The frames
        stay in the buffer until `skip`.
        """
        return iter(()) if self._error else read_heads(self._buffer, self._offset)

    def take_plain(self) -> list[bytes]:
        """Remove the plain successes that come next; return each as its frame."""
        frames = [] if self._error else plain_frames(self._buffer, self._offset)
        self._offset += len(frames) * FRAME_SIZE
        return frames

    def success(self, number: int) -> LockResult:
        """Return the whole result of head number 0, 1, ..., a plain success."""
        return decode_lock_result(self._buffer, self._offset + number * FRAME_SIZE)

    def skip(self, number: int) -> bool:
        """Remove that many plain successes from the buffer.

        Returns:
            Whether bytes are left. Usually there are none, and the caller is done.
        """
        self._offset += number * FRAME_SIZE
        if self._offset < len(self._buffer):
            return True
        del self._buffer[:]
        self._offset = 0
        return False

    def _next_event(self) -> Result | NeedData:
        start = self._offset
        body = start + FRAME_SIZE
        if body > len(self._buffer):
            return self._wait()
        size = result_trailer_size(self._buffer, start)
        if size is None or body + size > len(self._buffer):
            return self._wait()
        # Copied: the buffer is cut later, and results outlive it.
        trailer = bytes(self._buffer[body : body + size]) if size else None
        result = decode_result(self._buffer, start, trailer)
        self._offset = body + size
        return result

    def _wait(self) -> NeedData:
        """Drop what was read, so that the buffer holds one partial frame."""
        if self._offset:
            del self._buffer[: self._offset]
            self._offset = 0
        return NEED_DATA

    def _fail(self, error: RemoteProtocolError) -> RemoteProtocolError:
        self._error = error
        self._buffer.clear()
        self._offset = 0
        return error
