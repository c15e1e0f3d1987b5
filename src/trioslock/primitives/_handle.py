"""A key of one database, and the commands about it.

What the primitives have in common that hand out no grant; those that do build
on `Acquirable`.
"""

from __future__ import annotations

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
    WireDuration,
)
from ._results import refusal

NO_TIME = WireDuration(0, 0)
"""As a wait: none. As a lease: what is granted is released in the same step."""

NO_ID = bytes(ID_SIZE)
"""A lock id that nobody holds anything under."""

_LOCK = int(CommandType.LOCK)
_ANY_LEVELS = 0xFF
_UNLOCK = int(CommandType.UNLOCK)
_NOT_SHOWN = (ResultCode.SUCCED, ResultCode.TIMEOUT)


class Handle:
    """A key and the way to its server; keeps no state of what is held.

    Args:
        requester: Carries the commands.
        key: Exactly 16 bytes.
        db: Database, 0 to 254.
    """

    def __init__(self, requester: Requester, key: bytes, *, db: int = 0) -> None:
        self.key = key
        self.db = db
        self._requester = requester

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self._place}{self._state()}>"

    @property
    def _place(self) -> str:
        return f"key {self.key.hex()} of database {self.db}"

    def _state(self) -> str:
        """Return what `repr` tells besides the key."""
        return ""

    def _lock(
        self,
        *,
        lock_id: bytes | None = None,
        flag: int = 0,
        wait: WireDuration = NO_TIME,
        lease: WireDuration = NO_TIME,
        max_count: int = 0,
        rcount: int = 0,
        data: Data | None = None,
    ) -> LockCommand:
        """Return a LOCK; its lock id is its fresh request id if none is given."""
        attempt = self._requester.new_id()
        return LockCommand(
            _LOCK,
            attempt,
            flag,
            self.db,
            attempt if lock_id is None else lock_id,
            self.key,
            *wait,
            *lease,
            max_count,
            rcount,
            None if data is None else data.encode(),
        )

    def _unlock(
        self, *, lock_id: bytes = NO_ID, flag: int = 0, data: Data | None = None
    ) -> LockCommand:
        """Return an UNLOCK of all levels."""
        return LockCommand(
            _UNLOCK,
            self._requester.new_id(),
            flag,
            self.db,
            lock_id,
            self.key,
            *NO_TIME,
            *NO_TIME,
            0,
            0,
            None if data is None else data.encode(),
        )

    async def _show(self) -> LockResult | None:
        """Ask for the first holder; None if the key is free."""
        command = self._lock(
            lock_id=NO_ID,
            flag=LockFlag.SHOW,
            max_count=UNLIMITED_COUNT,
            rcount=_ANY_LEVELS,
        )
        result = await self._requester.request(command, replay=True)
        if result.result == ResultCode.UNOWN_ERROR:
            return result
        if result.result in _NOT_SHOWN:
            return None
        raise refusal(result)

    async def _levels_in_use(self) -> int:
        """Return how many levels all holders have together."""
        result = await self._show()
        return 0 if result is None else result.lcount


def decoded(frame: bytes | None) -> Data | None:
    """Return the value in a result's data frame, None if it has none."""
    return None if frame is None else Data.decode(frame)
