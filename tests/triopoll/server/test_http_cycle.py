"""One request and its response as ASGI's two callables, over a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing
from tests.triopoll.server.harness import HASTY, QUICK
from tests.triopoll.server.sockets import connected

from triopoll.asgi.types import Message
from triopoll.server import ServerSettings
from triopoll.server.errors import PeerGone
from triopoll.server.http_cycle import HttpCycle, to_scope
from triopoll.server.request_parser import NEED_DATA, RequestHead, RequestReader
from triopoll.server.response_writer import ResponseWriter
from triopoll.server.stream import ClientStream

START: Message = {"type": "http.response.start", "status": 200}
DISCONNECT = {"type": "http.disconnect"}
LENGTH = b"Content-Length: %d\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def read_head(reader: RequestReader, head: bytes) -> RequestHead:
    reader.receive_data(b"POST /a HTTP/1.1\r\nHost: h\r\n" + head)
    request = reader.next_request()
    assert request is not NEED_DATA
    return request


class Rig:
    """A cycle and what it stands on."""

    def __init__(
        self,
        stream: ClientStream,
        peer: trio.SocketStream,
        head: bytes,
        settings: ServerSettings,
    ) -> None:
        self.stream, self.peer = stream, peer
        self.reader = RequestReader(1024, 10)
        request = read_head(self.reader, head)
        self.writer = ResponseWriter(
            request.method, request.version, keep_alive=request.keep_alive
        )
        self.cycle = HttpCycle(request, self.reader, self.writer, stream, settings)

    async def answer(self, body: bytes = b"ok") -> None:
        await self.cycle.send(START)
        await self.cycle.send({"type": "http.response.body", "body": body})

    async def read(self, end: bytes) -> bytes:
        """Return what the client gets, up to an end."""
        data = b""
        with trio.fail_after(5):
            while not data.endswith(end):
                data += await self.peer.receive_some()
        return data


@asynccontextmanager
async def rig(
    head: bytes = b"\r\n", settings: ServerSettings = QUICK
) -> AsyncIterator[Rig]:
    async with connected() as (stream, peer):
        yield Rig(stream, peer, head, settings)


def piece(body: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        (b"/", "/", b"/", b""),
        (b"/a%20b?c=%20d", "/a b", b"/a%20b", b"c=%20d"),
        (b"/?a?b", "/", b"/", b"a?b"),
        (b"/%ff", "/\ufffd", b"/%ff", b""),
        (b"*", "*", b"*", b""),
    ],
)
def test_the_target_in_the_scope(
    target: bytes, path: str, raw_path: bytes, query: bytes
) -> None:
    """The path is decoded, the query is not; bytes that are no UTF-8 are marked."""
    request = RequestHead("GET", target, "1.1", [], True, False, b"")
    state: dict[str, object] = {}
    scope = to_scope(request, kind="http", base={"state": state, "client": None})
    found = scope["path"], scope["raw_path"], scope["query_string"]
    assert found == (path, raw_path, query)
    assert scope["state"] is not state


async def test_a_request_without_a_body() -> None:
    """One empty piece and the answer, without a pass of the scheduler."""
    async with rig() as rigged:
        with trio.testing.assert_no_checkpoints():
            assert await rigged.cycle.receive() == piece(b"", more=False)
            assert rigged.cycle.status is None
            await rigged.answer()
        assert rigged.cycle.status == 200
        assert rigged.cycle.complete
        assert rigged.cycle.reusable
        assert (await rigged.read(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_body_in_pieces() -> None:
    """What has arrived comes at once, and the rest when it arrives."""
    async with rig(LENGTH % 5 + b"he") as rigged:
        assert await rigged.cycle.receive() == piece(b"he", more=True)
        await rigged.peer.send_all(b"llo, and the next request")
        assert await rigged.cycle.receive() == piece(b"llo", more=False)
        assert rigged.reader.buffered == len(b", and the next request")


async def test_a_client_that_leaves_after_its_request() -> None:
    """`receive` waits for that; `receiving` says so meanwhile."""
    async with rig() as rigged:
        await rigged.cycle.receive()
        got: list[Message] = []

        async def receive() -> None:
            got.append(await rigged.cycle.receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            assert rigged.cycle.receiving
            await rigged.peer.aclose()
        assert got == [DISCONNECT]
        assert not rigged.cycle.receiving
        assert await rigged.cycle.receive() == DISCONNECT


async def test_a_client_that_leaves_in_its_body() -> None:
    """The application gets a disconnect, not a short body."""
    async with rig(LENGTH % 5 + b"he") as rigged:
        await rigged.cycle.receive()
        await rigged.peer.aclose()
        assert await rigged.cycle.receive() == DISCONNECT
        assert rigged.cycle.refusal is None
        assert not rigged.cycle.reusable
        with pytest.raises(PeerGone):
            await rigged.answer()


async def test_receive_behind_the_answer_ends_at_once() -> None:
    """There is nothing more to wait for; other tasks get their turn."""
    async with rig() as rigged:
        await rigged.cycle.receive()
        await rigged.answer()
        with trio.testing.assert_checkpoints():
            assert await rigged.cycle.receive() == DISCONNECT


@pytest.mark.parametrize(
    ("body", "status"), [(b"xyz\r\n", 400), (b"1;" + b"x" * 2000, 431)]
)
async def test_a_malformed_body(body: bytes, status: int) -> None:
    """A disconnect for the application; `refusal` is what the client is answered."""
    async with rig(CHUNKED + body) as rigged:
        assert await rigged.cycle.receive() == DISCONNECT
        assert rigged.cycle.refusal is not None
        assert rigged.cycle.refusal.status == status
        assert await rigged.cycle.receive() == DISCONNECT
        await rigged.answer()
        assert not rigged.cycle.reusable


@pytest.mark.slow
async def test_a_body_that_does_not_arrive_in_time() -> None:
    """The deadline runs from the end of the head, not from the last piece."""
    async with rig(LENGTH % 5, HASTY) as rigged:
        await rigged.peer.send_all(b"he")
        assert await rigged.cycle.receive() == piece(b"he", more=True)
        started = trio.current_time()
        assert await rigged.cycle.receive() == DISCONNECT
        assert trio.current_time() - started <= HASTY.body_deadline + 0.2
        assert rigged.cycle.refusal is not None
        assert rigged.cycle.refusal.status == 408


async def test_a_client_that_waits_for_continue() -> None:
    """It is asked to continue once, when the body is wanted."""
    async with rig(b"Expect: 100-continue\r\n" + LENGTH % 4) as rigged:
        for data in (b"ab", b"cd"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(rigged.cycle.receive)
                if data == b"ab":
                    await rigged.read(b"HTTP/1.1 100 Continue\r\n\r\n")
                await rigged.peer.send_all(data)
        await rigged.answer()
        assert b"100 Continue" not in await rigged.read(b"ok")


async def test_a_client_that_left_before_it_was_asked_to_continue() -> None:
    """That is a disconnect like any other."""
    async with rig(b"Expect: 100-continue\r\n" + LENGTH % 4) as rigged:
        rigged.stream.abort()
        assert await rigged.cycle.receive() == DISCONNECT


async def test_no_continue_behind_an_answer() -> None:
    """A body that nothing waits for ends the connection's use."""
    async with rig(b"Expect: 100-continue\r\n" + LENGTH % 4) as rigged:
        await rigged.cycle.send(START)
        with trio.move_on_after(0.02):
            await rigged.cycle.receive()
        await rigged.cycle.send({"type": "http.response.body", "body": b"ok"})
        data = await rigged.read(b"ok")
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"connection: close\r\n" in data
        assert not rigged.cycle.reusable


async def test_a_client_that_pipelines_too_much() -> None:
    """What it may send ahead is bounded; then it counts as gone."""
    settings = replace(QUICK, max_ahead_bytes=1000)
    async with rig(settings=settings) as rigged:
        await rigged.cycle.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rigged.peer.send_all, b"x" * 1001)
            with trio.fail_after(5):
                assert await rigged.cycle.receive() == DISCONNECT
        assert not rigged.stream.alive


async def test_a_client_that_pipelines_a_little() -> None:
    """It may; the bytes wait for their turn."""
    async with rig() as rigged:
        await rigged.cycle.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rigged.cycle.receive)
            for _ in range(3):
                await rigged.peer.send_all(b"x" * 10)
                await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        assert rigged.reader.buffered == 30
        assert rigged.stream.alive


async def test_a_response_in_pieces() -> None:
    """The head leaves with the first piece; an empty one is not written."""
    async with rig() as rigged:
        await rigged.cycle.send(START)
        for body, more in ((b"a", True), (b"", True), (b"b", False)):
            message = {"type": "http.response.body", "body": body, "more_body": more}
            await rigged.cycle.send(message)
        data = await rigged.read(b"0\r\n\r\n")
        assert data.endswith(b"\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")


async def test_messages_that_are_refused() -> None:
    """Another protocol's message is named; order is the writer's matter."""
    async with rig() as rigged:
        with pytest.raises(RuntimeError, match=r"'lifespan\.startup' is not a message"):
            await rigged.cycle.send({"type": "lifespan.startup"})
        with pytest.raises(RuntimeError, match="before its start"):
            await rigged.cycle.send({"type": "http.response.body"})


OK = [(b"content-length", b"2")]


async def test_a_response_is_written_now() -> None:
    """Without waiting, and once; the connection is used for the next request."""
    async with rig() as it:
        it.cycle.respond_now(200, OK, b"ok")
        assert (await it.read(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
        await it.cycle.flush()
        assert it.cycle.reusable
        with pytest.raises(RuntimeError, match="started already"):
            it.cycle.respond_now(200, OK, b"no")
        with pytest.raises(RuntimeError, match="started already"):
            await it.cycle.send(START)


async def test_a_response_before_the_whole_request_ends_the_connection() -> None:
    """What is left of the body would be taken for the next request."""
    async with rig(LENGTH % 5) as it:
        it.cycle.respond_now(200, OK, b"ok")
        assert b"connection: close\r\n" in await it.read(b"ok")
        assert not it.cycle.reusable


async def test_what_the_kernel_does_not_take_is_written_later() -> None:
    """By the task of the request; not a byte is missing."""
    body = bytes(range(256)) * 40_000
    received = bytearray()
    async with rig() as it:
        it.cycle.respond_now(200, [(b"content-length", b"%d" % len(body))], body)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.cycle.flush)
            while not received.endswith(body[-256:]) or len(received) < len(body):
                received += await it.peer.receive_some()
        assert received.partition(b"\r\n\r\n")[2] == body
        assert it.cycle.reusable


async def test_half_a_response_is_the_last_one() -> None:
    """If its task is cancelled meanwhile, nothing follows on the connection."""
    async with rig() as it:
        length = [(b"content-length", b"20000000")]
        it.cycle.respond_now(200, length, b"x" * 20_000_000)
        with trio.move_on_after(0.05) as scope:
            await it.cycle.flush()
        assert scope.cancelled_caught
        assert not it.cycle.reusable
        with pytest.raises(PeerGone):
            await it.stream.send(b"y")


async def test_a_client_that_left_before_a_response_is_written() -> None:
    """Nothing is raised where it is written; its task learns of it."""
    async with rig() as it:
        await it.peer.aclose()
        await trio.sleep(0.05)
        for _ in range(2):
            it.stream.write_now(b"x")
            await trio.sleep(0.05)
        it.cycle.respond_now(200, OK, b"ok")
        with pytest.raises(PeerGone):
            await it.cycle.flush()
        assert not it.cycle.reusable
