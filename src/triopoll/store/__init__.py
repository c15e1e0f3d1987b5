"""Where messages lie: lists that are taken from, and logs that are read.

Both in this process, or both in Redis.
"""

from __future__ import annotations

from ._base import (
    Delivery,
    MessageStore,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreUnreachable,
)
from ._budget import Budget
from ._claim import MemoryTaken, claimed_memory
from ._log_base import (
    ALL,
    NEW,
    Appended,
    BadCursor,
    LogLimits,
    MessageLog,
    NewMessage,
    Page,
    StoredMessage,
    parse_cursor,
)
from ._memory import MemoryStore
from ._memory_log import MemoryLog
from ._open import Stores, open_stores
from ._redis import RedisStore
from ._redis_log import RedisLog
from ._state import BackendState
from ._values import MemoryValues, RedisValues, ValueStore

__all__ = [
    "MessageStore",
    "Delivery",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoreUnreachable",
    "MessageLog",
    "NewMessage",
    "Appended",
    "Page",
    "StoredMessage",
    "LogLimits",
    "BadCursor",
    "ALL",
    "NEW",
    "BackendState",
    "Budget",
    "MemoryStore",
    "MemoryLog",
    "MemoryTaken",
    "MemoryValues",
    "RedisLog",
    "RedisStore",
    "RedisValues",
    "Stores",
    "ValueStore",
    "claimed_memory",
    "open_stores",
    "parse_cursor",
]
