"""Publishers and readers that go on while Redis fails over, and what they have seen."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio
from tests.triopoll.support import eventually

from triopoll.store import (
    ALL,
    Appended,
    MessageLog,
    MessageStore,
    NewMessage,
    StoreError,
    Stores,
)


@dataclass
class LogTraffic:
    """One publisher and one reader of a log.

    The publisher sends each message, under the same name, until it is accepted. The
    reader tells the second time of a message from the first by its id, as clients do.

    Attributes:
        accepted: Ids of the messages that were accepted.
        read: Ids of what was read, in order, each once.
        twice: How many came again, but for what is read anew behind a gap.
        gaps: How many gaps were reported.
    """

    log: MessageLog
    key: str
    accepted: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    twice: int = 0
    gaps: int = 0
    _stopped: bool = False
    _finished: trio.Event = field(default_factory=trio.Event)

    async def publish(self) -> None:
        number = 0
        while not self._stopped:
            message = NewMessage(self.key, b"%d" % number, id=str(number))
            (result,) = await self.log.append([message])
            if isinstance(result, Appended):
                self.accepted.append(result.id)
                number += 1
            await trio.sleep(0.002)
        self._finished.set()

    async def follow(self) -> None:
        cursor, is_anew = ALL, False
        while True:
            try:
                page = await self.log.read(self.key, cursor, 10)
            except StoreError:
                await trio.sleep(0.01)
                continue
            self.gaps += page.gap
            ids = [message.id for message in page.messages]
            again = set(ids) & set(self.read)
            # What is behind a cursor that is not honoured is read from the beginning.
            is_anew = bool(again) and (is_anew or page.gap)
            if not is_anew:
                self.twice += len(again)
            self.read += [each for each in ids if each not in self.read]
            cursor = page.cursor
            if not ids:
                await trio.sleep(0.005)

    async def finish(self) -> None:
        """End the publisher behind its next message, and wait until that is read."""
        self._stopped = True
        await self._finished.wait()
        await eventually(lambda: self.accepted[-1] in self.read, limit=20)

    async def check(self) -> None:
        """Check that what Redis has was read, and that what it lost was a gap."""
        page = await self.log.read(self.key, ALL, 10**6)
        assert not page.gap
        kept: list[str] = []
        # A page ends where messages may be missing.
        while page.messages:
            kept += [message.id for message in page.messages]
            page = await self.log.read(self.key, page.cursor, 10**6)
        assert set(kept) <= set(self.read)
        # In the order of the log, but for what was read and lost again.
        assert [each for each in self.read if each in set(kept)] == kept
        assert self.twice == 0
        assert len(kept) > 20
        lost = (set(self.accepted) | set(self.read)) - set(kept)
        assert self.gaps > 0 or not lost


@dataclass
class ListTraffic:
    """Pollers of one list, which acknowledge what they take.

    Attributes:
        taken: What was taken, in order.
    """

    lists: MessageStore
    key: str
    taken: list[bytes] = field(default_factory=list)

    async def poll(self) -> None:
        while True:
            try:
                delivery = await self.lists.pop(self.key)
            except StoreError:
                await trio.sleep(0.01)
                continue
            if delivery is None:
                await trio.sleep(0.01)
                continue
            self.taken.append(delivery.data)
            self.lists.ack(delivery)
            await trio.sleep(0.005)


async def push_all(stores: Stores, key: str, count: int) -> list[bytes]:
    """Push numbered messages, and return them."""
    messages = [b"%d" % n for n in range(count)]
    for message in messages:
        await stores.lists.push(key, message)
    return messages


async def until_served(stores: Stores, limit: float = 15) -> None:
    """Return once the store would take a message."""
    with trio.fail_after(limit):
        while True:
            try:
                await stores.lists.ping()
                return
            except StoreError:
                await trio.sleep(0.02)
