"""What the engine takes and returns besides the protocol's own commands.

All of it is immutable. The views are snapshots: they are made when asked for
and do not follow the engine afterwards.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from typing import NamedTuple

from .._arguments import check_int
from ..protocol import MAX_DATA_SIZE, LockCommand, LockFlag, LockResult, Result

_DATA = int(LockFlag.DATA)


class ClosePeer(NamedTuple):
    """Order to close a peer's connection after everything sent to it before."""

    reason: str


class Reply(NamedTuple):
    """One result and the peer that it is for."""

    peer: int
    result: Result | ClosePeer


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How much the engine keeps before it refuses; each refusal is result 11.

    Attributes:
        keys: Keys with a holder or a waiter, in all databases together.
        holders: Holders in all databases together.
        waiters: Waiters in all databases together.
        data_size: Largest length field of a data frame, sent or stored.
        data_total: Bytes of data frames kept: values of keys, operations of
            waiters, of wills and of ``EXECUTE`` entries not run yet.
        wills: Wills of one peer.
        subscriptions: Subscriptions of all peers together.
        masks: Key masks of one subscription.
        subscription_buffer: Bytes kept for one subscription whose peer is away,
            unless the subscriber asks for less.
    """

    keys: int = 1_000_000
    holders: int = 2_000_000
    waiters: int = 2_000_000
    data_size: int = MAX_DATA_SIZE
    data_total: int = 256 * 1_048_576
    wills: int = 256
    subscriptions: int = 1024
    masks: int = 64
    subscription_buffer: int = 1_048_576

    def __post_init__(self) -> None:
        for field in fields(self):
            check_int(getattr(self, field.name), field.name, 0, sys.maxsize)


class ClaimView(NamedTuple):
    """A holder or a waiter, as lists of them show it.

    Times are whole wall seconds. ``expires_at`` is None for a lease without end
    and for a waiter, whose lease has not begun.
    """

    lock_id: bytes
    levels: int
    start: int
    timeout_at: int
    expires_at: int | None
    command: LockCommand


class KeyView(NamedTuple):
    """A key, as lists of keys show it.

    ``levels`` are those of all holders together, ``data`` is the stored data
    frame with its length field. ``holders`` and ``waiters`` are in order of
    grant; a view that comes from a list of keys leaves both empty.
    """

    db: int
    key: bytes
    levels: int
    data: bytes | None
    holders: tuple[ClaimView, ...] = ()
    waiters: tuple[ClaimView, ...] = ()


class Counters(NamedTuple):
    """What a database has counted; the fields of a STATE result."""

    lock_count: int
    unlock_count: int
    locked_count: int
    wait_count: int
    timed_out_count: int
    expired_count: int
    unlock_error_count: int
    key_count: int


class EngineStatistics(NamedTuple):
    """What an engine keeps at this moment."""

    peers: int
    client_ids: int
    databases: int
    keys: int
    holders: int
    waiters: int
    timers: int
    subscriptions: int
    data_bytes: int


def lock_result(
    command: LockCommand, code: int, lcount: int, levels: int, data: bytes | None
) -> LockResult:
    """Return the result of a LOCK or UNLOCK."""
    return LockResult(
        command.type,
        command.request_id,
        code,
        0 if data is None else _DATA,
        command.db,
        command.lock_id,
        command.key,
        lcount & 0xFFFF,  # the server counts levels in 16 bits
        command.max_count,
        levels,
        command.rcount,
        data,
    )
