from __future__ import annotations

import pytest
import trio

from trioslock import (
    AlreadyHeld,
    LockError,
    NoLeader,
    NotHeld,
    ServerError,
    SlockError,
)
from trioslock._errors import LossReason
from trioslock.primitives._results import loss, raise_outcome, refusal
from trioslock.protocol import LockResult, ResultCode

KEY = bytes(15) + b"k"


def answer(code: int) -> LockResult:
    return LockResult(1, b"", code, 0, 0, b"", KEY, 0, 0, 0, 0, None)


@pytest.mark.parametrize(
    ("code", "error", "text"),
    [
        (ResultCode.STATE_ERROR, NoLeader, "cannot reach a leader"),
        (ResultCode.LOCKED_ERROR, AlreadyHeld, "is held under this lock id"),
        (ResultCode.UNLOCK_ERROR, NotHeld, "is not held under this lock id"),
        (ResultCode.UNOWN_ERROR, NotHeld, "is not held under this lock id"),
        (ResultCode.TIMEOUT, LockError, "refused key"),
        (ResultCode.UNKNOWN_DB, ServerError, "UNKNOWN_DB"),
        (12, ServerError, "result 12"),
        (99, ServerError, "unknown result 99"),
    ],
)
def test_each_code_has_its_error(code: int, error: type[SlockError], text: str) -> None:
    found = refusal(answer(code))
    assert type(found) is error
    assert text in str(found)
    if isinstance(found, LockError):
        assert found.key == KEY
        assert KEY.hex() in str(found)
    if isinstance(found, ServerError):
        assert found.result == code


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("expired", "its lease has ended"),
        ("taken", "another holder has it"),
        ("disconnected", "the connection was lost"),
        ("server-restart", "the server has restarted"),
    ],
)
def test_each_loss_has_its_reason(reason: LossReason, text: str) -> None:
    error = loss(KEY, reason)
    assert (error.key, error.reason) == (KEY, reason)
    assert f"key {KEY.hex()} is not held any more: {text}" in str(error)


def test_an_error_of_the_body_goes_on_with_a_note() -> None:
    mine = ValueError("mine")
    assert not raise_outcome(mine, mine, loss(KEY, "expired"))
    assert mine.__notes__ == [f"trioslock: {loss(KEY, 'expired')}"]
    plain = ValueError("plain")
    assert not raise_outcome(plain, plain, None)
    assert not hasattr(plain, "__notes__")


def test_what_a_scope_left_of_a_group_is_raised() -> None:
    rest = ExceptionGroup("rest", [ValueError("mine")])
    with pytest.raises(ExceptionGroup) as caught:
        raise_outcome(BaseExceptionGroup("all", [KeyboardInterrupt()]), rest, None)
    assert caught.value is rest


def test_without_an_error_of_the_body_the_loss_is_raised() -> None:
    with pytest.raises(LockError, match="not held any more"):
        raise_outcome(None, None, loss(KEY, "taken"))


async def test_a_cancellation_gets_no_note() -> None:
    """A scope outside of the body catches it; no one would read the note."""
    with trio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(trio.Cancelled) as caught:
            await trio.sleep_forever()
    cancelled = caught.value
    assert not raise_outcome(cancelled, cancelled, loss(KEY, "expired"))
    assert not hasattr(cancelled, "__notes__")
