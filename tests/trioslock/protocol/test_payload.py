"""Data frames: operations built, values read, malformed ones refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.trioslock.protocol.strategies import data_frames, values

from trioslock import LocalProtocolError, RemoteProtocolError
from trioslock.protocol import (
    MAX_DATA_SIZE,
    CommandType,
    Data,
    DataStage,
    LockCommand,
    encode_command,
)

ID = bytes(range(16))
COMMAND = LockCommand(CommandType.LOCK, ID, 0, 0, ID, ID, 0, 0, 5, 0, 0, 0)


@pytest.mark.parametrize(
    ("data", "frame"),
    [
        (Data.set(b"v1"), "04000000 0000 7631"),
        (Data.set("v1"), "04000000 0000 7631"),
        (Data.set(-2), "0a000000 0001 feffffffffffffff"),
        (Data.set([b"a", "bc"]), "0d000000 0002 01000000 61 02000000 6263"),
        (
            Data.set({"ab": b"wxyz"}),
            "10000000 0004 02000000 6162 04000000 7778797a",
        ),
        (Data.set(b"v", key="k"), "09000000 0010 0400 01 0100 6b 76"),
        (Data.unset(), "02000000 0100"),
        (Data.increment(3), "0a000000 0201 0300000000000000"),
        (Data.append(b"x"), "03000000 0300 78"),
        (Data.shift(2), "06000000 0400 02000000"),
        (Data.push(b"x"), "03000000 0700 78"),
        (Data.pop(), "06000000 0800 01000000"),
        (
            Data.pipeline(Data.unset(), Data.append("x")),
            "0f000000 0600 02000000 0100 03000000 0300 78",
        ),
    ],
)
def test_frames_of_operations(data: Data, frame: str) -> None:
    """Every operation has the bytes that the server reads."""
    assert data.encode() == bytes.fromhex(frame)
    assert Data.decode(bytes.fromhex(frame)) == data


def test_execute_holds_a_whole_command_and_its_stage() -> None:
    """The stage stands in the two upper bits beside the operation."""
    frame = Data.execute(COMMAND, stage=DataStage.EXPIRY).encode()
    assert frame == bytes.fromhex("42000000 c500") + encode_command(COMMAND)
    with_data = COMMAND._replace(data=Data.increment().encode())
    nested = Data.execute(with_data)
    assert nested.raw == encode_command(with_data)
    assert nested.raw[64:] == with_data.data
    assert Data.execute(COMMAND).raw == encode_command(COMMAND)


@given(values)
def test_a_value_comes_back_in_its_type(value: object) -> None:
    """What is set is what is read."""
    read = Data.decode(Data.set(value).encode()).value  # type: ignore[arg-type]
    assert read == (tuple(value) if isinstance(value, list) else value)


@given(data_frames)
def test_round_trip(data: Data) -> None:
    """Encoding and decoding are inverse for every frame."""
    assert Data.decode(data.encode()) == data


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(frame: bytes) -> None:
    """Reading a value raises RemoteProtocolError or nothing."""
    try:
        data = Data.decode(len(frame).to_bytes(4, "little") + frame)
        assert data.value is not None
        assert data.number is not None
        assert data.text is not None
    except RemoteProtocolError:
        pass


def test_views_of_another_type() -> None:
    """Every view answers for every value."""
    plain = Data.set(b"\x05\xff")
    assert plain.number == 0xFF05
    assert plain.text == "\x05\ufffd"
    assert plain.array == (b"\x05\xff",)
    assert plain.map == {}
    assert Data(b"", 2).array == ()
    assert Data.decode(bytes.fromhex("0a000000 0002 00000000 00000000")).array == ()


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "00000000",
        "02000000 00",
        "03000000 0000",
        "02000000 000000",
        "03000000 0010 00",
        "04000000 0010 0500",
        "06000000 0010 0200 0100",
        "09000000 0010 0500 01 0100 6b",
        "0a000000 0010 0300 01 0100 6b 76",
    ],
)
def test_malformed_frames_are_the_peers_fault(frame: str) -> None:
    """Cut, too long, or with broken properties."""
    with pytest.raises(RemoteProtocolError):
        Data.decode(bytes.fromhex(frame))


@pytest.mark.parametrize("raw", ["01", "05000000 61"])
def test_malformed_arrays_and_maps(raw: str) -> None:
    """Cut items are refused when the value is read, not skipped."""
    for flag in (2, 4):
        with pytest.raises(RemoteProtocolError, match="cut off"):
            _ = Data(bytes.fromhex(raw), flag).value
    with pytest.raises(RemoteProtocolError, match="no value"):
        _ = Data(bytes.fromhex("01000000 61"), 4).map


@pytest.mark.parametrize(
    "make",
    [
        lambda: Data.set(2**63),
        lambda: Data.increment(-(2**63) - 1),
        lambda: Data.shift(-1),
        lambda: Data.pop(2**32),
        lambda: Data.set([1]),
        lambda: Data.set(b"x", key="k" * 65_533).encode(),
        lambda: Data.set(bytes(MAX_DATA_SIZE - 1)).encode(),
    ],
)
def test_what_the_wire_cannot_carry_is_the_callers_fault(make: object) -> None:
    """Numbers, items and sizes out of range are refused before they are sent."""
    with pytest.raises(LocalProtocolError):
        make()  # type: ignore[operator]


def test_the_largest_data_is_accepted() -> None:
    """The limit counts the frame without its length field."""
    assert len(Data.set(bytes(MAX_DATA_SIZE - 2)).encode()) == MAX_DATA_SIZE + 4
