"""Ends of waits and leases, and the wall clock in the engine."""

from __future__ import annotations

import pytest
from tests.trioslock.engine.commands import Talk, codes_of, lock, unlock

from trioslock.engine._times import FOREVER, keeps_lease, lease_end, renewal, wait_end


@pytest.mark.parametrize(
    ("expiry", "flag", "end"),
    [
        (9, 0, 110),
        (0, 0, 101),
        (2, 0x0040, 221),
        (2999, 0x0400, 103),
        (4900, 0x0400, 105),
        (4900, 0x0440, 105),
        (1, 0x4000, FOREVER),
        (700, 0x4400, FOREVER),
    ],
)
def test_lease_end(expiry: int, flag: int, end: int) -> None:
    """N seconds end at the (N + 1)th tick; milliseconds win over minutes."""
    assert lease_end(lock(expiry=expiry, expiry_flag=flag), 100) == end


@pytest.mark.parametrize(
    ("timeout", "flag", "end"), [(9, 0, 110), (2, 0x0040, 221), (3500, 0x0400, 104)]
)
def test_wait_end(timeout: int, flag: int, end: int) -> None:
    """By the same units."""
    assert wait_end(lock(timeout=timeout, timeout_flag=flag), 100) == end


def test_only_unlimited_with_the_highest_value_keeps_a_lease() -> None:
    """It is how counts are changed without touching the lease."""
    assert keeps_lease(lock(expiry=0xFFFF, expiry_flag=0x4000))
    assert not keeps_lease(lock(expiry=0xFFFE, expiry_flag=0x4000))
    assert not keeps_lease(lock(expiry=0xFFFF))


@pytest.mark.parametrize(
    ("value", "flag", "seconds"),
    [(5, 0, 5), (0, 0, 1), (2, 0x40, 120), (1, 0x0400, 1), (1500, 0x0400, 2)],
)
def test_renewal_is_in_whole_seconds(value: int, flag: int, seconds: int) -> None:
    """A keep-alive of a millisecond is no timer of a kilohertz."""
    assert renewal(value, flag) == seconds


@pytest.mark.parametrize("offset", [0.0, 0.25, 1_700_000_000.123456, -3.7])
@pytest.mark.parametrize("start", [0.0, 0.3, 123_456.789])
def test_what_is_due_at_a_deadline_ends_at_that_time(
    offset: float, start: float
) -> None:
    """No rounding leaves a host calling again and again at the same time."""
    talk = Talk(wall_offset=offset)
    talk.now = start + 10
    for number, unit in enumerate((0, 0x0400, 0x0040)):
        talk.send(lock(number, expiry=7, expiry_flag=unit, max_count=9))
    calls = 0
    while (deadline := talk.engine.next_deadline()) is not None:
        assert deadline > talk.now
        talk.now = deadline
        assert talk.engine.advance(talk.now)
        calls += 1
    assert calls == 3


def test_milliseconds_are_never_early_and_hardly_late() -> None:
    """A wait of 40 ms ends between 40 and 42 ms, wherever it begins."""
    for begin in (0.0, 0.0004, 0.0006, 0.0099, 0.9999):
        talk = Talk()
        talk.now = begin
        talk.send(lock("a"))
        talk.send(lock("b", timeout=40, timeout_flag=0x0400))
        deadline = talk.engine.next_deadline()
        assert deadline is not None
        assert 0.040 <= deadline - begin <= 0.0421


def test_a_submit_sees_what_was_due_before_it() -> None:
    """Even if the host is late with ``advance``: the lease has ended."""
    talk = Talk()
    talk.send(lock("a", expiry=1))
    talk.now = 5.0
    replies = talk.send(lock("b"))
    assert [codes_of(each) for each in replies] == [9, 0]


def test_a_lease_from_the_request_that_is_over_at_the_grant_ends_soon() -> None:
    """Flag "unrenew": at the next tick, not in the past."""
    talk = Talk()
    talk.send(lock("a", expiry=60))
    talk.send(lock("b", timeout=60, timeout_flag=0x0100, expiry=1))
    talk.now = 30.5
    assert talk.codes(unlock("a")) == [0, 0]
    assert talk.engine.next_deadline() == pytest.approx(31.0)


def test_wall_seconds_are_counted_from_the_offset() -> None:
    """A lease of 1 s taken at .9 lasts 1.1 s."""
    talk = Talk(wall_offset=1_700_000_000.9)
    assert talk.engine.wall_offset == 1_700_000_000.9
    talk.send(lock("a", expiry=1))
    assert talk.engine.next_deadline() == pytest.approx(1.1)


def test_a_waiter_served_at_the_tick_of_its_own_end_is_served() -> None:
    """The lease that began first ends first; the wait is over by then."""
    talk = Talk()
    talk.send(lock("a", expiry=5))
    talk.send(lock("b", timeout=5, expiry=60))
    assert [codes_of(each) for each in talk.wait(6)] == [9, 0]
    assert talk.engine.statistics().holders == 1
