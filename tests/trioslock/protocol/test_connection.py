"""ClientSide: any chunking gives the same events, any fault ends it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.trioslock.protocol.strategies import results

from trioslock import RemoteProtocolError
from trioslock.protocol import (
    LOCKED,
    NEED_DATA,
    PLAIN_SUCCESS,
    UNLOCKED,
    ClientSide,
    CommandType,
    LockResult,
    PlainCommand,
    PlainFrames,
    PlainResult,
    Result,
    encode_command,
    encode_result,
)

PONG = PlainResult(CommandType.PING, bytes(16), 0)
WIRE = encode_result(PONG)


@given(st.lists(results, max_size=5), st.data())
def test_chunking_does_not_matter(expected: list[Result], data: st.DataObject) -> None:
    """Whole, byte by byte, or cut anywhere: the same results in order."""
    wire = b"".join(map(encode_result, expected))
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=6).map(sorted))
    side = ClientSide()
    found: list[Result] = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        if start < end:
            side.receive_data(wire[start:end])
        found += side.results()
    assert found == expected
    assert side.buffered == 0
    side.receive_data(b"")


@given(results, results)
def test_byte_by_byte_with_trailing_data(first: Result, second: Result) -> None:
    """A result is there with its last byte, not before, not after."""
    wire = encode_result(first)
    side = ClientSide()
    for byte in wire[:-1]:
        side.receive_data(bytes([byte]))
        assert side.next_event() is NEED_DATA
    side.receive_data(wire[-1:] + encode_result(second)[:10])
    assert side.next_event() == first
    assert side.next_event() is NEED_DATA
    assert side.buffered == 10


def test_send_encodes() -> None:
    """Sending returns bytes and keeps nothing."""
    command = PlainCommand(CommandType.PING, bytes(16))
    assert ClientSide().send(command) == encode_command(command)


def test_results_before_a_fault_are_delivered() -> None:
    """Whole results in front of garbage count; then the fault is raised."""
    side = ClientSide()
    side.receive_data(WIRE + b"garbage" * 10)
    assert side.results() == [PONG]
    for call in (side.results, side.next_event, lambda: side.receive_data(WIRE)):
        with pytest.raises(RemoteProtocolError, match="starts with"):
            call()
    assert side.buffered == 0
    assert "broken" in repr(side)


def test_an_end_within_a_frame_is_a_fault() -> None:
    """A cut stream differs from a closed one."""
    side = ClientSide()
    side.receive_data(WIRE[:63])
    assert side.results() == []
    assert "63 bytes" in repr(side)
    with pytest.raises(RemoteProtocolError, match="63 bytes into it"):
        side.receive_data(b"")


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_any_bytes_give_results_or_a_fault(chunks: list[bytes]) -> None:
    """Garbage raises RemoteProtocolError and nothing else."""
    side = ClientSide()
    try:
        for chunk in chunks:
            side.receive_data(b"\x56\x01" + chunk)
            side.results()
    except RemoteProtocolError:
        assert side.buffered == 0


def test_need_data_names_itself() -> None:
    """In a failing assertion the sentinel is readable."""
    assert repr(NEED_DATA) == "NEED_DATA"


def answer(kind: int, number: int, code: int = 0) -> LockResult:
    request_id = number.to_bytes(16, "big")
    return LockResult(kind, request_id, code, 0, 1, request_id, b"k" * 16, 2, 3, 4, 5)


def test_plain_successes_may_be_read_by_their_heads() -> None:
    """They stay to be read whole, or are skipped; what follows is untouched."""
    expected: list[Result] = [answer(1, 1), answer(2, 2), answer(1, 3), answer(2, 4, 6)]
    side = ClientSide()
    side.receive_data(b"".join(map(encode_result, [*expected, PONG]))[:-1])
    plain = [
        (head, int.from_bytes(request_id, "big"))
        for head, request_id, rest in side.heads()
        if rest == PLAIN_SUCCESS
    ]
    assert plain == [(LOCKED, 1), (UNLOCKED, 2), (LOCKED, 3)]
    assert [side.success(number) for number in range(3)] == expected[:3]
    assert side.skip(2)
    assert side.results() == expected[2:]
    assert list(side.heads()) == []
    side.receive_data(WIRE[-1:])
    ((head, _, rest),) = side.heads()
    assert head not in (LOCKED, UNLOCKED)
    assert rest == PLAIN_SUCCESS
    assert side.results() == [PONG]


def test_skipping_the_last_frame_empties_the_buffer() -> None:
    """Then there is no event to ask for; a partial frame counts as something left."""
    side = ClientSide()
    wire = b"".join(encode_result(answer(1, number)) for number in range(2))
    side.receive_data(wire)
    assert not side.skip(2)
    assert side.buffered == 0
    side.receive_data(wire[:65])
    assert side.skip(1)
    assert side.next_event() is NEED_DATA
    side.receive_data(wire[65:])
    assert side.next_event() == answer(1, 1)


def test_data_makes_a_success_that_is_not_plain() -> None:
    """Behind it follows data that is no frame, so reading heads must stop."""
    side = ClientSide()
    result = answer(1, 1)._replace(data=b"\2\0\0\0\0\0", flag=0x20)
    side.receive_data(encode_result(result))
    ((head, _, rest),) = side.heads()
    assert (head, rest) == (LOCKED, b"\0\x20")
    assert side.results() == [result]


def test_plain_successes_may_be_taken_out() -> None:
    """They are read by their heads or whole later; what follows stays in the side."""
    expected: list[Result] = [answer(1, 1), answer(2, 2), answer(1, 3, 6), PONG]
    side = ClientSide()
    side.receive_data(b"".join(map(encode_result, expected))[:-1])
    frames = PlainFrames(side.take_plain())
    assert (len(frames), repr(frames)) == (2, "<PlainFrames: 2>")
    assert [head for head, _, _ in frames.heads()] == [LOCKED, UNLOCKED]
    assert [frames.success(number) for number in range(2)] == expected[:2]
    assert side.take_plain() == []
    assert side.results() == expected[2:3]
    side.receive_data(encode_result(PONG)[-1:])
    # Result 0 without a flag, but of another type.
    assert side.take_plain() == []
    assert side.results() == [PONG]


def test_a_broken_side_has_no_heads() -> None:
    side = ClientSide()
    side.receive_data(bytes(64))
    with pytest.raises(RemoteProtocolError):
        side.results()
    assert list(side.heads()) == []
    assert side.take_plain() == []
