"""Connections over TCP, on a port that can be closed and opened."""

from __future__ import annotations

import os
import socket

import pytest
import trio
from tests.trioslock.backends import until

from trioslock.testing._tcp import open_tcp, reserve_port


async def connect(port: int) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", port)


async def test_a_port_that_is_down_refuses_and_stays_the_same() -> None:
    """Connections are broken; down and up twice is allowed."""
    async with open_tcp() as tcp:
        stream = await connect(tcp.port)
        await until(lambda: len(tcp.streams) == 1)
        for _ in range(2):
            tcp.down()
        async with stream:
            assert await stream.receive_some() == b""
        await until(lambda: not tcp.streams)
        with pytest.raises(OSError, match="all attempts"):
            await connect(tcp.port)
        for _ in range(2):
            tcp.up()
        await (await connect(tcp.port)).aclose()


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_child_does_not_keep_the_port(elsewhere: bool) -> None:
    """It closes its copy of the listening socket, whatever thread has forked."""
    async with open_tcp() as tcp:

        def fork() -> int:
            pid = os.fork()
            if not pid:
                os._exit(tcp._socket.fileno() >= 0)
            return os.waitpid(pid, 0)[1]

        assert (await trio.to_thread.run_sync(fork) if elsewhere else fork()) == 0
        await (await connect(tcp.port)).aclose()


def test_a_reserved_port_is_taken_once_it_listens() -> None:
    """An address that cannot be had leaves no socket."""
    with reserve_port() as held:
        port = held.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        held.listen()
        with pytest.raises(OSError, match="in use"):
            reserve_port(port)
