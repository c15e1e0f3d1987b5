"""What the engine takes and returns: limits, results, orders."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest
from tests.trioslock.engine.commands import lock, unlock

from trioslock.engine import Counters, EngineLimits
from trioslock.engine._types import lock_result
from trioslock.protocol import MAX_DATA_SIZE, StateResult


def test_limits_are_bounded_by_default_and_fixed() -> None:
    """Each is a positive number, and data is no larger than the wire can carry."""
    limits = EngineLimits()
    assert all(getattr(limits, each.name) > 0 for each in fields(limits))
    assert limits.data_size <= MAX_DATA_SIZE <= limits.data_total
    with pytest.raises(FrozenInstanceError):
        limits.keys = 1  # type: ignore[misc]


@pytest.mark.parametrize("data", [None, b"\3\0\0\0\0\0x"])
def test_a_result_repeats_its_command(data: bytes | None) -> None:
    """Ids, key, database and counts; the data flag is set with data alone."""
    for command in (
        lock("a", db=7, max_count=3, rcount=2),
        unlock("a", db=7, max_count=3, rcount=2),
    ):
        result = lock_result(command, 5, 4, 1, data)
        for name in ("type", "request_id", "db", "lock_id", "key", "max_count"):
            assert getattr(result, name) == getattr(command, name)
        assert (result.result, result.lcount, result.lrcount) == (5, 4, 1)
        assert (result.rcount, result.data) == (2, data)
        assert result.flag == (0 if data is None else 0x20)


def test_levels_beyond_16_bits_are_cut() -> None:
    """As the server, which counts in 16 bits."""
    assert lock_result(lock("a"), 0, 0x1_0003, 1, None).lcount == 3


def test_counters_are_those_of_a_state_result() -> None:
    """In the same order: they are passed on as they are."""
    assert StateResult._fields[-len(Counters._fields) :] == Counters._fields
