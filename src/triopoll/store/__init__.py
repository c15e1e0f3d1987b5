"""Where messages lie: lists that are taken from, logs that are read, states, streams.

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
from ._delayed_base import (
    DelayedMessage,
    DelayedStore,
    Delivered,
    DueMessages,
    PendingLimits,
    Scheduled,
    TooManyPending,
)
from ._inspection import (
    Host,
    RedisReport,
    inspect_cluster,
    inspect_redis,
    inspect_sentinel,
    numbers_of,
)
from ._log_base import (
    ALL,
    NEW,
    Appended,
    BadCursor,
    Cursor,
    LogLimits,
    MessageLog,
    NewMessage,
    Page,
    StoredMessage,
    parse_cursor,
)
from ._log_tail import LogTail, TailMessage
from ._memory import MemoryStore
from ._memory_delayed import MemoryDelayed
from ._memory_log import MemoryLog
from ._memory_presence import MemoryPresence
from ._memory_states import MemoryStates
from ._memory_streams import MemoryStreams
from ._open import Stores, open_stores
from ._presence_base import FoundWaiting, PresenceStore, Waiting, changes_key
from ._redis import RedisStore
from ._redis_delayed import RedisDelayed
from ._redis_log import RedisLog
from ._redis_presence import RedisPresence
from ._redis_states import RedisStates
from ._redis_streams import RedisStreams
from ._retention import with_retention
from ._rights import LOWEST_VERSION
from ._state import BackendState, BackendStatus
from ._states_base import FoundState, StateRecord, StateStore
from ._streams_base import (
    START,
    ForkPoint,
    NewAppend,
    NewStream,
    Offset,
    Producer,
    Refused,
    StreamAppended,
    StreamCreated,
    StreamEntry,
    StreamLimits,
    StreamPage,
    StreamRefusal,
    StreamStore,
    StreamView,
    Where,
    kind_of,
    parse_offset,
)
from ._url import RedisAddress, parse_redis_url
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
    "LogTail",
    "TailMessage",
    "Cursor",
    "ALL",
    "NEW",
    "DelayedStore",
    "DelayedMessage",
    "Scheduled",
    "DueMessages",
    "Delivered",
    "PendingLimits",
    "TooManyPending",
    "PresenceStore",
    "Waiting",
    "FoundWaiting",
    "changes_key",
    "StateStore",
    "StateRecord",
    "FoundState",
    "StreamStore",
    "StreamLimits",
    "NewStream",
    "ForkPoint",
    "NewAppend",
    "Producer",
    "StreamCreated",
    "StreamAppended",
    "StreamEntry",
    "StreamPage",
    "StreamView",
    "StreamRefusal",
    "Refused",
    "Offset",
    "START",
    "Where",
    "kind_of",
    "parse_offset",
    "BackendState",
    "BackendStatus",
    "Budget",
    "MemoryStore",
    "MemoryDelayed",
    "MemoryLog",
    "MemoryPresence",
    "MemoryStates",
    "MemoryStreams",
    "MemoryTaken",
    "MemoryValues",
    "RedisDelayed",
    "RedisLog",
    "RedisPresence",
    "RedisStates",
    "RedisStreams",
    "RedisStore",
    "RedisValues",
    "Stores",
    "ValueStore",
    "claimed_memory",
    "open_stores",
    "parse_cursor",
    "with_retention",
    # What a Redis says of itself, before the service uses it.
    "Host",
    "LOWEST_VERSION",
    "RedisAddress",
    "RedisReport",
    "inspect_cluster",
    "inspect_redis",
    "inspect_sentinel",
    "numbers_of",
    "parse_redis_url",
]
