"""Messages in this process: no installation, and gone with the process."""

from __future__ import annotations

from collections import deque

import trio

from ._base import StoreFailed

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keep lists of messages in memory, bounded; for development and tests."""

    def __init__(self, *, max_bytes: int = 64 * 2**20) -> None:
        """Start empty.

        Args:
            max_bytes: All messages together may be this long; a push beyond fails.
        """
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lists: dict[str, deque[bytes]] = {}

    def __repr__(self) -> str:
        return f"<MemoryStore: {len(self._lists)} lists, {self._bytes} bytes>"

    async def pop(self, key: str) -> bytes | None:
        """Take the message at the head of a list, or None; see `MessageStore.pop`.

        Cancellation:
            Before the message is taken, or not at all.
        """
        await trio.lowlevel.checkpoint()
        messages = self._lists.get(key)
        if messages is None:
            return None
        message = messages.popleft()
        self._bytes -= len(message)
        if not messages:
            del self._lists[key]
        return message

    async def push(self, key: str, message: bytes) -> int:
        """Append a message at the tail of a list; see `MessageStore.push`.

        Cancellation:
            Before the message is appended, or not at all.
        """
        await trio.lowlevel.checkpoint()
        if self._bytes + len(message) > self._max_bytes:
            raise StoreFailed(f"the memory store is full ({self._max_bytes} bytes)")
        self._list(key, message).append(message)
        return len(self._lists[key])

    def give_back(self, key: str, message: bytes) -> None:
        """Put a message back to the head of its list; see `MessageStore.give_back`."""
        self._list(key, message).appendleft(message)

    async def ping(self) -> None:
        """Do nothing: memory is always there.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()

    def _list(self, key: str, message: bytes) -> deque[bytes]:
        self._bytes += len(message)
        return self._lists.setdefault(key, deque())
