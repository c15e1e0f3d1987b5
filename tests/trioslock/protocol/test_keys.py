"""``to_key`` follows the server's text dialect."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioslock import LocalProtocolError
from trioslock.protocol import to_key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("", bytes(16)),
        ("test", bytes(12) + b"test"),
        (b"\x01\x02", bytes(14) + b"\x01\x02"),
        ("exactly-16-bytes", b"exactly-16-bytes"),
        (b"\xff" * 16, b"\xff" * 16),
        ("00112233445566778899aabbCCDDEEFF", bytes(range(0, 256, 17))),
        ("é" * 8, "é".encode() * 8),
    ],
)
def test_short_exact_and_hex_names(name: str | bytes, key: bytes) -> None:
    """Short names are padded, 16 bytes kept, 32 hexadecimal digits decoded."""
    assert to_key(name) == key


@pytest.mark.parametrize(
    "name",
    ["order:payment:user:1", "g" * 32, "0" * 31, "0" * 33, "0" * 31 + "\n"],
)
def test_other_names_are_hashed(name: str) -> None:
    """Everything else is the MD5 of its bytes, never a cut name."""
    assert to_key(name) == hashlib.md5(name.encode()).digest()


@given(st.binary(max_size=80))
def test_a_key_is_always_16_bytes(name: bytes) -> None:
    """Whatever the name, the key fits the frame."""
    assert len(to_key(name)) == 16


def test_text_beyond_utf8_is_refused() -> None:
    """A lone surrogate has no bytes and so no key."""
    with pytest.raises(LocalProtocolError, match="UTF-8"):
        to_key("\ud800")
