"""Limits are exact, and use bounded memory."""

from triopoll.access.limits import ConcurrencyLimits, RateLimiter


def test_waits_are_counted_by_name_and_owner() -> None:
    """An owner that has reached its limit does not affect other owners."""
    places = ConcurrencyLimits({"waits_per_ip": 2})
    mine, other = [("waits_per_ip", "a")], [("waits_per_ip", "b")]
    for _ in range(2):
        assert places.full(mine) is None
        places.take(mine)
    assert places.full(mine) == "waits_per_ip"
    assert places.full(other) is None
    places.leave(mine)
    assert places.full(mine) is None
    places.leave(mine)
    assert len(places) == 0
    assert "0 claims" in repr(places)


def test_a_burst_then_a_rate() -> None:
    """A burst is admitted, then one request for each new token."""
    rates = RateLimiter(2, 3)
    assert [rates.take("a", 10.0) for _ in range(4)] == [0, 0, 0, 1]
    assert rates.take("a", 10.4) == 1
    assert rates.take("a", 10.6) == 0
    assert rates.take("a", 10.6) == 1
    assert rates.take("b", 10.6) == 0


def test_the_time_to_wait_is_reported() -> None:
    """The time to wait is in whole seconds, as Retry-After needs, and never 0."""
    rates = RateLimiter(0.1, 1)
    assert rates.take("a", 0.0) == 0
    assert rates.take("a", 0.0) == 10
    assert rates.take("a", 5.0) == 5
    assert rates.take("a", 9.5) == 1
    assert rates.take("a", 10.01) == 0


def test_a_bucket_is_never_fuller_than_full() -> None:
    """A long pause does not allow more than one burst."""
    rates = RateLimiter(1, 2)
    rates.take("a", 0)
    assert [rates.take("a", 86400) for _ in range(3)] == [0, 0, 1]


def test_the_table_is_bounded() -> None:
    """A flood of addresses evicts the oldest entries, not the busy ones."""
    rates = RateLimiter(1, 1, table=100)
    rates.take("busy", 0)
    for number in range(10_000):
        rates.take(f"10.0.{number}", 0)
        assert rates.take("busy", 0) == 1
    assert len(rates) == 100
    assert [rates.take("new", 0) for _ in range(2)] == [0, 1]
    assert "100 addresses" in repr(rates)


def test_no_rate_is_no_limit() -> None:
    """Without a rate every request is admitted, and no memory is used."""
    rates = RateLimiter(0, 1)
    assert not any(rates.take("a", 0) for _ in range(1000))
    assert len(rates) == 0
