"""The little protobuf that CALL lists need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioslock import RemoteProtocolError
from trioslock.protocol import decode_message, encode_entry, encode_message

FIELDS = st.dictionaries(
    st.integers(1, 200),
    st.integers(0, (1 << 64) - 1) | st.binary(max_size=200),
    max_size=6,
)


@given(FIELDS)
def test_reads_what_it_writes(fields: dict[int, int | bytes]) -> None:
    """Zero and empty values are left out and read as absent."""
    content = encode_message(list(fields.items()))
    assert decode_message(content) == {n: v for n, v in fields.items() if v}


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        (b"", {}),
        (b"\x08\xd2\x01", {1: 210}),
        (b"\x12\x03abc", {2: b"abc"}),
        (b"\x12\x00", {2: b""}),
        (b"\x09" + b"12345678", {1: b"12345678"}),
        (b"\x0d" + b"1234", {1: b"1234"}),
        (b"\x08\x01\x08\x02", {1: 2}),
        (b"\x08" + b"\xff" * 9 + b"\x01", {1: (1 << 64) - 1}),
    ],
)
def test_vectors(content: bytes, fields: dict[int, int | bytes]) -> None:
    """Every wire type; of a repeated field the last value counts."""
    assert decode_message(content) == fields


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"\x08",
        b"\x08" + b"\x80" * 10 + b"\x01",
        b"\x12\x05abc",
        b"\x0b",
        b"\x0c",
        b"\x0f\x00",
        b"\x00\x01",
        b"\x0d123",
    ],
)
def test_refuses_what_is_no_message(content: bytes) -> None:
    """Cut off, too long, groups, field 0."""
    with pytest.raises(RemoteProtocolError, match="protobuf"):
        decode_message(content)


@given(st.binary(max_size=60))
def test_garbage_raises_nothing_else(content: bytes) -> None:
    """Any bytes are a message or are refused."""
    try:
        decode_message(content)
    except RemoteProtocolError:
        pass


def test_an_entry_may_be_empty() -> None:
    """A repeated message is written even without fields."""
    assert encode_entry(3, b"") == b"\x1a\x00"
