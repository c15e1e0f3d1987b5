"""LOCK, UNLOCK and PUSH of the text dialect: words to commands, results to replies."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioslock import RemoteProtocolError
from trioslock.protocol import (
    FRAME_SIZE,
    CommandType,
    Data,
    DataOperation,
    DataStage,
    LockCommand,
    LockFlag,
    LockResult,
    decode_command,
    resp,
    to_key,
)
from trioslock.protocol.resp import CommandError, RespState


@pytest.fixture
def state() -> RespState:
    counter = itertools.count(1)
    return RespState(lambda: next(counter).to_bytes(16, "big"), db=3)


def read(state: RespState, line: str) -> LockCommand:
    return resp.read_lock([word.encode() for word in line.split(" ")], state)


def test_defaults(state: RespState) -> None:
    """15 s of wait, 120 s of lease, one holder, one level, the request's id."""
    first = (1).to_bytes(16, "big")
    expected = LockCommand(1, first, 0, 3, first, to_key("k"), 15, 0, 120, 0, 0, 0)
    assert read(state, "LOCK k") == expected


def test_all_options_in_any_case(state: RespState) -> None:
    """Upper halves of TIMEOUT and EXPRIED are the flag words; counts are human."""
    line = (
        "lock k lock_id a Flag 258 TIMEOUT 67108865 EXPRIED 1073741825"
        " COUNT 3 RCOUNT 2 WILL 0 NOSUCH x"
    )
    command = read(state, line)
    assert command[2:] == (
        2,
        3,
        to_key("a"),
        to_key("k"),
        1,
        0x0400,
        1,
        0x4000,
        2,
        1,
        None,
    )


@pytest.mark.parametrize(
    ("option", "place", "value"),
    [
        ("COUNT 0", 10, 0),
        ("COUNT 1", 10, 0),
        ("COUNT 65536", 10, 0xFFFF),
        ("COUNT 65537", 10, 0),
        ("COUNT -1", 10, 0xFFFF),
        ("RCOUNT 256", 11, 0xFF),
        ("RCOUNT 0", 11, 0),
        ("TIMEOUT -1", 6, 0xFFFF),
        ("TIMEOUT -1", 7, 0xFFFF),
        ("FLAG -1", 2, 0xDF),
    ],
)
def test_numbers_are_cut_to_their_fields(
    state: RespState, option: str, place: int, value: int
) -> None:
    """As the real server cuts them; a data flag without data is dropped."""
    assert read(state, f"LOCK k {option}")[place] == value


def test_unlock_takes_the_last_id(state: RespState) -> None:
    """And LOCK_ID wins over it."""
    state.lock_id = to_key("mine")
    assert read(state, "UNLOCK k")[:5:4] == (CommandType.UNLOCK, to_key("mine"))
    assert read(state, "UNLOCK k LOCK_ID other").lock_id == to_key("other")
    assert read(state, "PUSH k").lock_id == to_key("mine")


def test_wills(state: RespState) -> None:
    """WILL makes one of LOCK and UNLOCK, not of PUSH."""
    assert read(state, "LOCK k WILL 1").type == CommandType.WILL_LOCK
    assert read(state, "UNLOCK k WILL 1").type == CommandType.WILL_UNLOCK
    assert read(state, "PUSH k WILL 1").type == CommandType.LOCK


@pytest.mark.parametrize(
    ("option", "data"),
    [
        ("SET v", Data.set("v")),
        ("UNSET x", Data.unset()),
        ("APPEND v", Data.append("v")),
        ("PUSH v", Data.push("v")),
        ("INCR -7", Data.increment(-7)),
        ("SHIFT 2", Data.shift(2)),
        ("POP 3", Data.pop(3)),
        ("SET a SET b", Data.set("b")),
    ],
)
def test_data_options(state: RespState, option: str, data: Data) -> None:
    """The last of several counts, and the data flag is set."""
    command = read(state, f"LOCK k {option}")
    assert command.data == data.encode()
    assert command.flag == LockFlag.DATA


@pytest.mark.parametrize(
    ("word", "stage"),
    [
        ("NOW", DataStage.NOW),
        ("unlock", DataStage.UNLOCK),
        ("TIMEOUT", DataStage.TIMEOUT),
        ("EXPRIED", DataStage.EXPIRY),
    ],
)
def test_execute_takes_the_rest(state: RespState, word: str, stage: DataStage) -> None:
    """The words behind it belong to the inner command alone."""
    line = f"LOCK k LOCK_ID a EXECUTE {word} LOCK k2 LOCK_ID b SET v"
    command = read(state, line)
    assert command.lock_id == to_key("a")
    assert command.data is not None
    data = Data.decode(command.data)
    assert (data.operation, data.stage) == (DataOperation.EXECUTE, stage)
    inner = decode_command(data.raw, 0, data.raw[FRAME_SIZE:])
    assert isinstance(inner, LockCommand)
    assert (inner.lock_id, inner.key) == (to_key("b"), to_key("k2"))
    assert inner.data == Data.set("v").encode()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("LOCK", "ERR Command Parse Args Count Error"),
        ("LOCK k TIMEOUT", "ERR Command Parse Args Count Error"),
        ("LOCK k FLAG x", "ERR Command Parse FLAG Error"),
        ("LOCK k POP x", "ERR Command Parse SHIFT Error"),
        ("LOCK k EXECUTE NOW", "ERR Command Parse Args Count Error"),
        ("LOCK k EXECUTE NOW LOCK", "ERR Command Parse Args Count Error"),
        ("LOCK k EXECUTE NOW LOCK k COUNT x", "ERR Command Parse COUNT Error"),
        ("LOCK k TIMEOUT 9223372036854775808", "ERR Command Parse TIMEOUT Error"),
    ],
)
def test_errors(state: RespState, line: str, message: str) -> None:
    """Each with the real server's words."""
    with pytest.raises(CommandError) as caught:
        read(state, line)
    assert str(caught.value) == message


def test_execute_cannot_nest_without_end(state: RespState) -> None:
    """Some levels are fine, hundreds are refused before they cost anything."""
    read(state, "LOCK k" + " EXECUTE NOW LOCK k" * 8)
    with pytest.raises(CommandError, match="EXECUTE"):
        read(state, "LOCK k" + " EXECUTE NOW LOCK k" * 250)


def test_data_above_the_limit_is_refused(state: RespState) -> None:
    """A value that no data frame can carry is an error, not the connection's end."""
    words = [b"LOCK", b"k", b"SET", b"v" * 1_048_576]
    with pytest.raises(CommandError, match="Size"):
        resp.read_lock(words, state)


@given(st.lists(st.sampled_from([b"LOCK", b"k", b"EXECUTE", b"NOW", b"SET", b"1"])))
def test_any_words_give_a_command_or_an_error(words: list[bytes]) -> None:
    """Never another exception."""
    try:
        resp.read_lock([b"LOCK", *words], RespState(lambda: bytes(16)))
    except CommandError:
        pass


def result(code: int = 0, data: bytes | None = None) -> LockResult:
    return LockResult(
        1, bytes(16), code, 0, 0, to_key("a"), to_key("k"), 1, 2, 3, 4, data
    )


HEAD = (
    b"$%d\r\n%b\r\n$%d\r\n%b\r\n$7\r\nLOCK_ID\r\n$32\r\n00000000000000000000000000000061"
    b"\r\n$6\r\nLCOUNT\r\n$1\r\n1\r\n$5\r\nCOUNT\r\n$1\r\n3\r\n$7\r\nLRCOUNT\r\n$1\r\n3"
    b"\r\n$6\r\nRCOUNT\r\n$1\r\n5\r\n"
)


@pytest.mark.parametrize(
    ("code", "name"),
    [(0, b"OK"), (10, b"RESULT_STATE_ERROR"), (12, b"LOCK_ACK_WAITING")],
)
def test_reply_without_data(code: int, name: bytes) -> None:
    """12 elements; also for the code that the real server has no name for."""
    number = b"%d" % code
    head = HEAD % (len(number), number, len(name), name)
    assert resp.lock_reply(result(code)) == b"*12\r\n" + head


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (Data.set("v"), b"$1\r\nv\r\n"),
        (Data.set(""), b"$0\r\n\r\n"),
        (Data.set(-5), b":-5\r\n"),
        (Data.set(["a", "bc"]), b"*2\r\n$1\r\na\r\n$2\r\nbc\r\n"),
        (Data.set({"a": "b"}), b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
        (Data(b"\xff\xff", flag=2), b"$2\r\n\xff\xff\r\n"),
    ],
)
def test_reply_with_data(data: Data, part: bytes) -> None:
    """14 elements, the last in the shape of the value; a lie is shown as bytes."""
    expected = b"*14\r\n" + HEAD % (1, b"0", 2, b"OK") + b"$4\r\nDATA\r\n" + part
    assert resp.lock_reply(result(data=data.encode())) == expected


def test_unlimited_counts_wrap() -> None:
    """One more than 0xffff and 0xff is 0, as the real server shows it."""
    reply = resp.lock_reply(result()._replace(max_count=0xFFFF, rcount=0xFF))
    assert b"\r\nCOUNT\r\n$1\r\n0\r\n" in reply
    assert b"\r\nRCOUNT\r\n$1\r\n0\r\n" in reply


def test_command_errors_are_the_peers_fault() -> None:
    """Code that handles RemoteProtocolError handles them too."""
    assert issubclass(CommandError, RemoteProtocolError)
