"""From result codes, losses and the ends of bodies to the errors that are raised."""

from __future__ import annotations

import trio

from .._errors import (
    AlreadyHeld,
    LockError,
    LockLost,
    LossReason,
    NoLeader,
    NotHeld,
    ServerError,
    SlockError,
)
from ..protocol import LockResult, ResultCode, describe_key

_NOT_HELD = (ResultCode.UNLOCK_ERROR, ResultCode.UNOWN_ERROR)
_LOSSES: dict[LossReason, str] = {
    "expired": "its lease has ended",
    "taken": "another holder has it",
    "disconnected": "the connection was lost for longer than its lease",
    "server-restart": "the server has restarted",
}


def refusal(result: LockResult, key: bytes | None = None) -> SlockError:
    """Return the error for a result code that the caller does not expect.

    Args:
        result: The answer.
        key: The key as the caller has named it; None for that of the answer.

    Returns:
        `NoLeader`, `AlreadyHeld`, `NotHeld` or `LockError` for what is about
        the node or the key, `ServerError` for the rest.
    """
    code = result.result
    key = result.key if key is None else key
    name = describe_key(key)
    if code == ResultCode.STATE_ERROR:
        return NoLeader("the server cannot reach a leader")
    if code == ResultCode.LOCKED_ERROR:
        return AlreadyHeld(f"key {name} is held under this lock id", key=key)
    if code in _NOT_HELD:
        return NotHeld(f"key {name} is not held under this lock id", key=key)
    if code == ResultCode.TIMEOUT:
        return LockError(f"the server refused key {name}", key=key)
    return ServerError(f"the server answered with {_name(code)}", result=code)


def loss(key: bytes, reason: LossReason) -> LockLost:
    """Return the error for a grant that ended without a release by its holder."""
    return LockLost(
        f"key {describe_key(key)} is not held any more: {_LOSSES[reason]}",
        key=key,
        reason=reason,
    )


def raise_outcome(
    raised: BaseException | None,
    error: BaseException | None,
    release_error: BaseException | None,
) -> bool:
    """Raise the one error that a body and its release come to.

    Args:
        raised: What the body has raised.
        error: What its cancel scope has left of that.
        release_error: What the release has raised, or the loss of the grant.

    Returns:
        False: ``raised`` goes on as it is.
    """
    if error is None:
        assert release_error is not None
        raise release_error
    # The body's own error is never replaced: the other one becomes a note.
    if release_error is not None and not isinstance(error, trio.Cancelled):
        error.add_note(f"trioslock: {release_error}")
    if error is not raised:
        raise error
    return False


def _name(code: int) -> str:
    try:
        return f"result {code} ({ResultCode(code).name})"
    except ValueError:
        return f"the unknown result {code}"
