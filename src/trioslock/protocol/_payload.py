"""The data a key can carry, and the operations on it.

A LOCK, an UNLOCK and their results may be followed by one data frame: a length,
an operation with its stage, a flag that types the value, optionally properties,
then the value. Requests carry an operation; results carry the value that the
key had *before* it, always as a ``SET``.

Frame::

    offset  size
    0       4     length of the rest
    4       1     bits 6-7 stage, bits 0-5 operation
    5       1     data flag
    6             with flag PROPERTIES: 2 bytes length of all properties, then
                  for each: code (1), length (2), bytes
    ...           the value

Source: snower/slock 2.1.12, ``protocol/command.go`` (``LockCommandData``,
``LockResultCommandData``). The Go client writes a map's *value* length before
its keys; the format here is the one its reader expects.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from .._arguments import check_int, check_type, is_int, shown
from .._errors import LocalProtocolError, RemoteProtocolError
from ._commands import LockCommand
from ._constants import (
    MAX_DATA_SIZE,
    DataFlag,
    DataOperation,
    DataStage,
    PropertyCode,
)

DATA_HEADER_SIZE = 6
_LENGTH = struct.Struct("<I")
_HEADER = struct.Struct("<IBB")
_PROPERTY = struct.Struct("<BH")
_PROPERTIES_LENGTH = struct.Struct("<H")
_INT64 = struct.Struct("<q")
_UINT32_MAX = 0xFFFF_FFFF
_OPERATION_BITS = 0x3F

Value = bytes | str | int | Iterable[bytes | str] | Mapping[str | bytes, bytes | str]
"""What `Data.set` takes: bytes or text, a number, an array, or a map."""


@dataclass(frozen=True, slots=True)
class Data:
    """One data frame: an operation to send, or a value that was received.

    Make one with the class methods; read a value with ``number``, ``text``,
    ``array``, ``map`` or ``raw``.

    Attributes:
        raw: The value's bytes as they stand in the frame.
        flag: How to read them (see ``DataFlag``).
        operation: What the server does with them; ``SET`` in a received value.
        stage: When an ``EXECUTE`` runs.
        properties: Pairs of property code and bytes.
    """

    raw: bytes = b""
    flag: int = 0
    operation: int = DataOperation.SET
    stage: int = DataStage.NOW
    properties: tuple[tuple[int, bytes], ...] = ()

    @classmethod
    def set(cls, value: Value, *, key: bytes | str | None = None) -> Data:
        """Replace the key's value.

        Args:
            value: Bytes or text, an integer of 64 bits, a sequence of bytes or
                text (an array), or a mapping of them (a map).
            key: Name to store beside the value; the text dialect's ``KEYS``
                and ``SCAN`` list it.

        Raises:
            TypeError: A value of another type; ``bool`` and ``float`` are none of
                these.
            LocalProtocolError: An integer beyond 64 bits, or an array item or
                map key of another type.
        """
        raw, flag = _encode_value(value)
        properties = () if key is None else ((int(PropertyCode.KEY), _bytes(key)),)
        return cls(raw, flag, properties=properties)

    @classmethod
    def unset(cls) -> Data:
        """Remove the key's value."""
        return cls(operation=DataOperation.UNSET)

    @classmethod
    def increment(cls, by: int = 1) -> Data:
        """Add to the key's value, read as a 64-bit number that wraps around."""
        return cls(_int64(by), DataFlag.NUMBER, DataOperation.INCR)

    @classmethod
    def append(cls, value: bytes | str) -> Data:
        """Add bytes at the end of the key's value."""
        return cls(_bytes(value), operation=DataOperation.APPEND)

    @classmethod
    def shift(cls, size: int) -> Data:
        """Drop ``size`` bytes from the front of the key's value."""
        return cls(_uint32(size), operation=DataOperation.SHIFT)

    @classmethod
    def push(cls, item: bytes | str) -> Data:
        """Add one item at the end of the key's array."""
        return cls(_bytes(item), operation=DataOperation.PUSH)

    @classmethod
    def pop(cls, count: int = 1) -> Data:
        """Drop the first ``count`` items of the key's array."""
        return cls(_uint32(count), operation=DataOperation.POP)

    @classmethod
    def execute(cls, command: LockCommand, *, stage: DataStage = DataStage.NOW) -> Data:
        """Run another LOCK or UNLOCK of the same database on the server.

        Args:
            command: What to run. Its result arrives under its own request id.
            stage: When: at the grant, the unlock, or the end of the lease.
        """
        # Imported here: the frame codec carries data frames but need not know
        # that one of them can hold a frame.
        from ._frames import encode_command  # noqa: PLC0415

        check_type(command, LockCommand, "command", "a LOCK or UNLOCK")
        check_int(stage, "stage", DataStage.NOW, DataStage.EXPIRY)
        return cls(
            encode_command(command), operation=DataOperation.EXECUTE, stage=stage
        )

    @classmethod
    def pipeline(cls, *operations: Data) -> Data:
        """Run several operations at once.

        On the server every one starts from the value before the pipeline, so of
        plain operations the last decides; ``execute`` entries all run.
        """
        for operation in operations:
            check_type(operation, Data, "an operation", "made by Data")
        raw = b"".join(operation.encode() for operation in operations)
        return cls(raw, operation=DataOperation.PIPELINE)

    @property
    def number(self) -> int:
        """The value as a signed 64-bit number, whatever its type."""
        head = self.raw[:8].ljust(8, b"\0")
        return int(_INT64.unpack(head)[0])

    @property
    def text(self) -> str:
        """The value as UTF-8 text; bytes that are none become U+FFFD."""
        return self.raw.decode("utf-8", "replace")

    @property
    def array(self) -> tuple[bytes, ...]:
        """The items of an array; of any other value, the value alone.

        Raises:
            RemoteProtocolError: An item is cut off.
        """
        if not self.flag & DataFlag.ARRAY:
            return (self.raw,)
        return tuple(item for item in _split(self.raw) if item)

    @property
    def map(self) -> dict[bytes, bytes]:
        """The entries of a map; empty for any other value.

        Raises:
            RemoteProtocolError: A key or value is cut off or missing.
        """
        if not self.flag & DataFlag.MAP:
            return {}
        parts = list(_split(self.raw))
        if len(parts) % 2:
            raise RemoteProtocolError("a map in a data frame has a key but no value")
        return dict(zip(parts[::2], parts[1::2], strict=True))

    @property
    def value(self) -> bytes | int | tuple[bytes, ...] | dict[bytes, bytes]:
        """The value in the type that its flag names.

        Raises:
            RemoteProtocolError: An array or map is malformed.
        """
        if self.flag & DataFlag.NUMBER:
            return self.number
        if self.flag & DataFlag.ARRAY:
            return self.array
        if self.flag & DataFlag.MAP:
            return self.map
        return self.raw

    def encode(self) -> bytes:
        """Return the whole frame, length field included.

        Raises:
            LocalProtocolError: The frame is larger than the server accepts.
        """
        check_type(self.raw, bytes, "raw", "bytes")
        flag = self.flag | (DataFlag.PROPERTIES if self.properties else 0)
        body = _encode_properties(self.properties) + self.raw
        length = len(body) + 2
        if length > MAX_DATA_SIZE:
            raise LocalProtocolError(
                f"data of {length} bytes is above the server's {MAX_DATA_SIZE}"
            )
        try:
            head = _HEADER.pack(length, self.operation | self.stage << 6, flag)
        except struct.error as error:
            raise LocalProtocolError(f"{self!r}: {error}") from error
        return head + body

    @classmethod
    def decode(cls, frame: bytes) -> Data:
        """Read one whole frame.

        Raises:
            RemoteProtocolError: The length field does not match, or properties
                are cut off.
        """
        if len(frame) < DATA_HEADER_SIZE:
            raise RemoteProtocolError(f"a data frame of {len(frame)} bytes is cut off")
        length, kind, flag = _HEADER.unpack_from(frame)
        if length != len(frame) - _LENGTH.size:
            raise RemoteProtocolError("a data frame's length field does not match")
        properties, start = _decode_properties(frame, flag)
        return cls(
            frame[start:],
            flag & ~DataFlag.PROPERTIES,
            kind & _OPERATION_BITS,
            kind >> 6,
            properties,
        )


DataLike = Data | Value
"""What a ``data`` argument takes: an operation, or the value to set."""


def as_data(value: DataLike | None) -> Data | None:
    """Return what a caller passes as ``data`` as an operation, None for none.

    An operation stays as it is; anything else replaces the key's value. Call it once,
    since an iterator can be read once only.

    Raises:
        TypeError: A value that `Data.set` does not take.
        LocalProtocolError: As for `Data.set`.
    """
    return value if value is None or isinstance(value, Data) else Data.set(value)


def _encode_value(value: Value) -> tuple[bytes, int]:
    if isinstance(value, bytes | str):
        return _bytes(value), 0
    if is_int(value):
        return _int64(value), DataFlag.NUMBER
    if not isinstance(value, Iterable):
        raise TypeError(
            "a value must be bytes, text, a whole number, a sequence or a mapping, "
            f"not {shown(value)}"
        )
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str | bytes, bytes | str]", value).items()
        parts = (part for pair in pairs for part in pair)
        return b"".join(map(_with_length, parts)), DataFlag.MAP
    return b"".join(map(_with_length, value)), DataFlag.ARRAY


def _with_length(part: bytes | str) -> bytes:
    raw = _bytes(part)
    return _LENGTH.pack(len(raw)) + raw


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8")
    if isinstance(value, bytes):
        return value
    raise LocalProtocolError(f"data must be bytes or text, not {shown(value)}")


def _int64(value: object) -> bytes:
    if not is_int(value):
        raise TypeError(f"a number must be whole, not {shown(value)}")
    try:
        return _INT64.pack(value)
    except struct.error as error:
        raise LocalProtocolError(f"{shown(value)} does not fit in 64 bits") from error


def _uint32(value: object) -> bytes:
    if not is_int(value):
        raise TypeError(f"a count must be a whole number, not {shown(value)}")
    if not 0 <= value <= _UINT32_MAX:
        raise LocalProtocolError(f"{shown(value)} is not a count of 32 bits")
    return _LENGTH.pack(value)


def _split(raw: bytes) -> Iterator[bytes]:
    offset = 0
    while offset < len(raw):
        start = offset + _LENGTH.size
        if start > len(raw):
            raise RemoteProtocolError("an item in a data frame is cut off")
        offset = start + _LENGTH.unpack_from(raw, offset)[0]
        if offset > len(raw):
            raise RemoteProtocolError("an item in a data frame is cut off")
        yield raw[start:offset]


def _encode_properties(properties: tuple[tuple[int, bytes], ...]) -> bytes:
    if not properties:
        return b""
    try:
        body = b"".join(
            _PROPERTY.pack(code, len(value)) + value for code, value in properties
        )
        return _PROPERTIES_LENGTH.pack(len(body)) + body
    except struct.error as error:
        raise LocalProtocolError("properties are above 65,535 bytes") from error


def _decode_properties(
    frame: bytes, flag: int
) -> tuple[tuple[tuple[int, bytes], ...], int]:
    """Return the properties and the offset where the value starts."""
    if not flag & DataFlag.PROPERTIES:
        return (), DATA_HEADER_SIZE
    offset = DATA_HEADER_SIZE + _PROPERTIES_LENGTH.size
    if offset > len(frame):
        raise RemoteProtocolError("properties of a data frame are cut off")
    end = offset + _PROPERTIES_LENGTH.unpack_from(frame, DATA_HEADER_SIZE)[0]
    found: list[tuple[int, bytes]] = []
    while offset < end:
        start = offset + _PROPERTY.size
        if start > min(end, len(frame)):
            raise RemoteProtocolError("properties of a data frame are cut off")
        code, size = _PROPERTY.unpack_from(frame, offset)
        offset = start + size
        found.append((code, frame[start:offset]))
    if offset != end or end > len(frame):
        raise RemoteProtocolError("properties of a data frame are cut off")
    return tuple(found), end
