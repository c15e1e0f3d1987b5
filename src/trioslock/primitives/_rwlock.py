"""Many readers or one writer.

Readers hold the key with an unlimited count, a writer with none to spare. The
server's queue is first in, first out: a waiting writer blocks readers that come
later, so neither side starves.

When a waiting writer gives up, the server does not look again at the readers
behind it, although they could be let in. `WriteSide` therefore sends a request
for no time that may pass the queue: its grant makes the server look.
"""

from __future__ import annotations

import trio

from ..protocol import UNLIMITED_COUNT, Data, LockCommand, TimeoutFlag, WireDuration
from ._acquirable import Acquirable
from ._grant import Grant
from ._handle import Handle
from ._options import HandleOptions

_PASSES_THE_QUEUE = WireDuration(0, int(TimeoutFlag.RCOUNT_IS_PRIORITY))


class ReadSide(Acquirable):
    """The shared side of an `RWLock`: any number of readers hold it at once."""

    def __init__(self, options: HandleOptions) -> None:
        super().__init__(options, count=UNLIMITED_COUNT)


class WriteSide(Acquirable):
    """The exclusive side of an `RWLock`: one writer, and no reader."""

    async def _attempt(self, wait: int, wait_flag: int, data: Data | None) -> Grant:
        try:
            return await super()._attempt(wait, wait_flag, data)
        except trio.Cancelled:
            # Sent behind the withdrawal, so the server sees the queue without it.
            self._requester.post(self._wake_readers())
            raise

    def _wake_readers(self) -> LockCommand:
        """Return a request whose grant lets in the readers at the queue's head.

        Where a writer holds the key the server refuses it, and nothing happens.
        """
        return self._lock(wait=_PASSES_THE_QUEUE, max_count=UNLIMITED_COUNT, rcount=1)


class RWLock(Handle):
    """A handle on a key that many readers or one writer hold.

    It keeps no state and may be shared. Use ``async with rwlock.read():`` and
    ``async with rwlock.write():``; both sides have all methods of a `Lock` but
    ``locked``. A task that reads and wants to write must release first: waiting for
    the write side while holding the read side waits for itself.

    Args:
        options: The key, and how to ask for it.
    """

    def __init__(self, options: HandleOptions) -> None:
        super().__init__(options)
        self._read = ReadSide(options)
        self._write = WriteSide(options)

    def read(self) -> ReadSide:
        """Return the shared side."""
        return self._read

    def write(self) -> WriteSide:
        """Return the exclusive side."""
        return self._write
