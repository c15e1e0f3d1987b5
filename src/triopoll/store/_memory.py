"""Messages in this process: no installation, and gone with the process."""

from __future__ import annotations

import itertools
from collections import deque

import trio

from ._base import Taken
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
        self._held: set[int] = set()
        self._tickets = itertools.count()

    def __repr__(self) -> str:
        return f"<MemoryStore: {len(self._lists)} lists, {self._budget.taken} bytes>"

    async def pop(self, key: str) -> Taken | None:
        """Take the message at the head of a list, or None; see `MessageStore.pop`.

        Cancellation:
            Before the message is taken, or not at all.
        """
        await trio.lowlevel.checkpoint()
        messages = self._lists.get(key)
        if messages is None:
            return None
        taken = Taken(key, messages.popleft(), next(self._tickets))
        self._held.add(taken.ticket)
        if not messages:
            del self._lists[key]
        return taken

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

    def confirm(self, taken: Taken) -> None:
        """Let go of a message; see `MessageStore.confirm`."""
        if taken.ticket in self._held:
            self._held.remove(taken.ticket)
            self._budget.free(len(taken.data))

    def give_back(self, taken: Taken) -> None:
        """Put a message back to the head of its list; see `MessageStore.give_back`."""
        if taken.ticket in self._held:
            self._held.remove(taken.ticket)
            self._lists.setdefault(taken.key, deque()).appendleft(taken.data)

    async def run(self) -> None:
        """Do nothing: what is held goes with the process.

        Cancellation:
            The only end.
        """
        await trio.sleep_forever()

    async def ping(self) -> None:
        """Do nothing: memory is always there.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
