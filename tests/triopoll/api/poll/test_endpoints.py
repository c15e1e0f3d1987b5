"""``/poll/event`` and ``/poll/message`` in one process: parse, admit, wait, reply."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from tests.triopoll.asgi_calls import Call, serving

from triopoll.app import Triopoll
from triopoll.settings import Settings


@pytest.fixture
async def app(free_port: int) -> AsyncIterator[Triopoll]:
    settings = Settings(slock_url=f"embedded://127.0.0.1:{free_port}", waits_per_key=1)
    async with serving(Triopoll(settings)) as app:
        yield app


async def ask(app: Triopoll, target: str, address: str = "127.0.0.1") -> Any:
    call = Call(target)
    call.peer = (address, 1)
    with trio.fail_after(5):
        await call.run(app)
    assert call.status == 200
    assert dict(call.headers)[b"cache-control"] == b"no-store"
    return json.loads(call.body)


@pytest.mark.parametrize("path", ["/poll/event", "/poll/message"])
async def test_the_parameters_choose_the_api(app: Triopoll, path: str) -> None:
    """`event` is the poll API's name, `key` the OpenResty API's."""
    assert (await ask(app, f"{path}?event=k&timeout=0"))["err_code"] == 504
    assert (await ask(app, f"{path}?key=k&timeout=0"))["code"] == 504
    assert (await ask(app, f"{path}?key=k&event=k&timeout=0"))["err_code"] == 504
    assert (await ask(app, f"{path}?monkey=k"))["err_code"] == 400


@pytest.mark.parametrize(
    "query", ["", "event=", "event=k&timeout=x", "event=%FF", "&".join(["a"] * 200)]
)
async def test_a_query_that_is_refused(app: Triopoll, query: str) -> None:
    """Also one that was refused before, and one too long to be remembered."""
    for _ in range(2):
        reply = await ask(app, f"/poll/event?{query}")
        assert reply["err_code"] == 400
        assert reply["err_message"]
    assert (await ask(app, "/poll/event?event=" + "k" * 300))["err_code"] == 400


async def test_a_message_that_the_openresty_api_keeps(app: Triopoll) -> None:
    """An event that fires beside an empty list brings the message kept for it."""
    sent = Call("/poll/message/send?key=k", method="POST", body=b'{"a": 1}')
    await sent.run(app)
    assert json.loads(sent.body)["code"] == 0
    assert (await ask(app, "/poll/message?event=k"))["data"] == '{"a": 1}'


async def test_a_full_limit(app: Triopoll) -> None:
    """It is answered in the format of the API, and frees itself."""
    async with trio.open_nursery() as nursery:
        parked = Call("/poll/event?event=k")
        nursery.start_soon(parked.run, app)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (await ask(app, "/poll/message?event=k"))["err_code"] == 503
        assert (await ask(app, "/poll/message?key=k"))["code"] == 503
        nursery.cancel_scope.cancel()
    assert (await ask(app, "/poll/event?event=k&timeout=0"))["err_code"] == 504


RESET = "timeout=1&default_type=set&wait_type=reset"


@pytest.mark.parametrize("path", ["/poll/event", "/poll/message"])
async def test_the_keys_that_a_visitor_holds(free_port: int, path: str) -> None:
    """One address cannot fill slock with events that it resets; others are served."""
    url = f"embedded://127.0.0.1:{free_port}"
    async with serving(Triopoll(Settings(slock_url=url, held_keys_per_ip=3))) as app:
        for number in range(6):
            target = f"{path}?event=k{number}&{RESET}"
            reply = await ask(app, target, "192.0.2.1")
            if number < 3:
                assert reply["err_code"] == 0
            else:
                sentence = "too many held keys"
                assert reply == {"err_code": 503, "err_message": sentence}
        reply = await ask(app, f"{path}?event=k3&{RESET}", "192.0.2.2")
        assert reply["err_code"] == 0


async def test_the_groups_that_a_visitor_holds(free_port: int) -> None:
    """The bound is the same one for all endpoints."""
    url = f"embedded://127.0.0.1:{free_port}"
    async with serving(Triopoll(Settings(slock_url=url, held_keys_per_ip=2))) as app:
        await ask(app, f"/poll/event?event=k&{RESET}", "192.0.2.1")
        codes = []
        for name in "abca":
            call = Call(f"/v1/wait?group=:{name}&timeout=0")
            call.peer = ("192.0.2.1", 1)
            await call.run(app)
            codes.append(json.loads(call.body)["code"])
        full = "too_many_held_keys"
        assert codes == ["timeout", full, full, "timeout"]


async def test_a_message_that_is_no_text(app: Triopoll) -> None:
    """It is popped once, as text with U+FFFD and in base64, from memory."""
    assert app._services is not None
    lists = app._services.latest_messages._lists
    await lists.push("k", b"a\xff")
    await lists.push("k", b"b")
    assert await ask(app, "/poll/message?event=k") == {
        "err_code": 0,
        "err_message": "",
        "data": "a\ufffd",
        "data_base64": "Yf8=",
    }
    assert (await ask(app, "/poll/message?event=k"))["data"] == "b"
