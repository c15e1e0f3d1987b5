"""Delays between attempts to connect."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from trioslock import Backoff
from trioslock.link._backoff import Retries


def test_delays_grow_to_the_limit() -> None:
    """Each is the one before times the factor."""
    delays = Backoff(first=1, factor=3, limit=10, jitter=0).delays(random.Random(1))
    assert list(islice(delays, 5)) == [1, 3, 9, 10, 10]


def test_jitter_takes_away_at_most_its_part() -> None:
    """And uses the whole range."""
    delays = Backoff(first=1, factor=1, limit=1, jitter=0.5).delays(random.Random(1))
    some = list(islice(delays, 200))
    assert 0.5 <= min(some) < 0.55
    assert 0.95 < max(some) <= 1


@pytest.mark.parametrize(
    "settings",
    [
        {"first": 0},
        {"factor": 0.5},
        {"first": 2, "limit": 1},
        {"jitter": -0.1},
        {"jitter": 1.1},
    ],
)
def test_settings_are_checked(settings: dict[str, float]) -> None:
    """When a backoff is made."""
    with pytest.raises(ValueError, match=r"backoff|jitter"):
        Backoff(**settings)


def test_delays_start_again_after_a_connection_that_lasted() -> None:
    """Longer than the longest delay; one that broke at once makes them grow."""
    retries = Retries(Backoff(first=1, factor=2, limit=8, jitter=0))
    assert [retries.delay_after(0) for _ in range(5)] == [1, 2, 4, 8, 8]
    assert retries.delay_after(8) == 8
    assert retries.delay_after(8.1) == 1
    assert retries.delay_after(0.1) == 2


def test_two_clients_do_not_retry_in_step() -> None:
    """Without a source of their own they take the system's."""
    one, other = Retries(Backoff(jitter=1)), Retries(Backoff(jitter=1))
    assert [one.delay_after(0) for _ in range(5)] != [
        other.delay_after(0) for _ in range(5)
    ]
