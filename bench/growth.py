"""Measure how the service grows with parked polls, with keys and with workers.

    python bench/growth.py [--slock-binary PATH] [--polls 1000,10000,50000]
        [--keys 100000] [--workers 2:10000,4:10000,4:50000]

Each part runs a ``triopoll serve`` with its own Redis server and slock server (the
embedded one, or a real one by its path), whose limits are raised:

- *polls*: one worker; polls of ``/v1/messages``, each of its own key and on its own
  connection. The number grows in steps, and each step is measured.
- *keys*: one worker; the same number of keys with one waiter each, by ``POST /v1/wait``
  for 50 keys each, since a connection for each key is more than a process may have.
- *workers*: polls as in the first part, over several workers.

The columns of the table:

- *KB a poll* (a key): resident memory that all workers together have grown by since
  before the first poll; the same for slock and Redis.
- *idle*: CPU time while nothing happens, in percent of a core.
- *wake*: from sending ``POST /v1/publish`` until one poll of that key is answered;
  median and 99th percentile. Each is alone.

A process cannot have more connections than open files. A number of polls that is above
the hard limit (``ulimit -Hn``) is lowered to it, which the table shows. Other
processes hold the connections, 15,000 each, from addresses 127.0.0.2 and up: one
address has ports for 28,000.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import operator
import resource
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import NamedTuple

from openresty import cpu_seconds
from parked import Servers, servers
from poll import HOST, request, resident
from results import Figure, Table, add_results_option, save
from workers import workers_of

WAIT_SECONDS = 900
KEYS_A_WAIT = 50
PER_HOLDER = 15_000
# For Redis, slock, listeners, logs and the probes.
OTHER_DESCRIPTORS = 500
SETTINGS = {
    "TRIOPOLL_MAX_WAITS": "200000",
    "TRIOPOLL_MAX_WATCHED_KEYS": "200000",
    "TRIOPOLL_V1_MAX_TIMEOUT": str(WAIT_SECONDS),
}


class Point(NamedTuple):
    """What a number of polls or keys costs; bytes of all, shares of a core, seconds."""

    memory: Sequence[int]
    idle: Sequence[float]
    wakes: Sequence[float]


class Holder:
    """Connections of a process of their own, each of which has sent one request."""

    def __init__(self, number: int, port: int) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        # Spawned: a forked child would keep the connections of its siblings open.
        self._process = multiprocessing.get_context("spawn").Process(
            target=hold, args=(f"127.0.0.{number + 2}", port, theirs), daemon=True
        )
        self._process.start()

    def park(self, requests: Sequence[bytes]) -> None:
        self._pipe.send(requests)
        if self._pipe.recv() != "parked":
            raise SystemExit("a poll could not be parked")

    def wake(self, keys: dict[int, str]) -> list[float]:
        """Publish to keys, each by the number of its connection; return the times."""
        self._pipe.send(keys)
        times: list[float] = self._pipe.recv()
        return times

    def end(self) -> None:
        self._process.terminate()
        self._process.join()


def hold(address: str, port: int, pipe: Connection) -> None:
    """Do what the pipe says, in a process of its own."""
    raise_limit()
    parked: list[socket.socket] = []
    while True:
        order = pipe.recv()
        if isinstance(order, dict):
            # A new one: the service closes connections that are idle for long.
            with socket.create_connection((HOST, port), 30) as publisher:
                pipe.send(
                    [wake(publisher, parked[place], k) for place, k in order.items()]
                )
            continue
        for number, data in enumerate(order):
            sock = socket.create_connection((HOST, port), 30, (address, 0))
            sock.sendall(data)
            parked.append(sock)
            if number % 250 == 249:
                time.sleep(0.1)  # lets the service accept the connections
        pipe.send("parked")


def wake(publisher: socket.socket, waiting: socket.socket, key: str) -> float:
    """Publish to one key; return the seconds until its poll is answered."""
    began = time.perf_counter()
    publisher.sendall(post("/v1/publish", {"key": key, "data": "hello"}))
    answer = waiting.recv(8192)
    took = time.perf_counter() - began
    if b"hello" not in answer:
        raise SystemExit(f"a poll was answered {answer!r}")
    publisher.recv(8192)
    time.sleep(0.02)
    return took


def post(path: str, body: dict[str, object]) -> bytes:
    content = json.dumps(body).encode()
    # Publishing without an API key is for programs that name this machine.
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json"
    return f"{head}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def raise_limit() -> int:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


class Load:
    """A service, the processes that hold its polls, and what it used before them."""

    def __init__(self, them: Servers, workers: int) -> None:
        self._pids = (workers_of(them.service, workers), [them.slock], [them.redis])
        self._port = them.port
        self._holders: list[Holder] = []
        self._parked = 0
        self._woken = 0
        self._before = self._memory()

    def park(self, requests: Sequence[bytes]) -> None:
        """Park further requests, and wait until the service is idle."""
        waiting = list(requests)
        while waiting:
            place = self._parked // PER_HOLDER
            if place == len(self._holders):
                self._holders.append(Holder(place, self._port))
            room = (place + 1) * PER_HOLDER - self._parked
            now, waiting = waiting[:room], waiting[room:]
            self._holders[place].park(now)
            self._parked += len(now)
        self._wait_until_idle()

    def measure(self, seconds: float, keys: dict[int, str]) -> Point:
        """Measure; the keys, by the number of their request, are woken."""
        memory = list(map(operator.sub, self._memory(), self._before))
        before = self._cpu()
        time.sleep(seconds)
        used = map(operator.sub, self._cpu(), before)
        idle = [each / seconds for each in used]
        wakes: list[float] = []
        for number, holder in enumerate(self._holders):
            first = number * PER_HOLDER
            ours = {p - first: k for p, k in keys.items() if p // PER_HOLDER == number}
            wakes += holder.wake(ours)
        return Point(memory, idle, wakes)

    def end(self) -> None:
        for holder in self._holders:
            holder.end()

    def _memory(self) -> list[int]:
        return [sum(map(resident, pids)) for pids in self._pids]

    def _cpu(self) -> list[float]:
        return [sum(map(cpu_seconds, pids)) for pids in self._pids]

    def _wait_until_idle(self) -> None:
        # Three seconds in a row with no more than the sweep of what is parked.
        quiet, deadline = 0, time.monotonic() + 120
        while quiet < 3 and time.monotonic() < deadline:
            before = self._cpu()[0]
            time.sleep(1)
            quiet = quiet + 1 if self._cpu()[0] - before < 0.25 else 0


@contextmanager
def load(slock_binary: str | None, workers: int = 1) -> Iterator[Load]:
    arguments = ("--workers", str(workers)) if workers > 1 else ()
    with servers(slock_binary, *arguments, **SETTINGS) as them:
        parking = Load(them, workers)
        try:
            yield parking
        finally:
            parking.end()


def polls(first: int, last: int) -> list[bytes]:
    """Return polls of ``/v1/messages``, each of its own key."""
    target = f"/v1/messages?key=k{{}}&cursor=new&timeout={WAIT_SECONDS}"
    return [request(target.format(number)) for number in range(first, last)]


def waits(keys: int) -> list[bytes]:
    """Return waits for that many keys together."""
    return [
        post(
            "/v1/wait",
            {
                "items": [
                    {"key": f"k{number}", "cursor": "new"}
                    for number in range(first, min(first + KEYS_A_WAIT, keys))
                ],
                "timeout": WAIT_SECONDS,
            },
        )
        for first in range(0, keys, KEYS_A_WAIT)
    ]


def spread(first: int, last: int, count: int) -> range:
    """Return numbers from first to last, evenly spread."""
    return range(first, last, max(1, (last - first) // count))


def row(name: str, count: int, point: Point) -> list[str]:
    service, slock, redis = point.memory
    wakes = sorted(point.wakes)
    p50, p99 = statistics.median(wakes), wakes[int(0.99 * (len(wakes) - 1))]
    sizes = (f"{size / count / 1024:.1f}" for size in (service, slock, redis))
    shares = (f"{100 * share:.1f} %" for share in point.idle)
    return [
        name,
        *sizes,
        f"{service / 2**20:,.0f} MB",
        *shares,
        f"{1e3 * p50:.1f}, {1e3 * p99:.1f} ms",
    ]


HEAD = (
    *("", "KB service", "KB slock", "KB Redis", "service"),
    *("idle service", "idle slock", "idle Redis", "wake p50, p99"),
)


def grow_polls(options: argparse.Namespace, table: Table) -> dict[str, Point]:
    most = raise_limit() - OTHER_DESCRIPTORS
    counts = sorted({min(count, most) for count in numbers(options.polls)})
    points: dict[str, Point] = {}
    with load(options.slock_binary) as parking:
        done = 0
        for count in counts:
            parking.park(polls(done, count))
            woken = {n: f"k{n}" for n in spread(done, count, options.wakes)}
            points[f"{count:,}"] = point = parking.measure(options.seconds, woken)
            table.add(row(f"{count:,} polls", count, point))
            done = count
    return points


def grow_keys(options: argparse.Namespace, table: Table) -> Point:
    with load(options.slock_binary) as parking:
        requests = waits(options.keys)
        parking.park(requests)
        places = spread(0, len(requests), options.wakes)
        keys = {place: f"k{place * KEYS_A_WAIT}" for place in places}
        point = parking.measure(options.seconds, keys)
    table.add(row(f"{options.keys:,} keys", options.keys, point))
    return point


def grow_workers(
    options: argparse.Namespace, table: Table
) -> dict[str, tuple[int, Point]]:
    points: dict[str, tuple[int, Point]] = {}
    for pair in filter(None, options.workers.split(",")):
        workers, count = map(int, pair.split(":"))
        count = min(count, workers * (raise_limit() - OTHER_DESCRIPTORS))
        with load(options.slock_binary, workers) as parking:
            parking.park(polls(0, count))
            woken = {n: f"k{n}" for n in spread(0, count, options.wakes)}
            point = parking.measure(options.seconds, woken)
        name = f"{count:,}, {workers} workers"
        table.add(row(name, count, point))
        points[name] = (count, point)
    return points


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def figures_of(points: dict[str, tuple[int, Point]]) -> list[Figure]:
    """Return a plot of memory, of idle CPU and of the wake."""
    by = "(bench/growth.py)"
    return [
        Figure(
            f"KB of memory a poll or key, by their number {by}",
            {
                n: round(p.memory[0] / count / 1024, 1)
                for n, (count, p) in points.items()
            },
        ),
        Figure(
            f"percent of a core while all of them wait {by}",
            {n: round(100 * p.idle[0], 1) for n, (_, p) in points.items()},
        ),
        Figure(
            f"ms to wake one of them, median {by}",
            {
                n: round(1e3 * statistics.median(p.wakes), 2)
                for n, (_, p) in points.items()
            },
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="What grows with polls and keys.")
    add = parser.add_argument
    add("--slock-binary", metavar="PATH")
    add("--polls", default="1000,10000,50000")
    add("--keys", type=int, default=100_000, help="0: leave it out")
    add("--workers", default="2:10000,4:10000,4:50000", metavar="WORKERS:POLLS,...")
    add("--seconds", type=float, default=10.0)
    add("--wakes", type=int, default=100)
    add_results_option(parser)
    options = parser.parse_args()
    table = Table(HEAD)
    points: dict[str, tuple[int, Point]] = {
        f"{name} polls": (int(name.replace(",", "")), point)
        for name, point in grow_polls(options, table).items()
    }
    if options.keys:
        points[f"{options.keys:,} keys"] = (options.keys, grow_keys(options, table))
    points |= grow_workers(options, table)
    save(options, "growth", {"growth": table}, figures_of(points))


if __name__ == "__main__":
    main()
