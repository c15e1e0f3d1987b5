"""The embedded engine, sans-IO: keys, holders, waiters and leases of one node.

``Engine`` takes commands and the time, and returns replies and the next time it
wants to be called. It opens no socket, starts no task and knows no clock.
"""

from __future__ import annotations

from ._calls import NEVER_LOGGED, answer_call
from ._engine import Engine
from ._keeping import SavedHolder, SavedKey
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
    "answer_call",
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
