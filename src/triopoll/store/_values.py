"""Single messages that are read as often as one likes, until their time is over."""

from __future__ import annotations

from typing import Protocol

import trio

from ._budget import Budget
from ._pipeliner import Pipeliner

__all__ = ["MemoryValues", "RedisValues", "ValueStore"]


class ValueStore(Protocol):
    """Values by name; a newer one replaces the older."""

    async def get(self, name: str) -> bytes | None:
        """Return the value, or None where there is none, or none any more.

        Raises:
            StoreUnreachable: Nothing is known of it.
            StoreFailed: Something else has this name.

        Cancellation:
            Nothing is left behind.
        """
        ...

    async def put(self, name: str, value: bytes, ttl: float) -> None:
        """Keep a value for so many seconds, in place of any other.

        Raises:
            StoreUnreachable: It may be kept.
            StoreFailed: It is not kept.

        Cancellation:
            It may be kept.
        """
        ...


class RedisValues:
    """Keep values as Redis strings."""

    def __init__(self, pipeliner: Pipeliner, prefix: str) -> None:
        """Use a running pipeliner; each name gets the prefix."""
        self._pipeliner = pipeliner
        self._prefix = prefix

    def __repr__(self) -> str:
        return f"<RedisValues: {self._pipeliner!r}>"

    async def get(self, name: str) -> bytes | None:
        """Return the value or None; see `ValueStore.get`.

        Cancellation:
            Nothing is left behind.
        """
        value: bytes | None = await self._pipeliner.call("GET", self._prefix + name)
        return value

    async def put(self, name: str, value: bytes, ttl: float) -> None:
        """Keep a value; see `ValueStore.put`.

        Cancellation:
            It may be kept.
        """
        milliseconds = str(round(ttl * 1000))
        await self._pipeliner.call(
            "SET", self._prefix + name, value, "PX", milliseconds
        )


class MemoryValues:
    """Keep values in this process, bounded."""

    def __init__(self, *, budget: Budget | None = None) -> None:
        """Start empty.

        Args:
            budget: All values together may be this long; one beyond fails.
        """
        self._budget = budget or Budget()
        self._values: dict[str, tuple[float, bytes]] = {}

    def __repr__(self) -> str:
        return f"<MemoryValues: {len(self._values)}>"

    async def get(self, name: str) -> bytes | None:
        """Return the value or None; see `ValueStore.get`.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
        end, value = self._values.get(name, (0.0, b""))
        return value if trio.current_time() < end else None

    async def put(self, name: str, value: bytes, ttl: float) -> None:
        """Keep a value; see `ValueStore.put`.

        Cancellation:
            Before it is kept, or not at all.
        """
        await trio.lowlevel.checkpoint()
        size = len(name) + len(value)
        if not self._budget.has(size):
            self._forget_expired()
        self._budget.take(size)
        self._forget(name)
        self._values[name] = (trio.current_time() + ttl, value)

    def _forget_expired(self) -> None:
        now = trio.current_time()
        for name in [name for name, (end, _) in self._values.items() if end <= now]:
            self._forget(name)

    def _forget(self, name: str) -> None:
        if (old := self._values.pop(name, None)) is not None:
            self._budget.free(len(name) + len(old[1]))
