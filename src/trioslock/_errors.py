"""The exceptions of trioslock, in one tree.

::

    SlockError
    ├── ConnectionLost          the outcome is unknown, or the wait has ended
    ├── NoLeader                no node could reach a leader within the grace
    ├── ServerError             the server answered with an error code (1-4, 11, 12)
    ├── ProtocolError
    │   ├── RemoteProtocolError the peer sent what the protocol does not allow
    │   └── LocalProtocolError  the caller asked for what the protocol cannot carry
    └── LockError               about one key
        ├── NotHeld             released or extended what is not held
        ├── AlreadyHeld         this lock id holds the key already
        └── LockLost            a grant ended without a release by its holder

Besides these, trio's own are used as trio uses them: ``trio.WouldBlock`` from
``try_*`` methods, ``trio.ClosedResourceError`` after close, and
``trio.TooSlowError`` only from ``trio.fail_after``.
"""

from __future__ import annotations

from typing import Literal

LossReason = Literal["expired", "taken", "disconnected", "server-restart"]


class SlockError(Exception):
    """Base of the errors of trioslock."""


class ConnectionLost(SlockError):
    """The connection ended before the answer: the outcome is unknown."""


class NoLeader(SlockError):
    """No node that was asked can reach a leader (result 10)."""


class ServerError(SlockError):
    """The server answered with an error that is not about a key.

    ``result`` is the result code (1 to 4, 11 or 12).
    """

    def __init__(self, message: str, *, result: int) -> None:
        super().__init__(message)
        self.result = result


class ProtocolError(SlockError):
    """Base of the two protocol errors; the class says which side is at fault."""


class RemoteProtocolError(ProtocolError):
    """The peer sent bytes that the protocol does not allow."""


class LocalProtocolError(ProtocolError, ValueError):
    """The caller asked for something that the protocol cannot carry."""


class LockError(SlockError):
    """Base of errors about one key; ``key`` holds its 16 bytes."""

    def __init__(self, message: str, *, key: bytes) -> None:
        super().__init__(message)
        self.key = key


class NotHeld(LockError):
    """The key is not held by this lock id, so it cannot be released or extended."""


class AlreadyHeld(LockError):
    """This lock id holds the key already and has no level left."""


class LockLost(LockError):
    """A grant ended without a release by its holder.

    ``reason`` is one of ``"expired"``, ``"taken"``, ``"disconnected"`` and
    ``"server-restart"``.
    """

    def __init__(self, message: str, *, key: bytes, reason: LossReason) -> None:
        super().__init__(message, key=key)
        self.reason: LossReason = reason
