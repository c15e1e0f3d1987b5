"""PreparedLock: packed beforehand or on the spot, the bytes are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from tests.trioslock.protocol.strategies import ids, lock_commands

from trioslock import LocalProtocolError
from trioslock.protocol import LockCommand, PreparedLock, encode_lock

LOCK = LockCommand(1, bytes(16), 0, 3, bytes(16), b"k" * 16, 10, 0, 10, 0, 0, 0)
UNLOCK = LOCK._replace(type=2, timeout=0, expiry=0)


@given(lock_commands, lock_commands, ids)
def test_a_frame_is_the_command_s_own(
    lock: LockCommand, unlock: LockCommand, attempt: bytes
) -> None:
    """Whatever the fields are, only the two ids are filled in."""
    prepared = PreparedLock(lock, unlock)
    assert prepared.lock_frame(attempt) == encode_lock(prepared.lock(attempt))
    assert prepared.unlock_frame(attempt) == encode_lock(prepared.unlock(attempt))
    for made, given_ in (
        (prepared.lock(attempt), lock),
        (prepared.unlock(attempt), unlock),
    ):
        assert (made.request_id, made.lock_id) == (attempt, attempt)
        own = given_._replace(request_id=attempt, lock_id=attempt)
        assert made == own
    assert prepared.key == lock.key


@pytest.mark.parametrize("wrong", [{"key": b"short"}, {"timeout": 65_536}, {"db": -1}])
def test_what_cannot_be_packed_makes_no_prepared(wrong: dict[str, object]) -> None:
    """The error comes before anything is sent."""
    with pytest.raises(LocalProtocolError):
        PreparedLock(LOCK._replace(**wrong), UNLOCK)  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError):
        PreparedLock(LOCK, UNLOCK._replace(**wrong))  # type: ignore[arg-type]


def test_repr_shows_the_lock() -> None:
    assert repr(LOCK) in repr(PreparedLock(LOCK, UNLOCK))
