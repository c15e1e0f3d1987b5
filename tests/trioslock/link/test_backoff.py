from __future__ import annotations

import random
from itertools import islice

import pytest

from trioslock import Backoff


def test_delays_grow_to_the_limit() -> None:
    delays = Backoff(first=1, factor=3, limit=10, jitter=0).delays(random.Random(1))
    assert list(islice(delays, 5)) == [1, 3, 9, 10, 10]


def test_jitter_takes_away_at_most_its_part() -> None:
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
    with pytest.raises(ValueError, match=r"backoff|jitter"):
        Backoff(**settings)
