"""Frames: known bytes, every offset, round trips, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from tests.trioslock.protocol.strategies import commands, results

from trioslock import LocalProtocolError, RemoteProtocolError
from trioslock.protocol import (
    FRAME_SIZE,
    MAX_DATA_SIZE,
    CallCommand,
    CallResult,
    Command,
    CommandType,
    Data,
    InitCommand,
    InitResult,
    LeaderResult,
    LockCommand,
    LockResult,
    PlainCommand,
    PlainResult,
    Result,
    StateCommand,
    StateResult,
    SubscribeCommand,
    SubscribeResult,
    command_trailer_size,
    decode_command,
    decode_result,
    encode_command,
    encode_result,
    result_trailer_size,
)

R = bytes(range(0x10, 0x20))
L = bytes(range(0x30, 0x40))
K = bytes(range(0x50, 0x60))
RX, LX, KX = R.hex(), L.hex(), K.hex()
DATA = Data.set(b"v").encode()
COUNTERS = b"".join(n.to_bytes(8, "little") for n in (3, 4)).hex()
COUNTERS += b"".join(n.to_bytes(4, "little") for n in range(5, 11)).hex()

COMMANDS: list[tuple[Command, str]] = [
    (InitCommand(R, L), f"560100{RX}{LX}" + "00" * 29),
    (
        LockCommand(1, R, 0x02, 0x03, L, K, 0x0504, 0x0706, 0x0908, 0x0B0A, 0x0D0C, 14),
        f"560101{RX}0203{LX}{KX}0405060708090a0b0c0d0e",
    ),
    (
        LockCommand(2, R, 0x20, 0, L, K, 0, 0, 0, 0, 0, 0, DATA),
        f"560102{RX}2000{LX}{KX}{'00' * 11}0300000000 0076",
    ),
    (StateCommand(R, 0, 7), f"560103{RX}0007" + "00" * 43),
    (PlainCommand(CommandType.PING, R), f"560105{RX}" + "00" * 45),
    (
        CallCommand(R, 0, 3, 1, "LIST_LOCK", b"\x08\x01"),
        f"560107{RX}00030102000000{b'LIST_LOCK'.hex()}{'00' * 29}0801",
    ),
    (
        SubscribeCommand(R, 0, 1, 2, 1, K, 3, 4),
        f"56010b{RX}00010000000200000001{KX}0300000004000000{'00' * 11}",
    ),
]

RESULTS: list[tuple[Result, str]] = [
    (InitResult(R, 0, 0x0C), f"560100{RX}000c" + "00" * 43),
    (
        LockResult(1, R, 2, 0, 4, L, K, 0x0605, 0x0807, 9, 10),
        f"560101{RX}020004{LX}{KX}05060708090a00000000",
    ),
    (
        LockResult(12, R, 9, 0x20, 0, L, K, 0, 0, 0, 0, DATA),
        f"56010c{RX}092000{LX}{KX}{'00' * 10}0300000000 0076",
    ),
    (
        StateResult(R, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
        f"560103{RX}00000102{COUNTERS}00",
    ),
    (PlainResult(CommandType.QUIT, R, 0), f"560106{RX}00" + "00" * 44),
    (
        CallResult(R, 4, 0, 3, 1, "OOPS", b"\x01"),
        f"560107{RX}0400030101000000{b'OOPS'.hex()}{'00' * 33}01",
    ),
    (
        LeaderResult(R, 0, "a:5658"),
        f"56010a{RX}0006{b'a:5658'.hex()}" + "00" * 37,
    ),
    (
        SubscribeResult(R, 0, 0, 1, 2),
        f"56010b{RX}00000100000002000000" + "00" * 35,
    ),
]


def _trailer(wire: bytes) -> bytes | None:
    return wire[FRAME_SIZE:] or None


@pytest.mark.parametrize(("command", "wire"), COMMANDS)
def test_command_bytes(command: Command, wire: str) -> None:
    """Each field stands at the offset that upstream's command.go gives it."""
    raw = bytes.fromhex(wire)
    assert encode_command(command) == raw
    assert command_trailer_size(raw, 0) == len(raw) - FRAME_SIZE
    decoded = decode_command(raw, 0, _trailer(raw))
    assert (type(decoded), decoded) == (type(command), command)


@pytest.mark.parametrize(("result", "wire"), RESULTS)
def test_result_bytes(result: Result, wire: str) -> None:
    """Each field stands at the offset that upstream's command.go gives it."""
    raw = bytes.fromhex(wire)
    assert encode_result(result) == raw
    assert result_trailer_size(raw, 0) == len(raw) - FRAME_SIZE
    decoded = decode_result(raw, 0, _trailer(raw))
    assert (type(decoded), decoded) == (type(result), result)


@given(commands)
def test_every_command_round_trips(command: Command) -> None:
    """A command decodes to itself, wherever it stands in the buffer."""
    raw = b"\xee" * 7 + encode_command(command)
    size = command_trailer_size(raw, 7)
    assert size is not None
    assert len(raw) == 7 + FRAME_SIZE + size
    decoded = decode_command(raw, 7, raw[7 + FRAME_SIZE :] or None)
    assert (type(decoded), decoded) == (type(command), command)


@given(results)
def test_every_result_round_trips(result: Result) -> None:
    """A result decodes to itself, wherever it stands in the buffer."""
    raw = b"\xee" * 7 + encode_result(result)
    size = result_trailer_size(raw, 7)
    assert size is not None
    assert len(raw) == 7 + FRAME_SIZE + size
    decoded = decode_result(raw, 7, raw[7 + FRAME_SIZE :] or None)
    assert (type(decoded), decoded) == (type(result), result)


def test_the_data_flag_follows_the_data() -> None:
    """No caller can announce data that is not there, or hide what is."""
    lock = COMMANDS[1][0]
    assert isinstance(lock, LockCommand)
    assert encode_command(lock._replace(data=DATA))[19] == 0x22
    result = RESULTS[1][0]
    assert isinstance(result, LockResult)
    assert encode_result(result._replace(data=DATA))[20] == 0x20


SHORT = b"x" * 15
LOCK = LockCommand(1, R, 0, 0, L, K, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "command",
    [
        LOCK._replace(request_id=SHORT),
        LOCK._replace(lock_id=SHORT),
        LOCK._replace(key=b"order:payment:user:1"),
        LOCK._replace(timeout=0x10000),
        LOCK._replace(rcount=-1),
        LOCK._replace(data=bytes(MAX_DATA_SIZE + 5)),
        InitCommand(SHORT, L),
        InitCommand(R, SHORT),
        PlainCommand(CommandType.PING, SHORT),
        StateCommand(SHORT, 0, 0),
        StateCommand(R, 0, 256),
        CallCommand(SHORT, 0, 0, 0, "", b""),
        CallCommand(R, 256, 0, 0, "", b""),
        SubscribeCommand(SHORT, 0, 0, 0, 0, K, 0, 0),
        SubscribeCommand(R, 0, 0, 0, 0, SHORT, 0, 0),
    ],
)
def test_what_the_wire_cannot_carry_is_refused(command: Command) -> None:
    """Ids are never padded or cut, numbers never wrapped."""
    with pytest.raises(LocalProtocolError):
        encode_command(command)


def test_a_result_out_of_range_is_refused() -> None:
    """The same for the server's side."""
    with pytest.raises(LocalProtocolError):
        encode_result(InitResult(R, 256, 0))


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ("5701" + "00" * 62, "starts with"),
        ("5602" + "00" * 62, "starts with"),
        ("560163" + "00" * 61, "unknown type"),
        (f"56010a{RX}002cff" + "00" * 42, "cut off"),
        (f"56010a{RX}0001ff" + "00" * 42, "UTF-8"),
    ],
)
def test_results_that_are_none(wire: str, message: str) -> None:
    """Wrong magic, version, type, length or text is the peer's fault."""
    with pytest.raises(RemoteProtocolError, match=message):
        decode_result(bytes.fromhex(wire))


def test_a_trailer_is_measured_once_its_length_is_there() -> None:
    """Until the four bytes of the length have arrived the size is unknown."""
    command = encode_command(LOCK._replace(data=DATA))
    assert [command_trailer_size(command[: 64 + n], 0) for n in (0, 3, 4)] == [
        None,
        None,
        len(DATA),
    ]


@pytest.mark.parametrize("size", [MAX_DATA_SIZE + 1, 0xFFFF_FFFF])
def test_an_oversized_trailer_is_refused(size: int) -> None:
    """Announced data above the limit is refused before any of it is kept."""
    length = size.to_bytes(4, "little")
    command = encode_command(LOCK._replace(data=DATA))[:64] + length
    call = bytes.fromhex(f"560107{RX}000301") + length + bytes(38)
    answer = bytes.fromhex(f"560107{RX}00000301") + length + bytes(37)
    for measure, wire in (
        (command_trailer_size, command),
        (command_trailer_size, call),
        (result_trailer_size, answer),
    ):
        with pytest.raises(RemoteProtocolError, match="announced"):
            measure(wire, 0)
