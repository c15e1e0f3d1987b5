"""Where messages lie: lists that are taken from, logs that are read, and states.

All of them in this process, or all in Redis.
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
from ._memory_states import MemoryStates
from ._open import Stores, open_stores
from ._redis import RedisStore
from ._redis_log import RedisLog
from ._redis_states import RedisStates
from ._state import BackendState
from ._states_base import FoundState, StateRecord, StateStore
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
    "StateStore",
    "StateRecord",
    "FoundState",
    "BackendState",
    "Budget",
    "MemoryStore",
    "MemoryLog",
    "MemoryStates",
    "MemoryTaken",
    "MemoryValues",
    "RedisLog",
    "RedisStates",
    "RedisStore",
    "RedisValues",
    "Stores",
    "ValueStore",
    "claimed_memory",
    "open_stores",
    "parse_cursor",
]
