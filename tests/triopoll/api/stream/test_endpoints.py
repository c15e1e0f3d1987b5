"""`/v1/stream/` on memory and on Redis: what the protocol's own suite does not ask."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from tests.services import RedisServer, find_free_port
from tests.triopoll.access.asking import SECRET
from tests.triopoll.api.v1.test_state_endpoints import settings_for as stored_settings
from tests.triopoll.asgi_calls import Call, serving
from tests.triopoll.streams import StreamsApi, header

from triopoll.access.keyring import entry_for, new_key
from triopoll.access.tickets import issue_ticket
from triopoll.app import Triopoll
from triopoll.settings import Settings

START = "0" * 16 + "_" + "0" * 16


def settings_for(request: pytest.FixtureRequest, **settings: Any) -> Settings:
    return stored_settings(request, stream_timeout=3, **settings)


@pytest.fixture(params=["memory", "redis"])
async def api(request: pytest.FixtureRequest) -> AsyncIterator[StreamsApi]:
    async with serving(Triopoll(settings_for(request))) as app:
        yield StreamsApi(app)


@pytest.fixture
async def memory(request: pytest.FixtureRequest) -> AsyncIterator[StreamsApi]:
    async with serving(Triopoll(settings_for(request))) as app:
        yield StreamsApi(app)


@pytest.fixture
def key() -> str:
    """The beginning of paths that no other test uses."""
    return uuid.uuid4().hex


def code(call: Call) -> str:
    shape = json.loads(call.body)
    assert set(shape) >= {"code", "message"}
    assert header(call, "cache-control") == "no-store"
    return str(shape["code"])


async def test_a_life(api: StreamsApi, key: str) -> None:
    """Created, appended to, read, closed, deleted."""
    made = await api.put(key, b"1", stream_ttl="60")
    assert (made.status, header(made, "content-type")) == (201, "text/plain")
    assert header(made, "location") == f"http://localhost/v1/stream/{key}"
    tail = header(made, "stream-next-offset")
    found = await api.put(key, stream_ttl="60")
    assert (found.status, header(found, "location")) == (200, None)
    assert header(found, "stream-next-offset") == tail

    appended = await api.post(key, b"2")
    assert appended.status == 204
    read = await api.get(f"{key}?offset={tail}")
    assert (read.status, read.body) == (200, b"2")
    assert header(read, "stream-up-to-date") == "true"
    assert header(read, "cache-control") == "public, no-cache"
    same = await api.get(
        f"{key}?offset={tail}", if_none_match=str(header(read, "etag"))
    )
    assert (same.status, same.body) == (304, b"")

    closed = await api.post(key, b"3", stream_closed="true")
    assert (closed.status, header(closed, "stream-closed")) == (204, "true")
    other = await api.get(
        f"{key}?offset={tail}", if_none_match=f'W/{header(read, "etag")}, "x"'
    )
    assert (other.status, other.body) == (200, b"23")
    assert header(other, "stream-closed") == "true"
    assert header(other, "cache-control").startswith("public, max-age=60")  # type: ignore[union-attr]
    head = await api.call("HEAD", key)
    assert (head.status, head.body) == (200, b"")
    assert header(head, "stream-ttl") == "60"
    assert header(head, "stream-closed") == "true"

    assert (await api.call("DELETE", key)).status == 204
    for method in ("GET", "HEAD", "DELETE"):
        gone = await api.call(method, key)
        assert (gone.status, code(gone)) == (404, "not_found")


async def test_every_answer_is_for_this_site_and_runs_no_script(
    memory: StreamsApi,
) -> None:
    """Refusals, too."""
    calls = [
        await memory.put("a", b"<script>", content_type="text/html"),
        await memory.get("a"),
        await memory.get("b"),
        await memory.get("a?offset=x"),
        await memory.call("PATCH", "a"),
        await memory.get("a", origin="http://evil.example"),
        await memory.post("a", b"x" * 2**21),
    ]
    assert [call.status for call in calls] == [201, 200, 404, 400, 405, 403, 413]
    for call in calls:
        assert header(call, "x-content-type-options") == "nosniff"
        assert header(call, "cross-origin-resource-policy") == "same-origin"
        assert header(call, "content-security-policy") == "sandbox"
    others = Call("/livez")
    await others.run(memory.app)
    assert header(others, "content-security-policy") is None


async def test_a_preflight(request: pytest.FixtureRequest) -> None:
    """It names the five methods."""
    settings = settings_for(request, cors_origins="https://app.example")
    async with serving(Triopoll(settings)) as app:
        asked = {
            "origin": "https://app.example",
            "access_control_request_method": "PUT",
        }
        call = await StreamsApi(app).call("OPTIONS", "a/b", **asked)
    assert call.status == 204
    allowed = str(header(call, "access-control-allow-methods"))
    assert set(allowed.split(", ")) == {"GET", "HEAD", "PUT", "POST", "DELETE"}


async def test_a_long_poll(api: StreamsApi, key: str) -> None:
    """Answered by an append, by a close, and after its time with the same offset."""
    made = await api.put(key)
    tail = header(made, "stream-next-offset")
    calls: list[Call] = []

    async def poll() -> None:
        calls.append(await api.get(f"{key}?offset={tail}&live=long-poll&cursor=5"))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(poll)
        await trio.sleep(0.2)
        await api.post(key, b"x")
    assert [(call.status, call.body) for call in calls] == [(200, b"x")] * 3
    assert all(int(header(call, "stream-cursor") or 0) > 5 for call in calls)
    assert str(header(calls[0], "cache-control")).startswith("public, max-age=60")
    async with trio.open_nursery() as nursery:
        tail = header(calls[0], "stream-next-offset")
        nursery.start_soon(poll)
        await trio.sleep(0.2)
        await api.post(key, stream_closed="true")
    assert calls[-1].status == 204
    assert header(calls[-1], "stream-closed") == "true"
    assert header(calls[-1], "stream-next-offset") == tail


async def test_json(api: StreamsApi, key: str) -> None:
    """A page is one array, of the texts that were appended."""
    await api.put(key, b"[]", content_type="application/json")
    assert (await api.get(key)).body == b"[]"
    for body in (b"1.0", b'[{"a" : 1}, [2]]'):
        await api.post(key, body, content_type="application/json; charset=utf-8")
    assert (await api.get(key)).body == b'[1.0,{"a" : 1},[2]]'


async def test_producers(api: StreamsApi, key: str) -> None:
    """What was not accepted names what would be."""
    await api.put(key)

    def producer(epoch: int, seq: int) -> dict[str, str]:
        return {
            "producer_id": "\u00e9",
            "producer_epoch": str(epoch),
            "producer_seq": str(seq),
        }

    first = await api.post(key, b"x", **producer(1, 0))
    assert (first.status, header(first, "producer-seq")) == (200, "0")
    again = await api.post(key, b"x", **producer(1, 0))
    assert (again.status, header(again, "producer-epoch")) == (204, "1")
    gap = await api.post(key, b"x", **producer(1, 5))
    assert (gap.status, code(gap)) == (409, "sequence_gap")
    assert header(gap, "producer-expected-seq") == "1"
    assert header(gap, "producer-received-seq") == "5"
    stale = await api.post(key, b"x", **producer(0, 1))
    assert (stale.status, header(stale, "producer-epoch")) == (403, "1")
    jump = await api.post(key, b"x", **producer(2, 1))
    assert (jump.status, code(jump)) == (400, "epoch_start")
    closed = await api.post(key, stream_closed="true", **producer(1, 1))
    assert closed.status == 204
    late = await api.post(key, b"x", **producer(1, 2))
    assert (late.status, code(late)) == (409, "closed")
    assert header(late, "stream-closed") == "true"


async def test_forks(api: StreamsApi, key: str) -> None:
    """Made through the API, by the path of the source as in its URL."""
    await api.put(f"{key}/a b", b"12")
    source = f"/v1/stream/{key}/a%20b"
    fork = await api.call(
        "PUT",
        f"{key}/f",
        stream_forked_from=source,
        stream_fork_offset=START,
        stream_fork_sub_offset="1",
    )
    assert (fork.status, header(fork, "content-type")) == (201, "text/plain")
    assert (await api.get(f"{key}/f")).body == b"1"
    assert (await api.call("DELETE", f"{key}/a b")).status == 204
    for method, status in (("GET", 410), ("DELETE", 410), ("PUT", 409), ("POST", 410)):
        call = await api.call(method, f"{key}/a b", b"", stream_closed="true")
        assert call.status == status, method
    none = await api.call("PUT", f"{key}/g", stream_forked_from="/v1/stream/nothing")
    assert (none.status, code(none)) == (404, "source_not_found")


async def test_paths(api: StreamsApi, key: str) -> None:
    """Slashes, spaces, other scripts, and long ones; each is a stream of its own."""
    paths = [f"{key}/{name}" for name in ("a", "a/b", "a b", "\u00e9/%2F", "x" * 8000)]
    for path in paths:
        made = await api.put(path, path[-3:].encode())
        assert made.status == 201
    location = str(header(await api.put(f"{key}/\u00e8?"), "location"))
    assert location.endswith("/%C3%A8")
    for path in paths:
        assert (await api.get(path)).body == path[-3:].encode()
    for path in ("a//b", "a/../b", ".", "x" * 8193):
        bad = await api.get(path)
        assert (bad.status, code(bad)) == (400, "bad_request")
    for path in ("__ds", "__ds/subscriptions/x"):
        assert (await api.put(path)).status == 404
    unknown = Call("/v1/stream/")
    await unknown.run(api.app)
    assert unknown.status == 404


async def test_where_a_stream_is(request: pytest.FixtureRequest) -> None:
    """Below a mount, behind a proxy that ends TLS, and without a usable Host."""
    settings = settings_for(request, trusted_proxies="127.0.0.1", publish_keys=KEYS)
    async with serving(Triopoll(settings)) as app:
        api = StreamsApi(app)
        api.headers = {"authorization": f"Bearer {KEY}"}
        mounted = await api.call("PUT", "shop/a", root_path="/push")
        assert header(mounted, "location") == "http://localhost/push/v1/stream/shop/a"
        forwarded = await api.call(
            "PUT", "shop/b", x_forwarded_for="192.0.2.1", x_forwarded_proto="https"
        )
        assert header(forwarded, "location") == "https://localhost/v1/stream/shop/b"
        second = await api.call("PUT", "shop/c", host="other")
        assert header(second, "location") == "/v1/stream/shop/c"


async def test_offsets_that_are_gone(api: StreamsApi, key: str) -> None:
    """Those of an old stream are 410, so that no reader goes on within another one."""
    made = await api.put(key, b"x")
    await api.call("DELETE", key)
    await api.put(key, b"y")
    offset = header(made, "stream-next-offset")
    for live in ("", "&live=long-poll"):
        gone = await api.get(f"{key}?offset={offset}{live}")
        assert (gone.status, code(gone)) == (410, "offset_gone")


async def test_too_long(request: pytest.FixtureRequest) -> None:
    """An append, and a stream."""
    settings = settings_for(request, stream_max_append_bytes=100, stream_max_bytes=300)
    async with serving(Triopoll(settings)) as app:
        api = StreamsApi(app)
        await api.put("a")
        long = await api.post("a", b"x" * 101)
        assert (long.status, code(long)) == (413, "append_too_long")
        assert (await api.post("a", b"x" * 100)).status == 204
        full = await api.post("a", b"x" * 100)
        assert (full.status, code(full)) == (413, "stream_full")


async def test_no_room(own_redis: RedisServer, request: pytest.FixtureRequest) -> None:
    """A full Redis refuses, and keeps what it has."""
    import redis

    url = f"embedded://127.0.0.1:{find_free_port()}"
    settings = Settings(slock_url=url, redis_url=own_redis.url)
    async with serving(Triopoll(settings)) as app:
        api = StreamsApi(app)
        await api.put("a", b"x")
        with redis.Redis(port=own_redis.port) as admin:
            admin.config_set("maxmemory", 1)
        refused = await api.post("a", b"y")
        assert (refused.status, code(refused)) == (503, "store_failed")
        assert header(refused, "retry-after")
        assert (await api.get("a")).body == b"x"
        created = await api.put("b")
        assert created.status == 503
    own_redis.kill()


async def test_no_store(own_redis: RedisServer) -> None:
    """Each method says so."""
    url = f"embedded://127.0.0.1:{find_free_port()}"
    settings = Settings(slock_url=url, redis_url=own_redis.url, backend_limit=0.5)
    async with serving(Triopoll(settings)) as app:
        own_redis.kill()
        api = StreamsApi(app)
        for method in ("GET", "HEAD", "PUT", "DELETE", "POST"):
            call = await api.call(method, "a", stream_closed="true")
            assert (call.status, code(call)) == (503, "store_unreachable")


KEY = new_key()
KEYS = entry_for("shop", KEY, ("shop/*", "other"))


async def test_who_may(request: pytest.FixtureRequest) -> None:
    """Tickets and publishers' keys name paths as they name keys."""
    settings = settings_for(request, publish_keys=KEYS, ticket_secrets=SECRET)
    async with serving(Triopoll(settings)) as app:
        api = StreamsApi(app)
        ticket = issue_ticket(SECRET, ["shop/1", "shop/a/*"], lifetime=60)
        reader = {"authorization": f"Bearer {ticket}"}
        writer = {"authorization": f"Bearer {KEY}"}
        for method in ("PUT", "POST", "DELETE"):
            for headers, status in (({}, 401), (reader, 401)):
                call = await api.call(method, "shop/1", stream_closed="true", **headers)
                assert call.status == status
            elsewhere = await api.call(method, "else", stream_closed="true", **writer)
            assert (elsewhere.status, code(elsewhere)) == (403, "forbidden")
        made = await api.put("shop/1", b"x", **writer)
        assert made.status == 201
        for method in ("GET", "HEAD"):
            assert (await api.call(method, "shop/1")).status == 401
            assert (await api.call(method, "shop/2", **reader)).status == 403
            assert (await api.call(method, "shop/1", **reader)).status == 200
        read = await api.get("shop/1?offset=-1&live=long-poll", **reader)
        assert str(header(read, "cache-control")).startswith("private, max-age=60")
        # A fork shows what its source has.
        secret = await api.put("shop/2", stream_forked_from="/v1/stream/else", **writer)
        assert secret.status == 403


async def test_a_ticket_that_expires_during_a_wait(
    request: pytest.FixtureRequest,
) -> None:
    """The wait ends with it; waits are counted against the limits."""
    settings = settings_for(
        request, ticket_secrets=SECRET, waits_per_subject=1, publish_keys=KEYS
    )
    async with serving(Triopoll(settings)) as app:
        api = StreamsApi(app)
        await api.put("other", authorization=f"Bearer {KEY}")
        ticket = issue_ticket(SECRET, ["other"], lifetime=1.2, subject="s")
        reader = {"authorization": f"Bearer {ticket}"}
        calls: list[Call] = []

        async def poll() -> None:
            calls.append(await api.get("other?offset=now&live=long-poll", **reader))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(poll)
            await trio.sleep(0.1)
            refused = await api.get("other?offset=now&live=long-poll", **reader)
            assert (refused.status, code(refused)) == (429, "limit")
        assert (calls[0].status, code(calls[0])) == (401, "ticket_expired")


async def test_a_drain_ends_a_long_poll(memory: StreamsApi) -> None:
    """As its time would."""
    await memory.put("a")
    calls: list[Call] = []

    async def poll() -> None:
        calls.append(await memory.get("a?offset=now&live=long-poll"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        await trio.sleep(0.1)
        drain = memory.app.drain
        drain.begin()
        await drain.release(0.1)
    assert calls[0].status == 204
    assert header(calls[0], "stream-up-to-date") == "true"


async def test_a_reader_that_leaves(memory: StreamsApi) -> None:
    """Its wait goes with it."""
    await memory.put("a")
    call = Call("/v1/stream/a?offset=now&live=long-poll")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call.run, memory.app)
        meter = memory.app.metrics.waits["stream"]
        while not meter.parked:  # noqa: ASYNC110  # the application's own pace
            await trio.sleep(0.01)
        call.leave()
    assert meter.parked == 0
    assert meter.ended == {"disconnect": 1}
