"""Commands under way for which no task waits, and what their replies mean.

Their caller was cancelled, or the request table sent them itself. They have the same
interface as the entries in ``_entries``.
"""

from __future__ import annotations

import logging

from .._errors import LossReason
from ..protocol import (
    CommandType,
    LockCommand,
    LockResult,
    ResultCode,
    UnlockFlag,
    describe_key,
)
from ._entries import EntryTable, PendingLock

_log = logging.getLogger("trioslock.link")

_LOCK = int(CommandType.LOCK)
_UNLOCK = int(CommandType.UNLOCK)
_OK = int(ResultCode.SUCCED)
_HELD = int(ResultCode.LOCKED_ERROR)
_NOT_LOCKED = int(ResultCode.UNLOCK_ERROR)
_TIMEOUT = int(ResultCode.TIMEOUT)
_CANCEL_WAIT = int(UnlockFlag.CANCEL_WAIT)


def withdrawal(command: LockCommand) -> LockCommand:
    """Return the UNLOCK that takes back a LOCK, whether it waits or was granted."""
    # The rcount stays: with 0 a re-entrant holder would lose all its levels.
    return command._replace(
        type=_UNLOCK, flag=_CANCEL_WAIT, timeout=0, expiry=0, data=None
    )


class OrphanRequest:
    """A command whose effect needs no follow-up: its reply is dropped."""

    __slots__ = ("command", "table")

    def __init__(self, table: EntryTable, command: LockCommand) -> None:
        self.table: EntryTable = table
        self.command: LockCommand = command

    def settle(self, result: LockResult) -> None:
        """Do nothing: the command leaves nothing behind, whatever the reply."""

    def close(self, error: Exception) -> None:
        """Do nothing: no task waits, and what was sent goes on."""

    def suspend(self, table: EntryTable, sent: bool) -> None:
        """Do nothing: it is not sent again."""


class OrphanUnlock(OrphanRequest):
    """An UNLOCK that must take effect; one reply ends it, whatever its code.

    ``command`` is the UNLOCK itself or the LOCK that it undoes.
    """

    __slots__ = ()

    def settle(self, result: LockResult) -> None:
        """Note that nothing is held under the lock id any more."""
        self.table.withdrawn()

    def suspend(self, table: EntryTable, sent: bool) -> None:
        """Send it again on the next connection: the server may not have it."""
        table.undo(self.command)


class OrphanUpdate(OrphanRequest):
    """An UPDATE; result 0 means that it has taken the key anew."""

    __slots__ = ()

    def settle(self, result: LockResult) -> None:
        """Release what was taken anew, and report the loss of the old grant."""
        if result.result == _OK:
            self.table.lose_attempt(self.command.request_id, "expired")
            self.table.undo(self.command)

    def suspend(self, table: EntryTable, sent: bool) -> None:
        """Undo it on the next connection, unless the grant has a holder."""
        if not table.holds(self.command.request_id):
            table.undo(self.command)


class Withdrawal(OrphanRequest):
    """A LOCK and the UNLOCK that takes it back, until both are answered.

    Their result codes come in these pairs, in either order: (6, 5) the wait
    was withdrawn; (0, 0) it had been granted and was released; (8, 6) it had
    been refused or timed out; (0, 6) a wait with lease 0 had been answered.
    Any other pair is logged, and one more UNLOCK is sent.
    """

    __slots__ = ("_lock_code", "_unlock_code")

    def __init__(self, table: EntryTable, command: LockCommand) -> None:
        super().__init__(table, command)
        self._lock_code: int | None = None
        self._unlock_code: int | None = None

    def settle(self, result: LockResult) -> None:
        """Take one of the two replies."""
        if result.type == _LOCK:
            self._lock_code = result.result
        else:
            self._unlock_code = result.result
        if self._lock_code is None or self._unlock_code is None:
            return
        self.table.withdrawn()
        if not self._as_expected():
            _log.warning(
                "withdrawing a LOCK of key %s was answered with the results %s and %s, "
                "which do not go together: sending one more UNLOCK",
                describe_key(self.command.key),
                self._lock_code,
                self._unlock_code,
            )
            self.table.undo(self.command)

    def _as_expected(self) -> bool:
        pair = (self._lock_code, self._unlock_code)
        if pair == (_OK, _NOT_LOCKED):
            return self.command.expiry == 0
        if pair in ((_NOT_LOCKED, _HELD), (_OK, _OK), (_TIMEOUT, _NOT_LOCKED)):
            return True
        # Equal codes are errors of the server (database, state): it did neither.
        return self._lock_code == self._unlock_code

    def suspend(self, table: EntryTable, sent: bool) -> None:
        """Undo the LOCK on the next connection: the UNLOCK may not have arrived."""
        table.undo(self.command)


class GrantRenewal(OrphanRequest):
    """An UPDATE that asks whether a grant has outlived its connection.

    A session lease gets two, which move it to the new connection: the first ends
    later than the old lease can, so the server accepts it; the second brings the
    lease back to its length. A broken connection drops both: the grant is still on
    record, and the next connection asks again.
    """

    __slots__ = ("held",)

    def __init__(
        self, table: EntryTable, command: LockCommand, held: PendingLock
    ) -> None:
        super().__init__(table, command)
        self.held: PendingLock = held

    def settle(self, result: LockResult) -> None:
        """Keep the grant on result 5; on any other it is lost."""
        if result.result == _HELD:
            return
        if result.result == _OK:
            # The grant was gone, and this UPDATE has taken the key anew.
            self.table.undo(self.held.command)
        reason: LossReason = "taken" if result.result == _TIMEOUT else "disconnected"
        self.table.lose_attempt(self.held.command.request_id, reason)
