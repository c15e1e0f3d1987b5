"""Messages in Redis lists, through redis-py."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from ._executors import Command, executor_for
from ._gather import Gatherer

__all__ = ["RedisStore", "open_redis_store"]


class RedisStore:
    """Keep messages in the Redis lists that publishers RPUSH to."""

    def __init__(self, gatherer: Gatherer) -> None:
        """Use a running gatherer; `open_redis_store` makes one."""
        self._gatherer = gatherer

    def __repr__(self) -> str:
        return f"<RedisStore: {self._gatherer!r}>"

    async def pop(self, key: str) -> bytes | None:
        """Take the message at the head of a list, or None; see `MessageStore.pop`.

        Cancellation:
            A message that Redis had given out already goes back to the head of its
            list; another reader may have taken the next one meanwhile.
        """

        def undo(reply: Any) -> Command | None:
            return None if reply is None else ("LPUSH", key, reply)

        message: bytes | None = await self._gatherer.call("LPOP", key, undo=undo)
        return message

    async def push(self, key: str, message: bytes) -> int:
        """Append a message at the tail of a list; see `MessageStore.push`.

        Cancellation:
            The message may have been appended.
        """
        return int(await self._gatherer.call("RPUSH", key, message))

    def give_back(self, key: str, message: bytes) -> None:
        """Put a message back to the head of its list; see `MessageStore.give_back`."""
        self._gatherer.owe("LPUSH", key, message)

    async def ping(self) -> None:
        """Check that Redis answers; see `MessageStore.ping`.

        Cancellation:
            Nothing is left behind.
        """
        await self._gatherer.call("PING")


@asynccontextmanager
async def open_redis_store(
    url: str, *, limit: float, max_queued: int = 65536
) -> AsyncGenerator[RedisStore]:
    """Open a store on a Redis server, which need not be up yet.

    Args:
        url: As ``redis.Redis.from_url`` reads it.
        limit: Seconds that Redis may take to accept a connection or to answer.
        max_queued: Commands that may wait at once; one more fails.

    Raises:
        ValueError: If the URL cannot be used; the message does not repeat it.

    Cancellation:
        On the way out what was popped for nobody is given back, shielded; that ends
        within a few times `limit`.
    """
    executor = executor_for(url, limit)
    gatherer = Gatherer(executor.execute, max_queued=max_queued)
    join = gatherer.start()
    try:
        yield RedisStore(gatherer)
    finally:
        with trio.CancelScope(shield=True):
            await gatherer.finish()
            await trio.to_thread.run_sync(join)
        executor.close()
