"""The clients of `many.py`: steady publishers, readers of events, and their times.

The other readers are those of `chaos.py`. All of them send their requests to one proxy,
and none disconnects on purpose: what they receive twice, the service has sent twice.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import trio
from chaos_clients import (
    TROUBLES,
    CutError,
    LibraryReader,
    Plan,
    PollReader,
    Publisher,
    Reader,
    WebSocketReader,
    pause,
)
from chaos_programs import HOST
from chaos_tally import Arrived, Progress, Tally, data_of

# Until its publisher ends, a key has no last message.
UNKNOWN = 10**9
RECOVERY_LIMIT = 90.0
# Above the time after which a silent stream gets a comment, which is 15 s.
SILENCE = 40.0


class TimedProgress(Progress):
    """The progress of one reader, and how long its messages were under way.

    Attributes:
        newest: When the newest message that it has was sent to the service first.
        longest: The longest time from then until it was received.
    """

    def __init__(
        self, tally: Tally, key: str, transport: str, sent: dict[str, float]
    ) -> None:
        super().__init__(tally, key, UNKNOWN, transport)
        self.newest = 0.0
        self.longest = 0.0
        self._sent = sent

    def take(
        self, messages: Iterable[Arrived], cursor: str, gone: float | None = None
    ) -> None:
        messages = list(messages)
        for message in messages:
            # What is received again, after a gap, is no news.
            sent = self._sent.get(message.data, 0.0)
            if sent > self.newest:
                self.newest = sent
                self.longest = max(self.longest, trio.current_time() - sent)
        super().take(messages, cursor, gone)


class EventReader(Reader):
    """Follows a key by server-sent events, as a browser's EventSource does."""

    transport = "raw server-sent events"

    def __init__(self, plan: Plan, name: str, key: str, total: int) -> None:
        super().__init__(plan, name, key, total)
        self._gone: float | None = None

    async def attempt(self) -> None:
        self._gone = None
        key, cursor = self.progress.key, self.progress.place.cursor
        # Over HTTP/1.0 the proxy sends the events as they are, and not in chunks.
        request = (
            f"GET /v1/messages?live=sse&key={key}&cursor={cursor} HTTP/1.0\r\n"
            f"Host: {HOST}\r\n\r\n"
        )
        try:
            stream = await trio.open_tcp_stream(HOST, self.plan.servers[0].port)
            async with stream:
                await stream.send_all(request.encode())
                await self._follow(stream)
        except TROUBLES:
            pass
        if not self.progress.is_complete:
            await pause(self.rng)

    async def _follow(self, stream: trio.SocketStream) -> None:
        unread = b""
        while not self.progress.is_complete:
            with trio.fail_after(SILENCE):
                piece = await stream.receive_some()
            if not piece:
                return
            *blocks, unread = (unread + piece).replace(b"\r", b"").split(b"\n\n")
            for block in blocks:
                self._take_block(block.decode())

    def _take_block(self, block: str) -> None:
        if block.startswith("HTTP/"):
            if " 200 " not in block.partition("\n")[0]:
                raise CutError(block)
            return
        event = dict(line.split(":", 1) for line in block.split("\n") if line)
        name = event.get("event", "message").strip()
        cursor = event.get("id", self.progress.place.cursor).strip()
        if name == "message" and "data" in event:
            message = json.loads(event["data"])
            arrived = Arrived(message["id"], message["data"])
            self.progress.take([arrived], cursor, self._gone)
            self._gone = None
        elif name == "gap":
            self._take_gap(json.loads(event["data"])["lost"], cursor)
        elif name == "cursor":
            self.progress.place = self.progress.place._replace(cursor=cursor)

    def _take_gap(self, lost: int | None, cursor: str) -> None:
        gone = float("inf") if lost is None else lost
        if cursor == self.progress.place.cursor:
            # The gap is reported again with the next message after this cursor.
            self._gone = gone
        else:
            self.progress.take([], cursor, gone)


class SteadyPublisher(Publisher):
    """Publishes messages of one key until all faults are over, and then a last one.

    Attributes:
        longest: The longest time from a message's first request to its answer.
    """

    def __init__(
        self, plan: Plan, key: str, interval: float, sent: dict[str, float]
    ) -> None:
        super().__init__(plan, key, UNKNOWN, 0.0)
        self.longest = 0.0
        self.readers: list[Reader] = []
        self.count = 0
        self._interval = interval
        self._sent = sent

    async def run(self) -> None:
        while not self._plan.is_calm.is_set():
            await self._publish_some(self._rng.randint(1, 3))
            await trio.sleep(self._rng.uniform(0.0, 2 * self._interval))
        for reader in self.readers:
            reader.progress.total = self.count + 1
        await self._publish_some(1)

    async def _publish_some(self, count: int) -> None:
        numbers = range(self.count, self.count + count)
        self.count += count
        started = trio.current_time()
        for number in numbers:
            self._sent[data_of(self._key, number)] = started
        await self.publish(numbers)
        self.longest = max(self.longest, trio.current_time() - started)


@dataclass
class Times:
    """The longest times of each client during each fault of a kind, in seconds."""

    publishers: list[float] = field(default_factory=list)
    readers: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return "".join(
            f"{figure:>9.2f}"
            for times in (self.publishers, self.readers)
            for figure in (statistics.median(times), max(times))
        )


@dataclass
class Load:
    """All publishers and readers.

    Attributes:
        plan: What they share.
        sent: When each message was sent to the service first.
        times: The times of each kind of fault.
    """

    plan: Plan
    sent: dict[str, float] = field(default_factory=dict)
    publishers: list[SteadyPublisher] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    times: dict[str, Times] = field(default_factory=dict)

    def make(self, keys: int, readers: int, interval: float) -> None:
        """Make the clients; each key has readers of each kind."""
        for n in range(keys):
            publisher = SteadyPublisher(self.plan, f"many-{n}", interval, self.sent)
            self.publishers.append(publisher)
        for n in range(readers):
            key = f"many-{n % keys}"
            reader = self._reader(n // keys % 4, (self.plan, f"reader {n}", key))
            reader.progress = TimedProgress(
                self.plan.tally, key, reader.transport, self.sent
            )
            self.publishers[n % keys].readers.append(reader)
            self.readers.append(reader)

    def _reader(self, kind: int, args: tuple[Plan, str, str]) -> Reader:
        if kind == 3:
            ports = [server.port for server in self.plan.servers]
            return LibraryReader(*args, UNKNOWN, ports)
        return (PollReader, WebSocketReader, EventReader)[kind](*args, UNKNOWN)

    def begin_window(self) -> None:
        """Forget the longest times so far."""
        for each in (*self.publishers, *self._progresses()):
            each.longest = 0.0

    def end_window(self, fault: str) -> None:
        """Store the longest times since the window began."""
        times = self.times.setdefault(fault, Times())
        times.readers += [each.longest for each in self._progresses()]
        times.publishers += [each.longest for each in self.publishers]

    async def is_served(self) -> None:
        """Wait until each reader has a message that was sent from now on.

        Raises:
            trio.TooSlowError: One of them has none within the limit.
        """
        since = trio.current_time()
        with trio.fail_after(RECOVERY_LIMIT):
            while any(each.newest <= since for each in self._progresses()):  # noqa: ASYNC110
                await trio.sleep(0.05)

    def finish(self, kept: dict[str, set[int]]) -> None:
        """Count what readers have not received.

        Args:
            kept: The messages that Redis has at the end, for each key.
        """
        for publisher in self.publishers:
            for reader in publisher.readers:
                reader.progress.total = publisher.count
                reader.progress.finish(kept.get(reader.progress.key, set()))

    def _progresses(self) -> Iterator[TimedProgress]:
        for reader in self.readers:
            assert isinstance(reader.progress, TimedProgress)
            yield reader.progress
