"""From an unexpected result code to the error that is raised."""

from __future__ import annotations

from .._errors import AlreadyHeld, LockError, NoLeader, NotHeld, ServerError, SlockError
from ..protocol import LockResult, ResultCode

_NOT_HELD = (ResultCode.UNLOCK_ERROR, ResultCode.UNOWN_ERROR)


def refusal(result: LockResult) -> SlockError:
    """Return the error for a result code that the caller has no use for.

    Returns:
        `NoLeader`, `AlreadyHeld`, `NotHeld` or `LockError` for what is about
        the node or the key, `ServerError` for the rest.
    """
    code, key = result.result, result.key
    if code == ResultCode.STATE_ERROR:
        return NoLeader("the server cannot reach a leader")
    if code == ResultCode.LOCKED_ERROR:
        return AlreadyHeld(f"key {key.hex()} is held under this lock id", key=key)
    if code in _NOT_HELD:
        return NotHeld(f"key {key.hex()} is not held under this lock id", key=key)
    if code == ResultCode.TIMEOUT:
        return LockError(f"the server refused key {key.hex()}", key=key)
    return ServerError(f"the server answered with {_name(code)}", result=code)


def _name(code: int) -> str:
    try:
        return f"result {code} ({ResultCode(code).name})"
    except ValueError:
        return f"the unknown result {code}"
