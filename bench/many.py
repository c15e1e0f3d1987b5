"""Run the deployment of "From one machine to many", kill one of each, count losses.

    python bench/many.py [--slock-binary PATH] [--readers 48] [--rounds 1] [--seed 1]

The programs are those of the page, with the configuration that stands there, on ports
of this machine: three slock servers as a replica set, three Redis servers and three
Sentinels, two nodes of two workers, and nginx with the sample of `deploy/proxies`.
Without ``--slock-binary`` there is one slock server, the one of trioslock, since that
cannot be a member of a replica set.

Readers follow keys through nginx by long polls, websockets, server-sent events and
``triopoll.client``; publishers send messages with ids, and repeat each request until
it is answered. Meanwhile a program of each kind is killed. After each kill, every
reader must receive a message that was sent after it, before the program is started
again, and once more after that.

The table has the longest time of each client during each fault, from the first request
that publishes a message to its answer, and until a reader has received it: the median
of all clients, and the largest. The row ``nothing`` is the baseline. The exit status is
0 only if no message was lost, out of order, or skipped without a reported gap, none was
received twice except after a gap that says so, and no program ended by itself.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

import trio
from chaos_clients import Exchange, Plan, kept_numbers
from chaos_programs import folder_of
from chaos_tally import Tally, print_counts
from many_clients import Load
from many_machines import Machines
from many_programs import Programs

# Only a set has them.
OF_A_SET = ("slock-follower",)


class Run:
    """One run: machines, clients, faults, and the counts."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.tally = Tally()
        self._rng = random.Random(options.seed)
        self._limit: float = options.limit
        self._rounds: int = options.rounds
        self._programs = Programs(folder, options.slock_binary, self.tally)
        self.machines = Machines(self._programs, self._rng)
        self._faults: list[str] = options.faults or [
            fault
            for fault in self.machines.faults
            if options.slock_binary or fault not in OF_A_SET
        ]
        headers = f"Authorization: Bearer {self._programs.key}\r\n"
        self._plan = Plan(
            [self._programs.nginx], self.tally, options.seed, 0.0, headers=headers
        )
        self.load = Load(self._plan)
        self.load.make(options.keys, options.readers, options.interval)
        self._kept: dict[str, set[int]] = {}

    async def run(self) -> None:
        """Run everything; takes no longer than the limit."""
        async with trio.open_nursery() as nursery:
            for program in self._programs.data:
                await nursery.start(program.run)
            await self.machines.connect()
            for program in (*self._programs.nodes, self._programs.nginx):
                await nursery.start(program.run)
            with trio.move_on_after(self._limit):
                await self._act()
                await self._look_at_the_end()
            nursery.cancel_scope.cancel()
        self.load.finish(self._kept)

    async def _act(self) -> None:
        async with trio.open_nursery() as nursery:
            for reader in self.load.readers[::2]:
                nursery.start_soon(reader.begin_with_news)
        async with trio.open_nursery() as nursery:
            for client in (*self.load.publishers, *self.load.readers):
                nursery.start_soon(client.run)
            await self.load.is_served()
            for fault in self._faults * self._rounds:
                await self._break(fault)
            await self.machines.is_whole()
            self._plan.is_calm.set()

    async def _break(self, fault: str) -> None:
        # Redis says a loss is possible after each failover, also where there is none.
        self.tally.losses += fault == "redis-primary"
        self.load.begin_window()
        started = time.monotonic()
        async with self.machines.faults[fault]():
            await self.load.is_served()
        await self.load.is_served()
        self.load.end_window(fault)
        self.tally.faults[fault] += 1
        print(f"{fault}: {time.monotonic() - started:.1f} s", file=sys.stderr)

    async def _look_at_the_end(self) -> None:
        exchange = Exchange(self._plan, self._rng)
        for publisher in self.load.publishers:
            key = publisher.readers[0].progress.key
            self._kept[key] = await kept_numbers(exchange, key)


def report(run: Run, took: float) -> bool:
    """Print the figures; return whether all required counts are 0."""
    tally = run.tally
    complete = sum(reader.progress.is_complete for reader in run.load.readers)
    readers = len(run.load.readers)
    print(f"{len(run.load.sent):,} messages, {readers} readers, {took:.0f} s")
    print(f"{complete} of {readers} readers received everything")
    print(f"{'longest time':<16}{'publishing':>18}{'receiving':>18}")
    print(f"{'in seconds':<16}{2 * '   median  largest'}")
    for fault, times in run.load.times.items():
        print(f"{fault:<16}{times}")
    wrong = {
        **tally.failures,
        "received twice without a gap": tally.duplicates - tally.read_again,
        "drained nodes that cut a client": sum(map(bool, run.machines.codes)),
    }
    print_counts("must be 0", wrong)
    print_counts("allowed", tally.allowed)
    print_counts("faults", tally.faults)
    print_counts("messages received by", tally.arrived)
    print_counts("publishing", tally.published)
    for death in tally.deaths:
        print(death)
    return complete == readers and not (any(wrong.values()) or tally.deaths)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Run two nodes with all that they need, and kill one of each."
    )
    add = parser.add_argument
    add("--slock-binary", metavar="PATH", default="", help="a real slock server")
    add("--readers", type=int, default=48)
    add("--keys", type=int, default=6)
    add("--interval", type=float, default=0.2, help="seconds between two publishes")
    add("--rounds", type=int, default=1, help="how often each fault is caused")
    add("--faults", nargs="*", metavar="NAME", help="default: all")
    add("--seed", type=int, default=1)
    add("--limit", type=float, default=240.0, help="seconds for all that is done")
    add("--logs", type=Path, help="directory for the data and the logs")
    options = parser.parse_args()
    with folder_of(options.logs) as folder:
        run = Run(options, folder)
        started = time.monotonic()
        trio.run(run.run)
        is_well = report(run, time.monotonic() - started)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
