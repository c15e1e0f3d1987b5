"""ServerSide: which dialect, which events, and what ends a connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.trioslock.protocol.strategies import commands

from trioslock import RemoteProtocolError
from trioslock.protocol import (
    MAX_DATA_SIZE,
    NEED_DATA,
    BadHeader,
    Command,
    CommandType,
    Dialect,
    PlainCommand,
    PlainResult,
    RespRequest,
    ResultCode,
    ServerSide,
    encode_command,
    encode_result,
)

PING = PlainCommand(CommandType.PING, b"request id 0016x")
ADMIN = PlainCommand(CommandType.ADMIN, b"request id 0016x")
WIRE = encode_command(PING)
TEXT = b"*1\r\n$4\r\nPING\r\n"


def events_of(side: ServerSide) -> list[object]:
    found: list[object] = []
    while (event := side.next_event()) is not NEED_DATA:
        found.append(event)
    return found


def test_says_nothing_before_it_knows() -> None:
    """Without a byte, and after the first of a binary frame, the dialect is open."""
    side = ServerSide()
    assert events_of(side) == []
    assert side.dialect is Dialect.UNKNOWN
    side.receive_data(b"\x56")
    assert events_of(side) == []
    assert side.dialect is Dialect.UNKNOWN
    assert side.buffered == 1


def test_takes_a_first_frame_in_pieces() -> None:
    """Unlike the real server, which closes (as its transcript shows)."""
    side = ServerSide()
    for byte in WIRE[:-1]:
        side.receive_data(bytes([byte]))
        assert events_of(side) == []
    side.receive_data(WIRE[-1:] + WIRE)
    assert events_of(side) == [PING, PING]
    assert side.dialect is Dialect.BINARY
    assert side.buffered == 0


def test_takes_text_from_its_first_byte() -> None:
    """A star begins a text request."""
    side = ServerSide()
    side.receive_data(TEXT[:1])
    assert events_of(side) == []
    assert side.dialect is Dialect.TEXT
    side.receive_data(TEXT[1:])
    assert events_of(side) == [RespRequest([b"PING"])]


@pytest.mark.parametrize(
    "wire", [b"PING\r\n", b"\x57\x01", b"\x56\x02", b"\x00", b"\n"]
)
def test_refuses_what_is_neither(wire: bytes) -> None:
    """No reply, and the same error for ever."""
    side = ServerSide()
    side.receive_data(wire)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            side.next_event()
    with pytest.raises(RemoteProtocolError):
        side.receive_data(TEXT)
    assert "broken" in repr(side)


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"\x57\x01", ResultCode.UNKNOWN_MAGIC),
        (b"\x57\x02", ResultCode.UNKNOWN_MAGIC),
        (b"\x56\x02", ResultCode.UNKNOWN_VERSION),
    ],
)
def test_a_later_bad_header_is_answered_last(head: bytes, code: ResultCode) -> None:
    """With type and request id of the frame; nothing is read behind it."""
    side = ServerSide()
    side.receive_data(WIRE + head + WIRE[2:] + WIRE)
    assert side.next_event() == PING
    result = PlainResult(CommandType.PING, PING.request_id, code)
    assert side.next_event() == BadHeader(result)
    with pytest.raises(RemoteProtocolError, match=code.name):
        side.next_event()


def test_admin_turns_to_text() -> None:
    """What stands behind the frame is text already."""
    side = ServerSide()
    side.receive_data(WIRE + encode_command(ADMIN) + TEXT[:3])
    assert events_of(side) == [PING, ADMIN]
    assert side.dialect is Dialect.TEXT
    side.receive_data(TEXT[3:])
    assert events_of(side) == [RespRequest([b"PING"])]


def test_refuses_large_data_before_it_comes() -> None:
    """The announced length alone is enough."""
    side = ServerSide()
    frame = bytearray(64)
    frame[0:3] = b"\x56\x01\x01"
    frame[19] = 0x20
    side.receive_data(bytes(frame) + (MAX_DATA_SIZE + 1).to_bytes(4, "little"))
    with pytest.raises(RemoteProtocolError, match="are allowed"):
        side.next_event()
    assert side.buffered == 0


def test_encodes_results() -> None:
    """As the frame codec does."""
    result = PlainResult(CommandType.PING, bytes(16), 0)
    assert ServerSide().send(result) == encode_result(result)
    assert "no dialect yet" in repr(ServerSide())


@given(st.lists(commands, max_size=5), st.data())
def test_chunking_does_not_matter(expected: list[Command], data: st.DataObject) -> None:
    """Cut anywhere, the same commands in order, up to an ADMIN."""
    expected = [command for command in expected if command[0] != CommandType.ADMIN]
    wire = b"".join(map(encode_command, expected))
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=6).map(sorted))
    side = ServerSide()
    found: list[object] = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        if start < end:
            side.receive_data(wire[start:end])
        found += events_of(side)
    whole = ServerSide()
    whole.receive_data(wire)
    assert found == events_of(whole)
    assert len(found) == len(expected)
    assert side.buffered == 0


@given(
    st.sampled_from([b"", b"\x56\x01", WIRE, TEXT, b"*"]),
    st.lists(st.binary(max_size=80), max_size=8),
)
def test_garbage_ends_in_one_error(start: bytes, chunks: list[bytes]) -> None:
    """Any bytes, any chunking: events, more data wanted, or RemoteProtocolError."""
    side = ServerSide()
    try:
        side.receive_data(start)
        for chunk in chunks:
            events_of(side)
            side.receive_data(chunk)
        events_of(side)
    except RemoteProtocolError:
        pass
    assert side.buffered <= len(start) + sum(map(len, chunks))
