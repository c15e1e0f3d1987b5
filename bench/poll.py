"""Load the poll service, and compare it with a bare Quart-Trio hello on Hypercorn.

    python bench/poll.py [--slock HOST:PORT] [--waiters 1000] [--seconds 3]

One worker, with the embedded engine unless a slock server is given. The baseline is a
Quart-Trio application that answers "hello" under ``hypercorn -k trio``, in the same
run. This process generates the load, so the server has one core for itself on a machine
with two.

- *requests/s*: ``/poll/event`` on an event that is set, over 50 connections.
- *KB per poll*: resident memory that each parked poll adds.
- *wake all*: from setting one event to the last byte of the last answer.
- *wake one*: the same for a single poll, median and 99th percentile.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import trio
from results import Figure, add_results_option, save

import trioslock

HOST = "127.0.0.1"
CONNECTIONS = 50
LONE_WAKES = 200
HELLO = "hello_app:app"
APP = "triopoll:app"

COMMANDS = {
    "hello, hypercorn -k trio": ("hypercorn", "-k", "trio", "--bind", "{bind}", HELLO),
    "triopoll, hypercorn -k trio": ("hypercorn", "-k", "trio", "--bind", "{bind}", APP),
    "triopoll serve": (
        *("triopoll", "serve", "--bind", "{bind}"),
        *("--drain-delay", "0", "--drain-window", "0", APP),
    ),
}
BASELINE = "hello, hypercorn -k trio"


class Figures(NamedTuple):
    """The results of one service."""

    rate: float
    kilobytes: float | None = None
    wake_all: float | None = None
    wake_one: tuple[float, float] | None = None


def free_port() -> int:
    """Return a port that no connection takes before a server listens on it."""
    # Below those that Linux gives to outgoing connections, of which a bench has many.
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as sock, suppress(OSError):
            sock.bind((HOST, port))
            return port


@contextmanager
def serving(name: str, slock_url: str) -> Iterator[tuple[int, int]]:
    """Run a service; yield its port and its serving process."""
    port = free_port()
    command = [part.format(bind=f"{HOST}:{port}") for part in COMMANDS[name]]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, "TRIOPOLL_SLOCK_URL": slock_url},
        cwd=Path(__file__).parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until_up(port)
        yield port, serving_process(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_up(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((HOST, port), 5) as sock:
                sock.sendall(request("/poll/event"))
                if sock.recv(12) == b"HTTP/1.1 200":
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit("the service does not answer")


def serving_process(pid: int) -> int:
    """Return the child of Hypercorn or of a supervisor, else the process itself."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    # The first child of Hypercorn is multiprocessing's resource tracker.
    return max((int(child) for child in children), key=resident, default=pid)


def resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


async def requests_a_second(port: int, path: str, seconds: float) -> float:
    """Send requests in a loop over some connections that stay open."""
    done = 0

    async def ask() -> None:
        nonlocal done
        stream = await trio.open_tcp_stream(HOST, port)
        async with stream:
            while True:
                await stream.send_all(request(path))
                await read_answer(stream)
                done += 1

    started_at = time.perf_counter()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for _ in range(CONNECTIONS):
                nursery.start_soon(ask)
    return done / (time.perf_counter() - started_at)


async def read_answer(stream: trio.SocketStream) -> bytes:
    """Read one answer: it fits into one segment and ends with a brace."""
    data = b""
    while not data.endswith((b"}", b"hello")):
        more = await stream.receive_some(4096)
        if not more:
            raise SystemExit("the service closed a connection")
        data += more
    return bytes(data)


async def park(port: int, key: str, count: int) -> list[trio.SocketStream]:
    path = f"/poll/event?event={key}&timeout=120"
    streams = []
    for _ in range(count):
        stream = await trio.open_tcp_stream(HOST, port)
        await stream.send_all(request(path))
        streams.append(stream)
    return streams


async def until_waiting(client: trioslock.Client, count: int) -> None:
    with trio.fail_after(60):
        while (await client.state()).waiting < count:  # noqa: ASYNC110
            await trio.sleep(0.02)


async def wake_waiters(
    port: int, pid: int, client: trioslock.Client, count: int
) -> tuple[float, float]:
    """Return kilobytes per poll, and the seconds until all polls are answered."""
    before = resident(pid)
    # The next candidate may use the same slock server, so the key must be unused.
    key = f"waiters-{pid}"
    streams = await park(port, key, count)
    await until_waiting(client, count)
    kilobytes = (resident(pid) - before) / count / 1024
    started_at = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for stream in streams:
            nursery.start_soon(read_answer, stream)
        await client.event(key, ttl=30).set()
    seconds = time.perf_counter() - started_at
    for stream in streams:
        await stream.aclose()
    return kilobytes, seconds


async def wake_single(
    port: int, pid: int, client: trioslock.Client
) -> tuple[float, float]:
    """Return median and 99th percentile of the seconds to wake a single poll."""
    times = []
    for number in range(LONE_WAKES):
        key = f"single-{pid}-{number}"
        (stream,) = await park(port, key, 1)
        await until_waiting(client, 1)
        started_at = time.perf_counter()
        await client.event(key, ttl=5).set()
        await read_answer(stream)
        times.append(time.perf_counter() - started_at)
        await stream.aclose()
    return statistics.median(times), statistics.quantiles(times, n=100)[-1]


async def measure(
    name: str, slock_url: str, client_url: str, waiters: int, seconds: float
) -> Figures:
    with serving(name, slock_url) as (port, pid):
        if name == BASELINE:
            return Figures(await requests_a_second(port, "/poll/event", seconds))
        async with trioslock.open_client(client_url) as client:
            await client.event("set", ttl=60).set()
            path = "/poll/event?event=set"
            rate = await requests_a_second(port, path, seconds)
            kilobytes, wake_all = await wake_waiters(port, pid, client, waiters)
            return Figures(
                rate, kilobytes, wake_all, await wake_single(port, pid, client)
            )


def show(name: str, figures: Figures, baseline: Figures) -> None:
    row = f"{name:<29}{figures.rate:>8,.0f}/s{figures.rate / baseline.rate:>6.2f}"
    if figures.wake_one is not None:
        median, high = (1000 * each for each in figures.wake_one)
        row += f"{figures.kilobytes:>10.1f}{1000 * (figures.wake_all or 0):>9.0f} ms"
        row += f"{median:>9.1f} / {high:.1f} ms"
    print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Load the poll service.")
    parser.add_argument("--slock", metavar="HOST:PORT", help="use this slock server")
    parser.add_argument("--waiters", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=3.0)
    add_results_option(parser)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"{'':<29}{'requests':>10}{'ratio':>6}{'KB/poll':>10}", end="")
    print(f"{'wake all':>12}{'wake one, p50 / p99':>24}")
    baseline: Figures | None = None
    rates: dict[str, float] = {}
    for name in COMMANDS:
        address = options.slock or f"{HOST}:{free_port()}"
        scheme = "slock" if options.slock else "embedded"
        figures = trio.run(
            measure,
            name,
            f"{scheme}://{address}",
            f"slock://{address}",
            options.waiters,
            options.seconds,
        )
        baseline = baseline or figures
        show(name, figures, baseline)
        rates[name] = round(figures.rate)
    title = "requests/s on a set event, one worker (bench/poll.py)"
    save(options, "poll", figures=[Figure(title, rates)])


if __name__ == "__main__":
    main()
