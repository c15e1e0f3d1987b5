"""Opening all that keeps messages, together and at one place."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from ._base import MessageStore
from ._budget import Budget
from ._executors import executor_for
from ._gather import Gatherer
from ._log_base import LogLimits, MessageLog
from ._memory import MemoryStore
from ._memory_log import MemoryLog
from ._names import Names
from ._redis import RedisStore
from ._redis_log import RedisLog
from ._scripts import Scripted
from ._values import MemoryValues, RedisValues, ValueStore

__all__ = ["Stores", "gathering", "open_stores"]


@dataclass(frozen=True, slots=True)
class Stores:
    """All that keeps messages, over one connection.

    Attributes:
        lists: For the compatible endpoints: a message is taken by one poll.
        log: For `/v1`: a message is read by everybody.
        values: For the OpenResty image's endpoints: a message is kept for a while.
    """

    lists: MessageStore
    log: MessageLog
    values: ValueStore


@asynccontextmanager
async def open_stores(
    url: str,
    *,
    limit: float,
    redis_prefix: str = "triopoll:",
    list_prefix: str = "",
    log_limits: LogLimits | None = None,
    max_queued: int = 65536,
    lease: float = 10.0,
) -> AsyncGenerator[Stores]:
    """Open the stores that a URL names; Redis need not be up yet.

    Args:
        url: ``memory://``, or as ``redis.Redis.from_url`` reads it.
        limit: Seconds that Redis may take to accept a connection or to answer.
        redis_prefix: All keys that begin with it are ours.
        list_prefix: What the names of lists and values begin with.
        log_limits: How much is kept in logs.
        max_queued: Commands that may wait for Redis at once; one more fails.
        lease: Seconds after its last sign of life at which a process counts as dead.
            One that was only frozen, or cut off, for as long has what it held given
            out again.

    Raises:
        ValueError: If the URL cannot be used; the message does not repeat it.

    Cancellation:
        On the way out what is held is given back, shielded; that ends within a few
        times `limit`.
    """
    log_limits = log_limits or LogLimits()
    if url.startswith("memory://"):
        budget = Budget()
        yield Stores(
            MemoryStore(budget=budget),
            MemoryLog(log_limits, budget=budget),
            MemoryValues(budget=budget),
        )
        return
    async with gathering(url, limit=limit, max_queued=max_queued) as gatherer:
        names = Names(redis_prefix)
        lists = RedisStore(gatherer, names, list_prefix, lease=lease)
        log = RedisLog(gatherer, names, log_limits)
        try:
            yield Stores(lists, log, RedisValues(gatherer, list_prefix))
        finally:
            lists.leave()


@asynccontextmanager
async def gathering(
    url: str, *, limit: float, max_queued: int
) -> AsyncGenerator[Gatherer]:
    """Run a gatherer for a Redis; see `open_stores`.

    Cancellation:
        What is owed is sent, shielded.
    """
    executor = Scripted(executor_for(url, limit))
    gatherer = Gatherer(executor.execute, max_queued=max_queued)
    join = gatherer.start()
    try:
        yield gatherer
    finally:
        with trio.CancelScope(shield=True):
            await gatherer.finish()
            await trio.to_thread.run_sync(join)
        executor.close()
