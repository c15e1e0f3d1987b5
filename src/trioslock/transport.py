"""Bytes in and out of one connection: a raw socket, or any trio stream.

A link collects what many tasks send into one write. So it needs less than a stream
has: a write that never waits and returns how much it took, a write that waits for the
rest, and a read. Two implementations:

- `SocketTransport` calls ``send`` and ``recv`` of the non-blocking socket directly. A
  ``trio.SocketStream`` adds a checkpoint, a lock and a memoryview to each write, which
  would be most of the cost of a write.
- `StreamTransport` works over any ``trio.abc.Stream``: memory streams in tests, a TLS
  tunnel. Its ``send_nowait`` takes nothing, so the waiting call writes everything.

An error of the network is an ``OSError`` or one of trio's resource errors;
`NETWORK_ERRORS` lists them.
"""

from __future__ import annotations

import socket
from typing import Protocol

import trio

from ._forks import give_up_in_children

READ_SIZE = 65_536
"""Bytes of one read: the most that a peer can make a buffer hold between frames."""

NETWORK_ERRORS = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What a transport raises when the connection has ended or cannot be made."""


# A peer whose machine is gone, or which is cut off, is noticed by the kernel after
# 60 + 4 * 15 seconds, even if neither side sends anything.
_KEEPALIVE = tuple(
    (level, getattr(socket, name), value)
    for level, name, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        # macOS has another name for this one.
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 60),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 15),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4),
    )
    if hasattr(socket, name)
)


class Transport(Protocol):
    """One connection; one task reads and one writes."""

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Write what fits at once; return how many bytes that was.

        Raises:
            OSError: The connection has ended.
        """
        ...

    async def send_all(self, data: bytes | memoryview) -> None:
        """Write everything, waiting as long as the peer does not read.

        Raises:
            OSError: The connection has ended.
            trio.BrokenResourceError: The connection has ended.

        Cancellation:
            An unknown part was written; close the connection.
        """

    async def receive(self) -> bytes:
        """Return what the peer sent, at most ``READ_SIZE``; ``b""`` at its end.

        Raises:
            OSError: The connection has ended.
            trio.BrokenResourceError: The connection has ended.

        Cancellation:
            Nothing was read.
        """
        ...

    async def aclose(self) -> None:
        """Close at once, without a message to the peer. Closing twice is allowed."""


class SocketTransport:
    """A connected, non-blocking TCP socket without a layer above it."""

    __slots__ = ("__weakref__", "_drained", "_socket")

    def __init__(self, stream: trio.SocketStream) -> None:
        """Take the socket out of ``stream``, which cannot be used afterwards.

        Raises:
            OSError: The peer has left already.
        """
        for level, option, value in _KEEPALIVE:
            stream.setsockopt(level, option, value)
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A read of less than READ_SIZE has emptied the socket: the next one waits
        # first, and saves a system call that fails.
        self._drained = True
        give_up_in_children(self)

    def forked(self) -> None:
        """Close the copy of a child, without a word to the peer."""
        # Not by way of trio: the child shares the parent's epoll.
        self._socket.close()

    def __repr__(self) -> str:
        return f"<SocketTransport: {self._socket!r}>"

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Write what the kernel's buffer takes; return how many bytes."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    async def send_all(self, data: bytes | memoryview) -> None:
        """Write everything, waiting while the kernel's buffer is full."""
        rest = memoryview(data)
        while rest:
            await trio.lowlevel.wait_writable(self._socket)
            rest = rest[self.send_nowait(rest) :]

    async def receive(self) -> bytes:
        """Return the next bytes, ``b""`` at the end."""
        if not self._drained:
            await trio.lowlevel.checkpoint()
        while True:
            if self._drained:
                await trio.lowlevel.wait_readable(self._socket)
            try:
                data = self._socket.recv(READ_SIZE)
            except BlockingIOError:
                self._drained = True
            else:
                self._drained = len(data) < READ_SIZE
                return data

    async def aclose(self) -> None:
        """Close the socket and wake the tasks that wait on it."""
        # Tasks that wait for the socket must be woken before the descriptor is reused.
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
        await trio.lowlevel.cancel_shielded_checkpoint()


class StreamTransport:
    """Any trio stream."""

    __slots__ = ("_stream",)

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    def __repr__(self) -> str:
        return f"<StreamTransport: {self._stream!r}>"

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Return 0: a stream has no write that never waits."""
        return 0

    async def send_all(self, data: bytes | memoryview) -> None:
        """Write everything."""
        await self._stream.send_all(data)

    async def receive(self) -> bytes:
        """Return the next bytes, ``b""`` at the end."""
        return bytes(await self._stream.receive_some(READ_SIZE))

    async def aclose(self) -> None:
        """Close the stream without waiting for the peer."""
        await trio.aclose_forcefully(self._stream)


async def connect_tcp(host: str, port: int) -> SocketTransport:
    """Connect to ``host``, trying all of its addresses (happy eyeballs).

    Raises:
        OSError: None of the addresses answered.

    Cancellation:
        No socket is left.
    """
    return SocketTransport(await trio.open_tcp_stream(host, port))
