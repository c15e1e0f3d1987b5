"""Holders of a key and waiters for it, as the server lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ..protocol import Data, LockResult


@dataclass(frozen=True, slots=True)
class Holder:
    """One holder of a key.

    Attributes:
        lock_id: The 16 bytes that a release would need.
        levels: How often this holder has the key.
        total: Levels of all holders of the key together.
        data: The key's value, or None.
        since: When it was granted, in Unix seconds; None where it was not asked.
        until: When the lease ends, in Unix seconds (``math.inf`` for never);
            None where it was not asked.
    """

    lock_id: bytes
    levels: int
    total: int
    data: Data | None = None
    since: float | None = None
    until: float | None = None

    @classmethod
    def of(cls, result: LockResult) -> Self:
        """Return the first holder, as the answer to SHOW describes it."""
        data = None if result.data is None else Data.decode(result.data)
        return cls(result.lock_id, result.lrcount, result.lcount, data)


@dataclass(frozen=True, slots=True)
class Waiter:
    """One request that waits for a key.

    Attributes:
        lock_id: The 16 bytes that withdraw it.
        since: When it began to wait, in Unix seconds.
        until: When the server ends the wait, or renews it if its connection
            lives, in Unix seconds.
    """

    lock_id: bytes
    since: float
    until: float
