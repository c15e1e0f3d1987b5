"""LOCK, UNLOCK and PUSH of the text dialect: words to a command, a result to a reply.

The command is ``LOCK key [option value]...``. Options may come in any order and any
case, and unknown ones are skipped. Counts are one more than on the binary wire:
``COUNT 3`` allows three holders and is sent as 2.

Source: snower/slock 2.1.12, ``protocol/textcommand.go``
(``ConvertTextLockAndUnLockCommand``, ``WriteTextLockAndUnLockCommandResult``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ..._errors import LocalProtocolError, RemoteProtocolError
from .._commands import LockCommand, LockResult
from .._constants import (
    ID_SIZE,
    MAX_RCOUNT,
    MAX_UINT16,
    CommandType,
    DataStage,
    LockFlag,
)
from .._keys import to_key
from .._payload import DATA_HEADER_SIZE, Data
from ._framing import CommandError, array, bulk, bulk_number, integer, read_integer

DEFAULT_WAIT = 15
"""Seconds that a text LOCK waits when it has no TIMEOUT."""

DEFAULT_LEASE = 120
"""Seconds that a text LOCK holds when it has no EXPRIED (wire spelling)."""

NO_ID = bytes(ID_SIZE)

ARGS_COUNT_ERROR = "ERR Command Parse Args Count Error"
_MAX_NESTING = 8
"""How deep EXECUTE may be nested."""

_LOCK = int(CommandType.LOCK)
_UNLOCK = int(CommandType.UNLOCK)
_WILL = CommandType.WILL_LOCK - CommandType.LOCK
_DATA = int(LockFlag.DATA)

# Wire spelling, one for each result code.
_RESULT_NAMES: Final = (
    b"OK",
    b"UNKNOWN_MAGIC",
    b"UNKNOWN_VERSION",
    b"UNKNOWN_DB",
    b"UNKNOWN_COMMAND",
    b"LOCKED_ERROR",
    b"UNLOCK_ERROR",
    b"UNOWN_ERROR",
    b"TIMEOUT",
    b"EXPRIED",
    b"RESULT_STATE_ERROR",
    b"UNKNOWN_ERROR",
    b"LOCK_ACK_WAITING",
)
_REPLY_HEADS: Final = tuple(
    bulk(b"%d" % code) + bulk(name) + b"$7\r\nLOCK_ID\r\n$32\r\n"
    for code, name in enumerate(_RESULT_NAMES)
)
_STAGES: Final = {
    b"UNLOCK": DataStage.UNLOCK,
    b"TIMEOUT": DataStage.TIMEOUT,
    b"EXPRIED": DataStage.EXPIRY,
}


@dataclass(slots=True)
class RespState:
    """What a text connection keeps from one command to the next.

    Attributes:
        db: Database of the following commands (``SELECT``).
        wait: Seconds that ``SETNX`` and ``SET ... NX`` wait (``TIMEOUT SET``).
        lock_id: Id of the last granted LOCK, which an UNLOCK without ``LOCK_ID``
            releases.
        new_id: Makes 16 fresh bytes.
    """

    new_id: Callable[[], bytes]
    db: int = 0
    wait: int = DEFAULT_WAIT
    lock_id: bytes = NO_ID


@dataclass(slots=True)
class _Options:
    """The fields of a LOCK while its options are read, with their defaults."""

    lock_id: bytes | None = None
    flag: int = 0
    timeout: int = DEFAULT_WAIT
    timeout_flag: int = 0
    expiry: int = DEFAULT_LEASE
    expiry_flag: int = 0
    count: int = 0
    rcount: int = 0
    will: bool = False
    data: bytes | None = None


def read_lock(words: list[bytes], state: RespState, depth: int = 0) -> LockCommand:
    """Read the words of a LOCK, UNLOCK or PUSH.

    Args:
        words: The request, its name first.
        state: Database, and the id for an UNLOCK that names none.
        depth: Number of EXECUTE around this command.

    Returns:
        The command. A PUSH becomes a LOCK, a will has a will's type.

    Raises:
        CommandError: The words are wrong; its text is the reply.
    """
    if len(words) < 2 or len(words) % 2:
        raise CommandError(ARGS_COUNT_ERROR)
    name = words[0].upper()
    options = _Options()
    for index in range(2, len(words), 2):
        option = words[index].upper()
        if option in _OPTIONS:
            _OPTIONS[option](options, words[index + 1])
        elif option in _DATA_OPTIONS:
            options.data = encode_data(_DATA_OPTIONS[option](words[index + 1]))
        elif option == b"EXECUTE":
            options.data = _execute(words[index + 1 :], state, depth)
            break
    return _build(name, words[1], options, state)


def _build(name: bytes, key: bytes, options: _Options, state: RespState) -> LockCommand:
    request_id = state.new_id()
    lock_id = options.lock_id
    if lock_id is None:
        lock_id = request_id if name == b"LOCK" else state.lock_id
    kind = _UNLOCK if name == b"UNLOCK" else _LOCK
    if options.will and name != b"PUSH":
        kind += _WILL
    # The flag announces a data frame, so it follows the data and not the FLAG option.
    flag = options.flag | _DATA if options.data else options.flag & ~_DATA
    return LockCommand(
        kind,
        request_id,
        flag,
        state.db,
        lock_id,
        to_key(key),
        options.timeout,
        options.timeout_flag,
        options.expiry,
        options.expiry_flag,
        options.count,
        options.rcount,
        options.data,
    )


def _execute(words: list[bytes], state: RespState, depth: int) -> bytes:
    """Read the stage and the command of an EXECUTE, which are all words left.

    The real server reads these words again as options of the outer command, so that
    an inner LOCK_ID becomes the outer one's too. Here they are the inner command's.
    """
    if depth >= _MAX_NESTING:
        raise CommandError("ERR Command Parse EXECUTE Error")
    stage = _STAGES.get(words[0].upper(), DataStage.NOW)
    inner = read_lock(words[1:], state, depth + 1)
    return encode_data(Data.execute(inner, stage=stage))


def encode_data(data: Data) -> bytes:
    """Return a data frame.

    Raises:
        CommandError: It is larger than the server accepts.
    """
    try:
        return data.encode()
    except LocalProtocolError as cause:
        raise CommandError("ERR Command Parse Data Size Error") from cause


def _number(word: bytes, name: str) -> int:
    return read_integer(word, f"ERR Command Parse {name} Error")


def _read_lock_id(options: _Options, word: bytes) -> None:
    options.lock_id = to_key(word)


def _read_flag(options: _Options, word: bytes) -> None:
    options.flag = _number(word, "FLAG") & 0xFF


def _read_timeout(options: _Options, word: bytes) -> None:
    number = _number(word, "TIMEOUT")
    options.timeout = number & MAX_UINT16
    options.timeout_flag = number >> 16 & MAX_UINT16


def _read_expiry(options: _Options, word: bytes) -> None:
    number = _number(word, "EXPRIED")
    options.expiry = number & MAX_UINT16
    options.expiry_flag = number >> 16 & MAX_UINT16


def _read_count(options: _Options, word: bytes) -> None:
    number = _number(word, "COUNT")
    options.count = (number - 1 if number > 0 else number) & MAX_UINT16


def _read_rcount(options: _Options, word: bytes) -> None:
    number = _number(word, "RCOUNT")
    options.rcount = (number - 1 if number > 0 else number) & MAX_RCOUNT


def _read_will(options: _Options, word: bytes) -> None:
    options.will = _number(word, "WILL") > 0


_OPTIONS: Final[dict[bytes, Callable[[_Options, bytes], None]]] = {
    b"LOCK_ID": _read_lock_id,
    b"FLAG": _read_flag,
    b"TIMEOUT": _read_timeout,
    b"EXPRIED": _read_expiry,
    b"COUNT": _read_count,
    b"RCOUNT": _read_rcount,
    b"WILL": _read_will,
}
_DATA_OPTIONS: Final[dict[bytes, Callable[[bytes], Data]]] = {
    b"SET": Data.set,
    b"UNSET": lambda _: Data.unset(),
    b"APPEND": Data.append,
    b"PUSH": Data.push,
    b"INCR": lambda word: Data.increment(_number(word, "INCR")),
    b"SHIFT": lambda word: Data.shift(_number(word, "SHIFT") & 0xFFFF_FFFF),
    # The real server names SHIFT in this error too.
    b"POP": lambda word: Data.pop(_number(word, "SHIFT") & 0xFFFF_FFFF),
}


def lock_reply(result: LockResult) -> bytes:
    """Return the reply to a LOCK or UNLOCK: 12 bulk strings, 14 with data.

    COUNT and RCOUNT are one more than on the binary wire. As on the real server the
    sum has 16 and 8 bits, so that an unlimited count reads 0.
    """
    code, lock_id, data = result.result, result.lock_id, result.data
    counts = _counts(result.lcount, result.max_count, result.lrcount, result.rcount)
    lock_id_part = lock_id.hex().encode()
    if data is None:
        return b"".join((b"*12\r\n", _REPLY_HEADS[code], lock_id_part, counts))
    parts = (b"*14\r\n", _REPLY_HEADS[code], lock_id_part, counts, _data_part(data))
    return b"".join(parts)


@lru_cache(maxsize=4096)
def _counts(lcount: int, max_count: int, lrcount: int, rcount: int) -> bytes:
    return b"".join(
        (
            b"\r\n$6\r\nLCOUNT\r\n",
            bulk_number(lcount),
            b"$5\r\nCOUNT\r\n",
            bulk_number(max_count + 1 & MAX_UINT16),
            b"$7\r\nLRCOUNT\r\n",
            bulk_number(lrcount),
            b"$6\r\nRCOUNT\r\n",
            bulk_number(rcount + 1 & MAX_RCOUNT),
        )
    )


def _data_part(frame: bytes) -> bytes:
    value = read_value(frame)
    if isinstance(value, int):
        part = integer(value)
    elif isinstance(value, tuple):
        part = array(value)
    elif isinstance(value, dict):
        part = array(part for pair in value.items() for part in pair)
    else:
        part = bulk(value)
    return b"$4\r\nDATA\r\n" + part


def read_value(frame: bytes) -> bytes | int | tuple[bytes, ...] | dict[bytes, bytes]:
    """Return the value in a stored data frame, by its flag.

    The server stores the frames of clients unchecked, so a frame may have the flag of
    an array and be none: its bytes are returned as they are.
    """
    try:
        return Data.decode(frame).value
    except RemoteProtocolError:
        return frame[DATA_HEADER_SIZE:]
