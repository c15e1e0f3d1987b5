"""Cause faults while messages are published and read, and count what is lost.

    python bench/chaos.py [--messages 10000] [--clients 200] [--seed 1]
        [--faults deploy=3 redis-killed=5 ...] [--keep N] [--slock-binary PATH]

The programs are: a Redis that writes each command to its append-only file before it
answers, its replica, and two Sentinels; a slock server that stores held locks (the
embedded one, or the real one if its
path is given); two servers, one of them with two workers; and clients. A third each of
the clients are raw long polls, raw websockets, and ``triopoll.client`` behind
balancers, one of which cuts polls so that the client falls back to websockets. Each key
has one publisher and 10 readers.

While messages are published, the bench at random times kills and redeploys workers and
whole servers, cuts connections to Redis, kills and restarts Redis and slock or freezes
them for some seconds, lets the Sentinels fail over, starts Redis from an older file,
lets it run out of disk or memory, takes rights from its user, and lets all clients
disconnect at random points. At the end each reader must have received all messages of
its key in order. The exit status is 0 only if no message was lost, out of order, or
skipped without a reported gap, no message had two ids, and no program exited by itself.

With ``--keep 30``, messages are trimmed before all readers have read them; gaps must
then report exactly the messages that are gone. After a failover or a start from an
older file Redis may lack messages that it had answered: gaps must report these, and
every reader must have received each message that Redis has at the end. What an old
primary took after the failover is reported by a later gap. A message whose
publisher had no answer may then be stored a second time, under another id.
The seed determines the plans; their effects vary a little between runs, as the timing
does.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

import trio
from chaos_clients import (
    Balancer,
    Exchange,
    LibraryReader,
    Plan,
    PollReader,
    Publisher,
    Reader,
    WebSocketReader,
    kept_numbers,
)
from chaos_faults import Programs
from chaos_programs import folder_of
from chaos_tally import Tally, print_counts

READERS_A_KEY = 10
# Seconds after which the second balancer cuts a poll that waits.
CUT_AFTER = 0.7
FAULTS = (
    "worker-killed",
    "server-killed",
    "deploy",
    "redis-cut",
    "redis-killed",
    "slock-killed",
    "redis-frozen",
    "slock-frozen",
    "failover",
    "tail-lost",
    "disk-full",
    "memory-full",
    "rights-changed",
)
# After these Redis lacks messages, which gaps then report.
LOSSES = ("failover", "tail-lost")


class Run:
    """One run: programs, faults, publishers, readers, and the counts."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.tally = Tally()
        self._rng = random.Random(options.seed)
        self._seconds: float = options.seconds
        self._limit: float = options.limit
        self._faults: dict[str, int] = options.faults
        self._trims = options.keep is not None
        self._loses = any(self._faults.get(fault) for fault in LOSSES)
        # The messages of each key that Redis has at the end.
        self._kept: dict[str, set[int]] = {}
        self.programs = Programs(
            folder, options.slock_binary, options.keep or 10**6, self._rng, self.tally
        )
        self._plan = Plan(self.programs.servers, self.tally, options.seed)
        count = -(-options.clients // READERS_A_KEY)
        self._totals = {
            f"chaos-{n}": options.messages // count + (n < options.messages % count)
            for n in range(count)
        }
        self._clients: int = options.clients
        self.readers: list[Reader] = []

    async def run(self) -> None:
        """Run everything; takes no longer than the limit."""
        async with trio.open_nursery() as nursery:
            for program in self.programs.all:
                await nursery.start(program.run)
            await self.programs.redis.connect()
            through = [
                await nursery.start(Balancer(self._plan, f"{cut}", cut).run)
                for cut in (float("inf"), CUT_AFTER)
            ]
            self._make_readers(through)
            with trio.move_on_after(self._limit):
                await self._act()
                await self._look_at_the_end()
            nursery.cancel_scope.cancel()
        for reader in self.readers:
            reader.progress.finish(self._kept.get(reader.progress.key, set()))
        if not (self._trims or self._loses):
            self.tally.lost += self.tally.gone

    async def _act(self) -> None:
        async with trio.open_nursery() as nursery:
            for reader in self.readers[::2]:
                nursery.start_soon(reader.begin_with_news)
        async with trio.open_nursery() as nursery:
            for key, total in self._totals.items():
                publisher = Publisher(self._plan, key, total, self._seconds)
                nursery.start_soon(publisher.run)
            for reader in self.readers:
                nursery.start_soon(reader.run)
            async with trio.open_nursery() as faults:
                for fault, times in self._faults.items():
                    for _ in range(times):
                        faults.start_soon(self._break_in_time, fault)
            self._plan.is_calm.set()

    async def _look_at_the_end(self) -> None:
        if self._trims:
            return
        exchange = Exchange(replace(self._plan, leaving=0.0), self._rng)
        for key in self._totals:
            self._kept[key] = await kept_numbers(exchange, key)

    async def _break_in_time(self, fault: str) -> None:
        await trio.sleep(self._rng.uniform(0.0, self._seconds))
        await self.programs.break_something(fault)

    def _make_readers(self, through: list[int]) -> None:
        keys = list(self._totals)
        for n in range(self._clients):
            key = keys[n % len(keys)]
            args = (self._plan, f"reader {n}", key, self._totals[key])
            # Each key has readers of each kind.
            match n // len(keys) % 3:
                case 0:
                    reader: Reader = PollReader(*args)
                case 1:
                    reader = WebSocketReader(*args)
                case _:
                    reader = LibraryReader(*args, through)
            self.readers.append(reader)


def report(run: Run, took: float) -> bool:
    """Print the counts; return whether all required counts are 0."""
    tally = run.tally
    complete = sum(reader.progress.is_complete for reader in run.readers)
    print(f"{complete} of {len(run.readers)} readers received everything")
    print_counts("must be 0", tally.failures)
    print_counts("allowed", tally.allowed)
    print_counts("faults", tally.faults)
    print_counts("servers that were asked to stop", tally.deploys)
    print_counts("clients disconnected", tally.closes)
    print_counts("messages received by", tally.arrived)
    print_counts("publishing", tally.published)
    for death in tally.deaths:
        print(death)
    print(f"{took:.1f} s")
    return not (any(tally.failures.values()) or tally.deaths)


def _fault_counts(words: list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        name, _, times = word.partition("=")
        if name not in FAULTS or not (times or "1").isdecimal():
            raise SystemExit(f"{word!r} is not NAME=TIMES of {', '.join(FAULTS)}")
        counts[name] = int(times or 1)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Cause faults, and count lost messages."
    )
    add = parser.add_argument
    add("--messages", type=int, default=10_000)
    add("--clients", type=int, default=200)
    add("--seed", type=int, default=1)
    add(
        "--seconds",
        type=float,
        default=60.0,
        help="duration of publishing and of faults",
    )
    add(
        "--limit",
        type=float,
        default=240.0,
        help="seconds within which all messages must be read",
    )
    add(
        "--faults",
        nargs="*",
        metavar="NAME=TIMES",
        default=[f"{fault}=4" for fault in FAULTS],
        help=", ".join(FAULTS),
    )
    add("--keep", type=int, help="number of messages kept for each key; default: all")
    add(
        "--slock-binary", metavar="PATH", default="", help="path of a real slock server"
    )
    add("--logs", type=Path, help="directory for the data and the logs")
    options = parser.parse_args()
    default = [f"{fault}=4" for fault in FAULTS]
    options.faults = _fault_counts(
        default if options.faults is None else options.faults
    )
    with folder_of(options.logs) as folder:
        run = Run(options, folder)
        started = time.monotonic()
        trio.run(run.run)
        is_well = report(run, time.monotonic() - started)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
