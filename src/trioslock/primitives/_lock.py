"""A lock that one holder at a time has, anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from .._errors import NotHeld
from ..link import Requester
from ..protocol import (
    ID_SIZE,
    UNLIMITED_COUNT,
    CommandType,
    Data,
    LockCommand,
    LockFlag,
    LockResult,
    ResultCode,
    UnlockFlag,
)
from ._acquirable import Acquirable
from ._lease import SESSION, Lease
from ._results import refusal

_ANY_LEVELS = 0xFF
_NO_ID = bytes(ID_SIZE)
_FREE = (ResultCode.SUCCED, ResultCode.TIMEOUT)
_NOT_THERE = (ResultCode.UNLOCK_ERROR, ResultCode.UNKNOWN_DB)


@dataclass(frozen=True, slots=True)
class Holder:
    """The first holder of a key, as the server shows it.

    Attributes:
        lock_id: The 16 bytes that a release would need.
        levels: How often this holder has the key.
        total: Levels of all holders of the key together.
        data: The key's value, or None.
    """

    lock_id: bytes
    levels: int
    total: int
    data: Data | None


class Lock(Acquirable):
    """A handle on a key that one holder at a time has.

    It keeps no state and may be shared: each acquisition has a grant of its own.

    Args:
        requester: Carries the commands.
        key: Exactly 16 bytes.
        db: Database, 0 to 254.
        lease: `SESSION` (as long as the connection), seconds, or ``FOREVER``.
    """

    def __init__(
        self, requester: Requester, key: bytes, *, db: int = 0, lease: Lease = SESSION
    ) -> None:
        super().__init__(requester, key, db=db, lease=lease)

    async def locked(self) -> bool:
        """Return whether anybody holds the key.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        return await self.show() is not None

    async def show(self) -> Holder | None:
        """Return who holds the key, None if nobody does.

        Do not ask this of a key that is used as an event: where it is free, the
        server answers by granting it for no time, which wakes the event's
        waiters.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        command = self._command(CommandType.LOCK, LockFlag.SHOW)
        command = command._replace(max_count=UNLIMITED_COUNT, rcount=_ANY_LEVELS)
        result = await self._requester.request(command, replay=True)
        if result.result == ResultCode.UNOWN_ERROR:
            return _holder(result)
        if result.result in _FREE:
            return None
        raise refusal(result)

    async def release_head(self) -> None:
        """Release the first holder's grant, whoever that is.

        For administration: the holder is not told, and finds out when it
        releases.

        Raises:
            NotHeld: Nobody holds the key.
            ConnectionLost: The connection broke; the outcome is unknown. It is
                not sent again, since that could release the next holder.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        command = self._command(CommandType.UNLOCK, UnlockFlag.FIRST)
        result = await self._requester.request(command)
        if result.result in _NOT_THERE:
            raise NotHeld(f"nobody holds key {self.key.hex()}", key=self.key)
        if result.result != ResultCode.SUCCED:
            raise refusal(result)

    def _command(self, kind: CommandType, flag: int) -> LockCommand:
        return LockCommand(
            int(kind),
            self._requester.new_id(),
            int(flag),
            self.db,
            _NO_ID,
            self.key,
            0,
            0,
            0,
            0,
            0,
            0,
        )


def _holder(result: LockResult) -> Holder:
    data = None if result.data is None else Data.decode(result.data)
    return Holder(result.lock_id, result.lrcount, result.lcount, data)
