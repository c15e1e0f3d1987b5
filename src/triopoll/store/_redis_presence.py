"""Who waits on a key, in Redis; `_presence_scripts` says what is done there."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ._executors import Command
from ._log_base import LogLimits, new_tag
from ._names import Layout
from ._pipeliner import Pipeliner
from ._presence_base import LEASE, RECORD, FoundWaiting, Waiting, changes_key
from ._presence_scripts import MERGE
from ._redis_log import RedisLog
from ._scripts import milliseconds

__all__ = ["RedisPresence"]

_encode = msgspec.json.Encoder().encode


class RedisPresence:
    """Keep in Redis who waits, where all workers report it."""

    def __init__(
        self,
        pipeliner: Pipeliner,
        layout: Layout,
        log: RedisLog,
        limits: LogLimits,
        *,
        lease: float = LEASE,
    ) -> None:
        """Use a running pipeliner.

        Args:
            pipeliner: Sends the commands.
            layout: Says what the keys are called.
            log: Where changes are recorded.
            limits: How much is kept there.
            lease: Seconds for which a report counts.
        """
        self._pipeliner = pipeliner
        self._layout = layout
        self._log = log
        self._limits = limits
        self._lease = milliseconds(lease)
        self._worker = secrets.token_hex(8)

    def __repr__(self) -> str:
        return f"<RedisPresence: {self._worker}, {self._pipeliner!r}>"

    async def report(self, waiting: Mapping[str, Waiting]) -> list[str]:
        """Replace what this worker has reported; see `PresenceStore.report`.

        Cancellation:
            Any of the keys may have been reported.
        """
        commands = [
            self._merge(key, self._worker, _report(each))
            for key, each in waiting.items()
        ]
        replies = await self._pipeliner.call_many(commands)
        return [
            key
            for key, (is_recorded,) in zip(waiting, replies, strict=True)
            if is_recorded
        ]

    async def look(
        self, keys: Sequence[str], *, record: bool = False
    ) -> list[FoundWaiting]:
        """Return who waits on each key; see `PresenceStore.look`.

        Cancellation:
            Changes may be recorded.
        """
        record_for = milliseconds(RECORD) if record else ""
        commands = [self._merge(key, record_for=record_for) for key in keys]
        return list(map(_found, await self._pipeliner.call_many(commands)))

    def _merge(
        self,
        key: str,
        worker: str = "",
        report: bytes = b"",
        record_for: int | str = "",
    ) -> Command:
        log = changes_key(key)
        keys, head = self._log.append_head(log)
        reports = self._layout.of_log(log).presence(key)
        lifetime = milliseconds(self._limits.of(log).lifetime(None))
        args = worker, report, self._lease, record_for, new_tag(), lifetime
        return MERGE([*keys, reports], *head, *args)


def _report(waiting: Waiting) -> bytes:
    if not waiting.count:
        return b""
    return b"%d:%b" % (waiting.anonymous, _encode(waiting.subjects))


def _found(reply: list[Any]) -> FoundWaiting:
    is_recorded, anonymous, *subjects = reply
    names = sorted(subject.decode() for subject in subjects)
    return FoundWaiting(Waiting(tuple(names), int(anonymous)), bool(is_recorded))
