"""A stream that breaks when a test wants it to."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from trioslock.testing import FaultyStream


def pair(**limits: float) -> tuple[FaultyStream, trio.StapledStream]:
    ours, theirs = memory_stream_pair()

    def cut() -> None:
        ours.send_stream.close()
        ours.receive_stream.close()

    return FaultyStream(ours, cut, **limits), theirs


async def test_without_faults_it_is_the_inner_stream() -> None:
    """Both directions, and the end."""
    stream, other = pair()
    await stream.send_all(b"there")
    assert await other.receive_some() == b"there"
    await other.send_all(b"back")
    assert await stream.receive_some() == b"back"
    assert (stream.sent, stream.received) == (1, 1)
    assert repr(stream) == "<FaultyStream: 1 sent, 1 received>"
    await stream.wait_send_all_might_not_block()
    await stream.aclose()
    assert await other.receive_some() == b""


async def test_it_is_cut_after_so_many_messages_sent() -> None:
    """The last one arrives, and its sender gets no error."""
    stream, other = pair(sends=2)
    await stream.send_all(b"1")
    await stream.send_all(b"2")
    assert await other.receive_some() == b"12"
    assert await other.receive_some() == b""
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"3")


async def test_it_is_cut_after_so_many_messages_received() -> None:
    """The next one is lost."""
    stream, other = pair(receives=1)
    await other.send_all(b"1")
    assert await stream.receive_some() == b"1"
    await other.send_all(b"2")
    with pytest.raises(trio.BrokenResourceError, match="the stream was cut"):
        await stream.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await other.send_all(b"3")


async def test_a_hung_stream_holds_both_directions_back() -> None:
    """Also what had arrived before; a thaw lets all of it through, in order."""
    stream, other = pair()
    got: list[bytes] = []

    async def send() -> None:
        await stream.send_all(b"there")

    async def receive() -> None:
        got.append(bytes(await stream.receive_some()))

    await other.send_all(b"early")
    stream.hang()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        assert (stream.sent, got) == (0, [])
        stream.thaw()
    assert got == [b"early"]
    assert await other.receive_some() == b"there"


async def test_a_cut_frees_what_hangs() -> None:
    """With an error of the network."""
    stream, _ = pair()
    stream.hang()
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await stream.send_all(b"there")

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        stream.cut()


async def test_garbage_comes_before_the_next_message_once() -> None:
    """The message itself arrives whole."""
    stream, other = pair()
    stream.garble(b"junk")
    for _ in range(2):
        await other.send_all(b"text")
    assert await stream.receive_some(4) == b"junktext"
    assert await stream.receive_some(4) == b"text"


async def test_a_delayed_message_survives_a_cancelled_receive(
    autojump_clock: MockClock,
) -> None:
    """It takes its time, and is for the next call."""
    stream, other = pair()
    stream.delay(2)
    await other.send_all(b"late")
    with trio.move_on_after(1) as impatient:
        await stream.receive_some()
    assert impatient.cancelled_caught
    assert await stream.receive_some() == b"late"
    assert trio.current_time() == 3


async def test_a_cut_loses_what_is_held_back() -> None:
    """What had arrived before is not received after it."""
    stream, other = pair()
    await other.send_all(b"early")
    stream.hang()
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(trio.BrokenResourceError, match="was cut"):
                await stream.receive_some()

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        stream.cut()
