"""A message in hand: sent, or back in its list, wherever the client leaves."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from tests.triopoll.asgi_calls import Request, serving

from triopoll.app import Triopoll
from triopoll.asgi import http_adapter as lean_door
from triopoll.asgi.messages import CANCELS, TAKEN
from triopoll.settings import Settings
from triopoll.store import MemoryStore, MessageStore, Delivery


def app_of(port: int, *, lean: bool) -> Triopoll:
    return Triopoll(Settings(slock_url=f"embedded://127.0.0.1:{port}"), lean=lean)


@pytest.fixture(params=["lean", "quart"])
def app(
    request: pytest.FixtureRequest, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> Triopoll:
    """Either door, with little patience for who does not read."""
    monkeypatch.setattr(lean_door, "_SEND_SECONDS", 0.2)
    app = app_of(free_port, lean=request.param == "lean")
    app.config["RESPONSE_TIMEOUT"] = 0.2
    return app


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
            with pytest.RaisesGroup(OSError):
                await request.run(app)
        assert len(request.sent) == events
        assert held(app) == 0
        assert await pop(app, "k") == b"1"


async def test_a_client_that_leaves_with_its_answer_keeps_it(free_port: int) -> None:
    """Behind the body nothing is given back, or the message would come twice.

    The lean door says nothing behind the body, so nothing can go wrong there.
    """
    app = app_of(free_port, lean=False)
    async with serving(app):
        await store_of(app).push("k", b"1")
        request = Request("/poll/message?event=k")
        request.break_at = 2
        with pytest.RaisesGroup(OSError):
            await request.run(app)
        assert b'"data":"1"' in request.body
        assert held(app) == 0
        assert await pop(app, "k") is None


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
    free_port: int, is_taken: bool, cancels: bool
) -> None:
    """The message is held until it does, and goes back if the client has it not."""
    app = app_of(free_port, lean=True)

    async def wait() -> bool:
        assert b'"data":"1"' in request.body
        assert held(app) == 1
        await trio.sleep(0.01)
        return is_taken

    async with serving(app):
        await store_of(app).push("k", b"1")
        request = Request("/poll/message?event=k")
        request.extensions = {TAKEN: {"wait": wait}} | (
            {CANCELS: {}} if cancels else {}
        )
        await request.run(app)
        assert held(app) == 0
        assert await pop(app, "k") == (None if is_taken else b"1")


async def test_who_left_while_it_was_taken_is_not_sent_it(free_port: int) -> None:
    """Some servers take what is sent to a client that has left, and say nothing."""
    app = app_of(free_port, lean=True)
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


async def test_what_carries_no_message_is_not_waited_for(free_port: int) -> None:
    """Nothing hangs on whether its client has it."""
    app = app_of(free_port, lean=True)

    async def wait() -> bool:
        raise AssertionError("it was asked")

    async with serving(app):
        request = Request("/poll/message?event=k&timeout=0")
        request.extensions = {TAKEN: {"wait": wait}}
        await request.run(app)
        assert b"504" in request.body
