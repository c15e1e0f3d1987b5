"""The value of a key, and the operations of data frames on it.

A value is one whole data frame, its operation byte 0 (SET), or None. An operation is
one data frame too. Both stay bytes: nothing is parsed that the operation does not
need. `check_frame` checks a frame once, when it arrives; a frame that passes can be
applied to any value.

Some frames bring the real server down. The function that meets one names it, and
states what it does instead.

Source: snower/slock 2.1.12, ``server/lock.go`` (``ProcessLockData``),
``protocol/command.go`` (``LockCommandData``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..protocol import (
    FRAME_SIZE,
    CommandType,
    DataFlag,
    DataOperation,
    DataStage,
    LockCommand,
    LockFlag,
    decode_command,
)

_LENGTH = struct.Struct("<I")
_SHORT = struct.Struct("<H")
_HEADER_SIZE = 6
_LENGTH_SIZE = 4
_OPERATION_BITS = 0x3F
_STAGE_SHIFT = 6
_PROPERTIES = int(DataFlag.PROPERTIES)
_NUMBER = int(DataFlag.NUMBER)
_ARRAY = int(DataFlag.ARRAY)
_FIRST_OR_LAST = int(DataFlag.FIRST_OR_LAST)
_TYPE_BITS = 0x07
_EXECUTE = int(DataOperation.EXECUTE)
_PIPELINE = int(DataOperation.PIPELINE)
_LOCK_OR_UNLOCK = frozenset({int(CommandType.LOCK), int(CommandType.UNLOCK)})
_UINT64_MASK = (1 << 64) - 1

MAX_NESTING = 16
"""How deep data frames may be nested (PIPELINE and EXECUTE)."""


class ValueTooLargeError(Exception):
    """The value that an operation makes is above the limit."""


class Execute(NamedTuple):
    """A command that a key's data runs at a later stage.

    ``last_only``: only if the key has neither holder nor waiter by then.
    """

    stage: int
    last_only: bool
    command: LockCommand


class ValueChange(NamedTuple):
    """The result of an operation: the value afterwards, and commands to run."""

    value: bytes | None
    executes: tuple[Execute, ...] = ()


# Shape.


def check_frame(frame: bytes, limit: int, depth: int = 0) -> bool:
    """Return whether a data frame is well-formed.

    Its length field must fit and be at least 2, its properties must end inside
    it, and a PIPELINE must not be nested deeper than `MAX_NESTING`. (The real server
    crashes on a length of 0 or 1.)

    Args:
        frame: The frame with its length field.
        limit: Largest length field.
        depth: Number of pipelines around it.
    """
    size = len(frame) - _LENGTH_SIZE
    if not 2 <= size <= limit or _LENGTH.unpack_from(frame)[0] != size:
        return False
    if frame[5] & _PROPERTIES and (size < 4 or _value_start(frame) > len(frame)):
        return False
    operation = frame[4] & _OPERATION_BITS
    if operation == _PIPELINE:
        if depth == MAX_NESTING:
            return False
        return all(check_frame(part, limit, depth + 1) for part in _parts(frame))
    return True


def _value_start(frame: bytes) -> int:
    if frame[5] & _PROPERTIES:
        size: int = _SHORT.unpack_from(frame, _HEADER_SIZE)[0]
        return _HEADER_SIZE + 2 + size
    return _HEADER_SIZE


def _parts(frame: bytes) -> Iterator[bytes]:
    """Split a PIPELINE into its frames; a tail that is no frame ends it.

    The real server stops at a frame that is longer than what is left and ends on
    fewer than four bytes left.
    """
    place = _value_start(frame)
    while place + _LENGTH_SIZE <= len(frame):
        after: int = place + _LENGTH_SIZE + _LENGTH.unpack_from(frame, place)[0]
        if after > len(frame):
            return
        yield frame[place:after]
        place = after


# Operations.


def operate(
    value: bytes | None, frame: bytes, *, db: int, limit: int, edge: bool
) -> ValueChange:
    """Apply a checked data frame to a value.

    Args:
        value: The value before.
        frame: The operation; it has passed `check_frame`.
        db: Database of the key: an EXECUTE for another one is ignored.
        limit: Largest length field of a value.
        edge: Whether this is the first lock or the last unlock of the key. A frame
            with the flag "first or last" applies to no other.

    Raises:
        ValueTooLargeError: The value would be above ``limit``.
    """
    operation = frame[4] & _OPERATION_BITS
    stage = frame[4] >> _STAGE_SHIFT
    if operation == _EXECUTE:
        return _execute(value, frame, db, stage, edge)
    if stage or (frame[5] & _FIRST_OR_LAST and not edge):
        return ValueChange(value)
    if operation == _PIPELINE:
        return _pipeline(value, frame, db, limit, edge)
    method = _OPERATIONS.get(operation)
    if method is None:
        return ValueChange(value)
    after = method(value, frame)
    if after is not None and len(after) - _LENGTH_SIZE > limit:
        raise ValueTooLargeError
    return ValueChange(after)


def _execute(
    value: bytes | None, frame: bytes, db: int, stage: int, edge: bool
) -> ValueChange:
    last_only = bool(frame[5] & _FIRST_OR_LAST)
    if stage == DataStage.NOW and last_only and not edge:
        return ValueChange(value)
    command = _embedded(frame)
    if command is None or command.db != db:
        return ValueChange(value)
    return ValueChange(value, (Execute(stage, last_only, command),))


def _embedded(frame: bytes) -> LockCommand | None:
    """Return the LOCK or UNLOCK of an EXECUTE, None for anything else."""
    place = _value_start(frame)
    behind = place + FRAME_SIZE
    if behind > len(frame) or frame[place + 2] not in _LOCK_OR_UNLOCK:
        return None
    trailer = None
    if frame[place + 19] & LockFlag.DATA:
        if behind + _LENGTH_SIZE > len(frame):
            return None
        size: int = _LENGTH.unpack_from(frame, behind)[0]
        trailer = frame[behind : behind + _LENGTH_SIZE + size] if size else None
        if trailer is not None and not check_frame(trailer, len(frame)):
            return None
    command = decode_command(frame, place, trailer)
    assert isinstance(command, LockCommand)
    return command


def _pipeline(
    value: bytes | None, frame: bytes, db: int, limit: int, edge: bool
) -> ValueChange:
    """Apply the parts. Each starts from the value before the pipeline.

    So only the last one that is no EXECUTE counts, and only that one is applied.
    """
    executes: list[Execute] = []
    last: bytes | None = None
    for part in _parts(frame):
        operation = part[4] & _OPERATION_BITS
        if operation != _EXECUTE:
            last = part
        if operation in (_EXECUTE, _PIPELINE):
            executes += operate(None, part, db=db, limit=limit, edge=edge).executes
    if last is not None:
        value = operate(value, last, db=db, limit=limit, edge=edge).value
    return ValueChange(value, tuple(executes))


def _set(value: bytes | None, frame: bytes) -> bytes | None:
    return frame


def _unset(value: bytes | None, frame: bytes) -> bytes | None:
    return None


def _increment(value: bytes | None, frame: bytes) -> bytes | None:
    """Add two numbers, whatever their types.

    The flag and properties are those of the operand if it has eight bytes. Any other
    size crashes the real server or breaks its framing; here the stored value's stay.
    """
    start = _value_start(frame)
    number = _number(frame, start, 8)
    if value is not None:
        number += _number(value, _value_start(value), 8)
    # The one whose flag and properties the result keeps.
    template = frame if len(frame) - start == 8 else value
    raw = (number & _UINT64_MASK).to_bytes(8, "little")
    if template is None:
        return _frame(_NUMBER, b"", raw)
    flag = (template[5] & ~_TYPE_BITS if template is value else template[5]) | _NUMBER
    return _frame(flag, template[_HEADER_SIZE : _value_start(template)], raw)


def _append(value: bytes | None, frame: bytes) -> bytes | None:
    if value is None:
        return _frame(frame[5], frame[_HEADER_SIZE:])
    return _frame(value[5], value[_HEADER_SIZE:], frame[_value_start(frame) :])


def _shift(value: bytes | None, frame: bytes) -> bytes | None:
    """Drop bytes from the front; more than there are leaves an empty value.

    (The real server crashes on more than there are.)
    """
    if value is None:
        return None
    start = _value_start(value)
    rest = value[start + _number(frame, _value_start(frame), 4) :]
    return _frame(value[5], value[_HEADER_SIZE:start], rest)


def _push(value: bytes | None, frame: bytes) -> bytes | None:
    start = _value_start(frame)
    item = _LENGTH.pack(len(frame) - start) + frame[start:]
    if value is None or not value[5] & _ARRAY:
        flag = frame[5] & ~_TYPE_BITS | _ARRAY
        return _frame(flag, frame[_HEADER_SIZE:start], item)
    return _frame(value[5] & ~_TYPE_BITS | _ARRAY, value[_HEADER_SIZE:], item)


def _pop(value: bytes | None, frame: bytes) -> bytes | None:
    count = _number(frame, _value_start(frame), 4)
    if value is None or not count or not value[5] & _ARRAY:
        return value
    start = _value_start(value)
    rest = value[_skip_items(value, start, count) :]
    return _frame(value[5], value[_HEADER_SIZE:start], rest)


def _skip_items(value: bytes, place: int, count: int) -> int:
    """Return the offset behind ``count`` items of an array, empty ones not counted.

    An item that is longer than the rest ends the array. (The real server crashes on
    it: a SET with the array flag stores any bytes.)
    """
    while count and place + _LENGTH_SIZE < len(value):
        size: int = _LENGTH.unpack_from(value, place)[0]
        place += _LENGTH_SIZE + size
        count -= size > 0  # an empty item is skipped and not counted
    return place


_OPERATIONS: dict[int, Callable[[bytes | None, bytes], bytes | None]] = {
    DataOperation.SET: _set,
    DataOperation.UNSET: _unset,
    DataOperation.INCR: _increment,
    DataOperation.APPEND: _append,
    DataOperation.SHIFT: _shift,
    DataOperation.PUSH: _push,
    DataOperation.POP: _pop,
}


def _number(frame: bytes, start: int, size: int) -> int:
    """Read up to ``size`` bytes as an unsigned little endian number."""
    return int.from_bytes(frame[start : start + size], "little")


def _frame(flag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return b"%b\0%c%b" % (_LENGTH.pack(len(body) + 2), flag, body)
