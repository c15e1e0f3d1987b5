"""Messages that are due later, in Redis; `_delayed_scripts` says what is done there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import trio

from ._base import StoreError, StoreFailed, StoreFull, StoreUnreachable
from ._delayed_base import (
    DelayedMessage,
    Delivered,
    DueMessages,
    PendingLimits,
    Scheduled,
    TooManyPending,
)
from ._delayed_places import places_of
from ._delayed_scripts import CANCEL, DELIVER, POSTPONE, SCHEDULE
from ._log_base import Appended, LogLimits, new_epoch, new_tag
from ._names import Layout
from ._pipeliner import Pipeliner
from ._redis_log import RedisLog
from ._scripts import milliseconds

__all__ = ["RedisDelayed"]

# Messages that one script moves: Redis serves no other command meanwhile.
_MOVED_AT_ONCE = 16
# Seconds for which a message is put off that its log does not take.
_PUT_OFF = 5.0
_FULL = {
    b"key": "as many messages of this key are pending as may be",
    b"total": "as many messages are pending as may be",
}


class RedisDelayed:
    """Keep pending messages in Redis, each in the place of its log."""

    def __init__(
        self,
        pipeliner: Pipeliner,
        layout: Layout,
        log: RedisLog,
        limits: tuple[LogLimits, PendingLimits],
    ) -> None:
        """Use a running pipeliner.

        Args:
            pipeliner: Sends the commands.
            layout: Says what the keys are called.
            log: Where the messages will be.
            limits: How much is kept in logs, and how many messages may be pending.
        """
        self._pipeliner = pipeliner
        self._layout = layout
        self._log = log
        self._log_limits, self._limits = limits
        self._places = places_of(pipeliner, layout)

    def __repr__(self) -> str:
        return f"<RedisDelayed: {self._layout.control!r}, {self._pipeliner!r}>"

    async def schedule(
        self, messages: Sequence[DelayedMessage]
    ) -> list[Scheduled | Appended | StoreError]:
        """Store or replace messages; see `DelayedStore.schedule`.

        Cancellation:
            Any of the messages may have been stored.
        """
        by_key: defaultdict[str, list[int]] = defaultdict(list)
        for place, message in enumerate(messages):
            by_key[message.key].append(place)
        results: dict[int, Scheduled | Appended | StoreError] = {}

        async def schedule_in(key: str, places: list[int]) -> None:
            group = [messages[place] for place in places]
            try:
                found = await self._schedule(key, group)
            except StoreError as error:
                found = [error] * len(group)
            except trio.ClosedResourceError as error:
                found = [StoreUnreachable(str(error))] * len(group)
            results.update(zip(places, found, strict=True))

        async with trio.open_nursery() as nursery:
            for key, places in by_key.items():
                nursery.start_soon(schedule_in, key, places)
        return [results[place] for place in range(len(messages))]

    async def cancel(self, key: str, name: str) -> bool | str:
        """Remove a pending message; see `DelayedStore.cancel`.

        Cancellation:
            It may have been removed.
        """
        names = self._layout.of_log(key)
        keys = [names.pending(key), names.due, names.seen(key, name)]
        was_pending, stored, count = await self._pipeliner.call(*CANCEL(keys))
        if was_pending:
            await self._places.note(names, count, look=False)
        return bool(was_pending) or (stored.decode() if stored else False)

    async def look(self) -> DueMessages:
        """Return what is due; see `DelayedStore.look`.

        Cancellation:
            Nothing is left behind.
        """
        return await self._places.look()

    async def deliver(self, key: str, due: Sequence[str]) -> list[Delivered]:
        """Move messages into their log; see `DelayedStore.deliver`.

        Cancellation:
            Any of them may have been moved.
        """
        names = self._layout.of_log(key)
        delivered: list[Delivered] = []
        for start in range(0, len(due), _MOVED_AT_ONCE):
            some = due[start : start + _MOVED_AT_ONCE]
            reply = await self._deliver(key, some)
            if isinstance(reply, StoreFailed):
                # A full Redis refuses to put it off as well.
                if not isinstance(reply, StoreFull):
                    put_off = POSTPONE([names.due, *some], round(_PUT_OFF * 1e6))
                    await self._pipeliner.call(*put_off)
                raise reply
            count, *late = reply
            delivered += [Delivered(int(each) / 1e6) for each in late]
            await self._places.note(names, count, look=False)
        return delivered

    async def _schedule(
        self, key: str, messages: Sequence[DelayedMessage]
    ) -> Sequence[Scheduled | Appended | StoreError]:
        """Store messages of one log."""
        if not await self._places.has_room(self._limits.in_total):
            return [TooManyPending(_FULL[b"total"])] * len(messages)
        names = self._layout.of_log(key)
        args: list[str | bytes | int] = []
        for delayed in messages:
            how = "in" if delayed.is_relative else "at"
            args += self._record(delayed), how, round(delayed.not_before * 1e6)
        seen = [names.seen(key, delayed.name) for delayed in messages]
        keys = [names.epoch, names.pending(key), names.due, *seen]
        limits = self._limits.per_key, self._limits.in_total
        command = SCHEDULE(keys, new_epoch(), *limits, *args)
        *answers, count = await self._pipeliner.call(*command)
        results = list(map(_result, answers[::2], answers[1::2]))
        scheduled = [each for each in results if isinstance(each, Scheduled)]
        # In a cluster one that cannot be noted may be late: then this is an error.
        is_first = any(each.is_first for each in scheduled)
        await self._places.note(names, count, look=is_first)
        return results

    def _record(self, delayed: DelayedMessage) -> bytes:
        message = delayed.message
        lifetime = self._log_limits.of(message.key).lifetime(message.ttl)
        head = f"{milliseconds(lifetime)}:{int(message.is_json)}:"
        return head.encode() + message.data

    async def _deliver(self, key: str, due: Sequence[str]) -> list[Any] | StoreFailed:
        """Return what the script does, or its refusal."""
        tags = [new_tag() for _ in due]
        keys, args = self._log.append_head(key)
        command = DELIVER([*keys, *due], *args, *tags)
        try:
            reply: list[Any] = await self._pipeliner.call(*command)
        except StoreFailed as error:
            return error
        return reply


def _result(what: bytes, answer: bytes) -> Scheduled | Appended | StoreError:
    if what == b"stored":
        return Appended(answer.decode(), duplicate=True)
    if what == b"full":
        return TooManyPending(_FULL[answer])
    word, _, first = what.partition(b" ")
    return Scheduled(int(answer) / 1e6, word == b"replaced", bool(first))
