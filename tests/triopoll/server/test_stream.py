"""What a socket can tell of a peer that says nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from triopoll.server.stream import ClientStream, PeerGone

MUCH = b"x" * 16_000


@asynccontextmanager
async def connected(
    deadline: float = 5.0,
) -> AsyncIterator[tuple[ClientStream, trio.SocketStream]]:
    """A wire whose kernel takes `MUCH` at once, and a peer whose kernel does not."""
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    listener.listen()
    peer = trio.socket.socket()
    peer.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
    await peer.connect(listener.getsockname())
    sock, _ = await listener.accept()
    listener.close()
    wire = ClientStream(trio.SocketStream(sock), deadline)
    try:
        async with trio.SocketStream(peer) as stream:
            yield wire, stream
    finally:
        wire.abort()


async def test_a_peer_that_reads() -> None:
    """Or that has room for what was sent."""
    async with connected() as (wire, peer):
        await wire.send(b"1")
        with trio.fail_after(1):
            assert await wire.taken()
        await peer.receive_some()
        with trio.fail_after(1):
            assert await wire.taken()
    assert not wire.confirming


@pytest.mark.slow
async def test_a_peer_that_has_vanished() -> None:
    """The kernel took everything, and nobody has it."""
    async with connected(0.3) as (wire, _):
        await wire.send(MUCH)
        with trio.fail_after(3):
            assert not await wire.taken()
        assert not wire.alive
        with pytest.raises(PeerGone):
            await wire.send(b"more")


@pytest.mark.slow
async def test_a_peer_that_reads_slowly() -> None:
    """Each piece that it takes gives it more time."""
    async with connected(0.9) as (wire, peer):
        await wire.send(MUCH)

        async def read_slowly() -> None:
            while True:
                await trio.sleep(0.5)
                await peer.receive_some(65536)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_slowly)
            started = trio.current_time()
            assert await wire.taken()
            assert trio.current_time() - started > 0.9
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_peer_that_closes_before_it_has_all(when: str) -> None:
    """Its system answers with a reset, before what was sent or behind it."""
    async with connected() as (wire, peer):
        if when == "before":
            await peer.aclose()
        await wire.send(MUCH)
        if when == "after":
            await peer.aclose()
        with trio.fail_after(1):
            assert not await wire.taken()
        assert not wire.alive


async def test_a_peer_that_closes_when_it_has_all() -> None:
    """As one does that needs no other answer."""
    async with connected() as (wire, peer):
        await wire.send(b"1")
        assert await peer.receive_some() == b"1"
        await peer.aclose()
        with trio.fail_after(1):
            assert await wire.taken()


async def test_a_wait_that_is_cancelled() -> None:
    """Nothing is known then, and nothing is broken."""
    async with connected() as (wire, peer):
        await wire.send(MUCH)
        with trio.move_on_after(0.05) as scope:
            await wire.taken()
        assert scope.cancelled_caught
        assert wire.alive
        assert not wire.confirming
        received = 0
        while received < len(MUCH):
            received += len(await peer.receive_some())
        with trio.fail_after(1):
            assert await wire.taken()
