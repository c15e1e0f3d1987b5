"""What a client's socket reports of a peer that reads, leaves or vanishes."""

from __future__ import annotations

import os
from socket import SO_LINGER, SOL_SOCKET

import pytest
import trio
import trio.testing
from tests.triopoll.server.sockets import connected

from triopoll.server.errors import PeerGone

MUCH = b"x" * 16_000


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
    """The kernel took everything, and none of it arrived."""
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
    """Nothing is known then; the stream can still be used."""
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


async def test_bytes_arrive_as_they_were_sent() -> None:
    """Then an empty read says that the client has left, each time."""
    async with connected() as (stream, peer):
        assert stream.descriptor > 0
        await peer.send_all(b"abc")
        assert await stream.receive() == b"abc"
        await peer.aclose()
        for _ in range(2):
            assert await stream.receive() == b""
        assert not stream.alive


async def test_a_peer_that_resets_has_left() -> None:
    """An error of the system is an end of the bytes too."""
    async with connected() as (stream, peer):
        peer.socket.setsockopt(SOL_SOCKET, SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await peer.aclose()
        assert await stream.receive() == b""
        assert not stream.alive


async def test_a_socket_that_is_readable_in_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel may say so, and have nothing: the next bytes are waited for."""
    async with connected() as (stream, peer):
        await peer.send_all(b"first")
        real, errors = os.read, [BlockingIOError()]

        def read(descriptor: int, size: int) -> bytes:
            if errors:
                raise errors.pop()
            return real(descriptor, size)

        monkeypatch.setattr("os.read", read)
        assert await stream.receive() == b"first"


async def test_a_write_that_the_kernel_takes_whole_is_no_checkpoint() -> None:
    """Nearly every answer is one."""
    async with connected() as (stream, peer):
        with trio.testing.assert_no_checkpoints():
            await stream.send(b"answer")
        assert await peer.receive_some() == b"answer"


async def test_writes_of_several_tasks_do_not_mix() -> None:
    """A write that waits is finished before the next one begins."""
    size = 3_000_000
    async with connected() as (stream, peer):
        async with trio.open_nursery() as nursery:
            for letter in (b"a", b"b", b"c"):
                nursery.start_soon(stream.send, letter * size)
                await trio.testing.wait_all_tasks_blocked()
            received = bytearray()
            while len(received) < 3 * size:
                received += await peer.receive_some()
        assert bytes(received) == b"a" * size + b"b" * size + b"c" * size


@pytest.mark.slow
async def test_a_peer_that_does_not_read_is_cut() -> None:
    """After the write deadline; a write that waits behind it fails too."""
    async with connected(0.1) as (stream, _):
        failed: list[str] = []

        async def send() -> None:
            try:
                await stream.send(b"x" * 5_000_000)
            except PeerGone as error:
                failed.append(str(error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(send)
        late, behind = failed
        assert late == "the client has not read its answer in time"
        assert behind == "the client has left"


async def test_a_peer_that_leaves_while_it_is_written_to() -> None:
    """The write ends with an error, as do all after it."""
    async with connected() as (stream, peer):

        async def leave() -> None:
            await trio.testing.wait_all_tasks_blocked()
            await peer.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            with pytest.raises(PeerGone):
                await stream.send(b"x" * 5_000_000)
        with pytest.raises(PeerGone):
            await stream.send(b"more")


async def test_a_peer_that_has_reset_is_noticed_by_a_write() -> None:
    """Without a read in between."""
    async with connected() as (stream, peer):
        peer.socket.setsockopt(SOL_SOCKET, SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await peer.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(PeerGone):
            await stream.send(b"x")
        assert not stream.alive


async def test_the_end_of_a_connection_keeps_the_last_answer() -> None:
    """Although the client has sent bytes that nothing reads."""
    async with connected() as (stream, peer):
        await peer.send_all(b"unread")
        await stream.send(b"answer")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.finish, 5)
            received = b""
            while data := await peer.receive_some():
                received += data
            await peer.aclose()
        assert received == b"answer"
        assert stream.descriptor == -1


async def test_a_peer_that_does_not_close_is_not_waited_for() -> None:
    """The end comes after `linger`; and at once where the client has left."""
    async with connected() as (stream, _):
        with trio.fail_after(1):
            await stream.finish(0.01)
        assert stream.descriptor == -1
    async with connected() as (stream, _):
        stream.alive = False
        with trio.testing.assert_no_checkpoints():
            await stream.finish(5)


async def test_nothing_is_received_any_more() -> None:
    """What has arrived before is."""
    async with connected() as (stream, peer):
        await peer.send_all(b"before")
        await trio.testing.wait_all_tasks_blocked(0.01)
        stream.stop_receiving()
        assert await stream.receive() == b"before"
        assert await stream.receive() == b""


async def test_a_stream_that_is_closed() -> None:
    """To end it once more does nothing, and nothing is on its way."""
    async with connected() as (stream, _):
        stream.abort()
        stream.abort()
        stream.stop_receiving()
        await stream.finish(1)
        assert not await stream.wait_acknowledged()
        assert stream.descriptor == -1


async def test_the_end_of_a_connection_that_was_reset() -> None:
    """There is nothing left to announce or to wait for."""
    async with connected() as (stream, peer):
        peer.socket.setsockopt(SOL_SOCKET, SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await peer.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        with trio.fail_after(1):
            await stream.finish(60)
        assert stream.descriptor == -1


async def test_a_write_to_a_full_buffer_waits() -> None:
    """The kernel may take nothing at all at first."""
    async with connected() as (stream, peer):
        filled = 0
        try:
            while True:
                filled += os.write(stream.descriptor, b"x" * 65536)
        except BlockingIOError:
            pass
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send, b"answer")
            received = bytearray()
            while len(received) < filled + len(b"answer"):
                received += await peer.receive_some()
        assert received.endswith(b"xanswer")
