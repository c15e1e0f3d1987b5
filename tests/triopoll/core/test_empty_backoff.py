"""The delay of an empty reply: none at first, doubled while a client repeats."""

from __future__ import annotations

from triopoll.core.empty_backoff import LONGEST_DELAY, EmptyBackoff


def test_the_delay_doubles_up_to_its_longest() -> None:
    """The first reply is not delayed."""
    backoff, now, delays = EmptyBackoff(), 100.0, []
    for _ in range(10):
        delay = backoff.next_delay("k", now)
        delays.append(delay)
        now += delay + 0.5
    assert delays[:3] == [0, 0.02, 0.04]
    assert delays[6:] == [0.64, LONGEST_DELAY, LONGEST_DELAY, LONGEST_DELAY]


def test_a_poll_later_on_is_no_loop() -> None:
    """More than a second after the reply, whatever its delay was."""
    backoff, now = EmptyBackoff(), 0.0
    for _ in range(10):
        now += backoff.next_delay("k", now)
    assert backoff.next_delay("k", now + 0.9) == LONGEST_DELAY
    assert backoff.next_delay("k", now + 0.9 + LONGEST_DELAY + 1.1) == 0


def test_a_message_ends_the_delays() -> None:
    """Of its key alone."""
    backoff = EmptyBackoff()
    for key in "kkll":
        backoff.next_delay(key, 0)
    backoff.reset("k")
    backoff.reset("unknown")
    assert backoff.next_delay("k", 0) == 0
    assert backoff.next_delay("l", 0) == 0.04
    assert repr(backoff) == "<EmptyBackoff: 2 keys>"


def test_the_memory_is_bounded() -> None:
    """The key that was replied to longest ago is forgotten first."""
    backoff = EmptyBackoff()
    for number in range(5000):
        backoff.next_delay(f"{number}", 0)
        backoff.next_delay("always", 0)
    assert len(backoff) == 4096
    assert backoff.next_delay("0", 0) == 0
    assert backoff.next_delay("4999", 0) > 0
    assert backoff.next_delay("always", 0) == LONGEST_DELAY
