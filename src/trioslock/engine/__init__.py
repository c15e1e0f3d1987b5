"""The embedded engine, sans-IO: keys, holders, waiters and leases of one node.

``Engine`` takes commands and the time, and returns replies and the time at which it
must be called again. It opens no socket, starts no task and reads no clock.
"""

from __future__ import annotations

from ._calls import NEVER_LOGGED
from ._engine import Engine
from ._persistence import SavedHolder, SavedKey
from ._types import (
    ClaimView,
    ClosePeer,
    Counters,
    EngineLimits,
    EngineStatistics,
    KeyView,
    Reply,
)

__all__ = [
    "NEVER_LOGGED",
    "ClaimView",
    "ClosePeer",
    "Counters",
    "Engine",
    "EngineLimits",
    "EngineStatistics",
    "KeyView",
    "Reply",
    "SavedHolder",
    "SavedKey",
]
