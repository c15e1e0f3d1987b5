"""Measure what a bystander feels while other clients attack the service.

    python bench/hostile.py [--seconds 5] [--only NAME ...]

One ``triopoll serve`` for each attack, with the embedded engine and messages in memory.
A bystander requests ``/v1/messages?timeout=0`` on a connection of its own, every 10 ms:
at first alone (the baseline), then for as long while the attack is running. The attack
runs in a process of its own, bounded in time and connections, with a low priority, so
that it takes the service's time and not the bystander's core. The control is a process
that only computes: what it changes is the machine's, not the service's.

All of it comes from loopback, where no limit by address holds: an attacker elsewhere is
limited further.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import multiprocessing
import os
import random
import resource
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

HOST = "127.0.0.1"
PAUSE = 0.01
PAGE_BYTES = 200_000
Tally = Counter[str]
Attack = Callable[[int, float], Tally]


# --- the service ----------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Service:
    """A ``triopoll serve``; `log` is what it has written."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self.port = port
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def memory(self, field: str) -> float:
        """Return VmRSS (now) or VmHWM (the highest) in MB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (each for each in text.splitlines() if each.startswith(field))
        return int(line.split()[1]) / 1024


@contextmanager
def triopoll(descriptors: int = 0) -> Iterator[Service]:
    """Start a service, with a limit of descriptors if one is given."""
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "log"
        with log.open("wb") as file:
            command = [sys.executable, "-m", "triopoll", "serve"]
            if descriptors:
                command = ["prlimit", f"--nofile={descriptors}", *command]
            process = subprocess.Popen(
                [*command, "--bind", f"{HOST}:{port}"],
                env={**os.environ, "TRIOPOLL_SLOCK_URL": f"embedded://{HOST}:0"},
                stderr=file,
            )
        service = Service(port, process, log)
        try:
            wait_until_up(service)
            yield service
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def wait_until_up(service: Service) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, service.port), 1).close()
            return
        if service.process.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f"the service has not started:\n{service.log}")


def publish(port: int, key: str, data: bytes) -> None:
    body = b'{"key":"%b","data":"%b"}' % (key.encode(), data)
    request = urllib.request.Request(f"http://{HOST}:{port}/v1/publish", body)
    urllib.request.urlopen(request, timeout=10).close()


# --- the bystander --------------------------------------------------------------------


def get(path: str, host: str = HOST) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


class Bystander:
    """A client with one connection, which it opens again when it is cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = self._connect()
        self.failures = 0

    def _connect(self) -> socket.socket:
        return socket.create_connection((HOST, self._port), 30)

    def close(self) -> None:
        self._socket.close()

    def ask(self) -> float:
        """Return the seconds of one request."""
        started_at = time.perf_counter()
        try:
            self._socket.sendall(get("/v1/messages?key=bystander&timeout=0"))
            answer = self._socket.recv(65536)
        except OSError:
            answer = b""
        if not answer.startswith(b"HTTP/1.1 200"):
            self.failures += 1
            self._socket.close()
            with contextlib.suppress(OSError):
                self._socket = self._connect()
        return time.perf_counter() - started_at

    def watch(self, seconds: float, until: Callable[[], bool]) -> list[float]:
        """Ask again and again for some time, at least until the condition holds."""
        took: list[float] = []
        ends_at = time.perf_counter() + seconds
        while time.perf_counter() < ends_at or not until():
            took.append(self.ask())
            time.sleep(PAUSE)
        return took


# --- attacks --------------------------------------------------------------------------


def connections(stack: ExitStack, port: int, count: int) -> list[socket.socket]:
    opened: list[socket.socket] = []
    for _ in range(count):
        sock = stack.enter_context(socket.create_connection((HOST, port), 10))
        sock.setblocking(False)
        opened.append(sock)
    return opened


def pump(
    sockets: Sequence[socket.socket], data: Callable[[], bytes], seconds: float
) -> Tally:
    """Write without end to all connections, and read what comes."""
    tally: Tally = Counter(connections=len(sockets))
    waiting = {sock.fileno(): (sock, memoryview(b"")) for sock in sockets}
    events = select.epoll()
    for descriptor in waiting:
        events.register(descriptor, select.EPOLLIN | select.EPOLLOUT)
    ends_at = time.perf_counter() + seconds
    while waiting and time.perf_counter() < ends_at:
        for descriptor, ready in events.poll(0.1):
            sock, rest = waiting[descriptor]
            try:
                if ready & select.EPOLLIN:
                    answer = sock.recv(262144)
                    if not answer:
                        raise ConnectionResetError
                    tally["answers"] += answer.count(b"HTTP/1.1 ")
                    tally["refused with 403"] += answer.count(b"HTTP/1.1 403")
                    tally["answered 200"] += answer.count(b"HTTP/1.1 200")
                if ready & select.EPOLLOUT:
                    rest = rest or memoryview(data())
                    waiting[descriptor] = (sock, rest[sock.send(rest) :])
            except BlockingIOError:
                pass
            except OSError:
                tally["cut"] += 1
                events.unregister(descriptor)
                del waiting[descriptor]
    return +tally


def pipelined(port: int, seconds: float) -> Tally:
    """60 connections send requests without waiting for the answers."""
    with ExitStack() as stack:
        batch = get("/poll/event?event=a&timeout=0") * 100
        return pump(connections(stack, port, 60), lambda: batch, seconds)


def fragments(port: int, seconds: float) -> Tally:
    """60 websockets send a message in empty fragments without an end."""
    with ExitStack() as stack:
        sockets = [upgraded(stack, port) for _ in range(60)]
        text = b"\x01\x80\0\0\0\0"
        for sock in sockets:
            sock.sendall(text)
            sock.setblocking(False)
        return pump(sockets, lambda: b"\x00\x80\0\0\0\0" * 1000, seconds)


def upgraded(stack: ExitStack, port: int) -> socket.socket:
    sock = stack.enter_context(socket.create_connection((HOST, port), 10))
    key = base64.b64encode(random.randbytes(16)).decode()
    sock.sendall(
        f"GET /v1/ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    if not sock.recv(4096).startswith(b"HTTP/1.1 101"):
        raise SystemExit("the websocket was refused")
    return sock


def slow_readers(port: int, seconds: float) -> Tally:
    """600 connections request a page of 1 MB each, and read nothing."""
    for _ in range(6):
        publish(port, "large", b"x" * PAGE_BYTES)
    with ExitStack() as stack:
        sockets = connections(stack, port, 600)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.send(get("/v1/messages?key=large&cursor=all&timeout=0"))
        time.sleep(seconds)
        return Counter(connections=len(sockets), cut=sum(map(is_cut, sockets)))


def is_cut(sock: socket.socket) -> bool:
    """Return whether the other side has ended a connection, unread data or not."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))


def reset_keys(port: int, seconds: float) -> Tally:
    """20 connections name a new key in each poll, which resets it."""
    numbers = iter(range(10**9))

    def batch() -> bytes:
        query = "default_type=set&wait_type=reset&timeout=0"
        keys = (next(numbers) for _ in range(20))
        return b"".join(get(f"/poll/event?event=r{key}&{query}") for key in keys)

    with ExitStack() as stack:
        return pump(connections(stack, port, 20), batch, seconds)


def malformed(port: int, seconds: float) -> Tally:
    """Heads that are none, on a new connection each."""
    heads = [
        b"GET / RTSP/1.0\r\n\r\n",
        b"GET /v1/messages HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        (
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"ffffffffffffffff\r\n"
        ),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"\0" * 17000,
    ]
    tally: Tally = Counter()
    ends_at = time.perf_counter() + seconds
    while time.perf_counter() < ends_at:
        for head in heads:
            with contextlib.suppress(OSError):
                with socket.create_connection((HOST, port), 5) as sock:
                    sock.sendall(head)
                    status = sock.recv(4096)[9:12].decode("latin-1") or "cut"
                    tally[f"answered {status}"] += 1
    return tally


def slow_heads(port: int, seconds: float) -> Tally:
    """600 connections send their head byte by byte."""
    with ExitStack() as stack:
        sockets = connections(stack, port, 600)
        tally: Tally = Counter(connections=len(sockets))
        ends_at = time.perf_counter() + seconds
        for byte in get("/v1/messages?key=a&timeout=0" + "&" * 2000):
            for sock in sockets:
                with contextlib.suppress(OSError):
                    tally["bytes"] += sock.send(bytes([byte]))
            time.sleep(0.05)
            if time.perf_counter() > ends_at:
                break
        tally["cut"] = sum(map(is_cut, sockets))
        return tally


def wrong_hosts(port: int, seconds: float) -> Tally:
    """20 connections of a page whose name was rebound read all that can be read."""
    paths = ("/v1/messages?key=a&timeout=0", "/metrics", "/openapi.json")
    batch = b"".join(get(path, "evil.example") for path in paths) * 10
    with ExitStack() as stack:
        return pump(connections(stack, port, 20), lambda: batch, seconds)


def descriptors(port: int, seconds: float) -> Tally:
    """More connections than the process has descriptors for."""
    with ExitStack() as stack:
        sockets = connections(stack, port, 300)
        time.sleep(seconds)
        return Counter(connections=len(sockets), cut=sum(map(is_cut, sockets)))


def computing(port: int, seconds: float) -> Tally:
    """The control: a process that leaves the service alone."""
    ends_at = time.perf_counter() + seconds
    rounds = 0
    while time.perf_counter() < ends_at:
        rounds += sum(range(10_000)) > 0
    return Counter(rounds=rounds)


ATTACKS: dict[str, Attack] = {
    "computing (control)": computing,
    "pipelined requests": pipelined,
    "empty fragments": fragments,
    "slow readers": slow_readers,
    "reset keys": reset_keys,
    "malformed heads": malformed,
    "slow heads": slow_heads,
    "wrong hosts": wrong_hosts,
    "descriptors": descriptors,
}
# Descriptors that the service has in the attack on them.
FEW = 200


# --- measuring ------------------------------------------------------------------------


def run_attack(attack: Attack, port: int, seconds: float, pipe: Connection) -> None:
    os.nice(10)
    pipe.send(attack(port, seconds))


def measure(name: str, attack: Attack, seconds: float) -> None:
    with triopoll(FEW if attack is descriptors else 0) as service:
        bystander = Bystander(service.port)
        bystander.watch(0.5, lambda: True)  # its connection, caches, the interpreter
        calm = bystander.watch(seconds, lambda: True)
        before = service.memory("VmRSS")
        lines = service.log.count("\n")
        ours, theirs = multiprocessing.Pipe()
        attacker = multiprocessing.Process(
            target=run_attack, args=(attack, service.port, seconds, theirs)
        )
        attacker.start()
        tense = bystander.watch(seconds, lambda: ours.poll() or not attacker.is_alive())
        tally: Tally = ours.recv() if ours.poll() else Counter(failed=1)
        attacker.join()
        time.sleep(1)
        bystander.ask()
        memory = [before, service.memory("VmHWM"), service.memory("VmRSS")]
        show(name, calm, tense, memory)
        lines = service.log.count("\n") - lines
        notes = ", ".join(f"{count:,} {what}" for what, count in sorted(tally.items()))
        print(f"    {notes}; {lines} log lines", end="")
        print(f"; bystander failed {bystander.failures} times")
        bystander.close()


def show(
    name: str, calm: Sequence[float], tense: Sequence[float], memory: Sequence[float]
) -> None:
    figures = [*pair(calm), *pair(tense)]
    print(
        f"{name:<22}"
        + "".join(f"{1000 * figure:>8.1f}" for figure in figures)
        + "".join(f"{figure:>8.0f}" for figure in memory)
    )


def pair(seconds: Sequence[float]) -> tuple[float, float]:
    return statistics.median(seconds), statistics.quantiles(seconds, n=100)[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a bystander of attacks.")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(ATTACKS))
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"{'':<22}{'before, ms':>16}{'during, ms':>16}{'memory, MB':>24}")
    heads = ("median", "p99") * 2 + ("before", "peak", "after")
    print(f"{'attack':<22}" + "".join(f"{head:>8}" for head in heads))
    for name in options.only:
        measure(name, ATTACKS[name], options.seconds)


if __name__ == "__main__":
    main()
