"""Where messages lie until a poll takes them: in this process, or in Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ._base import MessageStore, StoreError, StoreFailed, StoreUnreachable
from ._claim import MemoryTaken, claimed_memory
from ._memory import MemoryStore
from ._redis import RedisStore, open_redis_store

__all__ = [
    "MessageStore",
    "StoreError",
    "StoreFailed",
    "StoreUnreachable",
    "MemoryStore",
    "MemoryTaken",
    "RedisStore",
    "claimed_memory",
    "open_redis_store",
    "open_store",
]


@asynccontextmanager
async def open_store(url: str, *, limit: float) -> AsyncGenerator[MessageStore]:
    """Open the store that a URL names.

    Args:
        url: ``memory://``, or a URL of redis-py.
        limit: Seconds within which Redis must answer.

    Raises:
        ValueError: If the URL cannot be used.

    Cancellation:
        As `open_redis_store`.
    """
    if url.startswith("memory://"):
        yield MemoryStore()
        return
    async with open_redis_store(url, limit=limit) as store:
        yield store
