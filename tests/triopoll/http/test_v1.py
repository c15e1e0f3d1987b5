"""The endpoints of /v1 over real sockets, with a real Redis and each server."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis
import trio
from tests.services import RedisServer
from tests.triopoll.service import (
    SERVERS,
    Process,
    ask,
    poll_process,
    reads,
    requesting,
)

import trioslock

PREFIX = "triopoll:"
# Waits linger, and other tests count those of their database.
DATABASE = "114"


@pytest.fixture(scope="module")
def v1_url(slock_url: str) -> str:
    server, _, _ = slock_url.removeprefix("slock://").partition("/")
    return f"slock://{server}/{DATABASE}"


@pytest.fixture(scope="module", params=SERVERS)
def service(
    request: pytest.FixtureRequest, v1_url: str, redis_server: RedisServer
) -> Iterator[Process]:
    """The service of all tests, in a slock database of its own."""
    server = request.param
    with poll_process(slock=v1_url, redis=redis_server.url, server=server) as it:
        yield it


@pytest.fixture
async def slock(v1_url: str) -> AsyncIterator[trioslock.Client]:
    """Another client of the same database."""
    async with trioslock.open_client(v1_url) as client:
        yield client


async def messages(service: Process, **args: Any) -> Any:
    return reads(await ask(service.port, "/v1/messages", **args))


async def post(service: Process, path: str, shape: object, status: int = 200) -> Any:
    body = shape if isinstance(shape, bytes) else json.dumps(shape).encode()
    answer = await ask(service.port, path, method="POST", body=body)
    return reads(answer, status)


async def publish(service: Process, key: str, *data: str, status: int = 200) -> Any:
    items = [{"key": key, "data": each} for each in data]
    answer = await post(service, "/v1/publish", {"items": items}, status)
    return answer["items"]


def texts(page: Any) -> list[str]:
    return [message["data"] for message in page["messages"]]


async def test_messages_are_read_and_stay(service: Process, key: str) -> None:
    """Messages can be read repeatedly, in order, with the publisher's ids."""
    items = await publish(service, key, "1", "é", "3")
    assert [item["duplicate"] for item in items] == [False] * 3
    page = await messages(service, key=key, cursor="all", max=2)
    assert texts(page) == ["1", "é"]
    assert [message["id"] for message in page["messages"]] == [
        item["id"] for item in items[:2]
    ]
    assert "code" not in page
    assert page["retry_ms"] == 0
    assert 22.5 <= page["wait"] <= 25
    assert page["waited"] < 5
    for _ in range(2):
        rest = await messages(service, key=key, cursor=page["cursor"])
        assert texts(rest) == ["3"]
    # The id of a message is the cursor after it.
    assert texts(await messages(service, key=key, cursor=items[0]["id"])) == ["é", "3"]


@pytest.mark.slow
async def test_a_wait_that_is_woken(service: Process, key: str) -> None:
    """The message arrives right after it was published, not before."""
    page = await messages(service, key=key, timeout=0)
    assert page["code"] == "timeout"
    assert texts(page) == []
    async with requesting(
        service.port, "/v1/messages", key=key, cursor=page["cursor"]
    ) as request:
        await trio.sleep(0.3)
        await publish(service, key, "hello")
        found = reads(await request.answer())
    assert texts(found) == ["hello"]
    assert 0.2 < found["waited"] < 2


@pytest.mark.slow
async def test_a_wait_in_vain(service: Process, key: str) -> None:
    """It ends at its timeout, less the jitter, with a cursor for the next wait."""
    page = await messages(service, key=key, timeout="0.2")
    assert page["code"] == "timeout"
    assert page["messages"] == []
    assert 0.18 <= page["wait"] <= 0.2
    assert page["waited"] >= 0.17
    await publish(service, key, "1")
    assert texts(await messages(service, key=key, cursor=page["cursor"])) == ["1"]


@pytest.mark.slow
@pytest.mark.parametrize("service", ["triopoll"], indirect=True)
async def test_a_message_without_a_wake(
    service: Process, key: str, redis_client: redis.Redis
) -> None:
    """It is found within 5 s: its publisher wrote into Redis, and sent no wake."""
    await publish(service, key, "1")
    page = await messages(service, key=key, cursor="all")
    async with requesting(
        service.port, "/v1/messages", key=key, cursor=page["cursor"], timeout=20
    ) as request:
        await trio.sleep(0.3)
        (stream,) = redis_client.keys(f"{PREFIX}log:{key}")
        entries = redis_client.xrange(stream)
        last, fields = entries[-1]
        number = int(last.split(b"-")[0])
        meta = f"{PREFIX}meta:{key}"
        tag = fields[b"g"]
        redis_client.xadd(stream, {**fields, b"d": b"2"}, id=f"{number + 1}-0")
        for name, value in redis_client.hgetall(meta).items():
            if value == str(number).encode():
                redis_client.hset(meta, name, number + 1)
        assert tag
        found = reads(await request.answer())
    assert texts(found) == ["2"]
    assert found["waited"] < 5.5


async def test_bytes_that_are_no_text(service: Process, key: str) -> None:
    """Bytes are sent and returned in base64."""
    await post(service, "/v1/publish", {"key": key, "data_base64": "/wAB"})
    page = await messages(service, key=key, cursor="all")
    (message,) = page["messages"]
    assert message["data_base64"] == "/wAB"
    assert "data" not in message


async def test_json_values(service: Process, key: str) -> None:
    """They come back with the same digits and order; a string stays a string."""
    values = (b'{"b" : 1.50, "a":[12345678901234567890]}', b"null", b'"[1]"')
    for value in values:
        body = b'{"key":"%b","data":%b}' % (key.encode(), value)
        await post(service, "/v1/publish", body)
    answer = await ask(service.port, "/v1/messages", key=key, cursor="all")
    for value in values:
        assert b'"data":%b,"ts":' % value in answer.body
    assert [message["data"] for message in answer.json["messages"]] == [
        {"b": 1.5, "a": [12345678901234567890]},
        None,
        "[1]",
    ]


async def test_a_duplicate(service: Process, key: str) -> None:
    """A second publish with the same id returns the first message."""
    item = {"key": key, "data": "1", "id": "order-7"}
    (first,) = (await post(service, "/v1/publish", item))["items"]
    (second,) = (await post(service, "/v1/publish", item))["items"]
    assert second == {**first, "duplicate": True}
    assert texts(await messages(service, key=key, cursor="all")) == ["1"]


async def test_a_gap(service: Process, key: str) -> None:
    """A cursor of another storage is reported as a gap, and the reader continues."""
    await publish(service, key, "1")
    page = await messages(service, key=key, cursor="00000000.1700000000000000.0001")
    assert page["code"] == "gap"
    assert page["lost"] is None
    assert texts(page) == ["1"]


@pytest.mark.slow
async def test_a_wait_for_several_things(
    service: Process, key: str, slock: trioslock.Client
) -> None:
    """All ready items are returned, in the given order; then later ones."""
    items: list[dict[str, Any]] = [
        {"key": key, "cursor": "all"},
        {"key": f"{key}-e", "type": "event"},
        {"key": f"{key}-g", "type": "group"},
    ]
    first = await post(service, "/v1/wait", {"items": items, "timeout": 0})
    assert first["code"] == "timeout"
    log, event, group = first["items"]
    assert [each["ready"] for each in first["items"]] == [False] * 3
    assert log["messages"] == []
    items[0]["cursor"] = log["cursor"]
    items[2]["version"] = group["version"]

    (woken,) = (
        await post(service, "/v1/publish", {"key": f"{key}-g", "type": "group"})
    )["items"]
    assert woken == {"version": group["version"] + 1}
    await publish(service, key, "1")
    both = await post(service, "/v1/wait", {"items": items})
    assert "code" not in both
    log, event, group = both["items"]
    assert texts(log) == ["1"]
    assert not event["ready"]
    assert (group["ready"], group["version"]) == (True, woken["version"])
    items[0]["cursor"], items[2]["version"] = log["cursor"], group["version"]

    query = (
        f"message={log['cursor']}:{key}&event=:{key}-e"
        f"&group={group['version']}:{key}-g&timeout=20"
    )
    async with requesting(service.port, "/v1/wait", query) as request:
        await trio.sleep(0.3)
        shape = {"key": f"{key}-e", "type": "event", "ttl": 60}
        assert await post(service, "/v1/publish", shape) == {"items": [{}]}
        found = reads(await request.answer())
    assert [each["ready"] for each in found["items"]] == [False, True, False]
    assert await slock.event(f"{key}-e", ttl=5).is_set()
    shape = {"key": f"{key}-e", "type": "clear"}
    assert await post(service, "/v1/publish", shape) == {"items": [{}]}
    assert not await slock.event(f"{key}-e", ttl=5).is_set()


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/v1/messages", "", "bad_request"),
        ("/v1/messages", "key=k&cursor=nonsense", "bad_cursor"),
        ("/v1/messages", "key=k&until=7", "bad_request"),
        ("/v1/wait", "message=nonsense:k", "bad_cursor"),
        ("/v1/wait", "", "bad_request"),
    ],
)
async def test_requests_that_are_refused(
    service: Process, path: str, query: str, code: str
) -> None:
    """With status 400, a code and a message."""
    answer = reads(await ask(service.port, path, query.encode()), 400)
    assert answer["code"] == code
    assert isinstance(answer["message"], str)


async def test_bodies_that_are_refused(service: Process, key: str) -> None:
    """Whatever the body contains, nothing is published."""
    for body in (
        b"[" * 50_000,
        b'{"key":"' + key.encode() + b'","data":"1","data":"2"}',
        b'{"items":[{"key":"' + key.encode() + b'","data":"1"},{"key":"k"}]}',
        b"\xff\xfe",
    ):
        answer = await post(service, "/v1/publish", body, 400)
        assert answer["code"] == "bad_request"
    assert texts(await messages(service, key=key, cursor="all", timeout=0)) == []
    # A server may close before it has read all of it.
    with contextlib.suppress(trio.BrokenResourceError):
        body = b" " * (2**20 + 1)
        answer = await ask(service.port, "/v1/publish", method="POST", body=body)
        assert answer.status == 413


async def test_methods(service: Process) -> None:
    """Other methods are answered 405 with the supported ones."""
    for path, allowed in (
        ("/v1/messages", "get"),
        ("/v1/wait", "get, post"),
        ("/v1/publish", "post"),
    ):
        answer = await ask(service.port, path, method="DELETE")
        assert answer.status == 405
        assert answer.headers["allow"] == allowed


async def test_a_key_that_is_something_else(
    service: Process, key: str, slock: trioslock.Client
) -> None:
    """Slock refuses, and the answer says that a repetition is useless."""
    async with slock.lock(key):
        shape = {"key": key, "type": "event"}
        answer = await post(service, "/v1/publish", shape, 409)
    assert answer["code"] == "slock_refused"
