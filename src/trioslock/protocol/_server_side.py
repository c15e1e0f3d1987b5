"""The server's side of a connection, without I/O: both dialects, detected here.

Order of calls for the code that does the I/O:

1. ``receive_data(data)`` takes what was read.
2. ``next_event()`` until it returns ``NEED_DATA``: commands from a binary
   connection, `RespRequest` from a text one.
3. ``send(result)`` returns the bytes of a binary result. Text replies are made by
   the functions of ``resp`` and need no state.

The first two bytes select the dialect: ``56 01`` is binary, ``*`` is text, anything
else is neither. (The real server looks at the first *read* instead, and takes a binary
frame that arrives in two pieces for bad text. Waiting for the rest refuses no client
that the real server accepts.) The dialect changes once at most: ADMIN makes a binary
connection a text one.

After a ``RemoteProtocolError`` the stream has lost its frames: close it without a
reply. Each further call raises the same error.

Source: snower/slock 2.1.12, ``server/server.go`` (``handle``), ``server/protocol.go``
(``BinaryServerProtocol.Read``, ``ProcessParse``).
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from .._errors import RemoteProtocolError
from ._commands import Command, PlainCommand, PlainResult, Result
from ._connection import NEED_DATA, NeedData
from ._constants import FRAME_SIZE, ID_SIZE, MAGIC, VERSION, CommandType, ResultCode
from ._frames import command_trailer_size, decode_command, encode_result
from .resp import RespReader, RespRequest

_ADMIN = int(CommandType.ADMIN)
_BINARY_START = bytes((MAGIC, VERSION))


class Dialect(Enum):
    """The dialect of a connection."""

    UNKNOWN = ""
    BINARY = "binary"
    TEXT = "text"


class BadHeader(NamedTuple):
    """A frame with wrong magic or version: send ``result``, then close."""

    result: PlainResult


Event = Command | RespRequest | BadHeader


class ServerSide:
    """Turn bytes into commands or text requests, and results into bytes.

    Buffers hold one incomplete frame with its trailer (64 bytes and at most 1 MiB)
    or one incomplete text request (`MAX_REQUEST_SIZE`), and what was received and not
    returned yet: the caller bounds that by reading no further (see ``buffered``).
    """

    __slots__ = ("_buffer", "_dialect", "_error", "_offset", "_resp")

    def __init__(self) -> None:
        self._dialect = Dialect.UNKNOWN
        self._buffer = bytearray()
        self._offset = 0
        self._resp = RespReader()
        self._error: RemoteProtocolError | None = None

    def __repr__(self) -> str:
        state = "broken" if self._error else f"{self.buffered} bytes buffered"
        return f"<ServerSide: {self._dialect.value or 'no dialect yet'}, {state}>"

    @property
    def dialect(self) -> Dialect:
        """The dialect, ``UNKNOWN`` before the first two bytes."""
        return self._dialect

    @property
    def buffered(self) -> int:
        """Bytes received and not returned as events yet."""
        return len(self._buffer) - self._offset + self._resp.buffered

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer.

        Raises:
            RemoteProtocolError: An earlier call has raised it.
        """
        if self._error is not None:
            raise self._error
        if self._dialect is Dialect.TEXT:
            self._resp.receive(data)
        else:
            self._buffer += data

    def next_event(self) -> Event | NeedData:
        """Return the next command or text request, or ``NEED_DATA``.

        Raises:
            RemoteProtocolError: The bytes are of neither dialect, or announce
                more than `MAX_DATA_SIZE`.
        """
        if self._error is not None:
            raise self._error
        try:
            if self._dialect is Dialect.BINARY:
                return self._next_command()
            return self._next_other()
        except RemoteProtocolError as error:
            self._error = error
            self._buffer.clear()
            self._offset = 0
            raise

    def send(self, result: Result) -> bytes:
        """Return the bytes of a result on a binary connection.

        Raises:
            LocalProtocolError: A number does not fit its field.
        """
        return encode_result(result)

    def _next_other(self) -> Event | NeedData:
        if self._dialect is Dialect.UNKNOWN:
            self._choose_dialect()
        if self._dialect is not Dialect.TEXT:
            return self._next_command()
        words = self._resp.next_request()
        return NEED_DATA if words is None else RespRequest(words)

    def _next_command(self) -> Command | BadHeader | NeedData:
        start = self._offset
        body = start + FRAME_SIZE
        buffer = self._buffer
        if body > len(buffer):
            return self._wait()
        if buffer[start] != MAGIC or buffer[start + 1] != VERSION:
            return self._bad_header(start)
        size = command_trailer_size(buffer, start)
        if size is None or body + size > len(buffer):
            return self._wait()
        trailer = bytes(buffer[body : body + size]) if size else None
        self._offset = body + size
        command = decode_command(buffer, start, trailer)
        if command[0] == _ADMIN and type(command) is PlainCommand:
            self._switch_to_resp()
        return command

    def _choose_dialect(self) -> None:
        head = bytes(self._buffer[:2])
        if head == _BINARY_START:
            self._dialect = Dialect.BINARY
        elif not _BINARY_START.startswith(head):
            # No check for "*" here: the text reader refuses anything else.
            self._switch_to_resp()

    def _switch_to_resp(self) -> None:
        self._dialect = Dialect.TEXT
        self._resp.receive(self._buffer[self._offset :])
        self._buffer.clear()
        self._offset = 0

    def _bad_header(self, start: int) -> BadHeader:
        wrong_magic = self._buffer[start] != MAGIC
        code = ResultCode.UNKNOWN_MAGIC if wrong_magic else ResultCode.UNKNOWN_VERSION
        kind = self._buffer[start + 2]
        request_id = bytes(self._buffer[start + 3 : start + 3 + ID_SIZE])
        # Kept for the next call: this one returns the answer that precedes the close.
        self._error = RemoteProtocolError(f"a frame has {code.name}")
        return BadHeader(PlainResult(kind, request_id, code))

    def _wait(self) -> NeedData:
        """Drop what was read, so that the buffer holds one partial frame."""
        if self._offset:
            del self._buffer[: self._offset]
            self._offset = 0
        return NEED_DATA
