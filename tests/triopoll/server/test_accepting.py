"""Accepting clients: also without resources, and up to the last one that waits."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import pytest
import trio
import trio.testing
from tests.triopoll.support import eventually

from triopoll.server.accepting import accept_clients, accept_waiting


class Listener:
    """One whose `accept` fails with some errors, then waits."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.socket = self
        self.tries = 0

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 80)

    async def accept(self) -> Any:
        await trio.lowlevel.checkpoint()
        self.tries += 1
        if not self.errors:
            await trio.sleep_forever()
        number = self.errors.pop(0)
        raise OSError(number, os.strerror(number))


def listener_with(*errors: int) -> trio.SocketListener:
    return cast("trio.SocketListener", Listener(*errors))


@pytest.mark.parametrize(
    "error", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM]
)
async def test_a_lack_of_resources_is_one_line_a_minute(
    error: int, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten tries a second, and no traceback."""
    listener = Listener(*[error] * 1000)
    with trio.move_on_after(90):
        await accept_clients(cast("trio.SocketListener", listener), pytest.fail)
    assert 800 < listener.tries < 1000
    first, second = caplog.records
    assert first.message == second.message
    assert first.message == (
        f"cannot accept clients on http://127.0.0.1:80: {os.strerror(error)}. "
        "They wait until connections end; raise the limit (LimitNOFILE), or lower "
        "--max-connections"
    )
    assert first.exc_info is None


async def test_another_error_is_one() -> None:
    """Only what may pass by itself is waited for."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        await accept_clients(listener_with(errno.EBADF), pytest.fail)


@contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    """Let this process open so many files more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    fillers: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + count, before[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in fillers:
            os.close(descriptor)


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[trio.SocketListener, tuple[str, int]]]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        yield listener, listener.socket.getsockname()


@pytest.mark.slow
async def test_clients_wait_for_descriptors(caplog: pytest.LogCaptureFixture) -> None:
    """They are accepted when others have gone."""
    accepted: list[trio.SocketStream] = []
    clients = [socket.socket() for _ in range(6)]
    async with listening() as (listener, address), trio.open_nursery() as nursery:
        nursery.start_soon(accept_clients, listener, accepted.append)
        await trio.testing.wait_all_tasks_blocked()
        with few_descriptors(4):
            for client in clients:
                client.connect(address)
            await eventually(lambda: bool(caplog.records))
            early = len(accepted)
            assert early < 6
            while len(accepted) < 6:
                for stream in accepted:
                    stream.socket.close()
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    for sock in [*clients, *(stream.socket for stream in accepted)]:
        sock.close()
    (record,) = caplog.records
    assert "Too many open files" in record.message


async def test_clients_that_wait_are_accepted_before_the_end() -> None:
    """The kernel has connected them: they may have sent a request already."""
    accepted: list[trio.SocketStream] = []
    async with listening() as (listener, address):
        clients = [socket.create_connection(address) for _ in range(20)]
        await accept_waiting(listener, accepted.append)
    assert len(accepted) == 20
    for stream, client in zip(accepted, clients, strict=True):
        stream.socket.close()
        client.close()


async def test_an_error_ends_the_end() -> None:
    """The process stops: clients that cannot be accepted are not waited for."""
    await accept_waiting(listener_with(errno.EMFILE), pytest.fail)


async def test_new_clients_do_not_delay_the_end_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """No more are accepted than fit into the queue."""
    accepted: list[object] = []

    class Crowded(Listener):
        async def accept(self) -> Any:
            await trio.lowlevel.checkpoint()
            return object()

    listener = cast("trio.SocketListener", Crowded())
    await accept_waiting(listener, accepted.append)
    assert len(accepted) == 4096
