from __future__ import annotations

import errno
import socket

import pytest
import trio
from trio.testing import memory_stream_pair

from trioslock.transport import (
    NETWORK_ERRORS,
    READ_SIZE,
    SocketTransport,
    StreamTransport,
    connect_tcp,
)


async def pair() -> tuple[SocketTransport, trio.SocketStream]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        transport = await connect_tcp("127.0.0.1", port)
        return transport, await listener.accept()


async def test_bytes_go_both_ways() -> None:
    transport, peer = await pair()
    async with peer:
        assert transport.send_nowait(b"ping") == 4
        assert await peer.receive_some() == b"ping"
        await peer.send_all(b"pong")
        assert await transport.receive() == b"pong"
        await peer.send_eof()
        assert await transport.receive() == b""
        assert "127.0.0.1" in repr(transport)
        await transport.aclose()
        await transport.aclose()


async def test_small_packets_are_not_held_back() -> None:
    transport, peer = await pair()
    async with peer:
        raw = transport._socket
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not raw.getblocking()
        await transport.aclose()


async def test_a_full_buffer_is_reported_and_waited_for() -> None:
    """More than the kernel takes: what is left goes when the peer reads."""
    transport, peer = await pair()
    size = 8_000_000
    got = 0

    async def read() -> None:
        nonlocal got
        while got < size:
            got += len(await peer.receive_some())

    async with peer:
        data = bytes(size)
        sent = 0
        while taken := transport.send_nowait(data[sent:]):
            sent += taken
        assert sent < size
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await transport.send_all(data[sent:])
        assert got == size
        await transport.aclose()


async def test_a_long_message_comes_in_bounded_reads() -> None:
    transport, peer = await pair()
    async with peer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send_all, bytes(300_000))
            got = 0
            while got < 300_000:
                data = await transport.receive()
                assert 0 < len(data) <= READ_SIZE
                got += len(data)
        await transport.aclose()


async def test_closing_wakes_who_reads() -> None:
    transport, peer = await pair()
    async with peer, trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(NETWORK_ERRORS):
                await transport.receive()

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await transport.aclose()


async def test_a_reset_is_a_network_error() -> None:
    transport, peer = await pair()
    linger = b"\1\0\0\0\0\0\0\0"
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    await peer.aclose()
    with pytest.raises(OSError) as caught:
        await transport.receive()
    assert caught.value.errno == errno.ECONNRESET
    await transport.aclose()


async def test_no_listener(free_port: int) -> None:
    with pytest.raises(OSError):
        await connect_tcp("127.0.0.1", free_port)


async def test_a_stream_is_a_transport() -> None:
    ours, theirs = memory_stream_pair()
    transport = StreamTransport(ours)
    assert transport.send_nowait(b"x") == 0
    await transport.send_all(b"abc")
    assert await theirs.receive_some() == b"abc"
    await theirs.send_all(b"def")
    assert await transport.receive() == b"def"
    assert "StreamTransport" in repr(transport)
    await transport.aclose()
    with pytest.raises(NETWORK_ERRORS):
        await transport.send_all(b"x")
