"""A message in hand: sent, or back in its list, wherever the client leaves."""

from __future__ import annotations

import pytest
from tests.triopoll.asgi import Request, serving

from triopoll.app import Triopoll
from triopoll.settings import Settings
from triopoll.store import MessageStore


@pytest.fixture
def app(free_port: int) -> Triopoll:
    return Triopoll(Settings(slock_url=f"embedded://127.0.0.1:{free_port}"))


def store_of(app: Triopoll) -> MessageStore:
    return app.poller()._store


async def test_a_message_that_was_sent_is_gone(app: Triopoll) -> None:
    """The client has it."""
    async with serving(app):
        await store_of(app).push("k", b"1")
        request = Request("/poll/message?event=k")
        await request.run(app)
        assert request.body == b'{"err_code":0,"err_message":"","data":"1"}'
        assert await store_of(app).pop("k") is None


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
        assert await store_of(app).pop("k") == b"1"


async def test_a_client_that_leaves_with_its_answer_keeps_it(app: Triopoll) -> None:
    """Behind the body nothing is given back, or the message would come twice."""
    async with serving(app):
        await store_of(app).push("k", b"1")
        request = Request("/poll/message?event=k")
        request.break_at = 2
        with pytest.RaisesGroup(OSError):
            await request.run(app)
        assert b'"data":"1"' in request.body
        assert await store_of(app).pop("k") is None


async def test_an_answer_without_a_message_that_is_not_sent(app: Triopoll) -> None:
    """There is nothing to give back."""
    async with serving(app):
        request = Request("/poll/message?event=k&timeout=0")
        request.leave_at = 0
        await request.run(app)
        assert await store_of(app).pop("k") is None
