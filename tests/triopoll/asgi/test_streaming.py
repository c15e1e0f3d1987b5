"""The pieces of a body on their way to ASGI's `send`."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from trio.testing import MockClock

from triopoll.asgi.messages import Response, StreamingResponse, StreamWriter
from triopoll.asgi.streaming import PieceWriter, StreamBroken

BODY = {"type": "http.response.body", "more_body": True}
END = {"type": "http.response.body", "body": b"", "more_body": False}


async def unused(writer: StreamWriter) -> Response | None:
    raise AssertionError


class Sent:
    """ASGI's `send`, and the response that goes through it.

    Attributes:
        hang_at: The client does not read this message.
    """

    def __init__(self, hang_at: int = -1) -> None:
        self.response = StreamingResponse(unused, 201, ((b"a", b"b"),))
        self.messages: list[Any] = []
        self.finished = 0
        self.woken: list[float] = []
        self.hang_at = hang_at

    def writer(self, **limit: float) -> PieceWriter:
        finish, noted = self._finish, self.woken.append
        return PieceWriter(self._send, self.response, finish, noted, **limit)

    def _finish(self) -> None:
        self.finished += 1
        self.response.headers = (*self.response.headers, (b"c", b"d"))

    async def _send(self, message: Any) -> None:
        if len(self.messages) == self.hang_at:
            await trio.sleep_forever()
        self.messages.append(message)


HEAD = {
    "type": "http.response.start",
    "status": 201,
    "headers": [(b"a", b"b"), (b"c", b"d")],
}


async def test_the_head_is_finished_once_and_sent_with_the_first_piece() -> None:
    """What was added to the headers before is in it; an empty piece is not sent."""
    sent = Sent()
    writer = sent.writer()
    await writer.send(b"")
    assert (sent.messages, writer.started) == ([], False)
    assert repr(writer) == "<PieceWriter: not started>"
    await writer.send(b"1")
    await writer.send(b"2", woken=7.5)
    await writer.end()
    assert writer.started
    assert sent.woken == [7.5]
    assert repr(writer) == "<PieceWriter: started>"
    assert sent.messages == [HEAD, {**BODY, "body": b"1"}, {**BODY, "body": b"2"}, END]
    assert sent.finished == 1


async def test_a_body_without_pieces_has_a_head() -> None:
    sent = Sent()
    await sent.writer().end()
    assert sent.messages == [HEAD, END]


async def test_each_piece_is_a_checkpoint() -> None:
    """A body that never waits lets other tasks run."""
    writer = Sent().writer()
    for piece in (b"", b"1", b"2"):
        with trio.testing.assert_checkpoints():
            await writer.send(piece)


@pytest.mark.parametrize("message", [0, 1, 2, 3])
async def test_the_client_may_take_so_long_for_a_piece(
    autojump_clock: MockClock, message: int
) -> None:
    """Also for the head, a later piece and the end; the error is that of a broken
    connection, and nothing can follow.
    """
    sent = Sent(message)
    writer = sent.writer(seconds=5)
    started = trio.current_time()
    with pytest.raises(StreamBroken, match="has not read a piece"):
        await send_two(writer)
    assert trio.current_time() - started == 5
    assert repr(writer) == "<PieceWriter: cut>"
    for again in (writer.send(b"3"), writer.end()):
        with pytest.raises(StreamBroken, match="an earlier piece"):
            await again
    assert len(sent.messages) == message


async def send_two(writer: PieceWriter) -> None:
    await writer.send(b"1")
    await trio.lowlevel.checkpoint()
    await writer.send(b"2")
    await writer.end()


async def test_nothing_follows_a_piece_that_was_cancelled(
    autojump_clock: MockClock,
) -> None:
    """A part of it may be out. A cancellation between two pieces cuts nothing."""
    sent = Sent(hang_at=3)
    writer = sent.writer()
    await writer.send(b"1")
    with trio.CancelScope() as scope:
        scope.cancel()
        await writer.send(b"2")
    assert scope.cancelled_caught
    assert sent.messages[-1] == {**BODY, "body": b"2"}
    with trio.move_on_after(1):
        await writer.send(b"3")
    with pytest.raises(StreamBroken, match="an earlier piece"):
        await writer.end()
    assert len(sent.messages) == 3


async def test_a_broken_connection() -> None:
    """The error of the server is the cause."""

    async def send(message: Any) -> None:
        raise BrokenPipeError("it has left")

    sent = Sent()
    writer = PieceWriter(send, sent.response, sent._finish, sent.woken.append)
    with pytest.raises(StreamBroken, match="it has left"):
        await writer.send(b"1", woken=1.0)
    assert writer.started
    assert not sent.woken
