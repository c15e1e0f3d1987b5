"""64-byte frames to commands and results and back, by table.

Rules of this file:

- A frame is 64 bytes: magic, version, type, 16 bytes of request id, then the
  fields of the type. Some are followed by a *trailer*: a data frame behind
  LOCK, UNLOCK and PUBLISH with the data flag, content behind CALL.
- Decoders take a buffer and an offset and never read past one frame; the
  trailer is handed in, cut by `command_trailer_size` or `result_trailer_size`.
- Encoders check the length of every id: ``struct`` would cut or pad it silently,
  and a lock on the wrong key is the worst error of a client.

Source: snower/slock 2.1.12, ``protocol/command.go`` (``Encode``, ``Decode``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, cast

from .._errors import LocalProtocolError, RemoteProtocolError
from ._commands import (
    CallCommand,
    CallResult,
    Command,
    InitCommand,
    InitResult,
    LeaderResult,
    LockCommand,
    LockResult,
    PlainCommand,
    PlainResult,
    Result,
    StateCommand,
    StateResult,
    SubscribeCommand,
    SubscribeResult,
)
from ._constants import (
    FRAME_SIZE,
    ID_SIZE,
    MAGIC,
    MAX_DATA_SIZE,
    VERSION,
    CommandType,
    LockFlag,
)

FRAME_HEAD = bytes((MAGIC, VERSION))
"""The first bytes of each frame."""

MAY_HAVE_TRAILER = 19
"""Offset of the byte of a command whose bit ``LockFlag.DATA`` announces a data frame,
if the command is one that can have one."""

_PLAIN = struct.Struct("<BBB16s45x")
_LOCK = struct.Struct("<BBB16sBB16s16sHHHHHB")
_CALL = struct.Struct("<BBB16sBBBI38s")
_PLAIN_RESULT = struct.Struct("<BBB16sB44x")
_LOCK_RESULT = struct.Struct("<BBB16sBBB16s16sHHBB4x")
_CALL_RESULT = struct.Struct("<BBB16sBBBBI37s")
_LEADER_RESULT = struct.Struct("<BBB16sBB43s")
_LENGTH = struct.Struct("<I")
# A data frame without a value: its length field, operation and flag.
_SMALLEST_DATA = 6
_HEADS = struct.Struct("<3s16s2s43x")

# Without magic and version, which have been checked before.
_LOCK_FIELDS = struct.Struct("<2xB16sBB16s16sHHHHHB")
_LOCK_RESULT_FIELDS = struct.Struct("<2xB16sBBB16s16sHHBB4x")

LOCK_TYPES = frozenset(
    map(
        int,
        (
            CommandType.LOCK,
            CommandType.UNLOCK,
            CommandType.WILL_LOCK,
            CommandType.WILL_UNLOCK,
        ),
    )
)
"""The types that share the layout of LOCK."""

_LOCK_RESULT_TYPES = LOCK_TYPES | {int(CommandType.PUBLISH)}

_COMMON_TYPES = (int(CommandType.LOCK), int(CommandType.UNLOCK))
_TYPE_OFFSET = 2
_COMMAND_FLAG_OFFSET = MAY_HAVE_TRAILER
_RESULT_FLAG_OFFSET = 20
_CALL_SIZE_OFFSET = 22
_CALL_RESULT_SIZE_OFFSET = 23
_CALL_TYPE = int(CommandType.CALL)
# The same bit in commands and results.
_FLAG_DATA = int(LockFlag.DATA)


# The other types whose fields are in the frame in their order, behind the type.
_COMMANDS: dict[int, tuple[type[Command], struct.Struct]] = {
    CommandType.INIT: (InitCommand, struct.Struct("<BBB16s16s29x")),
    CommandType.STATE: (StateCommand, struct.Struct("<BBB16sBB43x")),
    CommandType.SUBSCRIBE: (SubscribeCommand, struct.Struct("<BBB16sBIIB16sII11x")),
}
_RESULTS: dict[int, tuple[type[Result], struct.Struct]] = {
    CommandType.INIT: (InitResult, struct.Struct("<BBB16sBB43x")),
    CommandType.STATE: (StateResult, struct.Struct("<BBB16sBBBBQQIIIIIIx")),
    CommandType.SUBSCRIBE: (SubscribeResult, struct.Struct("<BBB16sBBII35x")),
}
_PLAIN_RESULT_TYPES = frozenset(
    map(int, (CommandType.ADMIN, CommandType.PING, CommandType.QUIT))
)
# By class: the layout, and the head of the frame up to the first field.
_LAYOUTS: dict[type, tuple[struct.Struct, tuple[int, ...]]] = {
    PlainCommand: (_PLAIN, (MAGIC, VERSION)),
    PlainResult: (_PLAIN_RESULT, (MAGIC, VERSION)),
    **{
        message: (layout, (MAGIC, VERSION, kind))
        for table in (_COMMANDS, _RESULTS)
        for kind, (message, layout) in table.items()
    },
}


# Commands: encode.


def encode_command(command: Command) -> bytes:
    """Return a command's frame and its trailer.

    Raises:
        LocalProtocolError: An id is not 16 bytes long, a number does not fit
            its field, or the data is larger than the server accepts.
    """
    if type(command) is LockCommand:
        return encode_lock(command)
    try:
        if type(command) is CallCommand:
            return _encode_call(command)
        for value in command:
            _check_id(value, command)
        layout, head = _LAYOUTS[type(command)]
        return layout.pack(*head, *command)
    except struct.error as error:
        raise LocalProtocolError(f"{command!r}: {error}") from error


def encode_lock(command: LockCommand) -> bytes:
    """Return a LOCK's or UNLOCK's frame, its data frame behind it.

    The data flag is set from ``command.data``; that bit of ``flag`` is ignored.

    Raises:
        LocalProtocolError: As for `encode_command`.
    """
    # The fields one by one: this is the hot path of a client, and ``*command`` costs
    # as much as the packing.
    (
        kind,
        request_id,
        flag,
        db,
        lock_id,
        key,
        timeout,
        timeout_flag,
        expiry,
        expiry_flag,
        max_count,
        rcount,
        data,
    ) = command
    if not len(request_id) == len(lock_id) == len(key) == ID_SIZE:
        raise LocalProtocolError(f"{command!r}: every id must be {ID_SIZE} bytes")
    if data is not None:
        _check_data(data)
        flag |= _FLAG_DATA
    try:
        frame = _LOCK.pack(
            MAGIC,
            VERSION,
            kind,
            request_id,
            flag,
            db,
            lock_id,
            key,
            timeout,
            timeout_flag,
            expiry,
            expiry_flag,
            max_count,
            rcount,
        )
    except struct.error as error:
        raise LocalProtocolError(f"{command!r}: {error}") from error
    return frame if data is None else frame + data


def check_frame(frame: bytes) -> None:
    """Check that bytes are one command's frame with its whole trailer.

    Raises:
        LocalProtocolError: They are not.
    """
    if type(frame) is not bytes or len(frame) < FRAME_SIZE:
        raise LocalProtocolError(f"{frame!r} is no frame of {FRAME_SIZE} bytes")
    if not frame.startswith(FRAME_HEAD):
        raise LocalProtocolError(f"{frame[:FRAME_SIZE]!r} has another magic or version")
    trailer = frame[FRAME_SIZE:]
    if len(trailer) != command_trailer_size(frame, 0):
        raise LocalProtocolError(f"a frame's trailer of {len(trailer)} bytes is torn")


def _check_data(data: bytes) -> None:
    # The peer finds the end of a data frame by its length field: with another one it
    # would take the next frames of the connection for data.
    if type(data) is not bytes or len(data) < _SMALLEST_DATA:
        raise LocalProtocolError(f"{data!r} is no data frame")
    if _LENGTH.unpack_from(data)[0] != len(data) - _LENGTH.size:
        raise LocalProtocolError("a data frame's length field does not match")
    if len(data) - _LENGTH.size > MAX_DATA_SIZE:
        raise LocalProtocolError(
            f"data of {len(data)} bytes is above the server's {MAX_DATA_SIZE}"
        )


def _check_id(value: object, command: Command) -> None:
    if type(value) is bytes and len(value) != ID_SIZE:
        raise LocalProtocolError(f"{command!r}: every id must be {ID_SIZE} bytes")


def _encode_call(command: CallCommand) -> bytes:
    request_id, flag, encoding, charset, method, content = command
    _check_id(request_id, command)
    head = (flag, encoding, charset, len(content), method.encode("utf-8"))
    return _CALL.pack(MAGIC, VERSION, _CALL_TYPE, request_id, *head) + content


# Commands: decode.


def command_trailer_size(buffer: bytes | bytearray, offset: int) -> int | None:
    """Return how many bytes follow the command frame at ``offset``.

    Returns:
        The size, or None while the data frame's length field is not there yet.

    Raises:
        RemoteProtocolError: The size is above what a server accepts.
    """
    kind = buffer[offset + _TYPE_OFFSET]
    if kind in LOCK_TYPES:
        return _data_size(buffer, offset, _COMMAND_FLAG_OFFSET)
    if kind == _CALL_TYPE:
        return _content_size(buffer, offset + _CALL_SIZE_OFFSET)
    return 0


def _data_size(buffer: bytes | bytearray, offset: int, flag: int) -> int | None:
    """Return the size of the data frame that the flag byte of a frame announces."""
    if not buffer[offset + flag] & _FLAG_DATA:
        return 0
    length = offset + FRAME_SIZE
    if len(buffer) - length < _LENGTH.size:
        return None
    return _LENGTH.size + _content_size(buffer, length)


def _content_size(buffer: bytes | bytearray, offset: int) -> int:
    size: int = _LENGTH.unpack_from(buffer, offset)[0]
    if size > MAX_DATA_SIZE:
        raise RemoteProtocolError(
            f"{size} bytes announced behind a frame, {MAX_DATA_SIZE} are allowed"
        )
    return size


def decode_command(
    buffer: bytes | bytearray, offset: int = 0, trailer: bytes | None = None
) -> Command:
    """Read the command frame at ``offset``; magic and version are not checked.

    Args:
        buffer: At least 64 bytes from ``offset`` on.
        offset: Where the frame starts.
        trailer: What follows the frame, as measured by `command_trailer_size`.

    Returns:
        The command. A type without a layout of its own, known or not, becomes a
        ``PlainCommand``.
    """
    kind = buffer[offset + _TYPE_OFFSET]
    if kind in LOCK_TYPES:
        return LockCommand._make((*_LOCK_FIELDS.unpack_from(buffer, offset), trailer))
    if kind in _COMMANDS:
        message, layout = _COMMANDS[kind]
        return message(*layout.unpack_from(buffer, offset)[3:])
    if kind == _CALL_TYPE:
        fields = _CALL.unpack_from(buffer, offset)
        request_id, flag, encoding, charset, _, method = fields[3:]
        return CallCommand(
            request_id, flag, encoding, charset, _zero_padded(method), trailer or b""
        )
    return PlainCommand(kind, _PLAIN.unpack_from(buffer, offset)[3])


def _zero_padded(name: bytes) -> str:
    return name.rstrip(b"\0").decode("utf-8", "replace")


# Results: encode.


def encode_result(result: Result) -> bytes:
    """Return a result's frame and its trailer.

    Raises:
        LocalProtocolError: A number does not fit its field.
    """
    try:
        if type(result) is LockResult:
            return _encode_lock_result(result)
        if type(result) is CallResult:
            return _encode_call_result(result)
        if type(result) is LeaderResult:
            return _encode_leader_result(result)
        layout, head = _LAYOUTS[type(result)]
        return layout.pack(*head, *result)
    except struct.error as error:
        raise LocalProtocolError(f"{result!r}: {error}") from error


def _encode_lock_result(result: LockResult) -> bytes:
    data = result.data
    if data is None:
        return _LOCK_RESULT.pack(MAGIC, VERSION, *result[:-1])
    fields = result._replace(flag=result.flag | _FLAG_DATA)[:-1]
    return _LOCK_RESULT.pack(MAGIC, VERSION, *fields) + data


def _encode_call_result(result: CallResult) -> bytes:
    request_id, code, flag, encoding, charset, error, content = result
    head = (flag, encoding, charset, len(content), error.encode("utf-8"))
    frame = _CALL_RESULT.pack(MAGIC, VERSION, _CALL_TYPE, request_id, code, *head)
    return frame + content


def _encode_leader_result(result: LeaderResult) -> bytes:
    request_id, code, text = result
    host = text.encode("utf-8")
    head = (MAGIC, VERSION, CommandType.LEADER, request_id, code)
    return _LEADER_RESULT.pack(*head, len(host), host)


# Results: decode.


def result_trailer_size(buffer: bytes | bytearray, offset: int) -> int | None:
    """Return how many bytes follow the result frame at ``offset``.

    Returns:
        The size, or None while the data frame's length field is not there yet.

    Raises:
        RemoteProtocolError: The size is above what the protocol allows.
    """
    kind = buffer[offset + _TYPE_OFFSET]
    if kind in _LOCK_RESULT_TYPES:
        return _data_size(buffer, offset, _RESULT_FLAG_OFFSET)
    if kind == _CALL_TYPE:
        return _content_size(buffer, offset + _CALL_RESULT_SIZE_OFFSET)
    return 0


_NO_DATA = (None,)
_new_result = cast(
    "Callable[[type[LockResult], tuple[Any, ...]], LockResult]",
    tuple.__new__,  # pyright: ignore[reportUnknownMemberType]  # typeshed's is generic
)


def decode_lock_results(
    buffer: bytes | bytearray, offset: int, found: list[Result]
) -> int:
    """Read LOCK and UNLOCK results without data, up to the first other frame.

    Most of what a client reads is a run of these. A frame with data, of another
    type, malformed or incomplete is left for `decode_result`.

    Args:
        buffer: What was received.
        offset: Where a frame starts.
        found: Results are appended here.

    Returns:
        The offset of the first frame that was left.
    """
    unpack = _LOCK_RESULT_FIELDS.unpack_from
    last = len(buffer) - FRAME_SIZE
    while (
        offset <= last
        and buffer[offset + _TYPE_OFFSET] in _COMMON_TYPES
        and not buffer[offset + _RESULT_FLAG_OFFSET] & _FLAG_DATA
        and buffer[offset] == MAGIC
        and buffer[offset + 1] == VERSION
    ):
        # The same as LockResult(*fields), at half the cost.
        found.append(_new_result(LockResult, unpack(buffer, offset) + _NO_DATA))
        offset += FRAME_SIZE
    return offset


LOCKED = bytes((MAGIC, VERSION, CommandType.LOCK))
"""How a LOCK result starts."""

UNLOCKED = bytes((MAGIC, VERSION, CommandType.UNLOCK))
"""How an UNLOCK result starts."""

PLAIN_SUCCESS = bytes(2)
"""Result 0 and no flag, so no data."""

RESULT_KEY = slice(38, 54)
"""Where the key is in a LOCK or UNLOCK result."""

_SUCCEEDED = (LOCKED, UNLOCKED)
_START = slice(3)
_RESULT_AND_FLAG = slice(19, 21)


def read_heads(buffer: bytearray, offset: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Read the heads of the frames at ``offset``, as if none had a trailer.

    Nearly all that a busy client reads are LOCKs and UNLOCKs with result 0, whose
    other fields add nothing. Reading no more of them costs a tenth of a `LockResult`.

    Args:
        buffer: What was received.
        offset: Where a frame starts.

    Returns:
        For each frame: its start (`LOCKED`, `UNLOCKED` or something else), its
        request id, result and flag (`PLAIN_SUCCESS` or something else). After the
        first one that is something else the rest may be no heads at all.
    """
    size = (len(buffer) - offset) // FRAME_SIZE * FRAME_SIZE
    return _HEADS.iter_unpack(buffer[offset : offset + size])


def plain_frames(buffer: bytearray, offset: int) -> list[bytes]:
    """Return the plain successes at ``offset``, each as its 64 bytes."""
    frames: list[bytes] = []
    data = bytes(buffer)
    for start in range(offset, len(data) - FRAME_SIZE + 1, FRAME_SIZE):
        frame = data[start : start + FRAME_SIZE]
        if frame[_RESULT_AND_FLAG] != PLAIN_SUCCESS or frame[_START] not in _SUCCEEDED:
            break
        frames.append(frame)
    return frames


def decode_lock_result(
    buffer: bytes | bytearray, offset: int, trailer: bytes | None = None
) -> LockResult:
    """Read the LOCK, UNLOCK or PUBLISH result at ``offset``.

    The caller has checked the type. This is the hot path of a client.
    """
    return LockResult._make((*_LOCK_RESULT_FIELDS.unpack_from(buffer, offset), trailer))


def decode_result(
    buffer: bytes | bytearray, offset: int = 0, trailer: bytes | None = None
) -> Result:
    """Read the result frame at ``offset``.

    Args:
        buffer: At least 64 bytes from ``offset`` on.
        offset: Where the frame starts.
        trailer: What follows the frame, as measured by `result_trailer_size`.

    Raises:
        RemoteProtocolError: Magic, version or type are not the protocol's, or a
            text in the frame is no UTF-8.
    """
    magic, version, kind = buffer[offset], buffer[offset + 1], buffer[offset + 2]
    if magic != MAGIC or version != VERSION:
        raise RemoteProtocolError(
            f"a frame starts with {magic:#04x} {version:#04x}, "
            f"not {MAGIC:#04x} {VERSION:#04x}"
        )
    if kind in _LOCK_RESULT_TYPES:
        return decode_lock_result(buffer, offset, trailer)
    if kind in _RESULTS:
        message, layout = _RESULTS[kind]
        return message(*layout.unpack_from(buffer, offset)[3:])
    if kind in _PLAIN_RESULT_TYPES:
        return PlainResult(*_PLAIN_RESULT.unpack_from(buffer, offset)[2:])
    if kind == _CALL_TYPE:
        return _decode_call_result(buffer, offset, trailer)
    if kind == CommandType.LEADER:
        return _decode_leader_result(buffer, offset)
    raise RemoteProtocolError(f"a result has the unknown type {kind}")


def _decode_call_result(
    buffer: bytes | bytearray, offset: int, trailer: bytes | None
) -> CallResult:
    fields = _CALL_RESULT.unpack_from(buffer, offset)
    request_id, code, flag, encoding, charset, _, error = fields[3:]
    return CallResult(
        request_id, code, flag, encoding, charset, _zero_padded(error), trailer or b""
    )


def _decode_leader_result(buffer: bytes | bytearray, offset: int) -> LeaderResult:
    request_id, code, size, host = _LEADER_RESULT.unpack_from(buffer, offset)[3:]
    if size > len(host):
        raise RemoteProtocolError(f"a leader's address of {size} bytes is cut off")
    try:
        return LeaderResult(request_id, code, host[:size].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RemoteProtocolError("a leader's address is no UTF-8") from error
