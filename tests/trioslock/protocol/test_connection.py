"""ClientSide: any chunking gives the same events, any fault ends it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.trioslock.protocol.strategies import results

from trioslock import RemoteProtocolError
from trioslock.protocol import (
    NEED_DATA,
    ClientSide,
    CommandType,
    PlainCommand,
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
    """A cut stream is told from a closed one."""
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
