"""Wake a lone poll while a crowd is being answered.

    python bench/fanout.py --slock HOST:PORT [--crowd 5000] [--rounds 5]

One ``triopoll serve`` on a slock server. A crowd of polls waits for one event; from the
moment it is set until the last of them is answered, lone polls that are parked, each
on a key of its own, are woken one by one, and health is asked for. The baseline is the
same without a crowd, in the same run. The crowd is in a process of its own.

- *lone wake*: from sending the set of its event to the answer in hand.
- *health*: ``GET /livez``, on a connection of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import select
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection

from poll import HOST, request
from recipe import park, set_event, triopoll

LONE_POLLS = 500
PAUSE = 0.002


class Lone:
    """Polls that are parked, each on its own key, and who sets these one by one."""

    def __init__(self, stack: ExitStack, port: int, slock: tuple[str, int]) -> None:
        self._port = port
        self._health = stack.enter_context(socket.create_connection((HOST, port), 30))
        self._slock = stack.enter_context(socket.create_connection(slock, 30))
        self._parked: list[tuple[str, socket.socket]] = []

    def park(self, count: int) -> None:
        for number in range(count):
            key = f"lone-{time.time_ns()}-{number}"
            sock = socket.create_connection((HOST, self._port), 30)
            sock.sendall(request(f"/poll/event?event={key}&timeout=120"))
            self._parked.append((key, sock))
        time.sleep(0.5 + count / 1000)

    def leave(self) -> None:
        for _, sock in self._parked:
            sock.close()
        self._parked.clear()

    def wake(self) -> float:
        """Have one of them woken; return the seconds that took."""
        key, sock = self._parked.pop()
        started_at = time.perf_counter()
        words = f"lock {key} lock_id {key} flag 2 timeout 5 expried 5 count 2".split()
        data = b"".join(b"$%d\r\n%b\r\n" % (len(w), w.encode()) for w in words)
        self._slock.sendall(b"*%d\r\n%b" % (len(words), data))
        with sock:
            answer = sock.recv(4096)
        if b'"err_code":0' not in answer:
            raise SystemExit(f"the lone poll was answered {answer!r}")
        took = time.perf_counter() - started_at
        self._slock.recv(4096)
        return took

    def health(self) -> float:
        started_at = time.perf_counter()
        self._health.sendall(request("/livez"))
        if not self._health.recv(4096).startswith(b"HTTP/1.1 200"):
            raise SystemExit("the service is not well")
        return time.perf_counter() - started_at


def read_crowd(port: int, key: str, count: int, pipe: Connection) -> None:
    """Park a crowd, say so, read its answers, say so."""
    with ExitStack() as stack:
        waiting = {sock.fileno(): sock for sock in park(stack, port, key, count)}
        readable = stack.enter_context(select.epoll())
        for descriptor in waiting:
            readable.register(descriptor, select.EPOLLIN)
        pipe.send("parked")
        while waiting:
            for descriptor, _ in readable.poll(60):
                if b'"err_code":0' in waiting[descriptor].recv(4096):
                    readable.unregister(descriptor)
                    del waiting[descriptor]
        pipe.send("answered")
        pipe.recv()  # thousands that leave at once are another story


def during_crowd(
    port: int, slock: tuple[str, int], count: int, step: Callable[[], None]
) -> float:
    """Wake a crowd, and step until it is answered; return the seconds that took."""
    ours, theirs = multiprocessing.Pipe()
    key = f"crowd-{time.time_ns()}"
    reader = multiprocessing.Process(target=read_crowd, args=(port, key, count, theirs))
    reader.start()
    try:
        ours.recv()
        started_at = time.perf_counter()
        set_event(slock, key, 30)
        while not ours.poll():
            step()
        return time.perf_counter() - started_at
    finally:
        reader.kill()
        reader.join()


def show(name: str, seconds: Sequence[float], calm: Sequence[float]) -> None:
    middle, high = statistics.median(seconds), statistics.quantiles(seconds, n=100)[-1]
    calm_high = statistics.quantiles(calm, n=100)[-1]
    print(
        f"{name:<28}{middle * 1000:>8.1f}{high * 1000:>8.1f} ms"
        f"{high / calm_high:>8.1f}{len(seconds):>8}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Wake one while many are answered.")
    parser.add_argument("--slock", metavar="HOST:PORT", required=True)
    parser.add_argument("--crowd", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    host, number = options.slock.rsplit(":", 1)
    slock = (host, int(number))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as stack:
        port, _ = stack.enter_context(triopoll(slock))
        lone = Lone(stack, port, slock)
        lone.park(LONE_POLLS)
        calm = [lone.wake() for _ in range(LONE_POLLS)]
        calm_health = [lone.health() for _ in range(LONE_POLLS)]
        wakes: list[float] = []
        healths: list[float] = []

        def step() -> None:
            wakes.append(lone.wake())
            time.sleep(PAUSE)
            healths.append(lone.health())

        crowds: list[float] = []
        for _ in range(options.rounds):
            lone.park(LONE_POLLS)
            crowds.append(during_crowd(port, slock, options.crowd, step))
            lone.leave()
    print(f"{'':<28}{'p50':>8}{'p99':>8}   {'ratio':>8}{'samples':>8}")
    show("lone wake, calm", calm, calm)
    show("lone wake, crowd answered", wakes, calm)
    show("health, calm", calm_health, calm_health)
    show("health, crowd answered", healths, calm_health)
    print(
        f"the crowd of {options.crowd:,} in {statistics.median(crowds) * 1000:.0f} ms"
    )


if __name__ == "__main__":
    main()
