"""Compare the client with Go's, with PyPI's pyslock and with bare trio, in one run.

    python bench/client.py --slock HOST:PORT [--go GOPATH] [--seconds 2] [--rounds 3]

Each task takes and releases a lock on its own key in a loop, over one connection; a
command is one LOCK or one UNLOCK. Every round runs everything once, in turn, and the
table shows the medians of the rounds:

- *async with*, *calls*: this client. Calls are ``acquire()`` and ``release()``, without
  a body that a loss would cancel. *CPU* is the CPU time of this process for a pair of
  LOCK and UNLOCK in an ``async with``; it depends less than the rate on what else the
  machine does.
- *Go*: slock's own client, with ``--go``. GOPATH is what Go calls so: one or more
  directories, separated by colons, one of them with the source of slock in
  ``src/github.com/snower/slock``, and with the packages that it imports. ``go`` from
  the PATH builds ``bench/client_go`` with it in a temporary directory. Its goroutines
  use all cores.
- *aio*: ``async with`` of ``trioslock.aio`` in asyncio tasks.
- *sync*: ``trioslock.sync``, a thread for each task; above 64 left out (nan).
- *pyslock*: the asyncio client of PyPI.
- *bare trio*: tasks that send packed commands and park (``bare.py``). It shows what
  trio leaves for a client that is one Python process.

The ratios are of *async with*, each the median of the ratios of the rounds.

The last line has the round trip of one task beside two others: that of a trio socket
with the same commands on the same server, and that of an echo in another process.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import statistics
import subprocess
import tempfile
import time
import types
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio
from bare import measure_echo, measure_socket, measure_tasks
from results import Figure, Table, add_results_option, save

from trioslock import Client, aio, open_client, sync

MOST_THREADS = 64
GO_SOURCE = Path(__file__).parent / "client_go" / "main.go"


class Rate(NamedTuple):
    """Commands a second; microseconds of this process's processor for a pair."""

    commands: float
    cpu: float = 0.0


async def _body(client: Client, key: str, ends_at: float, count: list[int]) -> None:
    while time.perf_counter() < ends_at:
        async with client.lock(key):
            pass
        count[0] += 2


async def _calls(client: Client, key: str, ends_at: float, count: list[int]) -> None:
    while time.perf_counter() < ends_at:
        grant = await client.lock(key).acquire()
        await grant.release()
        count[0] += 2


Work = Callable[[Client, str, float, list[int]], Awaitable[None]]
Measure = Callable[[int, float], Rate]


def measure_trioslock(address: str, work: Work, tasks: int, seconds: float) -> Rate:
    """Return the client's rate and CPU time for one kind of work."""

    async def main() -> Rate:
        async with open_client(f"slock://{address}") as client:
            count = [0]
            started_at, used_before = time.perf_counter(), time.process_time()
            ends_at = started_at + seconds
            async with trio.open_nursery() as nursery:
                for number in range(tasks):
                    key = f"bench-{os.getpid()}-{number}"
                    nursery.start_soon(work, client, key, ends_at, count)
            used = time.process_time() - used_before
            rate = count[0] / (time.perf_counter() - started_at)
            return Rate(rate, used / count[0] * 2e6)

    return trio.run(main)


def measure_aio(address: str, tasks: int, seconds: float) -> Rate:
    """Return the rate and CPU time of the asyncio client."""

    async def main() -> Rate:
        async with aio.open_client(f"slock://{address}") as client:
            count = [0]
            started_at, used_before = time.perf_counter(), time.process_time()
            ends_at = started_at + seconds

            async def work(key: str) -> None:
                while time.perf_counter() < ends_at:
                    async with client.lock(key):
                        pass
                    count[0] += 2

            async with asyncio.TaskGroup() as group:
                for number in range(tasks):
                    group.create_task(work(f"bench-{os.getpid()}-{number}"))
            used = time.process_time() - used_before
            rate = count[0] / (time.perf_counter() - started_at)
            return Rate(rate, used / count[0] * 2e6)

    return asyncio.run(main())


def measure_sync(address: str, tasks: int, seconds: float) -> Rate:
    """Return the rate of the blocking client, with a thread for each task."""
    if tasks > MOST_THREADS:
        return Rate(math.nan)

    def work(number: int) -> int:
        lock, count = client.lock(f"bench-{os.getpid()}-{number}"), 0
        while time.perf_counter() < ends_at:
            with lock:
                pass
            count += 2
        return count

    with sync.open_client(f"slock://{address}") as client:
        started_at = time.perf_counter()
        ends_at = started_at + seconds
        with ThreadPoolExecutor(tasks) as pool:
            commands = sum(pool.map(work, range(tasks)))
        return Rate(commands / (time.perf_counter() - started_at))


def measure_pyslock(address: str, tasks: int, seconds: float) -> Rate:
    """Return the rate of pyslock's asyncio client."""
    # pyslock uses a name that Python 3.11 removed from asyncio.
    asyncio.coroutine = types.coroutine  # type: ignore[attr-defined]
    from pyslock import AsyncClient  # noqa: PLC0415

    host, _, port = address.rpartition(":")

    async def main() -> float:
        client = AsyncClient(host, int(port))
        count = [0]
        started_at = time.perf_counter()
        ends_at = started_at + seconds

        async def work(number: int) -> None:
            key = f"bench-{os.getpid()}-{number}"[-16:]
            while time.perf_counter() < ends_at:
                lock = client.Lock(key, 10, 10)
                await lock.acquire()
                await lock.release()
                count[0] += 2

        await asyncio.gather(*(work(number) for number in range(tasks)))
        return count[0] / (time.perf_counter() - started_at)

    return Rate(asyncio.run(main()))


def build_go(gopath: str, directory: str) -> Path:
    """Build the Go client's program."""
    program = Path(directory) / "client_go"
    subprocess.run(
        ["go", "build", "-o", str(program), str(GO_SOURCE)],
        env={**os.environ, "GO111MODULE": "off", "GOPATH": gopath},
        check=True,
    )
    return program


def measure_go(program: Path, address: str, tasks: int, seconds: float) -> Rate:
    """Return the rate of the Go client."""
    host, _, port = address.rpartition(":")
    command = [str(program), "-host", host, "-port", port]
    command += ["-tasks", str(tasks), "-seconds", str(seconds)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return Rate(float(run.stdout))


def measure_bare(address: str, tasks: int, seconds: float) -> Rate:
    """Return the rate of bare trio."""
    host, _, port = address.rpartition(":")
    return Rate(measure_tasks((host, int(port)), tasks, seconds))


def run_rounds(
    clients: dict[str, Measure], tasks: int, options: argparse.Namespace
) -> dict[str, list[Rate]]:
    """Return the rates of each client, one a round."""
    rates: dict[str, list[Rate]] = {name: [] for name in clients}
    for _ in range(options.rounds):
        for name, measure in clients.items():
            rates[name].append(measure(tasks, options.seconds))
    return rates


def median_rate(rates: list[Rate]) -> float:
    return statistics.median(rate.commands for rate in rates)


def summary(tasks: int, rates: dict[str, list[Rate]]) -> list[str]:
    """Return a row of the table."""
    medians = [
        statistics.median(rate.commands for rate in each) for each in rates.values()
    ]
    ours = rates["async with"]
    cpus = [
        f"{statistics.median(rate.cpu for rate in rates[name]):.1f} us"
        for name in ("async with", "aio")
    ]
    ratios = [
        statistics.median(
            one.commands / other.commands
            for one, other in zip(ours, rates[name], strict=True)
        )
        for name in list(rates)[2:]
    ]
    row = [str(tasks), *(f"{median:,.0f}" for median in medians), *cpus]
    return row + [f"{ratio:.2f}" for ratio in ratios]


def round_trip(address: str, seconds: float) -> str:
    """Return a sentence on the time that one task waits for an answer."""
    host, _, port = address.rpartition(":")
    ours = measure_trioslock(address, _body, 1, seconds).commands
    bare = measure_socket((host, int(port)), seconds)
    echo = measure_echo(seconds)
    return (
        f"one round trip: {1e6 / ours:.0f} us in async with; trio socket "
        f"{1e6 / bare:.0f} us ({bare / ours:.2f}x), its echo {1e6 / echo:.0f} us "
        f"({echo / ours:.2f}x)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the client with others.")
    parser.add_argument("--slock", required=True, metavar="HOST:PORT")
    parser.add_argument("--go", metavar="GOPATH", help="directories of Go's sources")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", default="1,64,512")
    add_results_option(parser)
    options = parser.parse_args()
    address = options.slock
    clients: dict[str, Measure] = {
        "async with": partial(measure_trioslock, address, _body),
        "calls": partial(measure_trioslock, address, _calls),
    }
    with ExitStack() as stack:
        if options.go:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            clients["Go"] = partial(measure_go, build_go(options.go, folder), address)
        clients["aio"] = partial(measure_aio, address)
        clients["sync"] = partial(measure_sync, address)
        clients["pyslock"] = partial(measure_pyslock, address)
        clients["bare trio"] = partial(measure_bare, address)
        others = list(clients)[2:]
        table = Table(
            ["tasks", *clients, "CPU", "CPU of aio", *(f"to {name}" for name in others)]
        )
        figures = []
        for tasks in map(int, options.tasks.split(",")):
            rates = run_rounds(clients, tasks, options)
            table.add(summary(tasks, rates))
            bars = {
                name: round(median)
                for name, each in rates.items()
                if not math.isnan(median := median_rate(each))
            }
            title = f"LOCK and UNLOCK commands/s, {tasks} tasks (bench/client.py)"
            figures.append(Figure(title, bars))
    trip = round_trip(address, options.seconds)
    print(trip)
    save(options, "client", {"client": table}, figures, notes={"client": trip})


if __name__ == "__main__":
    main()
