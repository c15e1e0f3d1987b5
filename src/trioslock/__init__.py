"""Trio-native client for the slock server, and an embedded engine."""

from __future__ import annotations

# General layout: protocol <- transport <- link <- primitives <- client. Names
# that users need are here; the rooms behind them may move.
from ._errors import (
    AlreadyHeld,
    ConnectionLost,
    LocalProtocolError,
    LockError,
    LockLost,
    NoLeader,
    NotHeld,
    ProtocolError,
    RemoteProtocolError,
    ServerError,
    SlockError,
)
from .client import Client, Database, open_client
from .link import (
    Backoff,
    Changes,
    MemberState,
    Role,
    SessionStatistics,
    SetState,
)
from .primitives import (
    SESSION,
    Change,
    ConcurrencyLimiter,
    DatabaseState,
    Event,
    Flags,
    Grant,
    GroupEvent,
    HeldKey,
    Holder,
    Lock,
    RLock,
    RWLock,
    Semaphore,
    Subscription,
    TokenBucket,
    TreeLock,
    Value,
    Waiter,
)
from .protocol import FOREVER, Data, to_key

__all__ = [
    # The client
    "Backoff",
    "Client",
    "Database",
    "SessionStatistics",
    "open_client",
    "to_key",
    # The replica set
    "Changes",
    "MemberState",
    "Role",
    "SetState",
    # Primitives, and how long they last
    "FOREVER",
    "SESSION",
    "ConcurrencyLimiter",
    "Data",
    "Event",
    "Flags",
    "Grant",
    "GroupEvent",
    "Lock",
    "RLock",
    "RWLock",
    "Semaphore",
    "Subscription",
    "TokenBucket",
    "TreeLock",
    "Value",
    # What the server reports about keys
    "Change",
    "DatabaseState",
    "HeldKey",
    "Holder",
    "Waiter",
    # Errors
    "AlreadyHeld",
    "ConnectionLost",
    "LocalProtocolError",
    "LockError",
    "LockLost",
    "NoLeader",
    "NotHeld",
    "ProtocolError",
    "RemoteProtocolError",
    "ServerError",
    "SlockError",
]
