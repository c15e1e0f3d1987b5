"""Operations on values, and frames that the real server ends on."""

from __future__ import annotations

import pytest
from tests.trioslock.engine.commands import lock
from tests.trioslock.engine.model import frame

from trioslock.engine._values import (
    MAX_NESTING,
    ValueChange,
    ValueTooLargeError,
    check_frame,
    operate,
)
from trioslock.protocol import encode_command

SET, UNSET, INCR, APPEND, SHIFT, EXECUTE, PIPELINE, PUSH, POP = range(9)
LIMIT = 1000
ONE = (1).to_bytes(8, "little")


def run(value: bytes | None, *frames: bytes, edge: bool = True) -> bytes | None:
    for each in frames:
        assert check_frame(each, LIMIT)
        value = operate(value, each, db=0, limit=LIMIT, edge=edge).value
    return value


def plain(raw: bytes, flag: int = 0) -> bytes:
    return frame(SET, flag, None, raw)


def count(operation: int, number: int) -> bytes:
    return frame(operation, 0, None, number.to_bytes(4, "little"))


def items(*values: bytes) -> bytes:
    return b"".join(len(each).to_bytes(4, "little") + each for each in values)


# Shape.


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        b"\0\0\0\0",
        b"\1\0\0\0\0",
        b"\2\0\0\0\0",
        b"\3\0\0\0\0\0",
        b"\2\0\0\0\0\0\0",
        b"\2\0\0\0\0\x10",
        b"\3\0\0\0\0\x10\0",
        b"\4\0\0\0\0\x10\1\0",
    ],
)
def test_refuses_what_is_no_frame(data: bytes) -> None:
    """Lengths of 0 and 1, which end the real server, and such as do not fit."""
    assert not check_frame(data, LIMIT)


@pytest.mark.parametrize(
    "data", [b"\2\0\0\0\0\0", b"\4\0\0\0\0\x10\0\0", frame(EXECUTE, 0, None, b"?")]
)
def test_accepts_the_smallest_frames(data: bytes) -> None:
    """An empty value, no properties, an EXECUTE of nothing."""
    assert check_frame(data, LIMIT)


def test_refuses_what_is_above_the_limit() -> None:
    """The limit is one of the length field."""
    assert check_frame(plain(b"x" * (LIMIT - 2)), LIMIT)
    assert not check_frame(plain(b"x" * (LIMIT - 1)), LIMIT)


def test_refuses_pipelines_that_stand_too_deep() -> None:
    """A megabyte of pipelines in pipelines is no recursion of 100,000."""
    data = plain(b"x")
    for _ in range(MAX_NESTING):
        data = frame(PIPELINE, 0, None, data)
        assert check_frame(data, LIMIT)
    assert run(None, data) == plain(b"x")
    assert not check_frame(frame(PIPELINE, 0, None, data), LIMIT)


@pytest.mark.parametrize("part", [b"\0\0\0\0", b"\1\0\0\0\0"])
def test_refuses_a_pipeline_with_a_part_that_is_no_frame(part: bytes) -> None:
    """An inner length of 0 ends the real server."""
    data = frame(PIPELINE, 0, None, plain(b"x") + part)
    assert not check_frame(data, LIMIT)


@pytest.mark.parametrize("tail", [b"\1", b"\1\0\0", b"\xff\0\0\0\0\0"])
def test_a_torn_tail_ends_a_pipeline(tail: bytes) -> None:
    """Fewer than four bytes end the real server."""
    data = frame(PIPELINE, 0, None, plain(b"x") + tail)
    assert run(None, data) == plain(b"x")


# Operations.


def test_set_and_unset() -> None:
    """A SET stands as it came, flags and properties included."""
    data = frame(SET, 0x24, b"\1\3\0key", b"value")
    assert run(None, data) == data
    assert run(data, frame(UNSET, 0, None, b"")) is None
    assert run(None, frame(UNSET, 0, None, b"")) is None


def test_increment_adds_whatever_is_there() -> None:
    """It wraps at 64 bit; the flag is the operand's."""
    value = run(None, frame(INCR, 0, None, ONE))
    assert value == plain(ONE, 1)
    assert run(value, frame(INCR, 0, None, b"\xff" * 8)) == plain(bytes(8), 1)
    assert run(plain(b"\2"), frame(INCR, 0, None, ONE)) == plain(
        (3).to_bytes(8, "little"), 1
    )


@pytest.mark.parametrize("raw", [b"", b"\1", b"\1" + bytes(11)])
def test_increment_by_an_operand_of_another_size(raw: bytes) -> None:
    """It ends the real server without a value, and breaks its framing with one."""
    number = int.from_bytes(raw, "little")
    data = frame(INCR, 0, None, raw)
    assert run(None, data) == plain(number.to_bytes(8, "little"), 1)
    value = frame(SET, 0x12, b"\1\3\0key", (4).to_bytes(8, "little"))
    assert run(value, data) == frame(
        SET, 0x11, b"\1\3\0key", (4 + number).to_bytes(8, "little")
    )


def test_append_and_shift() -> None:
    """Both keep flag and properties of the value."""
    value = frame(SET, 0x14, b"\1\3\0key", b"ab")
    assert run(value, frame(APPEND, 1, None, b"cd")) == frame(
        SET, 0x14, b"\1\3\0key", b"abcd"
    )
    assert run(None, frame(APPEND, 1, None, b"cd")) == plain(b"cd", 1)
    assert run(value, count(SHIFT, 1)) == frame(SET, 0x14, b"\1\3\0key", b"b")
    assert run(value, count(SHIFT, 0)) == value
    assert run(None, count(SHIFT, 1)) is None


def test_shift_by_more_than_there_is_leaves_an_empty_value() -> None:
    """It ends the real server."""
    assert run(plain(b"ab"), count(SHIFT, 3)) == plain(b"")
    assert run(plain(b"ab"), count(SHIFT, 2**32 - 1)) == plain(b"")


def test_push_and_pop() -> None:
    """Items go to the end and come from the front."""
    value = run(None, frame(PUSH, 0, None, b"one"), frame(PUSH, 0, None, b"two"))
    assert value == plain(items(b"one", b"two"), 2)
    assert run(value, count(POP, 1)) == plain(items(b"two"), 2)
    assert run(value, count(POP, 9)) == plain(b"", 2)
    assert run(value, count(POP, 0)) == value
    assert run(None, count(POP, 1)) is None
    assert run(plain(b"text"), count(POP, 1)) == plain(b"text")
    assert run(plain(b"text"), frame(PUSH, 0, None, b"x")) == plain(items(b"x"), 2)


def test_pop_passes_over_empty_items() -> None:
    """They are not counted."""
    value = plain(items(b"", b"one", b"", b"two"), 2)
    assert run(value, count(POP, 1)) == plain(items(b"", b"two"), 2)


@pytest.mark.parametrize("torn", [b"\xff\xff\xff\xff", b"\x09\0\0\0abc", b"abcd"])
def test_pop_from_a_torn_array_ends_with_it(torn: bytes) -> None:
    """It ends the real server: SET with the array flag stores any bytes."""
    value = plain(items(b"one") + torn, 2)
    assert run(value, count(POP, 2)) in (plain(b"", 2), plain(torn, 2))
    assert run(value, count(POP, 2**32 - 1)) in (plain(b"", 2), plain(torn, 2))


def test_unknown_operations_and_stages_do_nothing() -> None:
    """A stage is for EXECUTE alone."""
    value = plain(b"x")
    assert run(value, frame(9, 0, None, b"y")) == value
    assert run(value, frame(SET | 0x40, 0, None, b"y")) == value
    assert run(value, frame(PIPELINE | 0x80, 0, None, plain(b"y"))) == value


def test_first_or_last_applies_at_the_edge_only() -> None:
    """Also to whole pipelines."""
    value = plain(b"x")
    flagged = plain(b"y", 0x20)
    assert run(value, flagged, edge=False) == value
    assert run(value, flagged, edge=True) == flagged
    pipeline = frame(PIPELINE, 0x20, None, plain(b"z"))
    assert run(value, pipeline, edge=False) == value
    assert run(value, pipeline, edge=True) == plain(b"z")


def test_the_last_plain_part_of_a_pipeline_decides() -> None:
    """Each starts from the value before; one that is ignored restores it."""
    value = plain(b"x")
    append = frame(APPEND, 0, None, b"y")
    data = frame(PIPELINE, 0, None, plain(b"a") + append)
    assert run(value, data) == plain(b"xy")
    data = frame(PIPELINE, 0, None, plain(b"a") + frame(9, 0, None, b""))
    assert run(value, data) == value
    assert run(value, frame(PIPELINE, 0, None, b"")) == value


def test_a_value_above_the_limit_is_refused() -> None:
    """By whatever operation it grows."""
    value = plain(b"x" * (LIMIT - 10))
    for operation in (APPEND, PUSH):
        with pytest.raises(ValueTooLargeError):
            operate(
                plain(value[6:], 2),
                frame(operation, 0, None, b"y" * 20),
                db=0,
                limit=LIMIT,
                edge=True,
            )


# EXECUTE.


def execute(inner: bytes, stage: int = 0, flag: int = 0) -> bytes:
    return frame(EXECUTE | stage << 6, flag, None, inner)


def change(data: bytes, *, edge: bool = True) -> ValueChange:
    assert check_frame(data, LIMIT)
    return operate(plain(b"x"), data, db=0, limit=LIMIT, edge=edge)


def test_execute_gives_the_command_and_keeps_the_value() -> None:
    """With its own data frame, at its stage."""
    inner = lock("b", data=plain(b"inner"))
    got = change(execute(encode_command(inner), stage=3, flag=0x20))
    assert got.value == plain(b"x")
    assert got.executes == ((3, True, inner),)


def test_execute_now_is_bound_to_the_edge_as_well() -> None:
    """An entry of a later stage runs when that stage comes."""
    inner = encode_command(lock("b"))
    assert not change(execute(inner, 0, 0x20), edge=False).executes
    assert change(execute(inner, 0, 0x20), edge=True).executes
    assert change(execute(inner, 1, 0x20), edge=False).executes


@pytest.mark.parametrize(
    "inner",
    [
        b"",
        encode_command(lock())[:-1],
        encode_command(lock(type=8)),
        encode_command(lock(db=1)),
        encode_command(lock(data=plain(b"x")))[:66],
        encode_command(lock(data=plain(b"x")))[:-1],
        encode_command(lock(data=plain(b"x")))[:64] + b"\1\0\0\0\0",
    ],
)
def test_execute_of_something_else_is_ignored(inner: bytes) -> None:
    """Short, torn, no LOCK or UNLOCK, or for another database."""
    assert not change(execute(inner)).executes


def test_execute_with_a_data_flag_and_an_empty_frame_has_no_data() -> None:
    """The real server takes a length of 0 for none here."""
    inner = encode_command(lock("b", data=plain(b"x")))[:64] + bytes(4)
    (entry,) = change(execute(inner)).executes
    assert entry.command.data is None


def test_all_executes_of_a_pipeline_run() -> None:
    """Those of inner pipelines too, whatever part decides about the value."""
    first = execute(encode_command(lock("b")))
    second = frame(PIPELINE, 0, None, execute(encode_command(lock("c"))))
    got = change(frame(PIPELINE, 0, None, first + second + plain(b"y")))
    assert [each.command.lock_id[-1:] for each in got.executes] == [b"b", b"c"]
    assert got.value == plain(b"y")
