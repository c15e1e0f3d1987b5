"""Handles on keys, and what they grant: one file for each primitive.

A primitive sees the request interface of the link (`trioslock.link.Requester`) and
nothing above it. All are made with `HandleOptions`; those that hand out grants build
on `Acquirable`.
"""

from __future__ import annotations

from ._acquirable import Acquirable, BegunAttempt, ExclusiveHandle
from ._event import Default, Event
from ._fencing import FencedLock
from ._flags import NO_FLAGS, Flags
from ._flows import ConcurrencyLimiter, TokenBucket
from ._grant import BodyScope, Grant, release_unusable
from ._group_event import GroupEvent
from ._guesses import Guessed
from ._handle import CountedHandle, Handle
from ._holder import Holder, Waiter
from ._lease import SESSION, Lease, SessionLease, wire_lease
from ._lists import (
    DatabaseState,
    HeldKey,
    list_holders,
    list_keys,
    list_waiters,
    read_state,
)
from ._lock import Lock
from ._options import HandleOptions
from ._results import loss, raise_outcome, refusal
from ._rlock import LevelGrant, ReentrantHolds, RLock, reentrant_owner
from ._rwlock import ReadSide, RWLock, WriteSide
from ._semaphore import Semaphore
from ._subscription import (
    EVERYTHING,
    Change,
    Subscription,
    SubscriptionStatistics,
)
from ._tree_lock import LeafGrant, TreeLeaf, TreeLock
from ._value import Value

__all__ = [
    "EVERYTHING",
    "NO_FLAGS",
    "SESSION",
    "Acquirable",
    "BegunAttempt",
    "BodyScope",
    "Change",
    "ConcurrencyLimiter",
    "DatabaseState",
    "CountedHandle",
    "Default",
    "Event",
    "ExclusiveHandle",
    "FencedLock",
    "Flags",
    "Grant",
    "GroupEvent",
    "Guessed",
    "Handle",
    "HandleOptions",
    "HeldKey",
    "Holder",
    "LeafGrant",
    "Lease",
    "LevelGrant",
    "Lock",
    "RLock",
    "RWLock",
    "ReadSide",
    "ReentrantHolds",
    "Semaphore",
    "SessionLease",
    "Subscription",
    "SubscriptionStatistics",
    "TokenBucket",
    "TreeLeaf",
    "TreeLock",
    "Value",
    "Waiter",
    "WriteSide",
    "list_holders",
    "list_keys",
    "list_waiters",
    "loss",
    "raise_outcome",
    "read_state",
    "reentrant_owner",
    "refusal",
    "release_unusable",
    "wire_lease",
]
