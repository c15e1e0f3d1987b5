"""Commands of which all but the ids is known beforehand.

A handle sends the same LOCK over and over, and the same UNLOCK behind it. To build
such a command and to pack it takes longer than everything else that a client does
with it; so both are packed once, and an attempt only puts its id between the parts.
"""

from __future__ import annotations

from ._commands import LockCommand
from ._constants import ID_SIZE
from ._frames import encode_lock

# Where the ids stand in a frame: see ``_frames._LOCK``.
_REQUEST_ID = 3
_AFTER_REQUEST_ID = _REQUEST_ID + ID_SIZE
_LOCK_ID = _AFTER_REQUEST_ID + 2
_AFTER_LOCK_ID = _LOCK_ID + ID_SIZE


class PreparedLock:
    """A LOCK and the UNLOCK that ends its grant, but for the attempt's id.

    Args:
        lock: The LOCK; the ids in it do not matter.
        unlock: The UNLOCK; the same goes for it.

    Raises:
        LocalProtocolError: The protocol cannot carry one of them.
    """

    __slots__ = ("_lock", "_lock_parts", "_unlock", "_unlock_parts")

    def __init__(self, lock: LockCommand, unlock: LockCommand) -> None:
        self._lock = lock
        self._unlock = unlock
        self._lock_parts = _split(encode_lock(lock))
        self._unlock_parts = _split(encode_lock(unlock))

    def __repr__(self) -> str:
        return f"<PreparedLock of {self._lock!r}>"

    @property
    def key(self) -> bytes:
        """The 16 bytes of the key."""
        return self._lock.key

    def lock(self, attempt: bytes) -> LockCommand:
        """Return the LOCK of an attempt: its request id and lock id."""
        return self._lock._replace(request_id=attempt, lock_id=attempt)

    def unlock(self, attempt: bytes) -> LockCommand:
        """Return the UNLOCK of an attempt."""
        return self._unlock._replace(request_id=attempt, lock_id=attempt)

    def lock_frame(self, attempt: bytes) -> bytes:
        """Return the bytes of ``lock(attempt)``; its id must be 16 bytes long."""
        head, middle, tail = self._lock_parts
        return b"".join((head, attempt, middle, attempt, tail))

    def unlock_frame(self, attempt: bytes) -> bytes:
        """Return the bytes of ``unlock(attempt)``; its id must be 16 bytes long."""
        head, middle, tail = self._unlock_parts
        return b"".join((head, attempt, middle, attempt, tail))


def _split(frame: bytes) -> tuple[bytes, bytes, bytes]:
    """Return what stands before, between and behind the two ids of a frame."""
    return (
        frame[:_REQUEST_ID],
        frame[_AFTER_REQUEST_ID:_LOCK_ID],
        frame[_AFTER_LOCK_ID:],
    )
