"""The OpenResty API in one process: who may use it, and what becomes of bad bodies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from tests.triopoll.asgi_calls import Call, serving

from triopoll.app import Triopoll
from triopoll.settings import Settings

PUBLISHERS = (
    "/poll/event/emit",
    "/poll/message/send",
    "/poll/group/message/create",
    "/poll/group/message/send",
)


@pytest.fixture
async def app(free_port: int) -> AsyncIterator[Triopoll]:
    settings = Settings(slock_url=f"embedded://127.0.0.1:{free_port}")
    async with serving(Triopoll(settings)) as app:
        yield app


async def ask(app: Triopoll, target: str, body: bytes = b"", **more: Any) -> Any:
    call = Call(target, method="POST" if body else "GET", body=body, **more)
    with trio.fail_after(5):
        await call.run(app)
    assert call.status == 200
    return json.loads(call.body)


@pytest.mark.parametrize("path", PUBLISHERS)
async def test_publishing_is_local_without_keys(app: Triopoll, path: str) -> None:
    """A page is refused in the format of the API, whatever the method."""
    page = [(b"origin", b"https://evil.example")]
    for body in (b"", b'"x"'):
        assert (await ask(app, f"{path}?key=k", body, headers=page))["code"] == 403


@pytest.mark.parametrize("path", PUBLISHERS)
async def test_a_key_is_needed(app: Triopoll, path: str) -> None:
    """Without one there is nothing to do."""
    assert (await ask(app, path, b'"x"'))["code"] == 400


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a":NaN}'])
@pytest.mark.parametrize("path", ["/poll/message/send", "/poll/group/message/send"])
async def test_a_body_that_is_not_json(app: Triopoll, path: str, body: bytes) -> None:
    """It is refused, and nothing is sent."""
    assert (await ask(app, f"{path}?key=k", body))["code"] == 400
    assert (await ask(app, "/poll/event?key=k&timeout=0"))["code"] == 504


async def test_a_message_for_a_list(app: Triopoll) -> None:
    """`event` instead of `key`: any text, which a poll of the poll API pops."""
    reply = await ask(app, "/poll/message/send?event=k", b"plain text")
    assert (reply["code"], reply["data"]) == (0, "plain text")
    assert (await ask(app, "/poll/message/send?event=k", b"\xff"))["code"] == 400
    assert (await ask(app, "/poll/message?event=k"))["data"] == "plain text"


async def test_a_group(app: Triopoll) -> None:
    """It is created at a number, sent to, and read by number."""
    created = await ask(app, "/poll/group/message/create?key=g&msg_id=5")
    assert created["data"] == {"msg_id": 5}
    sent = await ask(app, "/poll/group/message/send?key=g", b"[1]")
    assert sent["data"] == {"msg_id": 5, "message": [1]}
    assert (await ask(app, "/poll/group/message?key=g&msg_id=5"))["data"] == [1]
    late = await ask(app, "/poll/group/message?key=g&msg_id=6&timeout=0")
    assert late["code"] == 504
