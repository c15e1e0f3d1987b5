"""Who waits on a key, in this process, which is the only worker then."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import trio

from ._log_base import NewMessage
from ._memory_log import MemoryLog
from ._presence_base import RECORD, FoundWaiting, Waiting, changes_key

__all__ = ["MemoryPresence"]

_encode = msgspec.json.Encoder().encode


class MemoryPresence:
    """Keep in memory who waits. The caller bounds what it reports."""

    def __init__(
        self, log: MemoryLog, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Start empty.

        Args:
            log: Where changes are recorded.
            clock: Returns Unix seconds.
        """
        self._log = log
        self._clock = clock
        self._waiting: dict[str, Waiting] = {}
        # Until when changes are recorded; the first to end is the first.
        self._recorded_until: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<MemoryPresence: {len(self._waiting)} keys>"

    async def report(self, waiting: Mapping[str, Waiting]) -> list[str]:
        """Replace what was reported of some keys; see `PresenceStore.report`.

        Cancellation:
            Before all of them, or not at all.
        """
        await trio.lowlevel.checkpoint()
        self._forget()
        return [key for key, each in waiting.items() if self._report(key, each)]

    async def look(
        self, keys: Sequence[str], *, record: bool = False
    ) -> list[FoundWaiting]:
        """Return who waits on each key; see `PresenceStore.look`.

        Cancellation:
            Before changes are recorded, or not at all.
        """
        await trio.lowlevel.checkpoint()
        self._forget()
        return [
            FoundWaiting(
                self._waiting.get(key, Waiting()), record and self._record(key)
            )
            for key in keys
        ]

    def _record(self, key: str) -> bool:
        is_recorded = self._recorded_until.pop(key, None) is not None
        self._recorded_until[key] = self._clock() + RECORD
        if not is_recorded:
            self._append(key, {"reset": True})
        return not is_recorded

    def _report(self, key: str, after: Waiting) -> bool:
        before = self._waiting.pop(key, Waiting())
        if after.count:
            self._waiting[key] = after
        joined = sorted({*after.subjects} - {*before.subjects})
        left = sorted({*before.subjects} - {*after.subjects})
        is_changed = bool(joined or left) or after.anonymous != before.anonymous
        if key not in self._recorded_until or not is_changed:
            return False
        counts = {"count": after.count, "anonymous": after.anonymous}
        self._append(key, {"joined": joined, "left": left, **counts})
        return True

    def _append(self, key: str, message: Mapping[str, object]) -> None:
        # Without room the change is not recorded; the next one has the count.
        data = _encode(message)
        self._log.append_now(NewMessage(changes_key(key), data, is_json=True))

    def _forget(self) -> None:
        now = self._clock()
        for key, until in list(self._recorded_until.items()):
            if until > now:
                break
            del self._recorded_until[key]
