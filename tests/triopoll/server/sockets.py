"""A client's stream over TCP, and the socket of the client at its other end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from triopoll.server.send_budget import SendBudget
from triopoll.server.stream import ClientStream


@asynccontextmanager
async def connected(
    deadline: float = 5.0, budget: SendBudget | None = None
) -> AsyncIterator[tuple[ClientStream, trio.SocketStream]]:
    """A stream whose kernel takes 16 KB at once, and a peer whose kernel does not."""
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    listener.listen()
    peer = trio.socket.socket()
    peer.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
    await peer.connect(listener.getsockname())
    sock, _ = await listener.accept()
    listener.close()
    stream = ClientStream(trio.SocketStream(sock), deadline, budget or SendBudget())
    try:
        async with trio.SocketStream(peer) as peer_stream:
            yield stream, peer_stream
    finally:
        stream.abort()
