"""Measure how soon a key is free after its holder was killed or frozen.

    python bench/lost_holder.py [--slock HOST:PORT] [--holders 5] [--patience 120]

Each holder is a process that holds a key, with the default lease or with ``lease=30``.
After at least 10.3 s, when its client has sent a PING and renewed its lease, it is
killed or frozen; the holders of a row at different moments of their lease. Another
client waits for the key; its times count from the kill. The server is a process too:
the embedded one with its default limits, or the slock whose address is given.

Behind the forwarder the connection to the server stays open when the holder has gone.
A key that is still held after ``--patience`` seconds is measured again from the moment
at which its connection was closed.
"""

from __future__ import annotations

import argparse
import math
import os
import secrets
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import product

import trio

from trioslock import Client, open_client

HOST = "127.0.0.1"
LEASES = DEFAULT, LEASE = "", "30"
# A client sends a PING after 5 s of silence. It renews the lease of 30 s after 10 s:
# that lease takes longest if its holder is killed right afterwards.
RENEWED = 10.3
# The holders of a row are killed within one term of a session lease.
TERM = 10.0

Address = tuple[str, int]

SERVER = """
    import sys, trio
    from trioslock.server import ServerLimits, open_server

    async def main():
        limits = ServerLimits(silent_seconds=float(sys.argv[1]))
        async with open_server(port=0, limits=limits) as server:
            print(server.port, flush=True)
            await trio.sleep_forever()

    trio.run(main)
"""
# The seconds of a lease are behind the key; without them it is the default one.
HOLDER = """
    import os, subprocess, sys, time, trio, trioslock
    from contextlib import AsyncExitStack

    async def main():
        url, how, session_ttl, heartbeat, *keys = sys.argv[1:]
        times = {"session_ttl": float(session_ttl), "heartbeat": float(heartbeat)}
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            client = await enter(trioslock.open_client(url, **times))
            for key in keys:
                _, _, seconds = key.partition("/")
                lease = float(seconds) if seconds else trioslock.SESSION
                await enter(client.lock(key, lease=lease))
            if how == "fork" and os.fork() == 0:
                time.sleep(600)
                os._exit(0)
            if how == "program":
                subprocess.Popen(["sleep", "600"], close_fds=False)
            print("held", flush=True)
            await trio.sleep_forever()

    trio.run(main)
"""


# --- the programs ---------------------------------------------------------------------


@asynccontextmanager
async def running(program: str, *words: object) -> AsyncGenerator[tuple[str, int]]:
    """Run a program in a session of its own; give its first line and process id.

    On the way out all of the session is killed.
    """
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, words)]
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    try:
        line = b""
        while not line.endswith(b"\n"):
            more = await process.stdout.receive_some()
            assert more, f"{words} has ended"
            line += more
        yield line.decode().strip(), process.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()
        await process.stdout.aclose()


@asynccontextmanager
async def serving(silent_seconds: float = 60.0) -> AsyncGenerator[Address]:
    """Run the embedded server as a process; give its address."""
    async with running(SERVER, silent_seconds) as (port, _):
        yield HOST, int(port)


def url_of(address: Address) -> str:
    return "slock://{}:{}".format(*address)


@dataclass(frozen=True)
class Holder:
    """A process that holds a key for each lease that it was given."""

    pid: int
    keys: tuple[str, ...]

    def kill(self) -> None:
        """Kill the process, and none that it has started."""
        os.kill(self.pid, signal.SIGKILL)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)


@asynccontextmanager
async def holding(
    address: Address,
    *leases: str,
    how: str = "alone",
    session_ttl: float = 10.0,
    heartbeat: float = 5.0,
) -> AsyncGenerator[Holder]:
    """Run a holder.

    Args:
        address: Of its server, or of a forwarder to it.
        leases: Seconds, or "" for the default lease; one key each.
        how: "fork" or "program": it has a forked child, or runs a program.
        session_ttl: Of its client.
        heartbeat: Of its client.
    """
    name = f"lost-{secrets.token_hex(4)}"
    keys = tuple(f"{name}/{lease}".rstrip("/") for lease in leases)
    words = (url_of(address), how, session_ttl, heartbeat, *keys)
    async with running(HOLDER, *words) as (line, pid):
        assert line == "held"
        yield Holder(pid, keys)


@dataclass
class Forwarder:
    """Forward connections, and keep those to the server when the client has gone.

    Attributes:
        address: Where it listens.
        sent: Bytes that clients have sent to the server.
        open: Connections to the server that are open.
    """

    server: Address
    address: Address = (HOST, 0)
    sent: int = 0
    open: int = 0
    _connections: list[trio.CancelScope] = field(default_factory=list[trio.CancelScope])

    def close(self) -> None:
        """Close the connections to the server."""
        for scope in self._connections:
            scope.cancel()

    async def forward(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream(*self.server)
        self.open += 1
        try:
            async with server, client, trio.open_nursery() as nursery:
                self._connections.append(nursery.cancel_scope)
                nursery.start_soon(self._to_server, client, server)
                # Until the server closes: that the client has gone changes nothing.
                async for data in server:
                    with suppress(trio.BrokenResourceError):
                        await client.send_all(data)
                nursery.cancel_scope.cancel()
        finally:
            self.open -= 1

    async def _to_server(
        self, client: trio.SocketStream, server: trio.SocketStream
    ) -> None:
        with suppress(trio.BrokenResourceError):
            async for data in client:
                self.sent += len(data)
                await server.send_all(data)


@asynccontextmanager
async def forwarding(server: Address) -> AsyncGenerator[Forwarder]:
    forwarder = Forwarder(server)
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    forwarder.address = (HOST, listener.socket.getsockname()[1])
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, forwarder.forward, [listener])
        yield forwarder
        nursery.cancel_scope.cancel()


async def seconds_until_free(client: Client, key: str) -> float:
    """Wait for a key; return how long that took."""
    started = trio.current_time()
    async with client.lock(key):
        return trio.current_time() - started


# --- the measurement ------------------------------------------------------------------


@dataclass
class Times:
    """Of the holders of a row that have the same lease.

    Attributes:
        lost: Seconds from the kill; infinite where patience has ended.
        closed: Seconds from the end of the connection, where patience has ended.
    """

    lost: list[float] = field(default_factory=list[float])
    closed: list[float] = field(default_factory=list[float])


@dataclass
class Row:
    """Holders that all end in the same way.

    Attributes:
        text: What happens to them.
        how: Of `holding`.
        frozen: They are frozen, not killed.
        forwarded: They are behind a forwarder.
        also: Leases of further keys that they hold.
        times: By their lease.
    """

    text: str
    how: str = "alone"
    frozen: bool = False
    forwarded: bool = False
    also: tuple[str, ...] = ()
    times: dict[str, Times] = field(
        default_factory=lambda: {lease: Times() for lease in LEASES}
    )

    async def measure(
        self, server: Address, lease: str, after: float, patience: float
    ) -> None:
        """Lose one holder, so many seconds after it has its key."""
        leases = (lease, *self.also)
        async with (
            forwarding(server) as forwarder,
            holding(
                forwarder.address if self.forwarded else server, *leases, how=self.how
            ) as holder,
            open_client(url_of(server)) as client,
        ):
            key = holder.keys[0]
            await trio.sleep(after)
            holder.freeze() if self.frozen else holder.kill()
            times = self.times[lease]
            with trio.move_on_after(patience):
                times.lost.append(await seconds_until_free(client, key))
                return
            times.lost.append(math.inf)
            holder.kill()
            forwarder.close()
            times.closed.append(await seconds_until_free(client, key))


def rows() -> list[Row]:
    return [
        Row("killed"),
        Row("killed, a forked child lives on", how="fork"),
        Row("killed, a program that it started lives on", how="program"),
        Row("killed, behind a forwarder", forwarded=True),
        # The notice that this lease has ended is sent to a client that is gone.
        Row("killed, behind a forwarder, also lease=20", forwarded=True, also=("20",)),
        Row("frozen", frozen=True),
        Row("frozen, behind a forwarder", frozen=True, forwarded=True),
    ]


async def measure(
    server: Address, table: Sequence[Row], holders: int, patience: float
) -> None:
    async with trio.open_nursery() as nursery:
        for row, lease, number in product(table, LEASES, range(holders)):
            after = RENEWED + TERM * number / holders
            nursery.start_soon(row.measure, server, lease, after, patience)


def text_of(times: Times, patience: float) -> str:
    free = [time for time in times.lost if time < math.inf]
    texts = [span(free)] if free else []
    if times.closed:
        texts.append(f"held after {patience:g} s; once closed, {span(times.closed)}")
    return "; ".join(texts)


def span(times: Sequence[float]) -> str:
    return f"{min(times):.1f} to {max(times):.1f} s"


async def main(slock: str | None, holders: int, patience: float) -> None:
    table = rows()
    if slock is None:
        async with serving() as server:
            await measure(server, table, holders, patience)
    else:
        host, _, port = slock.rpartition(":")
        await measure((host, int(port)), table, holders, patience)
    line = "{:44}{:18}{}".format
    print(line(slock or "embedded server", f"lease={LEASE}", "default lease"))
    for row in table:
        texts = [text_of(row.times[lease], patience) for lease in (LEASE, DEFAULT)]
        print(line(row.text, *texts))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slock", metavar="HOST:PORT")
    parser.add_argument("--holders", type=int, default=5)
    parser.add_argument("--patience", type=float, default=120.0)
    options = parser.parse_args()
    trio.run(main, options.slock, options.holders, options.patience)
