"""The log of a key as a stream that can only be read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from tests.services import RedisServer, find_free_port
from tests.triopoll.access.asking import SECRET
from tests.triopoll.api.stream.test_events import received, until
from tests.triopoll.asgi_calls import Call, serving
from tests.triopoll.streams import StreamsApi, header

from triopoll.access.keyring import entry_for, new_key
from triopoll.access.tickets import issue_ticket
from triopoll.api.stream.log_view import cursor_of, offset_of
from triopoll.app import Triopoll
from triopoll.settings import Settings
from triopoll.store import ALL, NEW, START, Offset

KEY = new_key()


def settings_for(**settings: Any) -> Settings:
    url = f"embedded://127.0.0.1:{find_free_port()}"
    return Settings(slock_url=url, stream_timeout=3, **settings)


@pytest.fixture(params=["memory", "redis"])
async def api(request: pytest.FixtureRequest) -> AsyncIterator[StreamsApi]:
    more = {"log_max_messages": 3}
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("own_redis")
        more["redis_url"] = server.url  # type: ignore[assignment]
    async with serving(Triopoll(settings_for(**more))) as app:
        yield StreamsApi(app)


async def publish(api: StreamsApi, key: str, data: object) -> str:
    body = json.dumps({"key": key, "data": data}).encode()
    call = Call("/v1/publish", method="POST", body=body)
    await call.run(api.app)
    assert call.status == 200, call.body
    return str(json.loads(call.body)["items"][0]["id"])


def data_of(body: bytes) -> list[object]:
    return [message["data"] for message in json.loads(body)]


async def test_what_was_published_is_read(api: StreamsApi) -> None:
    """From the beginning, from any offset, and at the end."""
    empty = await api.get("log/a")
    assert (empty.status, empty.body) == (200, b"[]")
    assert header(empty, "stream-up-to-date") == "true"
    ids = [await publish(api, "a", data) for data in ("x", {"y": 1}, "z")]
    read = await api.get("log/a")
    assert header(read, "content-type") == "application/json"
    messages = json.loads(read.body)
    assert [each["id"] for each in messages] == ids
    assert data_of(read.body) == ["x", {"y": 1}, "z"]
    assert header(read, "stream-next-offset") == str(offset_of(ids[-1]))
    rest = await api.get(f"log/a?offset={offset_of(ids[0])}")
    assert data_of(rest.body) == [{"y": 1}, "z"]
    end = await api.get(f"log/a?offset={offset_of(ids[2])}")
    assert (end.body, header(end, "stream-up-to-date")) == (b"[]", "true")
    same = await api.get("log/a", if_none_match=str(header(read, "etag")))
    assert same.status == 304
    now = await api.get("log/a?offset=now")
    head = await api.call("HEAD", "log/a")
    for call in (now, head):
        assert header(call, "stream-next-offset") == str(offset_of(ids[2]))


async def test_a_long_poll_and_events(api: StreamsApi) -> None:
    """Both are woken by a publisher."""
    tail = header(await api.get("log/a?offset=now"), "stream-next-offset")
    poll = Call(f"/v1/stream/log/a?offset={tail}&live=long-poll")
    events = Call("/v1/stream/log/a?offset=-1&live=sse")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll.run, api.app)
        nursery.start_soon(events.run, api.app)
        waits = api.app.metrics.waits
        await until(lambda: waits["sse"].parked == waits["log"].parked == 1)
        await publish(api, "a", "x")
        await until(lambda: poll.sent and b'"x"' in events.body)
        events.leave()
    assert data_of(poll.body) == ["x"]
    control, data, _ = received(events)
    assert control.type == "control"
    assert data_of(data.data.encode()) == ["x"]
    quiet = await api.get("log/a?offset=now&live=long-poll")
    assert quiet.status == 204


async def test_a_gap_is_gone(api: StreamsApi) -> None:
    """Messages that a reader has missed are never passed over."""
    first = await publish(api, "a", 0)
    for n in range(1, 6):
        await publish(api, "a", n)
    for live in ("", "&live=long-poll", "&live=sse"):
        call = await api.get(f"log/a?offset={offset_of(first)}{live}")
        assert (call.status, json.loads(call.body)["code"]) == (410, "offset_gone")
    for live in ("", "&live=long-poll", "&live=sse"):
        none = await api.get(f"log/a?offset={'0' * 16}_{'9' * 16}{live}")
        assert none.status == 410
    assert data_of((await api.get("log/a?offset=-1")).body) == [3, 4, 5]


async def test_it_can_only_be_read(api: StreamsApi) -> None:
    """And is no source of forks."""
    await publish(api, "a", 0)
    for method in ("PUT", "POST", "DELETE"):
        call = await api.call(method, "log/a", stream_closed="true")
        assert (call.status, header(call, "allow")) == (405, "GET, HEAD")
    fork = await api.call("PUT", "f", stream_forked_from="/v1/stream/log/a")
    assert fork.status == 404
    long = await api.get("log/" + "k" * 257)
    assert long.status == 400
    # A path of this name has no key.
    assert (await api.put("log")).status == 201


async def test_a_full_page_is_not_the_end() -> None:
    """The next read tells."""
    settings = settings_for(log_max_messages=2000)
    async with serving(Triopoll(settings)) as app:
        api = StreamsApi(app)
        for _ in range(6):
            await publish(api, "a", "x" * 200_000)
        page = await api.get("log/a")
        assert header(page, "stream-up-to-date") is None
        rest = await api.get(f"log/a?offset={header(page, 'stream-next-offset')}")
        assert header(rest, "stream-up-to-date") == "true"
        assert len(json.loads(page.body)) + len(json.loads(rest.body)) == 6


async def test_a_ticket_names_the_key() -> None:
    """As for `/v1/messages`."""
    settings = settings_for(
        ticket_secrets=SECRET, publish_keys=entry_for("shop", KEY, ("*",))
    )
    async with serving(Triopoll(settings)) as app:
        api = StreamsApi(app)
        api.headers = {
            "authorization": f"Bearer {issue_ticket(SECRET, ['a'], lifetime=60)}"
        }
        assert (await api.get("log/a")).status == 200
        assert (await api.get("log/b")).status == 403
        assert (await api.get("a")).status == 404


async def test_no_store(own_redis: RedisServer) -> None:
    """It says so, in each way to read."""
    settings = settings_for(redis_url=own_redis.url, backend_limit=0.5)
    async with serving(Triopoll(settings)) as app:
        own_redis.kill()
        api = StreamsApi(app)
        for target in ("log/a", "log/a?offset=-1&live=sse"):
            assert (await api.get(target)).status == 503
        assert (await api.call("HEAD", "log/a")).status == 503


def test_places() -> None:
    """An offset and a cursor stand for one place, both ways."""
    assert (cursor_of(None), cursor_of(START)) == (NEW, ALL)
    for cursor in ("00000000.1.0000", "ffffffff.9999999999999999.ffff"):
        assert cursor_of(offset_of(cursor)) == cursor
    for offset in (Offset(0, "0" * 15 + "1"), Offset(1, "9" * 16)):
        assert cursor_of(offset) is None
