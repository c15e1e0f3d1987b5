"""The use cases over an engine in this process, with stores that fail on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import trio

import trioslock
from triopoll.core.delayed import DelayedMessages
from triopoll.core.held_keys import HeldKeys
from triopoll.core.log_notifier import LogNotifier, group_key
from triopoll.core.log_wait import LogWait
from triopoll.core.outcomes import Failure
from triopoll.core.parked_waits import ParkedWaits
from triopoll.core.reader import Reader
from triopoll.core.slock_backend import SlockMonitor
from triopoll.core.wait_items import LogItem, ReadResult
from triopoll.core.waker import Waker
from triopoll.ops.drain import Drain
from triopoll.ops.metrics import Metrics
from triopoll.pending import wait_in_task
from triopoll.settings import Settings
from triopoll.store import DelayedStore, MemoryDelayed, MemoryLog, NewMessage, Page
from trioslock.embedded import open_embedded
from trioslock.host import EngineHost
from trioslock.server import open_server

PREFIX = "test:"
SETTINGS = Settings()
LIMIT = SETTINGS.backend_limit


class Faulty:
    """A store that fails or hangs on demand.

    Attributes:
        fault: What each call raises.
        hangs: No call returns.
    """

    fault: Exception | None = None
    hangs = False

    async def stumble(self) -> None:
        if self.hangs:
            await trio.sleep_forever()
        if self.fault is not None:
            raise self.fault


class CountingLog(Faulty, MemoryLog):
    """A log whose reads are counted, and which fails or hangs on demand."""

    reads = 0

    async def read(
        self, key: str, cursor: str, limit: int, *, share: int = 1, acks: bool = True
    ) -> Page:
        self.reads += 1
        await self.stumble()
        return await super().read(key, cursor, limit, share=share, acks=acks)

    async def heads(self, keys: Sequence[str]) -> list[str]:
        await self.stumble()
        return await super().heads(keys)

    async def put(self, key: str, *data: bytes) -> None:
        """Store messages, and wake nothing."""
        await self.append([NewMessage(key, each) for each in data])


class SlockRig:
    """A slock client of the service, and the registry of its parked waits."""

    def __init__(
        self, client: trioslock.Client, host: EngineHost, *, max_waits: int
    ) -> None:
        self.client = client
        self.host = host
        # A second client, for commands that the library does not send.
        self.peer = host.attach(lambda result: None, lambda: None)
        self.drain = Drain()
        self.metrics = Metrics()
        self.waits = ParkedWaits(self.drain, limit=max_waits, metrics=self.metrics)
        self.monitor = SlockMonitor(client.ping, self.waits, limit=LIMIT)

    async def waiting(self) -> int:
        """Return how many wait on slock."""
        return (await self.client.state()).waiting


_Rig = TypeVar("_Rig", bound=SlockRig)


@asynccontextmanager
async def open_rig(
    kind: Callable[[trioslock.Client, EngineHost], _Rig],
) -> AsyncIterator[_Rig]:
    """Open a rig over an engine of its own; at the end no wait may be parked."""
    async with open_server(None) as server, open_embedded(server.host_engine) as client:
        rig = kind(client, server.host_engine)
        yield rig
        assert len(rig.waits) == rig.drain.parked == 0


class LogRig(SlockRig):
    """Waits and wakes of one process, and a publisher in another."""

    def __init__(
        self,
        client: trioslock.Client,
        host: EngineHost,
        *,
        max_keys: int,
        held: HeldKeys | None,
    ) -> None:
        super().__init__(client, host, max_waits=64)
        self.publisher: trioslock.Client
        self.log = CountingLog()
        self.notifier = LogNotifier(
            client,
            self.log,
            prefix=PREFIX,
            max_keys=max_keys,
            limit=LIMIT,
            held=held,
        )
        self.reader = Reader(
            client,
            self.log,
            self.notifier,
            self.waits,
            self.monitor,
            self.metrics,
            SETTINGS,
        )

    async def wake(self, key: str) -> bool:
        """Wake the subscriptions to a log, as a publisher in another process does."""
        try:
            await self.publisher.group_event(group_key(PREFIX, key), ttl=60).wakeup()
        except trioslock.NotHeld:
            return False
        return True


@asynccontextmanager
async def open_log_rig(
    *, max_keys: int = 64, held: HeldKeys | None = None
) -> AsyncIterator[LogRig]:
    """Open a rig with its notifier running and its publisher connected."""
    async with (
        open_rig(partial(LogRig, max_keys=max_keys, held=held)) as rig,
        open_embedded(rig.host) as rig.publisher,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(rig.notifier.run)
        yield rig
        nursery.cancel_scope.cancel()


def delayed_of(rig: LogRig, store: DelayedStore | None = None) -> DelayedMessages:
    """Return the delayed messages of a worker; by default in the rig's own memory."""
    return DelayedMessages(
        MemoryDelayed(rig.log) if store is None else store,
        rig.client,
        Waker(rig.notifier, rig.monitor, rig.metrics, LIMIT),
        rig.monitor,
        rig.metrics,
        SETTINGS,
    )


async def messages(
    rig: LogRig,
    key: str,
    cursor: str,
    limit: int,
    seconds: float,
    visitor: str | None = None,
) -> ReadResult | Failure:
    """Read, or wait in this task."""
    item = LogItem(key, cursor, limit)
    found = await rig.reader.begin_messages(item, seconds, visitor)
    return await wait_in_task(found) if isinstance(found, LogWait) else found
