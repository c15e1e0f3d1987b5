"""The attempts that a node may still keep."""

from __future__ import annotations

from trioslock.link._leftovers import LEFTOVER_LIMIT, Leftovers
from trioslock.protocol import LockCommand

A, B = ("a", 1), ("b", 2)


def attempt(number: int, *, lock_id: bytes | None = None) -> LockCommand:
    request_id = (number << 16).to_bytes(16, "big")
    return LockCommand(1, request_id, 0, 0, lock_id or request_id, b"k" * 16)


def test_attempts_are_given_back_once_and_by_node() -> None:
    """Each node gets what was sent to it."""
    leftovers = Leftovers()
    leftovers.note(A, [attempt(1), attempt(2)])
    leftovers.note(B, [attempt(3)])
    assert leftovers.take(A) == [attempt(1), attempt(2)]
    assert leftovers.take(A) == []
    assert leftovers.take(B) == [attempt(3)]


def test_a_lock_id_of_the_callers_own_is_not_kept() -> None:
    """Under it a later grant may be held, which must not be undone."""
    leftovers = Leftovers()
    leftovers.note(A, [attempt(1, lock_id=b"e" * 16)])
    assert leftovers.take(A) == []


def test_the_oldest_attempts_are_forgotten_above_the_limit() -> None:
    """Memory is bounded for each node."""
    leftovers = Leftovers()
    leftovers.note(A, [attempt(number) for number in range(LEFTOVER_LIMIT)])
    leftovers.note(A, [attempt(0), attempt(LEFTOVER_LIMIT)])
    assert len(leftovers) == LEFTOVER_LIMIT
    kept = leftovers.take(A)
    assert attempt(1) not in kept
    assert kept[-2:] == [attempt(0), attempt(LEFTOVER_LIMIT)]
