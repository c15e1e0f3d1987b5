"""The part of protobuf that the CALL lists need: varints and length-delimited fields.

The messages are small and fixed, so a runtime library would be larger than this
module. It writes fields in the order of their numbers, leaves zero values out as
proto3 does, and reads a flat message of numbers and bytes.

Source: the protobuf encoding guide (wire types 0, 1, 2 and 5);
snower/slock 2.1.12, ``protocol/protobuf/db.proto`` for the messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .._errors import RemoteProtocolError

_VARINT = 0
_FIXED64 = 1
_BYTES = 2
_FIXED32 = 5
_MAX_VARINT_SIZE = 10
_FIXED_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}

Field = int | bytes


def encode_message(fields: list[tuple[int, Field]]) -> bytes:
    """Return a message of fields in the given order.

    Args:
        fields: Pairs of field number and value: a number of at most 64 bits, 0 or
            more, or bytes (also of an inner message). Zero and empty values are
            left out, as proto3 does; an empty inner message cannot be written.
    """
    return b"".join(_encode_field(number, value) for number, value in fields if value)


def encode_entry(number: int, message: bytes) -> bytes:
    """Return one entry of a repeated message field; it may be empty."""
    return _varint(number << 3 | _BYTES) + _varint(len(message)) + message


def _encode_field(number: int, value: Field) -> bytes:
    if isinstance(value, bytes):
        return encode_entry(number, value)
    return _varint(number << 3 | _VARINT) + _varint(value)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def decode_message(content: bytes) -> dict[int, Field]:
    """Return the fields of a message; of a repeated field the last value.

    Raises:
        RemoteProtocolError: The content is no message.
    """
    return dict(decode_fields(content))


def decode_fields(content: bytes) -> Iterator[tuple[int, Field]]:
    """Yield the fields of a message in order, repeated ones each time.

    Raises:
        RemoteProtocolError: The content is no message.
    """
    offset = 0
    while offset < len(content):
        tag, offset = _read_varint(content, offset)
        number, kind = tag >> 3, tag & 7
        if not number:
            raise RemoteProtocolError("a protobuf field has number 0")
        value, offset = _read_field(content, offset, kind)
        yield number, value


def _read_field(content: bytes, offset: int, kind: int) -> tuple[Field, int]:
    if kind == _VARINT:
        return _read_varint(content, offset)
    if kind == _BYTES:
        size, offset = _read_varint(content, offset)
    elif kind in _FIXED_SIZES:
        size = _FIXED_SIZES[kind]
    else:
        raise RemoteProtocolError(f"a protobuf field has wire type {kind}")
    end = offset + size
    if end > len(content):
        raise RemoteProtocolError("a protobuf field is cut off")
    return content[offset:end], end


def _read_varint(content: bytes, offset: int) -> tuple[int, int]:
    number = 0
    # Seven bits a byte, the lowest first; the top bit says that another byte follows.
    for place, byte in enumerate(content[offset : offset + _MAX_VARINT_SIZE]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number & (1 << 64) - 1, offset + place + 1
    raise RemoteProtocolError("a protobuf number is cut off or too long")
