"""A log that counts and fails, and everything that reads it, over one engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

import trioslock
from triopoll.core.log_notifier import LogNotifier, group_key
from triopoll.core.parked_waits import ParkedWaits
from triopoll.core.reader import Reader
from triopoll.core.slock_backend import SlockMonitor
from triopoll.ops.drain import Drain
from triopoll.ops.metrics import Metrics
from triopoll.settings import Settings
from triopoll.store import MemoryLog, NewMessage, Page
from trioslock.embedded import open_embedded
from trioslock.host import EngineHost
from trioslock.server import open_server

PREFIX = "test:"
SETTINGS = Settings()
LIMIT = SETTINGS.backend_limit


class CountingLog(MemoryLog):
    """A log whose looks are counted, and which fails when told to."""

    fault: Exception | None = None
    hangs = False
    reads = 0

    async def read(self, key: str, cursor: str, limit: int, *, share: int = 1) -> Page:
        self.reads += 1
        await self._stumble()
        return await super().read(key, cursor, limit, share=share)

    async def heads(self, keys: Sequence[str]) -> list[str]:
        await self._stumble()
        return await super().heads(keys)

    async def put(self, key: str, *data: bytes) -> None:
        """Store messages, and wake nobody."""
        await self.append([NewMessage(key, each) for each in data])

    async def _stumble(self) -> None:
        if self.hangs:
            await trio.sleep_forever()
        if self.fault is not None:
            raise self.fault


class LogRig:
    """Waits and wakes of one process, and a publisher in another."""

    def __init__(
        self,
        client: trioslock.Client,
        publisher: trioslock.Client,
        host: EngineHost,
        log: CountingLog,
        *,
        max_keys: int,
    ) -> None:
        self.client = client
        self.publisher = publisher
        self.host = host
        # For what our clients do not do.
        self.peer = host.attach(lambda result: None, lambda: None)
        self.log = log
        self.drain = Drain()
        self.waits = ParkedWaits(self.drain, limit=64)
        self.watch = SlockMonitor(client.ping, self.waits, limit=LIMIT)
        self.wakes = LogNotifier(
            client, log, prefix=PREFIX, max_keys=max_keys, limit=LIMIT
        )
        self.metrics = Metrics()
        self.reader = Reader(
            client, log, self.wakes, self.waits, self.watch, self.metrics, SETTINGS
        )

    async def wake(self, key: str) -> bool:
        """Wake those who wait for a log, as another process does."""
        try:
            await self.publisher.group_event(group_key(PREFIX, key), ttl=60).wakeup()
        except trioslock.NotHeld:
            return False
        return True

    async def waiting(self) -> int:
        """Return how many wait on slock."""
        return (await self.publisher.state()).waiting


@asynccontextmanager
async def open_log_rig(*, max_keys: int = 64) -> AsyncIterator[LogRig]:
    """Open everything; at the end nothing may wait."""
    async with (
        open_server(None) as server,
        open_embedded(server.host_engine) as client,
        open_embedded(server.host_engine) as publisher,
        trio.open_nursery() as nursery,
    ):
        log = CountingLog()
        rig = LogRig(client, publisher, server.host_engine, log, max_keys=max_keys)
        await nursery.start(rig.wakes.run)
        yield rig
        assert len(rig.waits) == rig.drain.parked == 0
        nursery.cancel_scope.cancel()
