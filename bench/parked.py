"""Measure idle parked polls: memory and CPU of the service, slock and Redis.

    python bench/parked.py [--slock-binary PATH] [--polls 10000] [--seconds 10]
        [--results FILE]

Parks polls of one kind after the other on a ``triopoll serve`` with its own Redis
server and slock server (the embedded one, or a real one by its path). The baseline is
the same three processes without polls.

- *memory*: resident, of each of the three, for all polls together.
- *CPU*: in percent of a core, while nothing happens.
- *load on Redis*: commands per second that it received in that time.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import redis
from openresty import cpu_seconds
from poll import HOST, free_port, request, resident, wait_until_up
from results import Table, add_results_option, save

KINDS = {
    "none": "",
    "/poll/event, own keys": "/poll/event?event=k{}&timeout=300",
    "/poll/message, own keys": "/poll/message?event=k{}&timeout=300",
    "/v1/messages, one log": "/v1/messages?key=k&cursor=new&timeout=300",
    "/v1/messages, own logs": "/v1/messages?key=k{}&cursor=new&timeout=300",
}
# Seconds until every poll is parked and the sweep has checked it once.
SETTLE = 15
SETTINGS = {
    "TRIOPOLL_LIST_PREFIX": "bench:",
    "TRIOPOLL_MAX_WAITS": "65536",
    "TRIOPOLL_MAX_WATCHED_KEYS": "65536",
    "TRIOPOLL_V1_MAX_TIMEOUT": "300",
}


class Servers(NamedTuple):
    """Process ids of the three, and the addresses of two of them."""

    service: int
    slock: int
    redis: int
    port: int
    redis_port: int


@contextmanager
def running(command: Sequence[str], port: int, **environ: str) -> Iterator[int]:
    process = subprocess.Popen(
        command,
        env={**os.environ, **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until_open(port)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_open(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), 5).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"no program listens on {port}")


@contextmanager
def servers(
    slock_binary: str | None, *arguments: str, **settings: str
) -> Iterator[Servers]:
    """Run the three; the arguments and settings are further ones of the service."""
    ports = slock_port, redis_port, port = free_port(), free_port(), free_port()
    assert len(set(ports)) == 3
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        slock = [sys.executable, "-m", "trioslock", "serve", "--port", str(slock_port)]
        if slock_binary:
            slock = [slock_binary, f"--bind={HOST}", f"--port={slock_port}"]
            slock += [f"--data_dir={folder}", f"--log={folder}/log"]
        kept = [
            "redis-server",
            "--port",
            str(redis_port),
            "--save",
            "",
            "--dir",
            folder,
        ]
        service = [sys.executable, "-m", "triopoll", "serve"]
        service += ["--bind", f"{HOST}:{port}", "--max-connections", "65536"]
        service += arguments
        environ = {
            **SETTINGS,
            **settings,
            "TRIOPOLL_SLOCK_URL": f"slock://{HOST}:{slock_port}",
            "TRIOPOLL_REDIS_URL": f"redis://{HOST}:{redis_port}",
        }
        slock_pid = stack.enter_context(running(slock, slock_port))
        redis_pid = stack.enter_context(running(kept, redis_port))
        pid = stack.enter_context(running(service, port, **environ))
        wait_until_up(port)
        yield Servers(pid, slock_pid, redis_pid, port, redis_port)


def park(stack: ExitStack, port: int, target: str, count: int) -> None:
    for number in range(count):
        sock = stack.enter_context(socket.create_connection((HOST, port), 30))
        sock.sendall(request(target.format(number)))
        if number % 500 == 499:
            time.sleep(0.2)  # lets the service accept the connections
    time.sleep(SETTLE)


def commands(port: int) -> int:
    with redis.Redis(port=port) as client:
        return int(client.info("stats")["total_commands_processed"])  # type: ignore[index]


def measure(kind: str, options: argparse.Namespace) -> list[str]:
    """Return the row of one kind of polls."""
    with ExitStack() as stack:
        them = stack.enter_context(servers(options.slock_binary))
        pids = (them.service, them.slock, them.redis)
        before = [resident(pid) for pid in pids]
        if KINDS[kind]:
            park(stack, them.port, KINDS[kind], options.polls)
        grown = [
            (resident(pid) - was) / 2**20 for pid, was in zip(pids, before, strict=True)
        ]
        used = [cpu_seconds(pid) for pid in pids]
        asked = commands(them.redis_port)
        time.sleep(options.seconds)
        asked = commands(them.redis_port) - asked - 1
        shares = [
            100 * (cpu_seconds(pid) - was) / options.seconds
            for pid, was in zip(pids, used, strict=True)
        ]
    cells = [
        f"{size:.0f} MB, {share:.1f} %"
        for size, share in zip(grown, shares, strict=True)
    ]
    return [kind, *cells, f"{asked / options.seconds:,.0f}/s"]


def main() -> None:
    parser = argparse.ArgumentParser(description="What parked polls cost.")
    parser.add_argument("--slock-binary", metavar="PATH")
    parser.add_argument("--polls", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    add_results_option(parser)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"{options.polls:,} polls, {options.seconds:g} s without events")
    slock = "slock (real)" if options.slock_binary else "slock (embedded)"
    head = ["polls", "triopoll serve", slock, "Redis server", "load on Redis"]
    table = Table(head, name_width=25)
    for kind in KINDS:
        table.add(measure(kind, options))
    save(options, "parked", {"parked": table})


if __name__ == "__main__":
    main()
