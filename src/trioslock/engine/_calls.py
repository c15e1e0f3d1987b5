"""CALL: the lists of keys, holders and waiters that a binary client can request.

The content is protobuf, see ``trioslock.protocol.ProtobufField``. Other methods belong
to replication and are answered as unknown.

Source: snower/slock 2.1.12, ``server/protocol.go`` (``commandHandleListLockCommand``
and its siblings), ``protocol/protobuf/db.proto``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from .._errors import RemoteProtocolError
from ..protocol import (
    ID_SIZE,
    MAX_DATA_SIZE,
    CallCommand,
    CallResult,
    LockCommand,
    ProtobufField,
    ResultCode,
    decode_message,
    encode_entry,
    encode_message,
)
from ._types import ClaimView, KeyView

_PROTOBUF = 3
_UTF_8 = 1
_NEVER = 0x7FFF_FFFF_FFFF_FFFF
NEVER_LOGGED = 0xFF
"""The time until a lock is written to the log, as lists show it where there is none."""

_DATA_VALUE = 6
"""Offset of the value in a data frame, properties included."""


class Reader(Protocol):
    """The engine, for reading."""

    def database_exists(self, db: int) -> bool:
        """Return whether a database has been used."""
        ...

    def inspect(self, db: int, key: bytes) -> KeyView | None:
        """Return a key with its holders and waiters."""
        ...

    def held_keys(self, db: int) -> Iterator[KeyView]:
        """Yield the held keys of a database."""
        ...


class _CallError(Exception):
    """A CALL that is answered with an error's name and a result code."""

    def __init__(self, code: ResultCode, name: str) -> None:
        super().__init__(name)
        self.code = code
        self.name = name


def answer_call(command: CallCommand, engine: Reader) -> CallResult:
    """Return the list that a CALL requests, or an error."""
    try:
        content = _METHODS[command.method](command, engine)
        if len(content) > MAX_DATA_SIZE:
            raise _CallError(ResultCode.ERROR, "ENCODE_ERROR")
    except KeyError:
        return _result(command, ResultCode.UNKNOWN_COMMAND, "", b"")
    except _CallError as error:
        return _result(command, error.code, error.name, b"")
    return _result(command, ResultCode.SUCCED, "", content)


def _result(
    command: CallCommand, code: ResultCode, error: str, content: bytes
) -> CallResult:
    return CallResult(
        command.request_id, int(code), 0, _PROTOBUF, _UTF_8, error, content
    )


def _request(command: CallCommand, engine: Reader) -> tuple[int, bytes]:
    """Return the database and the key of a request for a list."""
    try:
        fields = decode_message(command.content)
    except RemoteProtocolError as cause:
        raise _CallError(ResultCode.ERROR, "DECODE_ERROR") from cause
    db, key = fields.get(1, 0), fields.get(2, b"")
    if not isinstance(db, int) or not isinstance(key, bytes):
        raise _CallError(ResultCode.ERROR, "DECODE_ERROR")
    if not engine.database_exists(db):
        raise _CallError(ResultCode.UNKNOWN_DB, "UNKNOWN_DB_ERROR")
    return db, key[:ID_SIZE].ljust(ID_SIZE, b"\0")


def _list_keys(command: CallCommand, engine: Reader) -> bytes:
    db, _ = _request(command, engine)
    entries: list[bytes] = []
    size = 0
    for view in engine.held_keys(db):
        entry = encode_entry(1, _key_message(view))
        entries.append(entry)
        size += len(entry)
        # Checked here too: a list that no frame can carry is not built to its end.
        if size > MAX_DATA_SIZE:
            raise _CallError(ResultCode.ERROR, "ENCODE_ERROR")
    return b"".join(entries)


def _list_holders(command: CallCommand, engine: Reader) -> bytes:
    view = _held_key(command, engine)
    return _claims_message(view, map(_holder_message, view.holders))


def _list_waiters(command: CallCommand, engine: Reader) -> bytes:
    view = _held_key(command, engine)
    return _claims_message(view, map(_waiter_message, view.waiters))


_METHODS: Final[dict[str, Callable[[CallCommand, Reader], bytes]]] = {
    "LIST_LOCK": _list_keys,
    "LIST_LOCKED": _list_holders,
    "LIST_WAIT": _list_waiters,
}


def _held_key(command: CallCommand, engine: Reader) -> KeyView:
    db, key = _request(command, engine)
    view = engine.inspect(db, key)
    if view is None or not view.levels:
        raise _CallError(ResultCode.UNKNOWN_DB, "LOCK_MANAGER_ERROR")
    return view


def _key_message(view: KeyView) -> bytes:
    fields: list[tuple[int, ProtobufField]] = [(1, view.key), (2, view.levels)]
    return encode_message(fields) + _data_entry(3, view.data)


def _claims_message(view: KeyView, claims: map[bytes]) -> bytes:
    head = encode_message([(1, view.key), (2, view.levels)])
    entries = b"".join(encode_entry(3, claim) for claim in claims)
    return head + entries + _data_entry(4, view.data)


def _data_entry(number: int, frame: bytes | None) -> bytes:
    if frame is None:
        return b""
    message = encode_message([(1, frame[_DATA_VALUE:]), (2, frame[4]), (3, frame[5])])
    return encode_entry(number, message)


def _holder_message(claim: ClaimView) -> bytes:
    end = _NEVER if claim.expires_at is None else claim.expires_at
    fields: list[tuple[int, ProtobufField]] = [
        (1, claim.lock_id),
        (2, claim.start),
        (3, claim.timeout_at),
        (4, end),
        (5, claim.levels),
        (6, NEVER_LOGGED),
        # The state "timed out": the real server sets it on every holder.
        (7, 1),
        (11, _command_message(claim.command)),
    ]
    return encode_message(fields)


def _waiter_message(claim: ClaimView) -> bytes:
    fields: list[tuple[int, ProtobufField]] = [
        (1, claim.lock_id),
        (2, claim.start),
        (3, claim.timeout_at),
        (5, _command_message(claim.command)),
    ]
    return encode_message(fields)


def _command_message(command: LockCommand) -> bytes:
    fields: list[tuple[int, ProtobufField]] = [
        (1, command.request_id),
        (2, command.flag),
        (3, command.lock_id),
        (4, command.key),
        (5, command.timeout_flag),
        (6, command.timeout),
        (7, command.expiry_flag),
        (8, command.expiry),
        (9, command.max_count),
        (10, command.rcount),
    ]
    return encode_message(fields)
