"""The Redis-like value commands: each is a LOCK, an UNLOCK or a read of one key.

A value is a held key with data. Lock id and key are the same 16 bytes, and the data
has the name that the client gave. So values share the key space with locks, and a
value that another lock id holds (``SETNX`` takes a random one) cannot be written.

`WRITERS` maps a command's name to a function that makes a command and the function
that makes the reply from its result; `READERS` to one that makes the reply from the
data frame of a held key.

Source: snower/slock 2.1.12, ``protocol/textcommand.go``. Differences on purpose:
``PX``, ``PTX``, ``PSETEX``, ``PEXPIRE`` and ``PEXPIREAT`` mean milliseconds above 3000
too, ``NAOF`` alone does not make a lease of 0, durations may not be negative, and an
option without its value, or ``APPEND`` to a key without one, does not crash the
server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from ..._errors import RemoteProtocolError
from .._commands import LockCommand, LockResult
from .._constants import (
    MAX_UINT16,
    CommandType,
    ExpiryFlag,
    LockFlag,
    ResultCode,
    TimeoutFlag,
    UnlockFlag,
)
from .._durations import MILLISECOND_LIMIT, WireDuration
from .._keys import to_key
from .._payload import DATA_HEADER_SIZE, Data
from ._framing import (
    NIL,
    OK,
    CommandError,
    bulk,
    error,
    integer,
    read_integer,
    simple,
)
from ._lock import ARGS_COUNT_ERROR, RespState, encode_data, read_value

Responder = Callable[[LockResult], bytes]
"""Makes the reply from the command's result."""

Write = tuple[LockCommand, Responder]

Writer = Callable[[list[bytes], RespState, float], Write]
"""Takes the words, the connection's state and the wall clock in seconds."""

Reader = Callable[[bytes | None], bytes]
"""Takes the data frame of a held key, None when it is not held or has none."""

_LOCK = int(CommandType.LOCK)
_UPDATE = int(LockFlag.UPDATE)
_DATA = int(LockFlag.DATA)
_MINUTES = int(TimeoutFlag.MINUTES)
_MILLISECONDS = int(TimeoutFlag.MILLISECONDS)
_UNLIMITED = int(ExpiryFlag.UNLIMITED)
_LOG_AT_ONCE = int(ExpiryFlag.LOG_AT_ONCE)
_NEVER_LOG = int(ExpiryFlag.NEVER_LOG)
_NO_RESET = int(ExpiryFlag.UPDATE_NO_RESET)
_DONE = frozenset({int(ResultCode.SUCCED), int(ResultCode.LOCKED_ERROR)})
_TIMED_OUT = int(ResultCode.TIMEOUT)

_NONE = WireDuration(0, 0)
_FOREVER = WireDuration(0x7FFF, _UNLIMITED)
_FOREVER_OR_AS_IS = WireDuration(MAX_UINT16, _UNLIMITED)
"""Unlimited for a new value; an update leaves the lease as it is."""


@dataclass(slots=True)
class _ValueRequest:
    """A value command while its words are read."""

    key: bytes
    lock_id: bytes
    data: bytes | None = None
    update: bool = True
    wait: WireDuration = _NONE
    lease: WireDuration = _NONE
    log: int = _LOG_AT_ONCE
    default_lease: WireDuration | None = None


# Words to requests.


def _seconds(number: int) -> WireDuration:
    if number <= MAX_UINT16:
        return WireDuration(number, 0)
    return WireDuration(min(-(-number // 60), MAX_UINT16), _MINUTES)


def _milliseconds(number: int) -> WireDuration:
    if number <= MILLISECOND_LIMIT:
        return WireDuration(number, _MILLISECONDS)
    return _seconds(-(-number // 1000))


def _read_duration(
    word: bytes, name: str, unit: Callable[[int], WireDuration]
) -> WireDuration:
    error_text = f"ERR Command Parse {name} Value Error"
    number = read_integer(word, error_text)
    if number < 0:
        raise CommandError(error_text)
    return unit(number)


_TimedField = Literal["lease", "wait"]
_TIMED_OPTIONS: Final[
    dict[bytes, tuple[_TimedField, str, Callable[[int], WireDuration]]]
] = {
    b"EX": ("lease", "EX", _seconds),
    b"PX": ("lease", "PX", _milliseconds),
    b"TX": ("wait", "TX", _seconds),
    b"PTX": ("wait", "TX", _milliseconds),
}


def _read_options(request: _ValueRequest, words: list[bytes], state: RespState) -> None:
    pending = iter(words)
    for word in pending:
        option = word.upper()
        if option in _TIMED_OPTIONS:
            _read_timed_option(request, option, pending)
        elif option == b"NX":
            request.update = False
            request.lock_id = state.new_id()
        elif option == b"XX":
            _add_wait_flag(request, TimeoutFlag.WAIT_WHEN_UNLOCKED)
        elif option == b"ACK":
            _add_wait_flag(request, TimeoutFlag.REQUIRE_ACKED)
        elif option == b"NAOF":
            request.log = _NEVER_LOG


def _read_timed_option(
    request: _ValueRequest, option: bytes, pending: Iterator[bytes]
) -> None:
    field, name, unit = _TIMED_OPTIONS[option]
    word = next(pending, None)
    if word is None:
        raise CommandError(ARGS_COUNT_ERROR)
    duration = _read_duration(word, name, unit)
    if field == "lease":
        request.lease = duration
    else:
        kept = request.wait.flag & ~(_MINUTES | _MILLISECONDS)
        request.wait = WireDuration(duration.value, duration.flag | kept)


def _add_wait_flag(request: _ValueRequest, flag: int) -> None:
    request.wait = WireDuration(request.wait.value, request.wait.flag | flag)


def _new_request(words: list[bytes], least: int) -> _ValueRequest:
    if len(words) < least:
        raise CommandError(ARGS_COUNT_ERROR)
    key = to_key(words[1])
    return _ValueRequest(key, key)


def _with_name(data: Data, name: bytes) -> bytes:
    """Encode data with the key's name beside it, which KEYS and SCAN list."""
    named = Data.set(b"", key=name).properties
    return encode_data(Data(data.raw, data.flag, data.operation, data.stage, named))


def _lock(request: _ValueRequest, state: RespState) -> LockCommand:
    lease = request.lease
    if lease == _NONE and request.default_lease is not None:
        lease = request.default_lease
    flag = (_UPDATE if request.update else 0) | (_DATA if request.data else 0)
    return LockCommand(
        _LOCK,
        state.new_id(),
        flag,
        state.db,
        request.lock_id,
        request.key,
        request.wait.value,
        request.wait.flag,
        lease.value,
        lease.flag | request.log | _NO_RESET,
        0,
        0,
        request.data,
    )


# Writers.


def _set(words: list[bytes], state: RespState, wall: float) -> Write:
    request = _new_request(words, 3)
    request.data = _with_name(Data.set(words[2]), words[1])
    request.default_lease = _FOREVER
    _read_options(request, words[3:], state)
    # NX without TX or PTX waits as long as TIMEOUT SET has said.
    if not request.update and request.wait == _NONE:
        request.wait = WireDuration(state.wait, 0)
    return _lock(request, state), _answer_set


def _get_set(words: list[bytes], state: RespState, wall: float) -> Write:
    return _set(words, state, wall)[0], _answer_get_set


def _set_if_absent(words: list[bytes], state: RespState, wall: float) -> Write:
    request = _new_request(words, 3)
    request.data = _with_name(Data.set(words[2]), words[1])
    request.default_lease = _FOREVER_OR_AS_IS
    request.update = False
    request.lock_id = state.new_id()
    request.wait = WireDuration(state.wait, 0)
    _read_options(request, words[3:], state)
    return _lock(request, state), _answer_set_if_absent


def _set_with_lease(words: list[bytes], state: RespState, wall: float) -> Write:
    request = _new_request(words, 4)
    unit = _milliseconds if words[0].upper() == b"PSETEX" else _seconds
    request.data = _with_name(Data.set(words[3]), words[1])
    request.lease = _read_duration(words[2], "EX", unit)
    _read_options(request, words[4:], state)
    return _lock(request, state), _answer_set


def _append(words: list[bytes], state: RespState, wall: float) -> Write:
    request = _new_request(words, 3)
    request.data = _with_name(Data.append(words[2]), words[1])
    request.default_lease = _FOREVER_OR_AS_IS
    _read_options(request, words[3:], state)
    added = len(words[2])
    return _lock(request, state), lambda result: _answer_append(result, added)


def _increment(words: list[bytes], state: RespState, wall: float) -> Write:
    request = _new_request(words, 2)
    by = 1  # INCR and DECR accept an amount too, as the server does
    if len(words) > 2:
        by = read_integer(words[2], "ERR Command Parse Increment Value Error")
    if words[0].upper().startswith(b"DECR"):
        by = _wrap(-by)
    request.data = _with_name(Data.increment(by), words[1])
    request.default_lease = _FOREVER_OR_AS_IS
    _read_options(request, words[3:], state)
    return _lock(request, state), lambda result: _answer_increment(result, by)


def _expire(words: list[bytes], state: RespState, wall: float) -> Write:
    request = _new_request(words, 3)
    request.lease = _LEASES[words[0].upper()](words[2], wall)
    return _lock(request, state), _answer_expire


def _delete(words: list[bytes], state: RespState, wall: float) -> Write:
    request = _new_request(words, 2)
    command = _lock(request, state)._replace(
        type=int(CommandType.UNLOCK),
        flag=int(UnlockFlag.FIRST),
        expiry_flag=0,
    )
    return command, _answer_delete


def _expire_at(word: bytes, wall: float) -> WireDuration:
    end = read_integer(word, "ERR Command Parse EX Value Error")
    return _milliseconds(max(0, end - int(wall * 1000)))


_LEASES: Final[dict[bytes, Callable[[bytes, float], WireDuration]]] = {
    b"EXPIRE": lambda word, _: _read_duration(word, "EX", _seconds),
    b"PEXPIRE": lambda word, _: _read_duration(word, "EX", _milliseconds),
    b"PEXPIREAT": _expire_at,
    # The word must be a number; its value is ignored.
    b"PERSIST": lambda word, _: _read_duration(word, "EX", lambda _: _FOREVER),
}

WRITERS: Final[dict[bytes, Writer]] = {
    b"SET": _set,
    b"GETSET": _get_set,
    b"SETNX": _set_if_absent,
    b"SETEX": _set_with_lease,
    b"PSETEX": _set_with_lease,
    b"APPEND": _append,
    b"INCR": _increment,
    b"INCRBY": _increment,
    b"DECR": _increment,
    b"DECRBY": _increment,
    b"EXPIRE": _expire,
    b"PEXPIRE": _expire,
    b"PEXPIREAT": _expire,
    b"PERSIST": _expire,
    b"DEL": _delete,
}


# Results to replies.


def _refusal(result: LockResult) -> bytes:
    return error(f"ERR {result.result}")


def _answer_set(result: LockResult) -> bytes:
    if result.result in _DONE:
        return OK
    return NIL if result.result == _TIMED_OUT else _refusal(result)


def _answer_get_set(result: LockResult) -> bytes:
    if result.result not in _DONE:
        return NIL
    return _get(result.data)


def _answer_set_if_absent(result: LockResult) -> bytes:
    if result.result in _DONE:
        return integer(1)
    return integer(0) if result.result == _TIMED_OUT else _refusal(result)


def _answer_append(result: LockResult, added: int) -> bytes:
    if result.result in _DONE:
        return integer(_value_size(result.data) + added)
    return NIL if result.result == _TIMED_OUT else _refusal(result)


def _answer_increment(result: LockResult, by: int) -> bytes:
    if result.result not in _DONE:
        return _refusal(result)
    # The result has the value from before the operation.
    before = _decode(result.data).number if result.data else 0
    return integer(_wrap(before + by))


def _answer_expire(result: LockResult) -> bytes:
    return _answer_set_if_absent(result)


def _answer_delete(result: LockResult) -> bytes:
    return integer(1 if result.result == ResultCode.SUCCED else 0)


def _wrap(number: int) -> int:
    """Bring a number into 64 bits, as the server's arithmetic does."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _decode(frame: bytes) -> Data:
    try:
        return Data.decode(frame)
    except RemoteProtocolError:
        return Data(frame[DATA_HEADER_SIZE:])


def _value_size(frame: bytes | None) -> int:
    return len(_decode(frame).raw) if frame else 0


# Readers.


def _first_value(frame: bytes | None) -> bytes | int | None:
    """Return the value that GET shows: of an array or a map the first one."""
    if frame is None or len(frame) <= DATA_HEADER_SIZE:
        return None
    value = read_value(frame)
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        return value[0] if value else None
    return value


def _get(frame: bytes | None) -> bytes:
    value = _first_value(frame)
    if value is None:
        return NIL
    return integer(value) if isinstance(value, int) else bulk(value)


def _string_length(frame: bytes | None) -> bytes:
    value = _first_value(frame)
    if value is None:
        return integer(0)
    return integer(len(b"%d" % value if isinstance(value, int) else value))


def _exists(frame: bytes | None) -> bytes:
    return integer(0 if frame is None else 1)


def _type(frame: bytes | None) -> bytes:
    return simple("none" if frame is None else "string")


def _dump(frame: bytes | None) -> bytes:
    return NIL if frame is None else bulk(frame)


READERS: Final[dict[bytes, Reader]] = {
    b"GET": _get,
    b"STRLEN": _string_length,
    b"EXISTS": _exists,
    b"TYPE": _type,
    b"DUMP": _dump,
}
