"""Where messages lie: lists that are taken from, and logs that are read.

Both in this process, or both in Redis.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ._base import MessageStore, StoreError, StoreFailed, StoreUnreachable
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
)
from ._memory import MemoryStore
from ._memory_log import MemoryLog
from ._redis import RedisStore, open_redis_store

__all__ = [
    "MessageStore",
    "StoreError",
    "StoreFailed",
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
    "Budget",
    "MemoryStore",
    "MemoryLog",
    "MemoryTaken",
    "RedisStore",
    "Stores",
    "claimed_memory",
    "open_redis_store",
    "open_stores",
]


@dataclass(frozen=True, slots=True)
class Stores:
    """All that keeps messages, over one connection.

    Attributes:
        lists: For the compatible endpoints: a message is taken by one poll.
        log: For `/v1`: a message is read by everybody.
    """

    lists: MessageStore
    log: MessageLog


@asynccontextmanager
async def open_stores(url: str, *, limit: float) -> AsyncGenerator[Stores]:
    """Open the stores that a URL names.

    Args:
        url: ``memory://``, or a URL of redis-py.
        limit: Seconds within which Redis must answer.

    Raises:
        ValueError: If the URL cannot be used.

    Cancellation:
        As `open_redis_store`.
    """
    if url.startswith("memory://"):
        budget = Budget()
        yield Stores(MemoryStore(budget=budget), MemoryLog(budget=budget))
        return
    async with open_redis_store(url, limit=limit) as store:
        # The log in Redis is not there yet.
        yield Stores(store, MemoryLog())
