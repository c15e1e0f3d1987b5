"""The value commands: words to a command, its result to a reply, data to a reply."""

from __future__ import annotations

import itertools

import pytest

from trioslock.protocol import (
    CommandType,
    Data,
    DataOperation,
    LockCommand,
    LockFlag,
    LockResult,
    PropertyCode,
    resp,
    to_key,
)
from trioslock.protocol.resp import CommandError, RespState

UNLIMITED = 0x4000
LOGGED = 0x2100
UNLOGGED = 0x2200
MS = 0x0400
MINUTES = 0x0040


def write(line: str, *, wait: int = 15) -> tuple[LockCommand, resp.Responder]:
    counter = itertools.count(1)
    state = RespState(lambda: next(counter).to_bytes(16, "big"), db=3, wait=wait)
    words = [word.encode() for word in line.split(" ")]
    return resp.WRITERS[words[0].upper()](words, state, 1_700_000_000.5)


def result(code: int, data: Data | None = None) -> LockResult:
    frame = data.encode() if data else None
    key = to_key("k")
    return LockResult(1, bytes(16), code, 0, 3, key, key, 1, 0, 1, 0, frame)


def test_set_is_an_update_without_end() -> None:
    """Lock id is the key, the data carries the name, the lease is unlimited."""
    command, _ = write("SET k v")
    assert command.type == CommandType.LOCK
    assert command.flag == LockFlag.UPDATE | LockFlag.DATA
    assert command.lock_id == command.key == to_key("k")
    assert command[6:10] == (0, 0, 0x7FFF, UNLIMITED | LOGGED)
    assert command.data == Data.set("v", key="k").encode()


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        # Wait and its flag, lease and its flag.
        ("SET k v EX 10", (0, 0, 10, LOGGED)),
        ("SET k v EX 65535", (0, 0, 65535, LOGGED)),
        ("SET k v EX 65536", (0, 0, 1093, MINUTES | LOGGED)),
        ("SET k v EX 99999999999", (0, 0, 65535, MINUTES | LOGGED)),
        ("SET k v PX 3000", (0, 0, 3000, MS | LOGGED)),
        ("SET k v px 3001", (0, 0, 4, LOGGED)),
        ("SET k v PX 100000", (0, 0, 100, LOGGED)),
        ("SET k v PX 65535001", (0, 0, 1093, MINUTES | LOGGED)),
        ("SET k v EX 0", (0, 0, 0x7FFF, UNLIMITED | LOGGED)),
        ("SET k v TX 9", (9, 0, 0x7FFF, UNLIMITED | LOGGED)),
        ("SET k v PTX 9", (9, MS, 0x7FFF, UNLIMITED | LOGGED)),
        ("SET k v XX", (0, 0x0200, 0x7FFF, UNLIMITED | LOGGED)),
        ("SET k v XX ACK TX 5", (5, 0x1200, 0x7FFF, UNLIMITED | LOGGED)),
        ("SET k v NAOF", (0, 0, 0x7FFF, UNLIMITED | UNLOGGED)),
        ("SET k v NAOF EX 5", (0, 0, 5, UNLOGGED)),
        ("SET k v WHATEVER", (0, 0, 0x7FFF, UNLIMITED | LOGGED)),
        ("GETSET k v EX 3", (0, 0, 3, LOGGED)),
        ("SETEX k 10 v", (0, 0, 10, LOGGED)),
        ("PSETEX k 10 v", (0, 0, 10, MS | LOGGED)),
        ("SETNX k v", (15, 0, 0xFFFF, UNLIMITED | LOGGED)),
        ("SETNX k v PTX 100", (100, MS, 0xFFFF, UNLIMITED | LOGGED)),
        ("SET k v NX", (15, 0, 0x7FFF, UNLIMITED | LOGGED)),
        ("SET k v NX TX 2", (2, 0, 0x7FFF, UNLIMITED | LOGGED)),
        ("APPEND k v", (0, 0, 0xFFFF, UNLIMITED | LOGGED)),
        ("INCR k", (0, 0, 0xFFFF, UNLIMITED | LOGGED)),
        ("INCR k 5 EX 7", (0, 0, 7, LOGGED)),
        ("EXPIRE k 10", (0, 0, 10, LOGGED)),
        ("PEXPIRE k 5000", (0, 0, 5, LOGGED)),
        ("PEXPIREAT k 1700000002000", (0, 0, 1500, MS | LOGGED)),
        ("PEXPIREAT k 1", (0, 0, 0, MS | LOGGED)),
        ("PERSIST k 1", (0, 0, 0x7FFF, UNLIMITED | LOGGED)),
        ("DEL k", (0, 0, 0, 0)),
    ],
)
def test_waits_and_leases(line: str, fields: tuple[int, int, int, int]) -> None:
    """Every unit, rounded up; what has no lease is unlimited."""
    assert write(line)[0][6:10] == fields


@pytest.mark.parametrize("line", ["SETNX k v", "SET k v NX", "APPEND k v NX"])
def test_absent_only_takes_an_id_of_its_own(line: str) -> None:
    """And is no update, so a held key refuses it."""
    command, _ = write(line)
    assert command.flag == LockFlag.DATA
    assert command.lock_id != command.key


def test_timeout_command_sets_the_wait_of_setnx() -> None:
    """Not that of SET, which never waits by itself."""
    assert write("SETNX k v", wait=3)[0].timeout == 3
    assert write("SET k v", wait=3)[0].timeout == 0


@pytest.mark.parametrize(
    ("line", "operation", "raw"),
    [
        ("APPEND k v", DataOperation.APPEND, b"v"),
        ("INCR k", DataOperation.INCR, (1).to_bytes(8, "little")),
        ("INCRBY k 7", DataOperation.INCR, (7).to_bytes(8, "little")),
        ("DECR k", DataOperation.INCR, b"\xff" * 8),
        ("DECRBY k -7", DataOperation.INCR, (7).to_bytes(8, "little")),
        (
            "DECRBY k -9223372036854775808",
            DataOperation.INCR,
            (1 << 63).to_bytes(8, "little"),
        ),
    ],
)
def test_operations(line: str, operation: DataOperation, raw: bytes) -> None:
    """Each with the key's name beside it."""
    command, _ = write(line)
    assert command.data is not None
    data = Data.decode(command.data)
    assert (data.operation, data.raw) == (operation, raw)
    assert data.properties == ((PropertyCode.KEY, b"k"),)


@pytest.mark.parametrize("line", ["EXPIRE k 1", "PERSIST k 1", "DEL k"])
def test_some_carry_no_data(line: str) -> None:
    """Nor the flag that announces it."""
    command, _ = write(line)
    assert command.data is None
    assert not command.flag & LockFlag.DATA


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SET k", "Args Count Error"),
        ("SET k v EX", "Args Count Error"),
        ("SET k v EX x", "EX Value Error"),
        ("SET k v EX -1", "EX Value Error"),
        ("SET k v PX x", "PX Value Error"),
        ("SET k v TX x", "TX Value Error"),
        ("SET k v PTX x", "TX Value Error"),
        ("SETEX k 10", "Args Count Error"),
        ("SETEX k x v", "EX Value Error"),
        ("SETNX k", "Args Count Error"),
        ("APPEND k", "Args Count Error"),
        ("INCR", "Args Count Error"),
        ("INCRBY k x", "Increment Value Error"),
        ("EXPIRE k", "Args Count Error"),
        ("EXPIRE k x", "EX Value Error"),
        ("EXPIRE k -1", "EX Value Error"),
        ("PEXPIREAT k x", "EX Value Error"),
        ("PERSIST k", "Args Count Error"),
        ("PERSIST k x", "EX Value Error"),
        ("DEL", "Args Count Error"),
        ("SET k " + "v" * 1_048_576, "Data Size Error"),
        ("SET " + "k" * 70_000 + " v", "Data Size Error"),
    ],
)
def test_errors(line: str, message: str) -> None:
    """With the real server's words; where it would end, with an error."""
    with pytest.raises(CommandError) as caught:
        write(line)
    assert str(caught.value) == f"ERR Command Parse {message}"


NUMBER = Data.set(41)


@pytest.mark.parametrize(
    ("line", "answer", "reply"),
    [
        ("SET k v", result(0), b"+OK\r\n"),
        ("SET k v", result(5), b"+OK\r\n"),
        ("SET k v", result(8), b"$-1\r\n"),
        ("SET k v", result(11), b"-ERR 11\r\n"),
        ("GETSET k v", result(5, Data.set("old")), b"$3\r\nold\r\n"),
        ("GETSET k v", result(5, NUMBER), b":41\r\n"),
        ("GETSET k v", result(0), b"$-1\r\n"),
        ("GETSET k v", result(8, Data.set("other's")), b"$-1\r\n"),
        ("SETNX k v", result(0), b":1\r\n"),
        ("SETNX k v", result(8), b":0\r\n"),
        ("SETNX k v", result(12), b"-ERR 12\r\n"),
        ("APPEND k vv", result(0), b":2\r\n"),
        ("APPEND k vv", result(5, Data.set("old", key="k")), b":5\r\n"),
        ("APPEND k vv", result(8), b"$-1\r\n"),
        ("APPEND k vv", result(11), b"-ERR 11\r\n"),
        ("INCR k", result(0), b":1\r\n"),
        ("INCR k", result(5, NUMBER), b":42\r\n"),
        ("DECRBY k 2", result(5, NUMBER), b":39\r\n"),
        ("INCR k", result(5, Data.set(b"10")), b":12338\r\n"),
        ("INCR k", result(5, Data.set((1 << 63) - 1)), b":-9223372036854775808\r\n"),
        ("INCR k", result(8), b"-ERR 8\r\n"),
        ("EXPIRE k 1", result(0), b":1\r\n"),
        ("EXPIRE k 1", result(8), b":0\r\n"),
        ("EXPIRE k 1", result(11), b"-ERR 11\r\n"),
        ("DEL k", result(0), b":1\r\n"),
        ("DEL k", result(6), b":0\r\n"),
    ],
)
def test_answers(line: str, answer: LockResult, reply: bytes) -> None:
    """What a client gets for each result."""
    assert write(line)[1](answer) == reply


def test_answers_to_malformed_data() -> None:
    """What others stored as properties and are none counts as bytes."""
    frame = b"\x05\0\0\0\0\x10\xff\xff\x01"
    answer = result(5)._replace(data=frame)
    assert write("APPEND k v")[1](answer) == b":4\r\n"


@pytest.mark.parametrize(
    ("data", "get", "length"),
    [
        (None, b"$-1\r\n", b":0\r\n"),
        (Data.set("v"), b"$1\r\nv\r\n", b":1\r\n"),
        (Data.set("", key="k"), b"$0\r\n\r\n", b":0\r\n"),
        (Data.set(""), b"$-1\r\n", b":0\r\n"),
        (Data.set(-12), b":-12\r\n", b":3\r\n"),
        (Data.set(["ab", "c"]), b"$2\r\nab\r\n", b":2\r\n"),
        (Data.set([""]), b"$-1\r\n", b":0\r\n"),
        (Data.set({"k": "vvv"}), b"$3\r\nvvv\r\n", b":3\r\n"),
    ],
)
def test_readers(data: Data | None, get: bytes, length: bytes) -> None:
    """GET and STRLEN show the first value; the others whether there is one."""
    frame = data.encode() if data else None
    assert resp.READERS[b"GET"](frame) == get
    assert resp.READERS[b"STRLEN"](frame) == length
    held = frame is not None
    assert resp.READERS[b"EXISTS"](frame) == b":%d\r\n" % held
    assert resp.READERS[b"TYPE"](frame) == (b"+string\r\n" if held else b"+none\r\n")
    dump = b"$-1\r\n" if frame is None else resp.bulk(frame)
    assert resp.READERS[b"DUMP"](frame) == dump
