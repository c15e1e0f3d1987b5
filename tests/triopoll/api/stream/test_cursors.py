"""The cursors of live reads."""

from __future__ import annotations

from triopoll.api.stream.cursors import next_cursor

# 2024-10-09 00:00:00 UTC.
EPOCH = 1_728_432_000


def test_a_cursor_is_the_number_of_an_interval() -> None:
    """All clients that have an older one, or none, get the same."""
    now = EPOCH + 20 * 1000 + 19
    assert next_cursor(None, now) == next_cursor(999, now) == 1000
    assert next_cursor(None, EPOCH) == 0


def test_one_that_is_known_is_passed() -> None:
    """By at most an hour, so that no client asks one URL for ever."""
    now = EPOCH + 20 * 1000
    seen = {next_cursor(1000, now) for _ in range(2000)}
    assert min(seen) > 1000
    assert max(seen) <= 1000 + 180
    assert len(seen) > 100
    assert next_cursor(5000, now) > 5000
