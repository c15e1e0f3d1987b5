"""Durations are rounded up to what the wire can carry, never down."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioslock import LocalProtocolError
from trioslock.protocol import (
    FOREVER,
    decode_duration,
    encode_duration,
    encode_lease,
)

SECONDS, MILLISECONDS, MINUTES, UNLIMITED = 0, 0x0400, 0x0040, 0x4000
LONGEST = 65_535 * 60


@pytest.mark.parametrize(
    ("seconds", "value", "flag"),
    [
        (0, 0, SECONDS),
        (1, 1, SECONDS),
        (2.0, 2, SECONDS),
        (0.0001, 1, MILLISECONDS),
        (0.25, 250, MILLISECONDS),
        (2.999, 2999, MILLISECONDS),
        (2.9999, 3, SECONDS),
        (3.1, 4, SECONDS),
        (65_535, 65_535, SECONDS),
        (65_535.5, 1093, MINUTES),
        (86_400, 1440, MINUTES),
        (LONGEST, 65_535, MINUTES),
    ],
)
def test_value_and_unit(seconds: float, value: int, flag: int) -> None:
    """Each range of durations has its unit."""
    assert encode_duration(seconds) == (value, flag)


def test_whole_seconds_avoid_milliseconds() -> None:
    """A lease that will be renewed must not be in milliseconds."""
    assert encode_duration(0.2, whole_seconds=True) == (1, SECONDS)


def test_forever_is_an_unlimited_lease_of_value_one() -> None:
    """Value 0 would be released at once."""
    assert encode_lease(FOREVER) == (1, UNLIMITED)
    assert encode_lease(5) == (5, SECONDS)


@pytest.mark.parametrize("seconds", [-1, -0.001, math.nan, math.inf, LONGEST + 0.5])
def test_what_the_wire_cannot_carry_is_refused(seconds: float) -> None:
    """No duration is clamped or cut without a word."""
    with pytest.raises(LocalProtocolError, match="duration"):
        encode_duration(seconds)


@given(st.floats(0, LONGEST))
def test_never_shorter_than_asked(seconds: float) -> None:
    """The decoded duration is at least what was asked, and close to it."""
    back = decode_duration(*encode_duration(seconds))
    unit = 60 if seconds > 65_535 else 1
    assert seconds <= back < seconds + unit + 1e-6


@pytest.mark.parametrize(
    ("value", "flag", "seconds"),
    [
        (7, SECONDS, 7),
        (7, MINUTES, 420),
        (1500, MILLISECONDS, 1.5),
        (1500, MILLISECONDS | MINUTES, 1.5),
        (1, UNLIMITED, FOREVER),
        (0, UNLIMITED, 0),
        (100, UNLIMITED | MILLISECONDS, 0.1),
    ],
)
def test_decode(value: int, flag: int, seconds: float) -> None:
    """Milliseconds win over the other units, as on the server."""
    assert decode_duration(value, flag) == seconds
