"""Measure the cost of trio in guest mode under ASGI servers that run on asyncio.

    python bench/asgi_servers.py [--slock HOST:PORT] [--seconds 3] [--rounds 3]

One worker, 50 connections. Each installed server runs three applications, in turns and
in the same run: a bare hello on the server's own loop, the same hello as a trio task,
and ``/poll/event`` on an event that is set, with all features on. The ratio is to the
bare hello on the same server. This process generates the load, so the server has one
core for itself on a machine with two. The *CPU* column is the server's CPU time for one
request; it is more reliable than the rate when the machine has other work.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import trio

import trioslock

HOST = "127.0.0.1"
CONNECTIONS = 50
POLL = "/poll/event?event=bench-set"
HELLO = {"bare hello": "hello_asgi:bare", "hello on trio": "hello_asgi:bridged"}
SERVERS = {
    "uvicorn": ("uvicorn", "--log-level", "warning", "--no-access-log", "--port"),
    "granian": ("granian", "--interface", "asgi", "--no-log", "--port"),
    "hypercorn": ("hypercorn", "-w", "0", "--bind"),
    "hypercorn -k trio": ("hypercorn", "-w", "0", "-k", "trio", "--bind"),
    "triopoll serve": ("triopoll", "serve", "--drain-delay", "0", "--bind"),
}
ON_TRIO = ("hypercorn -k trio", "triopoll serve")


class Figures(NamedTuple):
    """The results of one application under one server."""

    rate: float
    cpu: float


@contextmanager
def serving(server: str, app: str, slock: str) -> Iterator[tuple[int, int]]:
    """Run a server; yield its port and process group."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port = int(sock.getsockname()[1])
    command = SERVERS[server]
    bind = str(port) if command[-1] == "--port" else f"{HOST}:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", *command, bind, app],
        env={**os.environ, "TRIOPOLL_SLOCK_URL": slock},
        cwd=Path(__file__).parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until_up(port, "/" if app in HELLO.values() else POLL)
        yield port, process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_up(port: int, path: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with closing(socket.create_connection((HOST, port), 5)) as sock:
                sock.sendall(request(path))
                if sock.recv(12) == b"HTTP/1.1 200":
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit("the server does not answer")


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


def cpu_seconds(group: int) -> float:
    """Return the CPU time that all processes of a process group have used."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # the process has ended
        if int(fields[2]) == group:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def load(port: int, group: int, path: str, seconds: float) -> Figures:
    """Send requests in a loop over some connections that stay open."""
    asking = request(path)
    done = 0
    with selectors.DefaultSelector() as selector:
        for _ in range(CONNECTIONS):
            sock = socket.create_connection((HOST, port))
            sock.sendall(asking)
            selector.register(sock, selectors.EVENT_READ)
        used, started = cpu_seconds(group), time.perf_counter()
        while time.perf_counter() - started < seconds:
            for key, _ in selector.select(1):
                answer = key.fileobj.recv(4096)  # type: ignore[union-attr]
                if not answer:
                    raise SystemExit("the server closed a connection")
                # Some servers send the head and the body in separate segments.
                if answer.endswith((b"hello", b"}")):
                    done += 1
                    key.fileobj.sendall(asking)  # type: ignore[union-attr]
        took, used = time.perf_counter() - started, cpu_seconds(group) - used
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
    return Figures(done / took, used / max(done, 1))


async def keep_set(address: str, seconds: float) -> None:
    async with trioslock.open_client(f"slock://{address}") as client:
        await client.event("bench-set", ttl=seconds).set()


def measure(server: str, app: str, path: str, slock: str, seconds: float) -> Figures:
    with serving(server, app, slock) as (port, group):
        load(port, group, path, 0.3)
        return load(port, group, path, seconds)


def candidates(server: str) -> Iterator[tuple[str, str, str]]:
    for name, app in HELLO.items():
        if name == "bare hello" or server not in ON_TRIO:
            yield name, app, "/"
    yield "set event", "triopoll:app", POLL


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare ASGI servers.")
    parser.add_argument("--slock", metavar="HOST:PORT", help="use this slock server")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with slock_server(options.slock) as address:
        for server in SERVERS:
            if importlib.util.find_spec(SERVERS[server][0]) is not None:
                compare(server, address, options.seconds, options.rounds)


@contextmanager
def slock_server(address: str | None) -> Iterator[str]:
    if address is not None:
        yield address
        return
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port = int(sock.getsockname()[1])
    command = ["trioslock", "serve", "--host", HOST, "--port", str(port)]
    process = subprocess.Popen([sys.executable, "-m", *command])
    try:
        while True:
            try:
                socket.create_connection((HOST, port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"{HOST}:{port}"
    finally:
        process.terminate()
        process.wait()


def compare(server: str, address: str, seconds: float, rounds: int) -> None:
    taken: dict[str, list[Figures]] = {}
    for _ in range(rounds):
        trio.run(keep_set, address, 120.0)
        for name, app, path in candidates(server):
            figures = measure(server, app, path, f"slock://{address}", seconds)
            taken.setdefault(name, []).append(figures)
    print(f"{server:<19}{'requests/s':>12}{'ratio':>7}{'CPU':>9}")
    baseline = statistics.median(each.rate for each in taken["bare hello"])
    for name, figures_of in taken.items():
        rate = statistics.median(each.rate for each in figures_of)
        cpu = statistics.median(each.cpu for each in figures_of)
        print(f"  {name:<17}{rate:>10,.0f}/s{rate / baseline:>7.2f}", end="")
        print(f"{1e6 * cpu:>6.0f} us", flush=True)


if __name__ == "__main__":
    main()
