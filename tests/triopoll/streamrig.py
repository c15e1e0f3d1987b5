"""Durable Streams over an engine in this process, with a store that fails on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio
from tests.triopoll.logrig import LIMIT, PREFIX, SETTINGS, Faulty, SlockRig, open_rig

import trioslock
from triopoll.core.log_notifier import LogNotifier
from triopoll.core.outcomes import Failure
from triopoll.core.stream_wait import StreamRead, StreamWait
from triopoll.core.streams import Streams
from triopoll.pending import wait_in_task
from triopoll.store import (
    START,
    MemoryStreams,
    NewAppend,
    NewStream,
    Offset,
    Refused,
    StreamAppended,
    StreamCreated,
    StreamPage,
    StreamView,
    Where,
)
from trioslock.embedded import open_embedded
from trioslock.host import EngineHost

TEXT = NewStream(content_type="text/plain")


class FaultyStreams(Faulty, MemoryStreams):
    """Streams whose reads are counted, and which fail or hang on demand."""

    reads = 0

    async def read(
        self, path: str, after: Where, *, touches: bool = True
    ) -> StreamPage | Refused:
        self.reads += 1
        await self.stumble()
        return await super().read(path, after, touches=touches)

    async def append(self, path: str, new: NewAppend) -> StreamAppended | Refused:
        await self.stumble()
        return await super().append(path, new)

    async def create(self, path: str, new: NewStream) -> StreamCreated | Refused:
        await self.stumble()
        return await super().create(path, new)

    async def look(self, path: str) -> StreamView | Refused:
        await self.stumble()
        return await super().look(path)

    async def delete(self, path: str) -> Refused | None:
        await self.stumble()
        return await super().delete(path)

    async def heads(self, keys: Sequence[str]) -> list[str]:
        await self.stumble()
        return await super().heads(keys)


class StreamRig(SlockRig):
    """The streams of one process, and those of another over the same store."""

    def __init__(self, client: trioslock.Client, host: EngineHost) -> None:
        super().__init__(client, host, max_waits=8)
        self.store = FaultyStreams(clock=trio.current_time)
        self.notifier = self._notifier(client)
        self.streams = self._streams(self.notifier)
        self.elsewhere: Streams
        self.elsewhere_notifier: LogNotifier

    def connect(self, publisher: trioslock.Client) -> None:
        """Let another process append; it has no waits."""
        self.elsewhere_notifier = self._notifier(publisher)
        self.elsewhere = self._streams(self.elsewhere_notifier)

    def _notifier(self, client: trioslock.Client) -> LogNotifier:
        return LogNotifier(
            client, self.store, prefix=PREFIX, max_keys=8, limit=LIMIT, kind="stream"
        )

    def _streams(self, notifier: LogNotifier) -> Streams:
        return Streams(
            self.store, notifier, self.waits, self.monitor, self.metrics, SETTINGS
        )

    async def append(self, data: bytes, *, closes: bool = False) -> Offset:
        new = NewAppend(kind="text/plain", data=data, closes=closes)
        outcome = await self.elsewhere.append("s", new)
        assert isinstance(outcome, StreamAppended), outcome
        return outcome.tail

    async def read(self, after: Where = START, seconds: float = 25) -> StreamRead:
        found = await self.wait("s", after, seconds)
        assert isinstance(found, StreamRead), found
        return found

    async def wait(
        self, path: str, after: Where = START, seconds: float = 25
    ) -> StreamRead | Refused | Failure:
        found = await self.streams.begin_read(path, after, seconds)
        return await wait_in_task(found) if isinstance(found, StreamWait) else found


@asynccontextmanager
async def open_stream_rig() -> AsyncIterator[StreamRig]:
    """Open a rig that has the stream "s"."""
    async with (
        open_rig(StreamRig) as rig,
        open_embedded(rig.host) as publisher,
        trio.open_nursery() as nursery,
    ):
        rig.connect(publisher)
        await nursery.start(rig.notifier.run)
        made = await rig.streams.create("s", TEXT)
        assert isinstance(made, StreamCreated)
        yield rig
        nursery.cancel_scope.cancel()
