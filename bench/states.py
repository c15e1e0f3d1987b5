"""Measure state waits: from a change to the answer of its page, and refusals.

    python bench/states.py [--pages 10000] [--rate 100] [--strangers 1000]

One worker of ``triopoll serve`` with its own Redis server and slock server.

- *change to answer*: from the moment at which a ``PUT`` is sent until the page that
  waits for this state has its answer; one state a page, one change a state, so many
  changes a second. The baseline is the same with one page that waits.
- *refusals*: the time of a wait with a wrong secret for a state that has 64 KB of data
  and a page that waits for it, and for a key that does not exist, in turn. The bytes of
  all answers must be equal, and the metric must have counted them.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import statistics
import time
from collections.abc import Sequence
from typing import Any

import parked
import trio
from openresty import cpu_seconds
from parked import servers
from poll import HOST

parked.SETTINGS |= {
    "TRIOPOLL_V1_MAX_TIMEOUT": "600",
    "TRIOPOLL_MAX_HELD_KEYS": "262144",
}
SECRET, UNKNOWN = "s" * 22, "u" * 22
# Connections that create states at the same time.
PUBLISHERS = 8
QUANTILES = (50, 90, 99, 100)


class Connection:
    """A kept connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream

    async def send(self, method: str, path: str, shape: object) -> None:
        body = json.dumps(shape).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        await self.stream.send_all(head.encode() + body)

    async def receive(self) -> tuple[int, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await self._more()
        head, _, body = bytes(data).partition(b"\r\n\r\n")
        fields = dict(
            line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line
        )
        while len(body) < int(fields.get(b"content-length", 0)):
            body += await self._more()
        return int(head.split()[1]), body

    async def _more(self) -> bytes:
        more = bytes(await self.stream.receive_some(65536))
        if not more:
            raise SystemExit("the service has closed a connection")
        return more

    async def ask(self, method: str, path: str, shape: object) -> tuple[int, bytes]:
        await self.send(method, path, shape)
        return await self.receive()


async def connect(port: int) -> Connection:
    return Connection(await trio.open_tcp_stream(HOST, port))


class Page:
    """A page that waits for its state."""

    def __init__(self, created: Any) -> None:
        self.key: str = created["key"]
        self.secret: str = created["poll_secret"]
        self.answered_at = math.nan
        self.answered = trio.Event()

    async def wait(self, connection: Connection) -> None:
        shape = {"key": self.key, "poll_secret": self.secret, "version": 1}
        status, _ = await connection.ask(
            "POST", "/v1/states/wait", {**shape, "timeout": 600}
        )
        self.answered_at = time.perf_counter()
        assert status == 200
        self.answered.set()


async def create(connection: Connection, **fields: object) -> Page:
    status, body = await connection.ask("POST", "/v1/states", {"ttl": 600, **fields})
    assert status == 201, body
    return Page(json.loads(body))


async def change(port: int, page: Page, times: list[float]) -> None:
    connection = await connect(port)
    async with connection.stream:
        since = time.perf_counter()
        status, _ = await connection.ask(
            "PUT", f"/v1/states/{page.key}", {"state": "confirmed", "final": True}
        )
        assert status == 200
        await page.answered.wait()
        times.append(page.answered_at - since)


async def changes(port: int, count: int, rate: float) -> list[float]:
    """Park so many pages, change each state once, and return the times."""
    times: list[float] = []
    pages: list[Page] = []

    async def park(nursery: trio.Nursery, some: int) -> None:
        publisher = await connect(port)
        async with publisher.stream:
            for _ in range(some):
                page = await create(publisher)
                pages.append(page)
                nursery.start_soon(page.wait, await connect(port))

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as parking:
            for n in range(PUBLISHERS):
                parking.start_soon(park, nursery, (count + n) // PUBLISHERS)
        await trio.sleep(parked.SETTLE if count > 1 else 1)
        random.shuffle(pages)
        due = trio.current_time()
        for page in pages:
            await trio.sleep_until(due)
            due += 1 / rate
            nursery.start_soon(change, port, page, times)
    return times


async def baseline(port: int, count: int) -> list[float]:
    return [time for _ in range(count) for time in await changes(port, 1, 1)]


async def refusals(port: int, count: int) -> dict[str, list[float]]:
    connection, waiting = await connect(port), await connect(port)
    kinds = ("wrong secret", "unknown key")
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    bodies: set[tuple[int, bytes]] = set()
    async with connection.stream, waiting.stream, trio.open_nursery() as nursery:
        page = await create(connection, data="x" * 65000)
        nursery.start_soon(page.wait, waiting)
        await trio.sleep(1)
        # In random order, so that neither profits from what the other warms up.
        for kind in random.sample(kinds * count, 2 * count):
            key = page.key if kind == "wrong secret" else UNKNOWN
            shape = {"key": key, "poll_secret": SECRET, "version": 1}
            since = time.perf_counter()
            bodies.add(await connection.ask("POST", "/v1/states/wait", shape))
            times[kind].append(time.perf_counter() - since)
        nursery.cancel_scope.cancel()
    assert {status for status, _ in bodies} == {404}
    assert len(bodies) == 1, bodies
    return times


async def counted(port: int) -> int:
    connection = await connect(port)
    async with connection.stream:
        _, body = await connection.ask("GET", "/metrics", {})
    lines = [line for line in body.decode().splitlines() if 'event="unknown"' in line]
    return sum(int(float(line.split()[-1])) for line in lines)


def row(name: str, times: Sequence[float]) -> str:
    ordered = sorted(times)
    cells = [
        f"{1000 * ordered[math.ceil(q * len(ordered) / 100) - 1]:.2f}"
        for q in QUANTILES
    ]
    return f"| {name} | {' | '.join(cells)} |"


def head(title: str) -> str:
    names = [f"p{q}" if q < 100 else "max" for q in QUANTILES]
    return f"| {title}, ms | {' | '.join(names)} |\n|---|" + "---|" * len(names)


async def measure(options: argparse.Namespace, service: int, port: int) -> None:
    idle = await baseline(port, 20)
    used = cpu_seconds(service)
    loaded = await changes(port, options.pages, options.rate)
    used = cpu_seconds(service) - used
    print(head("change to answer"))
    print(row("one page", idle))
    print(row(f"{options.pages} pages, {options.rate:g} changes/s", loaded))
    print(
        f"CPU of the service for one page, in all: {1e3 * used / options.pages:.1f} ms"
    )
    times = await refusals(port, options.strangers)
    print(head(f"refusals, {options.strangers} each"))
    for kind, some in times.items():
        print(row(kind, some))
    medians = [statistics.median(some) for some in times.values()]
    spread = statistics.pstdev(times["unknown key"])
    print(f"medians differ by {1e6 * abs(medians[0] - medians[1]):.1f} us,", end=" ")
    print(f"one deviation is {1e6 * spread:.1f} us; counted: {await counted(port)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--strangers", type=int, default=1000)
    parser.add_argument("--slock-binary")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with servers(options.slock_binary) as them:
        trio.run(measure, options, them.service, them.port)


if __name__ == "__main__":
    main()
