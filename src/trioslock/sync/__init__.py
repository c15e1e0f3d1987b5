"""The client for blocking code: scripts, threads, Django, Celery.

The names, arguments and errors of `trioslock`, with ``timeout=`` seconds on each method
that waits. All open clients of a process share one background thread.
"""

from __future__ import annotations

from trio import ClosedResourceError, WouldBlock

from ._client import Client, Database, connect, open_client
from ._events import Event, GroupEvent, TokenBucket, Value
from ._grant import Grant
from ._iterators import Changes, Subscription
from ._locks import (
    ConcurrencyLimiter,
    Lock,
    ReadSide,
    RLock,
    RWLock,
    Semaphore,
    TreeLeaf,
    TreeLock,
    WriteSide,
)

__all__ = [
    "Changes",
    "Client",
    "ClosedResourceError",
    "ConcurrencyLimiter",
    "Database",
    "Event",
    "Grant",
    "GroupEvent",
    "Lock",
    "RLock",
    "RWLock",
    "ReadSide",
    "Semaphore",
    "Subscription",
    "TokenBucket",
    "TreeLeaf",
    "TreeLock",
    "Value",
    "WouldBlock",
    "WriteSide",
    "connect",
    "open_client",
]
