"""Many readers or one writer.

Readers hold the key with an unlimited count, a writer with none to spare. The
server's queue is first in, first out: a writer that waits holds up readers that
come later, so neither side starves.

When a waiting writer gives up, the server does not look again at the readers
behind it, although they could be let in. `WriteSide` therefore sends a request
for no time that may pass the queue: its grant makes the server look.
"""

from __future__ import annotations

import trio

from ..link import Requester
from ..protocol import UNLIMITED_COUNT, Data, LockCommand, TimeoutFlag, WireDuration
from ._acquirable import Acquirable
from ._flags import NO_FLAGS, Flags
from ._grant import Grant
from ._handle import Handle
from ._lease import SESSION, Lease

_PASSES_THE_QUEUE = WireDuration(0, int(TimeoutFlag.RCOUNT_IS_PRIORITY))


class ReadSide(Acquirable):
    """The shared side of an `RWLock`: any number of readers hold it at once."""

    def __init__(
        self,
        requester: Requester,
        key: bytes,
        *,
        db: int,
        lease: Lease,
        flags: Flags,
        renew: bool,
    ) -> None:
        super().__init__(
            requester,
            key,
            db=db,
            lease=lease,
            count=UNLIMITED_COUNT,
            flags=flags,
            renew=renew,
        )


class WriteSide(Acquirable):
    """The exclusive side of an `RWLock`: one writer, and no reader."""

    def __init__(
        self,
        requester: Requester,
        key: bytes,
        *,
        db: int,
        lease: Lease,
        flags: Flags,
        renew: bool,
    ) -> None:
        super().__init__(requester, key, db=db, lease=lease, flags=flags, renew=renew)

    async def _attempt(self, wait: int, wait_flag: int, data: Data | None) -> Grant:
        try:
            return await super()._attempt(wait, wait_flag, data)
        except trio.Cancelled:
            self._requester.post(self._nudge())
            raise

    def _nudge(self) -> LockCommand:
        """Return a request whose grant lets in the readers at the queue's head.

        Where a writer holds the key it is refused, and nothing happens.
        """
        return self._lock(wait=_PASSES_THE_QUEUE, max_count=UNLIMITED_COUNT, rcount=1)


class RWLock(Handle):
    """A handle on a key that many readers or one writer hold.

    It keeps no state and may be shared. ``async with rwlock.read():`` and
    ``async with rwlock.write():`` are the usual way; both sides have all that a
    `Lock` has. A task that reads and wants to write must release first: waiting
    for the write side while holding the read side waits for itself.

    Args:
        requester: Carries the commands.
        key: Exactly 16 bytes.
        db: Database, 0 to 254.
        lease: How long a grant of either side lasts.
        flags: Wishes that go with each request.
        renew: Renew a lease of seconds while the body of a grant runs.
    """

    def __init__(
        self,
        requester: Requester,
        key: bytes,
        *,
        db: int = 0,
        lease: Lease = SESSION,
        flags: Flags = NO_FLAGS,
        renew: bool = True,
    ) -> None:
        super().__init__(requester, key, db=db)
        self._read = ReadSide(
            requester, key, db=db, lease=lease, flags=flags, renew=renew
        )
        self._write = WriteSide(
            requester, key, db=db, lease=lease, flags=flags, renew=renew
        )

    def read(self) -> ReadSide:
        """Return the shared side."""
        return self._read

    def write(self) -> WriteSide:
        """Return the exclusive side."""
        return self._write
