"""States in this process."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import trio

from ._base import StoreFailed
from ._budget import Budget
from ._states_base import (
    NO_DIGEST,
    FoundState,
    StateRecord,
    decode_record,
    encode_record,
    is_secret,
)

__all__ = ["MemoryStates"]

# What Python keeps for a row, roughly, besides its texts.
_ROW_COST = 1024


class _Row(NamedTuple):
    digest: bytes
    text: bytes
    version: int
    created: float
    ends: float

    @property
    def cost(self) -> int:
        return _ROW_COST + len(self.text)


_NO_ROW = _Row(NO_DIGEST, b"", 0, 0.0, 0.0)


class MemoryStates:
    """Keep states in memory, bounded; for development, tests and one worker."""

    def __init__(
        self, *, budget: Budget | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Start empty.

        Args:
            budget: Of the bytes of this process, shared with others.
            clock: Returns Unix seconds.
        """
        self._budget = budget or Budget()
        self._clock = clock
        self._rows: dict[str, _Row] = {}
        # One entry for each row, with the end that it had when the entry was pushed.
        self._ends: list[tuple[float, str]] = []

    def __repr__(self) -> str:
        return f"<MemoryStates: {len(self._rows)}>"

    async def insert(self, key: str, digest: bytes, record: StateRecord) -> None:
        """Store the record of a new key; see `StateStore.insert`.

        Cancellation:
            Before it is stored, or not at all.
        """
        await trio.lowlevel.checkpoint()
        now = self._clock()
        self._forget(now)
        if key in self._rows:
            raise StoreFailed("there is a state of this key")
        row = _Row(
            digest, encode_record(record), record.version, now, now + record.kept
        )
        self._budget.take(row.cost)
        self._rows[key] = row
        heapq.heappush(self._ends, (row.ends, key))

    async def read(self, key: str, digest: bytes | None = None) -> FoundState | None:
        """Return a record; see `StateStore.read`.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
        now = self._clock()
        row = self._row(key, now)
        if not is_secret(digest, row.digest):
            return None
        age = max(0.0, now - row.created)
        return FoundState(decode_record(row.text), row.version, row.created, age)

    async def swap(
        self, key: str, found: FoundState, record: StateRecord, before: float | None
    ) -> bool:
        """Replace a record; see `StateStore.swap`.

        Cancellation:
            Before it is replaced, or not at all.
        """
        await trio.lowlevel.checkpoint()
        now = self._clock()
        row = self._row(key, now)
        is_over = before is not None and now - row.created >= before
        # An acknowledgement keeps the version.
        is_known = row is not _NO_ROW and row.version == found.mark
        if not is_known or is_over:
            return False
        new = row._replace(
            text=encode_record(record),
            version=record.version,
            ends=row.created + record.kept,
        )
        self._budget.take(max(0, new.cost - row.cost))
        self._budget.free(max(0, row.cost - new.cost))
        self._rows[key] = new
        return True

    async def heads(self, keys: Sequence[str]) -> list[str]:
        """Return a mark for each state; see `StateStore.heads`.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
        rows = (self._rows.get(key, _NO_ROW) for key in keys)
        return [f"{row.version}" for row in rows]

    def _row(self, key: str, now: float) -> _Row:
        row = self._rows.get(key, _NO_ROW)
        return row if now < row.ends else _NO_ROW

    def _forget(self, now: float) -> None:
        """Drop the rows whose time is over."""
        while self._ends and self._ends[0][0] <= now:
            _, key = heapq.heappop(self._ends)
            row = self._rows[key]
            if row.ends > now:
                heapq.heappush(self._ends, (row.ends, key))
            else:
                del self._rows[key]
                self._budget.free(row.cost)
