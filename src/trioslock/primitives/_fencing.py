"""Fencing tokens: a number for each grant, larger than those of all before it.

The LOCK carries a second command that the server runs at the moment of the grant:
it adds one to a counter on a key of its own. The server grants the lock to no other
request in between, so the order of the numbers is the order of the grants. A holder
that lost the lock without knowing it has a smaller number than the present holder.

The counter is held for ever and written to the server's log at once, so it outlives
clients and a restart of the server. Each name that is fenced leaves such a key.

Source: snower/slock 2.1.12, ``server/lock.go`` (``ProcessLockData``, EXECUTE).
"""

from __future__ import annotations

from ..link import Requester
from ..protocol import (
    CommandType,
    Data,
    DataOperation,
    ExpiryFlag,
    LockCommand,
    LockFlag,
    LockResult,
    ResultCode,
    to_key,
)
from ._grant import Grant, release_unusable
from ._lock import Lock
from ._options import HandleOptions
from ._results import refusal

_PREFIX = b"fence:"
_FOR_EVER = int(ExpiryFlag.UNLIMITED | ExpiryFlag.LOG_AT_ONCE)
_COUNTED = (ResultCode.SUCCED, ResultCode.LOCKED_ERROR)


class FencedLock(Lock):
    """A `Lock` whose grants have a ``token``.

    A wait in flight when the connection breaks fails with ``ConnectionLost``; it is
    not sent again, since the command in its data may have been run. The order of
    the tokens holds as long as the server keeps its log: after a failover it is as
    good as the new leader's copy of it.

    Args:
        options: The key, and how to ask for it; not with ``require_ack``.
    """

    _replay = False

    def __init__(self, options: HandleOptions) -> None:
        super().__init__(options)
        if options.flags.require_ack:
            raise ValueError(
                "a lock cannot be fenced and acknowledged: the server would put the "
                "token off until after the acknowledgement"
            )

    async def _attempt(self, wait: int, wait_flag: int, data: Data | None) -> Grant:
        count = count_command(self._requester, self.db, self.key)
        frame = combine(count, data)
        # Registered before the LOCK is sent: the counter's answer can come first.
        expected = self._requester.expect(count)
        try:
            grant = await super()._attempt(wait, wait_flag, frame)
            try:
                grant.token = token_of(await expected.wait())
            except BaseException:
                await release_unusable(grant)
                raise
        finally:
            expected.forget()
        return grant


def fence_key(key: bytes) -> bytes:
    """Return the key of the counter for a key of 16 bytes, in the same database."""
    return to_key(_PREFIX + key)


def count_command(requester: Requester, db: int, key: bytes) -> LockCommand:
    """Return the command that adds one to a key's counter."""
    fence = fence_key(key)
    return LockCommand(
        int(CommandType.LOCK),
        requester.new_id(),
        int(LockFlag.UPDATE),
        db,
        fence,
        fence,
        0,
        0,
        1,
        _FOR_EVER,
        0,
        0,
        Data.increment().encode(),
    )


def combine(command: LockCommand, data: Data | None) -> Data:
    """Return the data of a LOCK that runs ``command``, and ``data`` as well.

    Raises:
        ValueError: ``data`` is a pipeline; the server does not nest them.
    """
    execute = Data.execute(command)
    if data is None:
        return execute
    if data.operation == DataOperation.PIPELINE:
        raise ValueError(
            "a fenced lock takes one operation as its data, not a pipeline: apply "
            "the others with the grant's update()"
        )
    return Data.pipeline(data, execute)


def token_of(result: LockResult) -> int:
    """Return the token that the counter's answer means.

    Raises:
        SlockError: The counter was not raised.
    """
    if result.result not in _COUNTED:
        raise refusal(result)
    # An answer carries the value before the operation.
    return 1 + (0 if result.data is None else Data.decode(result.data).number)
