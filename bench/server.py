"""Load the server from one pipelining client, with binary and with text commands.

    python bench/server.py [--slock HOST:PORT] [--commands 400000] [--data]

A command is one LOCK or one UNLOCK of a free key. The client always has several batches
in flight. Client and server are two processes, so the figure is the rate of one core.
The baseline is the real server, if its address is given, under the same load in the
same run. Exits with 1 if a goal is missed: 60,000 binary commands per second and half
of that in the text protocol.

With ``--data``: LOCKs of new keys that stay held, with ``trioslock serve --data``. The
baseline is the same server without ``--data``.
"""

from __future__ import annotations

import argparse
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

GOALS = {"binary": 60_000, "text": 30_000}
BATCH = 256
"""Commands in one write."""

AHEAD = 4
"""Batches on the way."""

_FRAME = struct.Struct("<BBB16sBB16s16sHHHHHB")
_LOCK, _UNLOCK = 1, 2
_READY = "listening on "

Address = tuple[str, int]


class Load(NamedTuple):
    """The results of one run."""

    commands: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.commands / self.seconds


def _binary(number: int) -> bytes:
    own = struct.pack("<QQ", 0xBE_7C4, number)
    lock = _FRAME.pack(0x56, 1, _LOCK, own, 0, 0, own, own, 5, 0, 60, 0, 0, 0)
    return lock + _FRAME.pack(0x56, 1, _UNLOCK, own, 0, 0, own, own, 0, 0, 0, 0, 0, 0)


def _text(number: int) -> bytes:
    own = b"bench-%010d" % number
    lock = (b"LOCK", own, b"LOCK_ID", own, b"TIMEOUT", b"5", b"EXPRIED", b"60")
    return _request(*lock) + _request(b"UNLOCK", own, b"LOCK_ID", own)


def _request(*words: bytes) -> bytes:
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"*%d\r\n" % len(words) + b"".join(parts)


def _held(number: int) -> bytes:
    return b"".join(
        _FRAME.pack(0x56, 1, _LOCK, own, 0, 0, own, own, 5, 0, 60, 0, 0, 0)
        for own in (struct.pack("<QQ", 0x4E1D, 2 * number + half) for half in (0, 1))
    )


_MAKERS: dict[str, Callable[[int], bytes]] = {
    "binary": _binary,
    "text": _text,
    "held": _held,
}


def measure(address: Address, dialect: str, commands: int) -> Load:
    """Send commands as fast as they are answered.

    All replies to such commands have the same length, so the first batch shows how many
    bytes a batch returns. Each reply must be a success.
    """
    make = _MAKERS[dialect]
    batches = [
        b"".join(make(number) for number in range(start, start + BATCH // 2))
        for start in range(0, commands // 2, BATCH // 2)
    ]
    with socket.create_connection(address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        first = make(commands)
        sock.sendall(first)
        size = len(_receive_pair(sock, dialect)) * BATCH // 2
        started_at = time.perf_counter()
        for batch in batches[:AHEAD]:
            sock.sendall(batch)
        for batch in [*batches[AHEAD:], *[b""] * AHEAD]:
            _skip(sock, size)
            sock.sendall(batch)
        return Load(len(batches) * BATCH, time.perf_counter() - started_at)


def _receive_pair(sock: socket.socket, dialect: str) -> bytes:
    """Return the replies to one LOCK and one UNLOCK, which must have succeeded."""
    time.sleep(0.2)
    replies = sock.recv(10_000)
    if dialect != "text":
        succeeded = replies[19] == replies[64 + 19] == 0
    else:
        succeeded = replies.count(b"*12\r\n$1\r\n0\r\n$2\r\nOK\r\n") == 2
    if not succeeded:
        raise SystemExit(f"the server answered {replies!r}")
    return replies


def _skip(sock: socket.socket, size: int) -> None:
    while size:
        part = sock.recv(min(size, 1 << 20))
        if not part:
            raise SystemExit("the server closed the connection")
        size -= len(part)


@contextmanager
def own_server(*options: str) -> Iterator[Address]:
    """Run ``trioslock serve`` in a separate process."""
    command = [sys.executable, "-m", "trioslock", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        host, _, port = process.stdout.readline()[len(_READY) :].rpartition(":")
        try:
            yield host, int(port)
        finally:
            process.terminate()


def compare(slock: str | None, commands: int) -> bool:
    """Print a row for each protocol; return whether the goals are reached."""
    print(f"{'commands/s':<12}{'trioslock':>12}{'goal':>10}{'real':>12}{'ratio':>8}")
    reached = True
    for dialect, goal in GOALS.items():
        with own_server() as address:
            measure(address, dialect, commands // 10)
            ours = measure(address, dialect, commands).rate
        row = f"{dialect:<12}{ours:>12,.0f}{goal:>10,}"
        if slock is not None:
            host, _, port = slock.rpartition(":")
            real = measure((host, int(port)), dialect, commands).rate
            row += f"{real:>12,.0f}{ours / real:>8.2f}"
        print(row)
        reached &= ours >= goal
    return reached


def compare_storage(commands: int) -> None:
    """Print the cost of storing held locks on disk."""
    print(f"{'held keys/s':<24}{'rate':>10}{'ratio':>8}")
    baseline = 0.0
    for fsync in ("", "second", "always"):
        with tempfile.TemporaryDirectory() as directory:
            options = ("--data", directory, "--fsync", fsync) if fsync else ()
            with own_server(*options) as address:
                rate = measure(address, "held", commands).rate
        baseline = baseline or rate
        name = f"--data, --fsync {fsync}" if fsync else "in memory (baseline)"
        print(f"{name:<24}{rate:>10,.0f}{rate / baseline:>8.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Load the server in both protocols.")
    parser.add_argument(
        "--slock", metavar="HOST:PORT", help="also measure this real server"
    )
    parser.add_argument("--commands", type=int, default=400_000)
    parser.add_argument(
        "--data", action="store_true", help="measure the cost of --data"
    )
    options = parser.parse_args()
    if options.data:
        compare_storage(options.commands // 10)
        return 0
    return 0 if compare(options.slock, options.commands) else 1


if __name__ == "__main__":
    sys.exit(main())
