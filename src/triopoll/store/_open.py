"""Opening all that keeps messages, together and at one place."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from ._base import MessageStore
from ._budget import Budget
from ._delayed_base import DelayedStore, PendingLimits
from ._executors import Command, executor_for
from ._log_base import LogLimits, MessageLog
from ._memory import MemoryStore
from ._memory_delayed import MemoryDelayed
from ._memory_log import MemoryLog
from ._memory_presence import MemoryPresence
from ._memory_states import MemoryStates
from ._memory_streams import MemoryStreams
from ._names import ClusterLayout, Layout, ServerLayout
from ._pipeliner import Pipeliner
from ._presence_base import PresenceStore
from ._redis import RedisStore
from ._redis_delayed import RedisDelayed
from ._redis_log import RedisLog
from ._redis_presence import RedisPresence
from ._redis_states import RedisStates
from ._redis_streams import RedisStreams
from ._scripts import Scripted
from ._state import BackendStatus
from ._states_base import StateStore
from ._streams_base import StreamLimits, StreamStore
from ._url import RedisAddress, parse_redis_url
from ._values import MemoryValues, RedisValues, ValueStore

__all__ = ["Stores", "layout_of", "open_pipeliner", "open_stores"]


@dataclass(frozen=True, slots=True)
class Stores:
    """All that keeps messages, over one connection.

    Attributes:
        lists: For the compatible endpoints: a message is taken by one poll.
        log: For `/v1`: a message is read by every reader.
        delayed: Messages that will be in a log.
        presence: Who waits on a key.
        values: For the OpenResty API: a message is kept for a while.
        states: For state waits: only the last state of a key counts.
        streams: For Durable Streams: all of it is kept until it is deleted.
        status: Returns what is known of each Redis; nothing if there is none.
    """

    lists: MessageStore
    log: MessageLog
    delayed: DelayedStore
    presence: PresenceStore
    values: ValueStore
    states: StateStore
    streams: StreamStore
    status: Callable[[], Sequence[BackendStatus]] = tuple


@asynccontextmanager
async def open_stores(
    url: str,
    *,
    limit: float,
    redis_prefix: str = "triopoll:",
    list_prefix: str = "",
    log_limits: LogLimits | None = None,
    pending_limits: PendingLimits | None = None,
    stream_limits: StreamLimits | None = None,
    max_queued: int = 65536,
    lease: float = 10.0,
) -> AsyncGenerator[Stores]:
    """Open the stores that a URL names; Redis need not be up yet.

    Args:
        url: ``memory://``, or of one of the forms in `_url`.
        limit: Seconds that Redis may take to accept a connection or to answer.
        redis_prefix: All keys that begin with it are ours.
        list_prefix: What the names of lists and values begin with.
        log_limits: How much is kept in logs.
        pending_limits: How many delayed messages may be pending.
        stream_limits: How much is kept in streams.
        max_queued: Commands that may wait for Redis at once; one more fails.
        lease: Seconds after its last sign of life at which a process counts as dead.
            What one held that was only frozen, or cut off, for as long is given out
            again.

    Raises:
        ValueError: If the URL cannot be used; the message does not repeat it.

    Cancellation:
        On the way out what is held is returned, shielded; that takes at most 2.5 s.
    """
    log_limits = log_limits or LogLimits()
    pending_limits = pending_limits or PendingLimits()
    stream_limits = stream_limits or StreamLimits()
    if url.startswith("memory://"):
        budget = Budget()
        memory_log = MemoryLog(log_limits, budget=budget)
        yield Stores(
            MemoryStore(budget=budget),
            memory_log,
            MemoryDelayed(memory_log, pending_limits, budget=budget),
            MemoryPresence(memory_log),
            MemoryValues(budget=budget),
            MemoryStates(budget=budget),
            MemoryStreams(stream_limits, budget=budget),
        )
        return
    address = parse_redis_url(url, limit)
    layout = layout_of(address, redis_prefix, list_prefix)
    last: list[Command] = []
    async with open_pipeliner(
        address, layout, max_queued=max_queued, last=last
    ) as pipeliner:
        lists = RedisStore(pipeliner, layout, list_prefix, lease=lease)
        log = RedisLog(pipeliner, layout, log_limits)
        try:
            yield Stores(
                lists,
                log,
                RedisDelayed(pipeliner, layout, log, (log_limits, pending_limits)),
                RedisPresence(pipeliner, layout, log, log_limits),
                RedisValues(pipeliner, list_prefix),
                RedisStates(pipeliner, layout),
                RedisStreams(pipeliner, layout, stream_limits),
                pipeliner.status,
            )
        finally:
            last += lists.closing_commands()


@asynccontextmanager
async def open_pipeliner(
    address: RedisAddress,
    layout: Layout,
    *,
    max_queued: int,
    last: Sequence[Command] = (),
) -> AsyncGenerator[Pipeliner]:
    """Run a pipeliner for a Redis; see `open_stores`.

    Args:
        address: Where Redis is.
        layout: For the keys of checks.
        max_queued: Commands that may wait at once.
        last: What to send at the end; looked at then.

    Cancellation:
        What must be acknowledged is sent, shielded.
    """
    closing = threading.Event()
    executor = Scripted(executor_for(address, layout.probes, closing))
    pipeliner = Pipeliner(executor, max_queued=max_queued, closing=closing)
    pipeliner.start()
    try:
        yield pipeliner
    finally:
        with trio.CancelScope(shield=True):
            await pipeliner.finish(last)


def layout_of(address: RedisAddress, redis_prefix: str, list_prefix: str) -> Layout:
    """Return how keys are named in the Redis of an address.

    Raises:
        ValueError: A prefix cannot be used in a cluster.
    """
    if address.kind == "cluster":
        return ClusterLayout(redis_prefix, list_prefix)
    return ServerLayout(redis_prefix)
