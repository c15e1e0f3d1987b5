"""Trio-native client for the slock server, and an embedded engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

# General layout: protocol <- transport <- link <- primitives <- client. The names
# that users need are here; the packages behind them may move.
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
    BegunWait,
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
    "BegunWait",
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

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        # On first use: importlib.metadata takes longer to import than this package.
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import version  # noqa: PLC0415

        return globals().setdefault(name, version(__name__))
