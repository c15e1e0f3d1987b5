"""What a client's socket reports of a peer that reads, leaves or vanishes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from triopoll.server.errors import PeerGone
from triopoll.server.stream import ClientStream

MUCH = b"x" * 16_000


@asynccontextmanager
async def connected(
    deadline: float = 5.0,
) -> AsyncIterator[tuple[ClientStream, trio.SocketStream]]:
    """A stream whose kernel takes `MUCH` at once, and a peer whose kernel does not."""
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    listener.listen()
    peer = trio.socket.socket()
    peer.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
    await peer.connect(listener.getsockname())
    sock, _ = await listener.accept()
    listener.close()
    stream = ClientStream(trio.SocketStream(sock), deadline)
    try:
        async with trio.SocketStream(peer) as peer_stream:
            yield stream, peer_stream
    finally:
        stream.abort()


async def test_a_peer_that_reads() -> None:
    """Or that has room for what was sent."""
    async with connected() as (stream, peer):
        await stream.send(b"1")
        with trio.fail_after(1):
            assert await stream.wait_acknowledged()
        await peer.receive_some()
        with trio.fail_after(1):
            assert await stream.wait_acknowledged()
    assert not stream.awaits_acknowledgement


@pytest.mark.slow
async def test_a_peer_that_has_vanished() -> None:
    """The kernel took everything, and nobody has it."""
    async with connected(0.3) as (stream, _):
        await stream.send(MUCH)
        with trio.fail_after(3):
            assert not await stream.wait_acknowledged()
        assert not stream.alive
        with pytest.raises(PeerGone):
            await stream.send(b"more")


@pytest.mark.slow
async def test_a_peer_that_reads_slowly() -> None:
    """Each piece that it takes gives it more time."""
    async with connected(0.9) as (stream, peer):
        await stream.send(MUCH)

        async def read_slowly() -> None:
            while True:
                await trio.sleep(0.5)
                await peer.receive_some(65536)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_slowly)
            started = trio.current_time()
            assert await stream.wait_acknowledged()
            assert trio.current_time() - started > 0.9
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_peer_that_closes_before_it_has_all(when: str) -> None:
    """Its system answers with a reset, before what was sent or behind it."""
    async with connected() as (stream, peer):
        if when == "before":
            await peer.aclose()
        await stream.send(MUCH)
        if when == "after":
            await peer.aclose()
        with trio.fail_after(1):
            assert not await stream.wait_acknowledged()
        assert not stream.alive


async def test_a_peer_that_closes_when_it_has_all() -> None:
    """As one does that needs no other answer."""
    async with connected() as (stream, peer):
        await stream.send(b"1")
        assert await peer.receive_some() == b"1"
        await peer.aclose()
        with trio.fail_after(1):
            assert await stream.wait_acknowledged()


async def test_a_wait_that_is_cancelled() -> None:
    """Nothing is known then, and nothing is broken."""
    async with connected() as (stream, peer):
        await stream.send(MUCH)
        with trio.move_on_after(0.05) as scope:
            await stream.wait_acknowledged()
        assert scope.cancelled_caught
        assert stream.alive
        assert not stream.awaits_acknowledgement
        received = 0
        while received < len(MUCH):
            received += len(await peer.receive_some())
        with trio.fail_after(1):
            assert await stream.wait_acknowledged()


async def test_a_write_that_is_cancelled_half_way() -> None:
    """Half an answer is out, so nothing may follow it."""
    async with connected() as (stream, _):
        with trio.move_on_after(0.05) as scope:
            await stream.send(b"x" * 50_000_000)
        assert scope.cancelled_caught
        assert not stream.alive
        with pytest.raises(PeerGone):
            await stream.send(b"more")


async def test_a_write_that_is_cancelled_before_it_has_begun() -> None:
    """Nothing of it is out: the answer before it may go on."""
    async with connected() as (stream, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send, b"x" * 5_000_000)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0) as scope:
                await stream.send(b"y")
            assert scope.cancelled_caught
            assert stream.alive
            received = 0
            while received < 5_000_000:
                received += len(await peer.receive_some())
