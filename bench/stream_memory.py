"""Measure what Durable Streams take of Redis's memory.

    python bench/stream_memory.py [--streams 1000] [--appends 1000]

Streams are made and appended to through the store of the service, on a Redis server of
their own. Printed are the bytes that ``used_memory`` of Redis grows by:

- *a stream*: made with a first append of one byte, for each stream;
- *an append*: of so many bytes, for each append to one stream, and how many of these
  bytes are not its own;
- *a producer*: for each producer that appends one byte, its id of 10 bytes and the
  append included.
"""

from __future__ import annotations

import argparse
import tempfile

import redis
import trio
from parked import running
from poll import HOST, free_port

from triopoll.store import NewAppend, NewStream, Producer, StreamStore, open_stores

KIND = "text/plain"
SIZES = (1, 100, 1000, 10_000)


class Meter:
    """Reads how much memory a Redis server uses."""

    def __init__(self, port: int) -> None:
        self._redis = redis.Redis(HOST, port)
        self._last = self._used()

    def grown(self) -> int:
        """Return the bytes since the last call."""
        before, self._last = self._last, self._used()
        return self._last - before

    def _used(self) -> int:
        return int(self._redis.info("memory")["used_memory"])


async def make(streams: StreamStore, path: str, data: bytes = b"x") -> None:
    await streams.create(path, NewStream(content_type=KIND, data=data))


async def append(streams: StreamStore, producer: Producer | None, size: int) -> None:
    new = NewAppend(kind=KIND, data=b"x" * size, producer=producer)
    await streams.append("appends", new)


async def measure(streams: StreamStore, meter: Meter, count: int, appends: int) -> None:
    await make(streams, "first")  # loads the scripts
    meter.grown()
    for number in range(count):
        await make(streams, f"stream-{number}")
    print(f"a stream                  {meter.grown() / count:8.0f} bytes")
    await make(streams, "appends")
    for size in SIZES:
        meter.grown()
        for _ in range(appends):
            await append(streams, None, size)
        each = meter.grown() / appends
        print(f"an append of {size:6} bytes {each:9.0f} bytes, {each - size:6.0f} more")
    for number in range(appends):
        await append(streams, Producer(f"{number:010}", 0, 0), 1)
    print(f"a producer                {meter.grown() / appends:8.0f} bytes")


async def run(port: int, count: int, appends: int) -> None:
    async with open_stores(f"redis://{HOST}:{port}", limit=5) as stores:
        await measure(stores.streams, Meter(port), count, appends)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the memory of streams.")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--appends", type=int, default=1000)
    options = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--port", str(port), "--bind", HOST]
        command += ["--save", "", "--dir", folder]
        with running(command, port):
            trio.run(run, port, options.streams, options.appends)


if __name__ == "__main__":
    main()
