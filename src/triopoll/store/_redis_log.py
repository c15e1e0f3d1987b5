"""Logs of messages in Redis streams, through redis-py.

Each operation is one script, so it is one round trip and atomic; what they do is in
`_log_scripts`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import trio

from ._base import StoreError, StoreUnreachable
from ._heads import read_heads
from ._history import HISTORY, HISTORY_MAY_LACK, LastWrite
from ._log_base import (
    Appended,
    Cursor,
    LogLimits,
    NewMessage,
    Page,
    StoredMessage,
    new_epoch,
    new_tag,
    parse_question,
)
from ._log_scripts import APPEND, HEADS, READ
from ._log_tail import TAIL, LogTail, tail_from
from ._names import Layout, Names
from ._pipeliner import Pipeliner
from ._scripts import milliseconds

__all__ = ["RedisLog"]

_NOWHERE = Cursor("", 0, "")


class RedisLog:
    """Keep logs in Redis, where all workers read them."""

    def __init__(self, pipeliner: Pipeliner, layout: Layout, limits: LogLimits) -> None:
        """Use a running pipeliner.

        Args:
            pipeliner: Sends the commands.
            layout: Says what the keys are called.
            limits: How much is kept.
        """
        self._pipeliner = pipeliner
        self._layout = layout
        self._limits = limits
        # By what is known of the histories of a log, which is in one place with it.
        self._last_writes: defaultdict[str, LastWrite] = defaultdict(LastWrite)

    def __repr__(self) -> str:
        return f"<RedisLog: {self._layout.control!r}, {self._pipeliner!r}>"

    async def append(
        self, messages: Sequence[NewMessage]
    ) -> list[Appended | StoreError]:
        """Append messages; see `MessageLog.append`.

        Cancellation:
            Any of the messages may have been appended.
        """
        places: dict[str, list[int]] = {}
        for place, message in enumerate(messages):
            places.setdefault(message.key, []).append(place)
        results: dict[int, Appended | StoreError] = {}

        async def append_to(key: str, places: list[int]) -> None:
            group = [messages[place] for place in places]
            results.update(zip(places, await self._append(key, group), strict=True))

        if len(places) == 1:
            await append_to(*places.popitem())
        else:
            async with trio.open_nursery() as nursery:
                for group in places.items():
                    nursery.start_soon(append_to, *group)
        return [results[place] for place in range(len(messages))]

    async def read(
        self, key: str, cursor: str, limit: int, *, share: int = 1, acks: bool = True
    ) -> Page:
        """Read on from a cursor; see `MessageLog.read`.

        Cancellation:
            Nothing is left behind.
        """
        place = parse_question(cursor, limit)
        names = self._layout.of_log(key)
        limits = self._limits.of(key)
        last_write = self._last_writes[names.histories]
        command = READ(
            _keys(names, key),
            new_epoch(),
            cursor if place is None else "at",
            limit,
            limits.page_bytes // share,
            milliseconds(limits.memory),
            int(limits.trim_acked and acks),
            *(place or _NOWHERE),
            HISTORY,
            HISTORY_MAY_LACK,
            last_write.for_reads,
        )
        answer = await self._pipeliner.call(*command)
        if told := answer[4]:
            last_write.forget_unless(told.decode())
        return _page(answer)

    async def heads(self, keys: Sequence[str]) -> list[str]:
        """Return a mark for each log; see `MessageLog.heads`.

        Cancellation:
            Nothing is left behind.
        """
        return await read_heads(
            self._pipeliner,
            self._layout,
            keys,
            lambda names, some: HEADS([names.meta(key) for key in some]),
        )

    def append_head(self, key: str) -> tuple[list[str], list[str | int]]:
        """Return the first keys and arguments of a script that appends to a log."""
        names = self._layout.of_log(key)
        limits = self._limits.of(key)
        keys = [*_keys(names, key), names.pending(key), names.due]
        return keys, [
            new_epoch(),
            limits.max_messages,
            milliseconds(limits.memory),
            milliseconds(limits.seen),
            HISTORY,
            HISTORY_MAY_LACK,
            self._last_writes[names.histories].for_writes,
        ]

    async def tail(
        self, key: str, limit: int, most_bytes: int, before: int | None = None
    ) -> LogTail:
        """Return the end of a log; see `MessageLog.tail`.

        Cancellation:
            Nothing is left behind.
        """
        keys = _keys(self._layout.of_log(key), key)[:3]
        first = "" if before is None else before
        command = TAIL(keys, first, limit, most_bytes)
        return tail_from(await self._pipeliner.call(*command))

    async def _append(
        self, key: str, messages: Sequence[NewMessage]
    ) -> Sequence[Appended | StoreError]:
        """Append messages to one log."""
        names = self._layout.of_log(key)
        seen = [names.seen(key, each.id) for each in messages if each.id is not None]
        limits = self._limits.of(key)
        args: list[str | bytes | int] = []
        for message in messages:
            lifetime = milliseconds(limits.lifetime(message.ttl))
            args += message.data, lifetime, new_tag()
            args += _flag(message.is_json), _flag(message.id is not None)
        keys, head = self.append_head(key)
        command = APPEND([*keys, *seen], *head, *args)
        try:
            answers = await self._pipeliner.call(*command)
        except StoreError as error:
            return [error] * len(messages)
        except trio.ClosedResourceError as error:
            return [StoreUnreachable(str(error))] * len(messages)
        return [
            Appended(name.decode(), duplicate=bool(duplicate))
            for name, duplicate in zip(answers[::2], answers[1::2], strict=True)
        ]


def _keys(names: Names, key: str) -> list[str]:
    return [names.epoch, names.log(key), names.meta(key), names.histories]


def _flag(is_set: bool) -> str:
    return "1" if is_set else ""


def _page(answer: list[Any]) -> Page:
    epoch, n, tag, lost, _, *flat = answer
    prefix = epoch.decode()
    messages = tuple(
        StoredMessage(
            f"{prefix}.{n.decode()}.{tag.decode()}",
            data,
            int(written) / 1000,
            is_json == b"1",
        )
        for n, tag, written, data, is_json in zip(*[iter(flat)] * 5, strict=True)
    )
    cursor = f"{prefix}.{n.decode()}.{tag.decode()}"
    return Page(messages, cursor, lost != b"0", None if lost == b"?" else int(lost))
