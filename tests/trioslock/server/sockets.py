"""Connections to a server over real sockets."""

from __future__ import annotations

from collections.abc import Callable

import trio
from tests.trioslock.server.world import request

from trioslock.protocol import CommandType, PlainCommand, encode_command
from trioslock.server import Server

PING = encode_command(PlainCommand(CommandType.PING, b"request id 0016x"))


async def connect(server: Server) -> trio.SocketStream:
    assert server.port is not None
    return await trio.open_tcp_stream("127.0.0.1", server.port)


async def receive(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    """Return exactly so many bytes, or fewer if the stream ends."""
    data = bytearray()
    while len(data) < size:
        part = await stream.receive_some(size - len(data))
        if not part:
            break
        data += part
    return bytes(data)


async def ask(stream: trio.abc.Stream, *words: bytes | str) -> bytes:
    await stream.send_all(request(*words))
    return bytes(await stream.receive_some(100_000))


async def is_closed(stream: trio.abc.ReceiveStream) -> bool:
    """Wait until the server closes the connection; whether it said nothing more."""
    with trio.fail_after(5):
        try:
            return await stream.receive_some(100) == b""
        except trio.BrokenResourceError:
            return True


async def wait_until(condition: Callable[[], bool]) -> None:
    """Let a test on real sockets wait for what the server does next."""
    with trio.fail_after(5):
        while not condition():
            await trio.sleep(0.005)
