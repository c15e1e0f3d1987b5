"""The least that a client on trio does: what ``client.py`` compares with.

Nothing here has handles, errors, cancellation or a lost connection. The commands are
packed before, and go to the same server.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import outcome
import trio
from trio.lowlevel import (
    Abort,
    Task,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

from trioslock.protocol import LockCommand, encode_lock

FRAME = 64
_REQUEST_ID = slice(3, 19)
_LOCK, _UNLOCK = 1, 2


def frames(number: int) -> tuple[bytes, bytes]:
    """Return a LOCK and its UNLOCK on a key that only this number has."""
    key = os.urandom(8) + number.to_bytes(8, "big")
    lock, unlock = (
        encode_lock(LockCommand(kind, key, 0, 0, key, key, 10, 0, 10, 0, 0, 0))
        for kind in (_LOCK, _UNLOCK)
    )
    return lock, unlock


class BareClient:
    """Park, match, wake; one write for all commands of a pass of the scheduler."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._waiting: dict[bytes, Task] = {}
        self._unsent: list[bytes] = []
        self._writer: Task | None = None
        self.commands = 0

    async def work(self, number: int, ends_at: float) -> None:
        """Send LOCK and UNLOCK in turn."""
        for frame in itertools.cycle(frames(number)):
            if time.perf_counter() >= ends_at and frame[2] == _LOCK:
                return
            self._waiting[frame[_REQUEST_ID]] = current_task()
            self._post(frame)
            await wait_task_rescheduled(_not_cancelled)
            self.commands += 1

    def _post(self, frame: bytes) -> None:
        if len(self._waiting) == 1:
            self._sock.send(frame)
            return
        self._unsent.append(frame)
        if self._writer is not None:
            reschedule(self._writer)
            self._writer = None

    async def write(self) -> NoReturn:
        """Send what the tasks of a pass have gathered."""
        while True:
            if not self._unsent:
                self._writer = current_task()
                await wait_task_rescheduled(lambda _raise: Abort.SUCCEEDED)
            data = b"".join(self._unsent)
            self._unsent.clear()
            while data:
                data = data[self._sock.send(data) :]
            await trio.lowlevel.checkpoint()

    async def read(self) -> NoReturn:
        """Wake the tasks whose replies have arrived."""
        rest = b""
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            data = rest + self._sock.recv(65_536)
            whole = len(data) - len(data) % FRAME
            for at in range(0, whole, FRAME):
                task = self._waiting.pop(data[at + 3 : at + 19])
                reschedule(task, outcome.Value(None))
            rest = data[whole:]


def _not_cancelled(_raise_cancel: object) -> Abort:
    return Abort.FAILED


def measure_tasks(address: tuple[str, int], tasks: int, seconds: float) -> float:
    """Return commands a second of as many tasks on one connection."""

    async def main() -> float:
        with socket.create_connection(address) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            client = BareClient(sock)
            began = time.perf_counter()
            async with trio.open_nursery() as services:
                services.start_soon(client.read)
                services.start_soon(client.write)
                async with trio.open_nursery() as nursery:
                    for number in range(tasks):
                        nursery.start_soon(client.work, number, began + seconds)
                services.cancel_scope.cancel()
            return client.commands / (time.perf_counter() - began)

    return trio.run(main)


def measure_socket(address: tuple[str, int], seconds: float) -> float:
    """Return commands a second of one task that owns its trio socket."""

    async def main() -> float:
        with trio.socket.socket() as sock:
            await sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            count, began = 0, time.perf_counter()
            while time.perf_counter() < began + seconds:
                for frame in frames(0):
                    await sock.send(frame)
                    await sock.recv(FRAME)
                    count += 1
            return count / (time.perf_counter() - began)

    return trio.run(main)


def measure_echo(seconds: float) -> float:
    """Return round trips a second of the same task against an echo server."""
    with _echo_server() as address:
        return measure_socket(address, seconds)


@contextmanager
def _echo_server() -> Iterator[tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    process = multiprocessing.get_context("fork").Process(
        target=_echo, args=(listener,), daemon=True
    )
    process.start()
    address = listener.getsockname()
    listener.close()
    try:
        yield address
    finally:
        process.terminate()
        process.join()


def _echo(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(65_536):
        connection.sendall(data)
