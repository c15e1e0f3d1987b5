"""States in Redis: each operation is one script (`_state_scripts`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._base import StoreFailed
from ._heads import read_heads
from ._history import HISTORY, HISTORY_MAY_LACK
from ._names import Layout
from ._pipeliner import Pipeliner
from ._scripts import milliseconds
from ._state_scripts import HEADS, INSERT, READ, SWAP
from ._states_base import (
    NO_DIGEST,
    FoundState,
    StateRecord,
    decode_record,
    encode_record,
    is_secret,
)

__all__ = ["RedisStates"]


class RedisStates:
    """Keep states in Redis, where all workers read them."""

    def __init__(self, pipeliner: Pipeliner, layout: Layout) -> None:
        """Use a running pipeliner.

        Args:
            pipeliner: Sends the commands.
            layout: Says what the keys are called.
        """
        self._pipeliner = pipeliner
        self._layout = layout

    def __repr__(self) -> str:
        return f"<RedisStates: {self._layout.control!r}, {self._pipeliner!r}>"

    async def insert(self, key: str, digest: bytes, record: StateRecord) -> None:
        """Store the record of a new key; see `StateStore.insert`.

        Cancellation:
            It may be stored.
        """
        command = INSERT(
            [self._name(key)],
            digest,
            encode_record(record),
            record.version,
            milliseconds(record.kept),
            HISTORY,
        )
        if not await self._pipeliner.call(*command):
            raise StoreFailed("there is a state of this key")

    async def read(self, key: str, digest: bytes | None = None) -> FoundState | None:
        """Return a record; see `StateStore.read`.

        Cancellation:
            Nothing is left behind.
        """
        shown = b"" if digest is None else digest
        command = READ([self._name(key)], shown, NO_DIGEST, HISTORY, HISTORY_MAY_LACK)
        stored, *rest = await self._pipeliner.call(*command)
        if not is_secret(digest, stored):
            return None
        return _found(rest)

    async def swap(
        self, key: str, found: FoundState, record: StateRecord, before: float | None
    ) -> bool:
        """Replace a record; see `StateStore.swap`.

        Cancellation:
            It may have been replaced.
        """
        command = SWAP(
            [self._name(key)],
            found.mark,
            encode_record(record),
            record.version,
            milliseconds(record.kept),
            "" if before is None else milliseconds(before),
            HISTORY,
        )
        return bool(await self._pipeliner.call(*command))

    async def heads(self, keys: Sequence[str]) -> list[str]:
        """Return a mark for each state; see `StateStore.heads`.

        Cancellation:
            Nothing is left behind.
        """
        return await read_heads(
            self._pipeliner,
            self._layout,
            keys,
            lambda names, some: HEADS([names.state(key) for key in some], HISTORY),
        )

    def _name(self, key: str) -> str:
        # States are spread over a cluster as logs are.
        return self._layout.of_log(key).state(key)


def _found(reply: list[Any]) -> FoundState:
    text, version, created, now, lacks = reply
    record = decode_record(text, may_lack=lacks == b"1")
    age = max(0, int(now) - int(created)) / 1000
    return FoundState(record, int(version), int(created) / 1000, age)
