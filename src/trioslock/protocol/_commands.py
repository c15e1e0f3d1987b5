"""The messages of the protocol: one immutable tuple class for each.

They are ``NamedTuple`` classes, not frozen dataclasses: a client or server
makes one for each frame, and making one from an unpacked frame is a single call
(decision 0002). Fields are in wire order, so a codec is one ``struct``.

Every ``*_id`` and ``key`` field is exactly 16 bytes. ``data`` is one whole data
frame, its 4-byte length field included, or None.

Source: snower/slock 2.1.12, ``protocol/command.go``.
"""

from __future__ import annotations

from typing import NamedTuple

from ._constants import CommandType, ResultCode


class InitCommand(NamedTuple):
    """Register this connection under a client id."""

    request_id: bytes
    client_id: bytes


class LockCommand(NamedTuple):
    """LOCK, UNLOCK, WILL_LOCK or WILL_UNLOCK: all four share one layout.

    ``timeout`` and ``expiry`` are raw 16-bit values whose unit is in the flag
    word beside them. ``max_count`` (the wire's "count") and ``rcount`` are raw
    too: one less than the number of holders or levels that they allow.
    """

    type: int
    request_id: bytes
    flag: int
    db: int
    lock_id: bytes
    key: bytes
    timeout: int = 0
    timeout_flag: int = 0
    expiry: int = 0
    expiry_flag: int = 0
    max_count: int = 0
    rcount: int = 0
    data: bytes | None = None


class StateCommand(NamedTuple):
    """Ask for the counters of one database."""

    request_id: bytes
    flag: int
    db: int


class PlainCommand(NamedTuple):
    """A command without fields: ADMIN, PING, QUIT, LEADER and unknown types."""

    type: int
    request_id: bytes


class CallCommand(NamedTuple):
    """Call a named method with protobuf content."""

    request_id: bytes
    flag: int
    encoding: int
    charset: int
    method: str
    content: bytes


class SubscribeCommand(NamedTuple):
    """Add or remove a key mask of a subscription."""

    request_id: bytes
    flag: int
    client_id: int
    subscribe_id: int
    subscribe_type: int
    mask: bytes
    expiry: int
    max_size: int


Command = (
    InitCommand
    | LockCommand
    | StateCommand
    | PlainCommand
    | CallCommand
    | SubscribeCommand
)


class InitResult(NamedTuple):
    """Answer to INIT, or a push about a changed role (see ``InitType``)."""

    request_id: bytes
    result: int
    init_type: int


class LockResult(NamedTuple):
    """Answer to LOCK or UNLOCK, a pushed end of a lease, or a PUBLISH.

    ``lcount`` counts the levels held on the key after the operation, ``lrcount``
    those of the lock id of this result.
    """

    type: int
    request_id: bytes
    result: int
    flag: int
    db: int
    lock_id: bytes
    key: bytes
    lcount: int
    max_count: int
    lrcount: int
    rcount: int
    data: bytes | None = None


class StateResult(NamedTuple):
    """Counters of one database."""

    request_id: bytes
    result: int
    flag: int
    db_state: int
    db: int
    lock_count: int
    unlock_count: int
    locked_count: int
    wait_count: int
    timed_out_count: int
    expired_count: int
    unlock_error_count: int
    key_count: int


class PlainResult(NamedTuple):
    """Answer of a result code alone: ADMIN, PING, QUIT and unknown types."""

    type: int
    request_id: bytes
    result: int


class CallResult(NamedTuple):
    """Answer to CALL."""

    request_id: bytes
    result: int
    flag: int
    encoding: int
    charset: int
    error: str
    content: bytes


class LeaderResult(NamedTuple):
    """Answer to LEADER: ``host:port``, empty on the leader or when unknown."""

    request_id: bytes
    result: int
    host: str


class SubscribeResult(NamedTuple):
    """Answer to SUBSCRIBE."""

    request_id: bytes
    result: int
    flag: int
    client_id: int
    subscribe_id: int


Result = (
    InitResult
    | LockResult
    | StateResult
    | PlainResult
    | CallResult
    | LeaderResult
    | SubscribeResult
)

__all__ = [
    "CallCommand",
    "CallResult",
    "Command",
    "CommandType",
    "InitCommand",
    "InitResult",
    "LeaderResult",
    "LockCommand",
    "LockResult",
    "PlainCommand",
    "PlainResult",
    "Result",
    "ResultCode",
    "StateCommand",
    "StateResult",
    "SubscribeCommand",
    "SubscribeResult",
]
