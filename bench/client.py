"""Compare the client with PyPI's pyslock on one server, in one run.

    python bench/client.py --slock HOST:PORT [--seconds 3] [--tasks 1,64,512]

Each task takes and releases a lock on its own key in a loop, over one connection; a
command is one LOCK or one UNLOCK. The baselines are pyslock's asyncio client doing the
same, and, for the round trip of one task, a bare trio socket: once against an echo
server in another process, once with the same prepacked commands against the same
server. The second is the lower bound for any client, since it includes the server's
time.

"calls" means ``acquire()`` and ``release()``, without a body that a loss would cancel.
After each rate follows the CPU time of this process for a pair of LOCK and UNLOCK; it
is more reliable than the rate when the machine has other work.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import socket
import time
import types
from collections.abc import Awaitable, Callable

import trio

from trioslock import Client, open_client
from trioslock.protocol import LockCommand, encode_lock

Rate = tuple[float, float]
"""Commands a second; microseconds of this process's processor for a pair."""


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


def measure_trioslock(address: str, tasks: int, seconds: float, work: Work) -> Rate:
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
            return rate, used / count[0] * 2e6

    return trio.run(main)


def measure_pyslock(address: str, tasks: int, seconds: float) -> float:
    """Return commands per second of pyslock's asyncio client."""
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

    return asyncio.run(main())


def measure_bare(address: str, seconds: float) -> float:
    """Return commands per second of a bare trio socket."""
    host, _, port = address.rpartition(":")
    key = os.urandom(16)
    frames = [
        encode_lock(LockCommand(kind, key, 0, 0, key, key, 10, 0, 10, 0, 0, 0))
        for kind in (1, 2)
    ]

    async def main() -> float:
        with trio.socket.socket() as sock:
            await sock.connect((host, int(port)))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            count = 0
            started_at = time.perf_counter()
            while time.perf_counter() < started_at + seconds:
                for frame in frames:
                    await sock.send(frame)
                    await sock.recv(64)
                    count += 1
            return count / (time.perf_counter() - started_at)

    return trio.run(main)


def measure_echo(seconds: float) -> float:
    """Return round trips per second of a bare trio socket with 64 bytes."""
    listener = socket.create_server(("127.0.0.1", 0))
    process = multiprocessing.get_context("fork").Process(
        target=_echo, args=(listener,), daemon=True
    )
    process.start()
    port = listener.getsockname()[1]
    listener.close()

    async def main() -> float:
        with trio.socket.socket() as sock:
            await sock.connect(("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            count = 0
            started_at = time.perf_counter()
            while time.perf_counter() < started_at + seconds:
                await sock.send(bytes(64))
                await sock.recv(64)
                count += 1
            return count / (time.perf_counter() - started_at)

    try:
        return trio.run(main)
    finally:
        process.terminate()
        process.join()


def _echo(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(65_536):
        connection.sendall(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--slock", required=True, metavar="HOST:PORT")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--tasks", default="1,64,512")
    args = parser.parse_args()
    print(f"{'tasks':>6} {'async with':>22} {'calls':>22} {'pyslock':>12} {'ratio':>7}")
    for tasks in map(int, args.tasks.split(",")):
        ours, body_cost = measure_trioslock(args.slock, tasks, args.seconds, _body)
        calls, calls_cost = measure_trioslock(args.slock, tasks, args.seconds, _calls)
        theirs = measure_pyslock(args.slock, tasks, args.seconds)
        print(
            f"{tasks:>6} {ours:>10.0f}/s {body_cost:>6.1f} us "
            f"{calls:>10.0f}/s {calls_cost:>6.1f} us {theirs:>10.0f}/s "
            f"{ours / theirs:>6.2f}x",
            flush=True,
        )
        if tasks == 1:
            bare = measure_bare(args.slock, args.seconds)
            echo = measure_echo(args.seconds)
            print(
                f"       one round trip: {1e6 / ours:.0f} us in async with, "
                f"{1e6 / calls:.0f} us in calls; bare trio socket {1e6 / bare:.0f} us "
                f"({bare / ours:.2f}x, {bare / calls:.2f}x), "
                f"its echo {1e6 / echo:.0f} us ({echo / ours:.2f}x)",
                flush=True,
            )


if __name__ == "__main__":
    main()
