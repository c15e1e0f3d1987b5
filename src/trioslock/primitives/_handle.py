"""A key of one database, and the commands about it.

The base of all primitives. Those that hand out grants build on `Acquirable`.
"""

from __future__ import annotations

from .._arguments import check_int, check_type
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
    describe_key,
)
from ._guesses import Guessed
from ._options import HandleOptions
from ._results import refusal

NO_TIME = WireDuration(0, 0)
"""As a wait: none. As a lease: the server releases the grant in the same step."""

NO_ID = bytes(ID_SIZE)
"""A lock id that never holds anything."""

_LOCK = int(CommandType.LOCK)
_ANY_LEVELS = 0xFF
_UNLOCK = int(CommandType.UNLOCK)
_NOT_SHOWN = (ResultCode.SUCCED, ResultCode.TIMEOUT)


class Handle(Guessed):
    """A key and the way to its server; keeps no state of what is held.

    Args:
        options: The key, and how to ask for it.
    """

    def __init__(self, options: HandleOptions) -> None:
        if options.__class__ is not HandleOptions:
            check_type(options, HandleOptions, "options", "HandleOptions")
        self.key: bytes = options.key
        self.db: int = options.db
        self._options = options
        self._requester = options.requester

    def __repr__(self) -> str:
        place = f"key {describe_key(self.key)} of database {self.db}"
        return f"<{type(self).__name__} on {place}{self._state()}>"

    def _state(self) -> str:
        """Return what `repr` shows besides the key."""
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
        self,
        *,
        lock_id: bytes = NO_ID,
        flag: int = 0,
        max_count: int = 0,
        data: Data | None = None,
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
            max_count,
            0,
            None if data is None else data.encode(),
        )

    async def _show(self) -> LockResult | None:
        """Ask for the first holder; return None if the key is free."""
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
        raise refusal(result, self.key)


class CountedHandle(Handle):
    """A handle on a key that several holders have at once."""

    async def in_use(self) -> int:
        """Return how many are held now, by all clients together.

        A token that was taken from a bucket is held until it comes back.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        result = await self._show()
        return 0 if result is None else result.lcount


def check_count(number: int, name: str) -> int:
    """Return the count that is sent for a number of holders: one less.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is not 1 to 65,535.
    """
    return check_int(number, name, 1, UNLIMITED_COUNT) - 1


def decoded(frame: bytes | None) -> Data | None:
    """Return the value in a result's data frame, None if it has none."""
    return None if frame is None else Data.decode(frame)
