"""The delays between attempts."""

from __future__ import annotations

import random

from triopoll.client._retry_delay import RetryDelay


class Highest(random.Random):
    """Draws the upper bound."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_delays_grow_up_to_a_limit() -> None:
    """They double from failure to failure, and a success starts them again."""
    delay = RetryDelay(first=0.5, limit=3, source=Highest())
    assert [delay.next() for _ in range(5)] == [0.5, 1, 2, 3, 3]
    assert delay.failures == 5
    delay.reset()
    assert delay.next() == 0.5


def test_every_delay_is_random_also_at_the_limit() -> None:
    """Clients that failed together do not return together."""
    delay = RetryDelay(first=1, limit=2, source=random.Random(1))
    drawn = [delay.next() for _ in range(200)]
    assert all(0 <= each <= 2 for each in drawn)
    assert len(set(drawn)) == 200
    assert min(drawn[100:]) < 0.2
    assert max(drawn[100:]) > 1.8


def test_the_server_may_ask_for_more() -> None:
    """The jitter is added to what it asks for."""
    delay = RetryDelay(first=0.5, source=Highest())
    assert delay.next(10) == 10.5


def test_failures_without_end() -> None:
    """The power does not grow with them."""
    delay = RetryDelay(source=Highest(), failures=10**6)
    assert delay.next() == 30
