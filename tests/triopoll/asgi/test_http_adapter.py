"""Bodies of requests, as servers of all kinds hand them over."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing
from tests.triopoll.asgi_calls import Call as Request
from tests.triopoll.asgi_calls import serving
from trio.testing import MockClock

from triopoll.app import Triopoll
from triopoll.asgi import http_adapter, messages
from triopoll.asgi.http_adapter import (
    BodyRefused,
    read_body,
    send_response,
    serve_unless_disconnected,
)
from triopoll.asgi.messages import ACKNOWLEDGED, CANCELS, Response, StreamingResponse
from triopoll.settings import Settings
from triopoll.store import Delivery, MemoryStore, MessageStore

LIMIT = 10
LENGTH = (b"content-length", b"3")
CHUNKED = (b"transfer-encoding", b"chunked")

Event = dict[str, Any]


class Call:
    """One request whose body comes in pieces; after them nothing more comes."""

    def __init__(self, *pieces: Event, version: str = "1.1", **head: Any) -> None:
        self.pieces = list(pieces)
        self.scope: Event = {
            "type": "http",
            "http_version": version,
            "method": "POST",
            "path": "/",
            "query_string": b"",
            "headers": [(b"host", b"h"), *head.get("headers", ())],
            "extensions": {CANCELS: {}},
        }
        self.sent: list[Any] = []
        self.body: bytes | None = None

    async def run(self) -> None:
        """Read the body and answer, as the pipeline does."""
        try:
            self.body = await read_body(self.scope, self._receive, LIMIT, 5)
        except BodyRefused as refused:
            if refused.response is None:
                return
            response = refused.response
        else:
            response = Response(b"")
        await send_response(self.scope, self._send, response, lambda _: None)

    async def _receive(self) -> Event:
        if not self.pieces:
            await trio.sleep_forever()
        return self.pieces.pop(0)

    async def _send(self, event: Any) -> None:
        self.sent.append(event)


def piece(body: bytes, *, more: bool = True) -> Event:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(
    ("version", "headers"),
    [("1.1", [LENGTH]), ("1.0", [LENGTH]), ("1.1", [CHUNKED]), ("2", []), ("3", [])],
)
async def test_a_body_that_does_not_come_is_answered(
    autojump_clock: MockClock, version: str, headers: Any, begun: bool
) -> None:
    """Also one of which nothing at all has come: the time counts from the head."""
    pieces = [piece(b"x")] if begun else []
    call = Call(*pieces, version=version, headers=headers)
    with trio.fail_after(6):
        await call.run()
    assert call.sent[0]["status"] == 408
    assert json.loads(call.sent[1]["body"])["code"] == "slow_body"
    assert call.body is None


async def test_a_request_without_a_body_has_none() -> None:
    """Nothing is waited for behind its head."""
    call = Call(piece(b"", more=False))
    await call.run()
    assert call.body == b""


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([piece(b"123", more=False)], 200),
        ([piece(b"12345"), piece(b"6789"), piece(b"0", more=False)], 200),
        ([piece(b"x" * 11, more=False)], 413),
        ([piece(b"x" * 10), piece(b"x")], 413),
    ],
)
async def test_a_body_may_have_a_length(pieces: list[Event], status: int) -> None:
    """What is longer is not read to its end."""
    call = Call(*pieces, headers=[LENGTH])
    whole = b"".join(each["body"] for each in pieces)
    await call.run()
    assert call.sent[0]["status"] == status
    assert call.body == (whole if status == 200 else None)


@pytest.mark.parametrize("headers", [[], [LENGTH]])
async def test_a_client_that_leaves_before_its_body_is_told_nothing(
    headers: Any,
) -> None:
    """Nobody listens."""
    call = Call({"type": "http.disconnect"}, headers=headers)
    await call.run()
    assert call.sent == []
    assert call.body is None


# --- messages that responses carry ---------------------------------------------


@pytest.fixture
def app(free_port: int, monkeypatch: pytest.MonkeyPatch) -> Triopoll:
    """With little patience for a client that does not read."""
    monkeypatch.setattr(http_adapter, "_SEND_SECONDS", 0.2)
    return Triopoll(Settings(slock_url=f"embedded://127.0.0.1:{free_port}"))


def store_of(app: Triopoll) -> MessageStore:
    return app.services().poller._store


async def pop(app: Triopoll, key: str) -> bytes | None:
    taken = await store_of(app).pop(key)
    return None if taken is None else taken.data


def held(app: Triopoll) -> int:
    store = store_of(app)
    assert isinstance(store, MemoryStore)
    return len(store._held)


async def test_a_message_that_was_sent_is_gone(app: Triopoll) -> None:
    """The client has it."""
    async with serving(app):
        await store_of(app).push("k", b"1")
        request = Request("/poll/message?event=k")
        await request.run(app)
        assert request.body == b'{"err_code":0,"err_message":"","data":"1"}'
        assert held(app) == 0
        assert await pop(app, "k") is None


@pytest.mark.parametrize("fault", ["leave_at", "break_at"])
@pytest.mark.parametrize(("events", "what"), [(0, "head"), (1, "body")])
async def test_a_message_that_was_not_sent_goes_back(
    app: Triopoll, fault: str, events: int, what: str
) -> None:
    """The client leaves, or the connection breaks, at the head or at the body."""
    async with serving(app):
        await store_of(app).push("k", b"1")
        request = Request("/poll/message?event=k")
        setattr(request, fault, events)
        if fault == "leave_at":
            await request.run(app)
        else:
            with pytest.raises(OSError, match="the client has left"):
                await request.run(app)
        assert len(request.sent) == events
        assert held(app) == 0
        assert await pop(app, "k") == b"1"


async def test_an_answer_without_a_message_that_is_not_sent(app: Triopoll) -> None:
    """There is nothing to give back."""
    async with serving(app):
        request = Request("/poll/message?event=k&timeout=0")
        request.leave_at = 0
        await request.run(app)
        assert await pop(app, "k") is None


@pytest.mark.parametrize("is_taken", [False, True])
@pytest.mark.parametrize("cancels", [False, True])
async def test_a_server_may_know_better(
    app: Triopoll, is_taken: bool, cancels: bool
) -> None:
    """The message is held until it does, and goes back if the client has it not."""

    async def wait() -> bool:
        assert b'"data":"1"' in request.body
        assert held(app) == 1
        await trio.sleep(0.01)
        return is_taken

    async with serving(app):
        await store_of(app).push("k", b"1")
        request = Request("/poll/message?event=k")
        request.extensions = {ACKNOWLEDGED: {"wait": wait}} | (
            {CANCELS: {}} if cancels else {}
        )
        await request.run(app)
        assert held(app) == 0
        assert await pop(app, "k") == (None if is_taken else b"1")


async def test_who_left_while_it_was_taken_is_not_sent_it(app: Triopoll) -> None:
    """Some servers take what is sent to a client that has left, and say nothing."""
    async with serving(app):
        await store_of(app).push("k", b"1")
        request = Request("/poll/message?event=k")
        request.extensions = {CANCELS: {}}
        pop_now = store_of(app).pop

        async def leave_at_the_pop(key: str) -> Delivery | None:
            taken = await pop_now(key)
            scope.cancel()  # as `AsyncioBridge` does, with the reply on its way already
            return taken

        async def take_in_silence(event: Any) -> None:
            request.sent.append(event)

        store_of(app).pop = leave_at_the_pop  # type: ignore[method-assign]
        request._send = take_in_silence  # type: ignore[method-assign]
        with trio.CancelScope() as scope:
            await request.run(app)
        assert request.sent == []
        assert held(app) == 0
        assert await pop_now("k") is not None


async def test_what_carries_no_message_is_not_waited_for(app: Triopoll) -> None:
    """Nothing hangs on whether its client has it."""

    async def wait() -> bool:
        raise AssertionError("it was asked")

    async with serving(app):
        request = Request("/poll/message?event=k&timeout=0")
        request.extensions = {ACKNOWLEDGED: {"wait": wait}}
        await request.run(app)
        assert b"504" in request.body


# --- streaming responses --------------------------------------------------------------


async def test_a_disconnect_after_the_last_piece_cancels_nothing() -> None:
    """Hypercorn reports it from inside the last `send`; one before it cancels."""
    left = trio.Event()
    sent: list[Any] = []

    async def receive() -> Event:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if not message["more_body"]:
            left.set()
            await trio.testing.wait_all_tasks_blocked()
        sent.append(message["body"])

    async def respond(request: messages.Request) -> StreamingResponse:
        return StreamingResponse(unused)

    async def send_stream(response: object, send: Any, seconds: float) -> None:
        assert isinstance(response, StreamingResponse)
        assert seconds == http_adapter._SEND_SECONDS
        for number, body in enumerate((b"1", b"2", b"3")):
            message = {"type": "http.response.body", "body": body}
            await send({**message, "more_body": number < 2})
            await trio.testing.wait_all_tasks_blocked()

    request = messages.Request("GET", "/", b"", [])
    args = receive, send, respond, request, lambda _: None
    await serve_unless_disconnected({"type": "http"}, *args, send_stream)
    assert sent == [b"1", b"2", b"3"]

    left = trio.Event()
    left.set()
    sent.clear()
    await serve_unless_disconnected({"type": "http"}, *args, send_stream)
    assert sent == [b"1"]


async def unused(*_: object) -> None:
    raise AssertionError
