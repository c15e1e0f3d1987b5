"""Messages in this process: no installation, and gone with the process."""

from __future__ import annotations

import itertools
from collections import deque

import trio

from ._base import Delivery
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
        self._tags = itertools.count()

    def __repr__(self) -> str:
        return f"<MemoryStore: {len(self._lists)} lists, {self._budget.taken} bytes>"

    async def pop(self, key: str) -> Delivery | None:
        """Take the message at the head of a list, or None; see `MessageStore.pop`.

        Cancellation:
            Before the message is taken, or not at all.
        """
        await trio.lowlevel.checkpoint()
        messages = self._lists.get(key)
        if messages is None:
            return None
        delivery = Delivery(key, messages.popleft(), next(self._tags))
        self._held.add(delivery.tag)
        if not messages:
            del self._lists[key]
        return delivery

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

    def ack(self, delivery: Delivery) -> None:
        """Let go of a message; see `MessageStore.ack`."""
        if delivery.tag in self._held:
            self._held.remove(delivery.tag)
            self._budget.free(len(delivery.data))

    def nack(self, delivery: Delivery) -> None:
        """Put a message back to the head of its list; see `MessageStore.nack`."""
        if delivery.tag in self._held:
            self._held.remove(delivery.tag)
            self._lists.setdefault(delivery.key, deque()).appendleft(delivery.data)

    async def run(self) -> None:
        """Do nothing: what is held goes with the process.

        Cancellation:
            The only end.
        """
        await trio.sleep_forever()

    async def ping(self) -> None:
        """Do nothing: whether there is room is known when a message comes.

        What has outlived its time is swept out for it then.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
