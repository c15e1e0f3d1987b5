"""Measure the engine: time per command, memory per holder and waiter, a long queue.

Run ``python bench/engine.py``. The baseline of the same run is the minimal work of any
engine of this kind: make a result and a reply for each command, put a key into a dict
and remove it again. Figures of a shared machine vary; the ratio varies less.

The last table measures the server, with one pipelining client over TCP in each
protocol: ``--slock HOST:PORT`` adds a real server (see ``bench/server.py``).
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable

import server

from trioslock.engine import Engine, Reply
from trioslock.protocol import LockCommand, LockResult

ROUNDS = 5
KEY = b"k" * 16


def make_lock(number: int, **fields: int) -> LockCommand:
    name = number.to_bytes(16, "big")
    command = LockCommand(1, name, 0, 0, name, KEY, 0, 0, 9, 0, 0, 0)
    return command._replace(**fields)


def make_pairs(count: int) -> list[LockCommand]:
    """Return alternating LOCK and UNLOCK commands, each pair with its own lock id."""
    locks = [make_lock(number) for number in range(count // 2)]
    return [each for lock in locks for each in (lock, lock._replace(type=2))]


def best_seconds(run: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    return best


def run_baseline(commands: list[LockCommand]) -> None:
    keys: dict[bytes, LockCommand] = {}
    for command in commands:
        if command.type == 1:
            keys[command.key] = command
        else:
            del keys[command.key]
        replies = [
            Reply(
                1,
                LockResult(
                    command.type,
                    command.request_id,
                    0,
                    0,
                    command.db,
                    command.lock_id,
                    command.key,
                    0,
                    command.max_count,
                    0,
                    command.rcount,
                ),
            )
        ]
        assert replies


def run_engine(commands: list[LockCommand]) -> None:
    engine = Engine()
    peer = engine.add_peer(0.0)
    for command in commands:
        engine.submit(peer, command, 1.0)


def bench_commands(count: int) -> None:
    commands = make_pairs(count)
    baseline = best_seconds(lambda: run_baseline(commands)) / count
    engine = best_seconds(lambda: run_engine(commands)) / count
    print(f"LOCK and UNLOCK, uncontended, {count:,} commands, best of {ROUNDS}")
    print(f"  baseline {baseline * 1e6:6.2f} us per command")
    print(
        f"  engine   {engine * 1e6:6.2f} us per command, {1 / engine:9,.0f} per s, "
        f"{engine / baseline:.1f} times the baseline"
    )


def bench_release(count: int) -> None:
    waits = [make_lock(number, timeout=60, expiry=0) for number in range(count)]

    def fill() -> tuple[Engine, int]:
        engine = Engine()
        peer = engine.add_peer(0.0)
        engine.submit(peer, make_lock(count), 1.0)
        for wait in waits:
            engine.submit(peer, wait, 1.0)
        return engine, peer

    seconds = []
    for _ in range(ROUNDS):
        engine, peer = fill()
        begin = time.perf_counter()
        replies = engine.submit(peer, make_lock(count, type=2), 1.0)
        seconds.append(time.perf_counter() - begin)
        assert len(replies) == count + 1
    begin = time.perf_counter()
    engine, peer = fill()
    filled = time.perf_counter() - begin
    begin = time.perf_counter()
    for number in range(count):
        engine.submit(peer, make_lock(number, type=2, flag=2), 1.0)
    cancelled = time.perf_counter() - begin
    assert engine.statistics().waiters == 0
    print(f"{count:,} waiters on one key")
    print(f"  queued    {filled:6.3f} s, {filled / count * 1e6:.2f} us per waiter")
    print(f"  released  {min(seconds):6.3f} s by one UNLOCK")
    print(
        f"  cancelled {cancelled:6.3f} s, {cancelled / count * 1e6:.2f} us per waiter"
    )


def bench_memory(count: int) -> None:
    kinds: dict[str, Callable[[int], LockCommand]] = {
        "a command alone": make_lock,
        "a waiter": lambda number: make_lock(number, timeout=60),
        "a holder of a shared key": lambda number: make_lock(number, max_count=0xFFFF),
        "a holder of a key of its own": lambda number: make_lock(number)._replace(
            key=number.to_bytes(16, "little")
        ),
    }
    print(f"bytes per item, {count:,} items, request and its ids included")
    for name, make in kinds.items():
        engine = Engine()
        peer = engine.add_peer(0.0)
        if name == "a waiter":
            engine.submit(peer, make_lock(count), 1.0)
        kept = []
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            if name == "a command alone":
                kept.append(make(number))
            else:
                engine.submit(peer, make(number), 1.0)
        size = (tracemalloc.get_traced_memory()[0] - before) / count
        tracemalloc.stop()
        print(f"  {name:30} {size:6.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=200_000)
    parser.add_argument("--waiters", type=int, default=100_000)
    parser.add_argument(
        "--slock", metavar="HOST:PORT", help="also measure this real server"
    )
    options = parser.parse_args()
    bench_commands(options.commands)
    bench_release(options.waiters)
    bench_memory(20_000)
    server.compare(options.slock, options.commands)


if __name__ == "__main__":
    main()
