"""Load one worker and two workers, and measure the CPU use of each part.

    python bench/workers.py --slock HOST:PORT [--seconds 5] [--rounds 3]

``/poll/event`` on an event that is set, 50 connections, by wrk. If load, slock and
workers share the cores, two workers cannot be twice as fast as one, however well they
scale. The table therefore also shows the cores that each part used, and the rate that
this number of workers reaches *with a core for each*: requests divided by the seconds
of CPU that they took, times the number of workers. If that rate doubles, the workers do
not slow each other down, and more throughput only needs more cores.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from openresty import cpu_seconds, requests_a_second, set_event
from poll import HOST, free_port, wait_until_up


class Figures(NamedTuple):
    """The results of some workers in one round; `of_workers` and the like are cores."""

    rate: float
    of_workers: float
    of_load: float
    on_own_cores: float


@contextmanager
def serving(slock: tuple[str, int], workers: int) -> Iterator[tuple[int, list[int]]]:
    """Run the service; yield its port and its workers."""
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "triopoll", "serve", "--bind", f"{HOST}:{port}"),
            *("--workers", str(workers), "--drain-delay", "0"),
        ],
        env={
            **os.environ,
            "TRIOPOLL_SLOCK_URL": f"slock://{slock[0]}:{slock[1]}",
            "TRIOPOLL_REDIS_URL": "redis://127.0.0.1:1",  # no request uses it
            "TRIOPOLL_LIST_PREFIX": "bench:",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until_up(port)
        yield port, workers_of(process.pid, workers)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def workers_of(pid: int, count: int) -> list[int]:
    if count == 1:
        return [pid]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if len(children) == count:
            time.sleep(1)  # until the last worker listens
            return [int(child) for child in children]
        time.sleep(0.05)
    raise SystemExit("the workers did not start")


def measure(slock: tuple[str, int], workers: int, seconds: int) -> Figures:
    with serving(slock, workers) as (port, pids):
        set_event(slock, "bench-set", 600)
        before = sum(map(cpu_seconds, pids))
        load_before = resource.getrusage(resource.RUSAGE_CHILDREN)
        rate = requests_a_second(port, "/poll/event?event=bench-set", seconds)
        load_after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = sum(map(cpu_seconds, pids)) - before
    load = load_after.ru_utime + load_after.ru_stime
    load -= load_before.ru_utime + load_before.ru_stime
    own = rate * seconds / used * workers
    return Figures(rate, used / seconds, load / seconds, own)


def middle(rounds: Sequence[Figures]) -> Figures:
    return Figures(*(statistics.median(each) for each in zip(*rounds, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Load one worker and two workers.")
    parser.add_argument("--slock", metavar="HOST:PORT", required=True)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    host, number = options.slock.rsplit(":", 1)
    rounds: dict[int, list[Figures]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for workers, figures in rounds.items():
            figures.append(measure((host, int(number)), workers, options.seconds))
    one, two = middle(rounds[1]), middle(rounds[2])
    print(f"{os.cpu_count()} cores for workers, load generator and slock")
    print(f"{'workers':>7}{'requests':>11}{'workers use':>13}{'load uses':>11}", end="")
    print(f"{'with a core for each':>24}{'ratio':>7}")
    for workers, figures in ((1, one), (2, two)):
        row = f"{workers:>7}{figures.rate:>9,.0f}/s{figures.of_workers:>8.2f} cores"
        row += f"{figures.of_load:>5.2f} cores{figures.on_own_cores:>22,.0f}/s"
        print(f"{row}{figures.on_own_cores / one.on_own_cores:>7.2f}")


if __name__ == "__main__":
    main()
