"""Lists of holders, waiters and keys, and the counters of a database.

The server answers in protobuf, see `trioslock.protocol.decode_fields`. Lists
are snapshots, and only the leader gives them.

Source: snower/slock 2.1.12, ``protocol/protobuf/db.proto`` and
``server/protocol.go`` (``commandHandleListLockCommand`` and its siblings).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import cast

from .._errors import NoLeader, RemoteProtocolError, ServerError
from ..link import Requester
from ..protocol import (
    CallCommand,
    CallResult,
    Data,
    DataOperation,
    ProtobufField,
    ResultCode,
    StateCommand,
    StateResult,
    decode_fields,
    encode_message,
)
from ._holder import Holder, Waiter

_PROTOBUF = 3
_UTF_8 = 1
_NEVER = (1 << 62) - 1
"""Seconds above which a time means "never": the server sends its largest number."""

_NOTHING_THERE = ("UNKNOWN_DB_ERROR", "LOCK_MANAGER_ERROR")


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A key that is held.

    Attributes:
        key: Its 16 bytes.
        levels: Levels of all holders together.
        data: Its value, or None.
    """

    key: bytes
    levels: int
    data: Data | None


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What the server has counted in one database since its start.

    Attributes:
        in_use: Whether the database was ever used.
        grants: Levels granted, those for no time included.
        releases: Levels released, and waits withdrawn.
        held: Levels held now.
        waiting: Requests that wait now.
        timed_out: Waits that timed out.
        expired: Leases that ended.
        failed_releases: Releases of what was not held.
        keys: Keys known now; the server forgets unused ones some seconds late.
    """

    in_use: bool
    grants: int
    releases: int
    held: int
    waiting: int
    timed_out: int
    expired: int
    failed_releases: int
    keys: int


async def list_holders(requester: Requester, db: int, key: bytes) -> list[Holder]:
    """Return all holders of a key, in order of their grants."""
    fields = await _list(requester, "LIST_LOCKED", db, key)
    total = _int(dict(fields).get(2, 0))
    data = _find_data(fields, 4)
    return [_holder(message, total, data) for message in _messages(fields, 3)]


async def list_waiters(requester: Requester, db: int, key: bytes) -> list[Waiter]:
    """Return all waiters of a key, in the order of the queue."""
    fields = await _list(requester, "LIST_WAIT", db, key)
    return [_waiter(message) for message in _messages(fields, 3)]


async def list_keys(requester: Requester, db: int) -> list[HeldKey]:
    """Return all keys of a database that are held."""
    fields = await _list(requester, "LIST_LOCK", db)
    return [_held_key(message) for message in _messages(fields, 1)]


async def read_state(requester: Requester, db: int) -> DatabaseState:
    """Return the counters of a database."""
    command = StateCommand(requester.new_id(), 0, db)
    result = cast(StateResult, await requester.ask(command))
    _check(result.result, "STATE", "")
    return DatabaseState(
        in_use=bool(result.db_state),
        grants=result.lock_count,
        releases=result.unlock_count,
        held=result.locked_count,
        waiting=result.wait_count,
        timed_out=result.timed_out_count,
        expired=result.expired_count,
        failed_releases=result.unlock_error_count,
        keys=result.key_count,
    )


Fields = list[tuple[int, ProtobufField]]


async def _list(
    requester: Requester, method: str, db: int, key: bytes | None = None
) -> Fields:
    fields: Fields = [(1, db)]
    if key is not None:
        fields.append((2, key))
    command = CallCommand(
        requester.new_id(), 0, _PROTOBUF, _UTF_8, method, encode_message(fields)
    )
    result = cast(CallResult, await requester.ask(command))
    # Not an error: the database or the key has never been used.
    if result.error in _NOTHING_THERE:
        return []
    _check(result.result, method, result.error)
    return list(decode_fields(result.content))


def _check(code: int, method: str, error: str) -> None:
    if code == ResultCode.STATE_ERROR:
        raise NoLeader("only a leader answers this, and the server cannot reach one")
    if code != ResultCode.SUCCED:
        reason = error or f"result {code}"
        raise ServerError(f"the server refused {method}: {reason}", result=code)


def _messages(fields: Fields, wanted: int) -> Iterator[dict[int, ProtobufField]]:
    for number, value in fields:
        if number == wanted:
            yield dict(decode_fields(_bytes(value)))


def _holder(message: dict[int, ProtobufField], total: int, data: Data | None) -> Holder:
    return Holder(
        lock_id=_bytes(message.get(1, b"")),
        levels=_int(message.get(5, 0)),
        total=total,
        data=data,
        since=_time(message.get(2, 0)),
        until=_time(message.get(4, 0)),
    )


def _waiter(message: dict[int, ProtobufField]) -> Waiter:
    return Waiter(
        lock_id=_bytes(message.get(1, b"")),
        since=_time(message.get(2, 0)),
        until=_time(message.get(3, 0)),
    )


def _held_key(message: dict[int, ProtobufField]) -> HeldKey:
    data = _find_data(list(message.items()), 3)
    return HeldKey(_bytes(message.get(1, b"")), _int(message.get(2, 0)), data)


def _find_data(fields: Fields, wanted: int) -> Data | None:
    """Return the value in field ``wanted``: the data frame in three parts."""
    for message in _messages(fields, wanted):
        # The server leaves out the head of the frame, whose operation is always SET.
        rest, flag = _bytes(message.get(1, b"")), _int(message.get(3, 0))
        head = struct.pack("<IBB", len(rest) + 2, DataOperation.SET, flag & 0xFF)
        return Data.decode(head + rest)
    return None


def _int(value: ProtobufField) -> int:
    if isinstance(value, int):
        return value
    raise RemoteProtocolError(f"a list has {value!r} where a number belongs")


def _bytes(value: ProtobufField) -> bytes:
    if isinstance(value, bytes):
        return value
    raise RemoteProtocolError(f"a list has {value!r} where bytes belong")


def _time(value: ProtobufField) -> float:
    seconds = _int(value)
    return inf if seconds > _NEVER else float(seconds)
