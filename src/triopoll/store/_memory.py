"""Messages in this process: no installation, and gone with the process."""

from __future__ import annotations

from collections import deque

import trio

from ._budget import Budget

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keep lists of messages in memory, bounded; for development and tests."""

    def __init__(self, *, budget: Budget | None = None) -> None:
        """Start empty.

        Args:
            budget: All messages together may be this long; a push beyond fails.
        """
        self._budget = budget or Budget()
        self._lists: dict[str, deque[bytes]] = {}

    def __repr__(self) -> str:
        return f"<MemoryStore: {len(self._lists)} lists, {self._budget.taken} bytes>"

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
        self._budget.free(len(message))
        if not messages:
            del self._lists[key]
        return message

    async def push(self, key: str, message: bytes) -> int:
        """Append a message at the tail of a list; see `MessageStore.push`.

        Cancellation:
            Before the message is appended, or not at all.
        """
        await trio.lowlevel.checkpoint()
        self._budget.take(len(message))
        messages = self._lists.setdefault(key, deque())
        messages.append(message)
        return len(messages)

    def give_back(self, key: str, message: bytes) -> None:
        """Put a message back to the head of its list; see `MessageStore.give_back`."""
        self._budget.take_back(len(message))
        self._lists.setdefault(key, deque()).appendleft(message)

    async def ping(self) -> None:
        """Do nothing: memory is always there.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
