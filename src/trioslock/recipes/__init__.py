"""Recipes: what programs build of locks, events and semaphores, ready to use.

Each takes a `Client` or a `Database` as its first argument and uses nothing but its
primitives, so a recipe works on every server that they work on.
"""

from __future__ import annotations

from ._barrier import barrier
from ._cache_lock import CacheLock, cache_lock
from ._leader import Election, Leader, LeaderChanges, Term, leader
from ._once_per import OncePer, once_per
from ._rate_limit import rate_limit
from ._worker_pool import Worker, worker_pool

__all__ = [
    "CacheLock",
    "Election",
    "Leader",
    "LeaderChanges",
    "OncePer",
    "Term",
    "Worker",
    "barrier",
    "cache_lock",
    "leader",
    "once_per",
    "rate_limit",
    "worker_pool",
]
