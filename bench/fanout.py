"""Measure other requests while many polls of one event are answered.

    python bench/fanout.py --slock HOST:PORT [--messages] [--waiters 5000] [--rounds 5]

One ``triopoll serve`` on a slock server. Many polls wait for one event; or, with
``--messages``, for a message by ``/v1/messages``. From the moment when it is set or
published until the last of them is answered, single polls, each parked on its own
key, are woken one by one, and ``/livez`` is requested. The baseline is the same without
the fan-out, in the same run. A separate process holds the many polls.

- *single wake*: from sending the set of its event until the answer is received.
- *health*: ``GET /livez``, on its own connection.
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
from typing import TypeAlias

from openresty import park, set_event, triopoll
from peers import publish_by_v1
from poll import HOST, request

Step: TypeAlias = Callable[[], None]

SINGLE_POLLS = 500
PAUSE = 0.002


class SinglePolls:
    """Single parked polls, each on its own key, and the publisher that wakes them."""

    def __init__(self, stack: ExitStack, port: int, slock: tuple[str, int]) -> None:
        self._port = port
        self._health = stack.enter_context(socket.create_connection((HOST, port), 30))
        self._slock = stack.enter_context(socket.create_connection(slock, 30))
        self._parked: list[tuple[str, socket.socket]] = []

    def park(self, count: int) -> None:
        for number in range(count):
            key = f"single-{time.time_ns()}-{number}"
            sock = socket.create_connection((HOST, self._port), 30)
            sock.sendall(request(f"/poll/event?event={key}&timeout=120"))
            self._parked.append((key, sock))
        time.sleep(0.5 + count / 1000)

    def leave(self) -> None:
        for _, sock in self._parked:
            sock.close()
        self._parked.clear()

    def wake(self) -> float:
        """Wake one of them; return the seconds until its answer."""
        key, sock = self._parked.pop()
        started_at = time.perf_counter()
        words = f"lock {key} lock_id {key} flag 2 timeout 5 expried 5 count 2".split()
        data = b"".join(b"$%d\r\n%b\r\n" % (len(w), w.encode()) for w in words)
        self._slock.sendall(b"*%d\r\n%b" % (len(words), data))
        with sock:
            answer = sock.recv(4096)
        if b'"err_code":0' not in answer:
            raise SystemExit(f"the single poll was answered {answer!r}")
        took = time.perf_counter() - started_at
        self._slock.recv(4096)
        return took

    def health(self) -> float:
        started_at = time.perf_counter()
        self._health.sendall(request("/livez"))
        if not self._health.recv(4096).startswith(b"HTTP/1.1 200"):
            raise SystemExit("/livez did not answer 200")
        return time.perf_counter() - started_at


def read_waiters(
    port: int, target: str, answered: bytes, count: int, pipe: Connection
) -> None:
    """Park the waiters, report it, read their answers, report it."""
    with ExitStack() as stack:
        waiting = {sock.fileno(): sock for sock in park(stack, port, target, count)}
        readable = stack.enter_context(select.epoll())
        for descriptor in waiting:
            readable.register(descriptor, select.EPOLLIN)
        pipe.send("parked")
        while waiting:
            for descriptor, _ in readable.poll(60):
                if answered in waiting[descriptor].recv(4096):
                    readable.unregister(descriptor)
                    del waiting[descriptor]
        pipe.send("answered")
        pipe.recv()  # keep the connections open: mass disconnects are not measured


def during_fan_out(
    port: int, slock: tuple[str, int], options: argparse.Namespace, step: Step
) -> float:
    """Wake the waiters, call `step` until all are answered; return the seconds."""
    ours, theirs = multiprocessing.Pipe()
    key = f"waiters-{time.time_ns()}"
    target, answered = f"/poll/event?event={key}&timeout=120", b'"err_code":0'
    if options.messages:
        target, answered = f"/v1/messages?key={key}&cursor=new&timeout=55", b"hello"
    args = port, target, answered, options.waiters, theirs
    reader = multiprocessing.Process(target=read_waiters, args=args)
    reader.start()
    try:
        ours.recv()
        started_at = time.perf_counter()
        if options.messages:
            publish_by_v1(port, key)
        else:
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
    parser = argparse.ArgumentParser(description="Measure requests during a fan-out.")
    parser.add_argument("--slock", metavar="HOST:PORT", required=True)
    parser.add_argument("--messages", action="store_true")
    parser.add_argument("--waiters", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    host, number = options.slock.rsplit(":", 1)
    slock = (host, int(number))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as stack:
        port, _ = stack.enter_context(triopoll(slock))
        singles = SinglePolls(stack, port, slock)
        singles.park(SINGLE_POLLS)
        calm = [singles.wake() for _ in range(SINGLE_POLLS)]
        calm_health = [singles.health() for _ in range(SINGLE_POLLS)]
        wakes: list[float] = []
        healths: list[float] = []

        def step() -> None:
            wakes.append(singles.wake())
            time.sleep(PAUSE)
            healths.append(singles.health())

        fan_outs: list[float] = []
        for _ in range(options.rounds):
            singles.park(SINGLE_POLLS)
            fan_outs.append(during_fan_out(port, slock, options, step))
            singles.leave()
    print(f"{'':<28}{'p50':>8}{'p99':>8}   {'ratio':>8}{'samples':>8}")
    show("single wake, idle", calm, calm)
    show("single wake, during fan-out", wakes, calm)
    show("health, idle", calm_health, calm_health)
    show("health, during fan-out", healths, calm_health)
    print(
        f"{options.waiters:,} waiters answered in "
        f"{statistics.median(fan_outs) * 1000:.0f} ms"
    )


if __name__ == "__main__":
    main()
