"""A LOCK and its UNLOCK, packed in advance but for the ids.

A handle sends the same LOCK again and again, and the same UNLOCK behind it. Building
and packing such a command takes longer than all else that a client does with it. So
both are packed once, and an attempt only inserts its id.
"""

from __future__ import annotations

from ._commands import LockCommand
from ._constants import ID_SIZE
from ._frames import encode_lock

# The offsets of the ids in a frame: see ``_frames._LOCK``.
_REQUEST_ID = 3
_AFTER_REQUEST_ID = _REQUEST_ID + ID_SIZE
_LOCK_ID = _AFTER_REQUEST_ID + 2
_AFTER_LOCK_ID = _LOCK_ID + ID_SIZE


class PreparedLock:
    """A LOCK and the UNLOCK that ends its grant, but for the attempt's id.

    Args:
        lock: The LOCK; the ids in it do not matter.
        unlock: The UNLOCK; its ids do not matter either.

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
        return f"<PreparedLock: {self._lock!r}>"

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
    """Return the parts of a frame before, between and behind its two ids."""
    return (
        frame[:_REQUEST_ID],
        frame[_AFTER_REQUEST_ID:_LOCK_ID],
        frame[_AFTER_LOCK_ID:],
    )
