"""Messages in Redis lists, through redis-py."""

from __future__ import annotations

from typing import Any

from ._executors import Command
from ._gather import Gatherer

__all__ = ["RedisStore"]


class RedisStore:
    """Keep messages in the Redis lists that publishers RPUSH to."""

    def __init__(self, gatherer: Gatherer, prefix: str) -> None:
        """Use a running gatherer; `open_stores` makes one.

        Args:
            gatherer: Sends the commands.
            prefix: What the names of the lists begin with.
        """
        self._gatherer = gatherer
        self._prefix = prefix

    def __repr__(self) -> str:
        return f"<RedisStore: {self._gatherer!r}>"

    async def pop(self, key: str) -> bytes | None:
        """Take the message at the head of a list, or None; see `MessageStore.pop`.

        Cancellation:
            A message that Redis had given out already goes back to the head of its
            list; another reader may have taken the next one meanwhile.
        """
        name = self._prefix + key

        def undo(reply: Any) -> Command | None:
            return None if reply is None else ("LPUSH", name, reply)

        message: bytes | None = await self._gatherer.call("LPOP", name, undo=undo)
        return message

    async def push(self, key: str, message: bytes) -> int:
        """Append a message at the tail of a list; see `MessageStore.push`.

        Cancellation:
            The message may have been appended.
        """
        return int(await self._gatherer.call("RPUSH", self._prefix + key, message))

    def give_back(self, key: str, message: bytes) -> None:
        """Put a message back to the head of its list; see `MessageStore.give_back`."""
        self._gatherer.owe("LPUSH", self._prefix + key, message)

    async def ping(self) -> None:
        """Check that Redis answers; see `MessageStore.ping`.

        Cancellation:
            Nothing is left behind.
        """
        await self._gatherer.call("PING")
