"""trioslock for asyncio programs: the same names, arguments and errors.

Trio runs as a guest of the program's loop. A cancelled task withdraws its wait on the
server; a body whose grant is lost is cancelled, in the way of ``asyncio.timeout``.
"""

from __future__ import annotations

from trio import BusyResourceError, ClosedResourceError, WouldBlock

from .._errors import (
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
from ..link import Backoff, MemberState, Role, SessionStatistics, SetState
from ..primitives import (
    SESSION,
    Change,
    DatabaseState,
    Flags,
    HeldKey,
    Holder,
    Waiter,
)
from ..protocol import FOREVER, Data, to_key
from ._base import Grant
from ._database import Client, Database, open_client
from ._handles import (
    ConcurrencyLimiter,
    Event,
    GroupEvent,
    Lock,
    RLock,
    RWLock,
    Semaphore,
    TokenBucket,
    TreeLock,
    Value,
)
from ._opening import Changes, Subscription

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
    # Errors of trio
    "BusyResourceError",
    "ClosedResourceError",
    "WouldBlock",
]
