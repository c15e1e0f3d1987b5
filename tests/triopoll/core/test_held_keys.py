"""Held keys: counted until their leases end, by visitor and by process."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from triopoll.core.held_keys import HeldKeys, TooManyHeldKeys
from triopoll.core.outcomes import Failure, OperationFailed


async def test_the_limit_of_a_visitor(autojump_clock: MockClock) -> None:
    """It bounds that visitor alone, until a lease ends."""
    held = HeldKeys(limit=9, per_visitor=2)
    held.hold("a", "event", "1", 10)
    held.hold("a", "event", "2", 20)
    with pytest.raises(TooManyHeldKeys) as caught:
        held.hold("a", "event", "3", 10)
    assert caught.value.failure is Failure.TOO_MANY_HELD_KEYS
    held.hold("b", "event", "3", 10)
    held.hold(None, "event", "4", 10)
    held.hold(None, "event", "5", 10)
    held.hold(None, "event", "6", 10)
    assert repr(held) == "<HeldKeys: 6 of 9>"
    await trio.sleep(10)
    held.hold("a", "event", "7", 10)
    assert not held.try_hold("a", "8", 10)
    assert len(held) == 2


async def test_the_limit_of_the_process(autojump_clock: MockClock) -> None:
    """It bounds all visitors together, and keys that are no visitor's."""
    held = HeldKeys(limit=2)
    held.hold("a", "event", "1", 10)
    held.hold(None, "event", "2", 10)
    assert not held.try_hold("b", "3", 10)
    assert not held.try_hold(None, "3", 10)
    assert len(held) == 2


async def test_a_key_that_is_held_again(autojump_clock: MockClock) -> None:
    """It needs no room, and is counted until its last lease ends."""
    held = HeldKeys(limit=1, per_visitor=1)
    held.hold("a", "event", "1", 10)
    await trio.sleep(6)
    held.hold("b", "event", "1", 10)
    held.hold("a", "event", "1", 1)
    await trio.sleep(9)
    assert not held.try_hold("a", "event 2", 10)
    await trio.sleep(1)
    held.hold("b", "event", "2", 10)
    assert len(held) == 1


async def test_nothing_is_left(autojump_clock: MockClock) -> None:
    """Neither of keys nor of visitors, when all leases have ended."""
    held = HeldKeys(limit=1000, per_visitor=10)
    for number in range(500):
        held.hold(f"{number % 100}", "event", f"{number}", number % 7 + 1)
    await trio.sleep(10)
    held.hold(None, "event", "last", 1)
    assert len(held) == 1
    assert not held._by_visitor
    assert len(held._ends) == 1


async def test_the_lock_of_a_groups_senders(autojump_clock: MockClock) -> None:
    """No wait may hold it, whatever its kind."""
    held = HeldKeys()
    for kind in ("event", "group"):
        with pytest.raises(OperationFailed) as caught:
            held.hold(None, kind, "polling:group:message:g", 10)
        assert caught.value.failure is Failure.SLOCK_REFUSED
    held.hold(None, "event", "polling:message:g", 10)
    held.hold(None, "group", "polling:message:g", 10)
    assert len(held) == 2
