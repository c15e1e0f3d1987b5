"""The numbers of the wire: no two of one kind are the same."""

from __future__ import annotations

from enum import Flag, IntEnum, IntFlag

import pytest

from trioslock.protocol import MAX_DATA_SIZE, UNLIMITED_COUNT, _constants

ENUMS = [
    each
    for each in vars(_constants).values()
    if isinstance(each, type)
    and issubclass(each, IntEnum | IntFlag)
    and each.__module__ == _constants.__name__
]


@pytest.mark.parametrize("enum", ENUMS, ids=lambda each: each.__name__)
def test_members_are_different_and_fit_their_field(
    enum: type[IntEnum | IntFlag],
) -> None:
    """A byte, or 16 bits for the flag words beside a timeout and a lease."""
    assert len(enum.__members__) == len({int(each) for each in enum})
    wide = enum in (_constants.TimeoutFlag, _constants.ExpiryFlag)
    assert max(map(int, enum)) <= (0xFFFF if wide else 0xFF)
    if issubclass(enum, Flag):
        assert all(int(each).bit_count() == 1 for each in enum)


def test_wait_and_lease_share_the_bits_of_their_units() -> None:
    """Durations are coded by one function for both."""
    for name in ("PUBLISH", "MINUTES", "REVERSE_KEY", "MILLISECONDS", "KEEPALIVE"):
        assert _constants.TimeoutFlag[name] == _constants.ExpiryFlag[name]


def test_lock_and_unlock_share_the_data_bit() -> None:
    """Results have the same one, so one check serves all three."""
    assert _constants.LockFlag.DATA == _constants.UnlockFlag.DATA == 0x20


def test_sizes_are_those_of_the_server() -> None:
    """A frame, an id, a MiB of data, a count without a limit."""
    assert (_constants.FRAME_SIZE, _constants.ID_SIZE) == (64, 16)
    assert (MAX_DATA_SIZE, UNLIMITED_COUNT) == (1 << 20, 0xFFFF)
    assert _constants.MAX_DATABASE == 254
