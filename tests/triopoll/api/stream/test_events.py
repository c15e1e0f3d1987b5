"""Streams as server-sent events: what the protocol's own suite does not ask."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from tests.services import RedisServer, find_free_port
from tests.triopoll.access.asking import SECRET
from tests.triopoll.api.stream.test_replies import page
from tests.triopoll.asgi_calls import Call, serving
from tests.triopoll.event_stream import Event, Receiver
from tests.triopoll.streams import StreamsApi, header

from triopoll.access.keyring import entry_for, new_key
from triopoll.access.tickets import issue_ticket
from triopoll.api.stream.events import encode_control, encode_data, headers_of
from triopoll.app import Triopoll
from triopoll.settings import Settings
from triopoll.store import StreamPage, StreamView

KEY = new_key()


def settings_for(**settings: Any) -> Settings:
    url = f"embedded://127.0.0.1:{find_free_port()}"
    return Settings(slock_url=url, **settings)


@pytest.fixture
async def api() -> AsyncIterator[StreamsApi]:
    async with serving(Triopoll(settings_for())) as app:
        yield StreamsApi(app)


def received(call: Call) -> list[Event]:
    return Receiver().feed(call.body)


def controls(call: Call) -> list[dict[str, Any]]:
    return [
        json.loads(event.data) for event in received(call) if event.type == "control"
    ]


async def until(condition: Any) -> None:
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110  # the application's own pace
            await trio.sleep(0.005)


async def test_a_live_reader(api: StreamsApi) -> None:
    """It gets what is there, what comes, and the end with the last append."""
    await api.put("a", b"1")
    call = Call("/v1/stream/a?offset=-1&live=sse")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call.run, api.app)
        await until(lambda: len(controls(call)) == 1)
        await api.post("a", b"2\n3")
        await until(lambda: len(controls(call)) == 2)
        await api.post("a", b"4", stream_closed="true")
    assert [(e.type, e.data) for e in received(call) if e.type == "data"] == [
        ("data", "1"),
        ("data", "2\n3"),
        ("data", "4"),
    ]
    first, second, last = controls(call)
    assert first["upToDate"] is second["upToDate"] is True
    assert int(second["streamCursor"]) >= int(first["streamCursor"])
    assert last["streamClosed"] is True
    assert "streamCursor" not in last
    assert header(call, "content-type") == "text/event-stream"
    assert header(call, "cross-origin-resource-policy") == "same-origin"
    assert api.app.metrics.waits["stream"].parked == 0
    assert sum(api.app.metrics.wake_to_sent.counts) == 2


async def test_catching_up_in_pages(api: StreamsApi) -> None:
    """Each page is an event, with one that says where it ends."""
    await api.put("a")
    for n in range(5):
        await api.post("a", b"%d" % n * 400_000)
    await api.post("a", stream_closed="true")
    call = await api.get("a?offset=-1&live=sse")
    lines = call.body.split(b"\n")
    data = [line[5:] for line in lines if line.startswith(b"data:")]
    bodies = [each for each in data if not each.startswith(b"{")]
    assert b"".join(bodies) == b"".join(b"%d" % n * 400_000 for n in range(5))
    ends = [json.loads(each) for each in data if each.startswith(b"{")]
    assert [each.get("upToDate") for each in ends] == [None, True]
    assert len(bodies) == 2


async def test_refusals_are_whole_responses(api: StreamsApi) -> None:
    """Before anything is sent, they have their status."""
    await api.put("a")
    for target, status in (
        ("b?offset=-1&live=sse", 404),
        ("a?live=sse", 400),
        ("a?offset=1795897005177000_0000000000000012&live=sse", 410),
    ):
        call = await api.get(target)
        assert call.status == status
        assert header(call, "content-type") == "application/json"
        assert header(call, "stream-sse-data-encoding") is None


async def test_deleted_while_it_is_read(api: StreamsApi) -> None:
    """The connection ends; the next request is told why."""
    await api.put("a")
    call = Call("/v1/stream/a?offset=-1&live=sse")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call.run, api.app)
        await until(lambda: call.sent)
        await api.call("DELETE", "a")
    assert call.status == 200
    assert len(controls(call)) == 1


async def test_the_time_ends_a_connection() -> None:
    """Behind a control event, so that a client comes back to where it was."""
    settings = settings_for(sse_lifetime=0.3, sse_ping=0.1)
    async with serving(Triopoll(settings)) as app:
        api = StreamsApi(app)
        await api.put("a", b"x")
        call = await api.get("a?offset=-1&live=sse")
    receiver = Receiver()
    assert [event.type for event in receiver.feed(call.body)] == ["data", "control"]
    assert receiver.comments


async def test_a_drain_ends_a_connection(api: StreamsApi) -> None:
    """One that begins during it gets what is there."""
    await api.put("a", b"x")
    call = Call("/v1/stream/a?offset=now&live=sse")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call.run, api.app)
        await until(lambda: call.sent)
        api.app.drain.begin()
        await api.app.drain.release(0.1)
    assert [event.type for event in received(call)] == ["control"]
    late = await api.get("a?offset=-1&live=sse")
    assert [event.type for event in received(late)] == ["data", "control"]


async def test_a_ticket_that_expires() -> None:
    """It ends the connection; one that has expired begins none."""
    settings = settings_for(
        ticket_secrets=SECRET, publish_keys=entry_for("shop", KEY, ("*",))
    )
    async with serving(Triopoll(settings)) as app:
        api = StreamsApi(app)
        await api.put("a", authorization=f"Bearer {KEY}")
        ticket = issue_ticket(SECRET, ["a"], lifetime=1.2)
        call = Call(f"/v1/stream/a?offset=-1&live=sse&ticket={ticket}")
        with trio.fail_after(5):
            await call.run(app)
        assert (call.status, len(controls(call))) == (200, 1)
        again = Call(f"/v1/stream/a?offset=-1&live=sse&ticket={ticket}")
        await again.run(app)
        assert again.status == 401


async def test_a_store_that_fails(own_redis: RedisServer) -> None:
    """At the beginning with a status, later by the end of the connection."""
    settings = settings_for(redis_url=own_redis.url, backend_limit=0.5)
    async with serving(Triopoll(settings)) as app:
        api = StreamsApi(app)
        await api.put("a")
        call = Call("/v1/stream/a?offset=-1&live=sse")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.run, app)
            await until(lambda: call.sent)
            own_redis.kill()
            failed = await api.get("a?offset=-1&live=sse")
            assert failed.status == 503
            assert header(failed, "retry-after")
            call.leave()
        assert call.status == 200


async def test_too_many_waits() -> None:
    """One more is refused, or its connection ends where it has begun."""
    async with serving(Triopoll(settings_for(max_waits=1))) as app:
        api = StreamsApi(app)
        await api.put("a")
        first = Call("/v1/stream/a?offset=-1&live=sse")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.run, app)
            await until(lambda: app.metrics.waits["stream"].parked)
            second = await api.get("a?offset=-1&live=sse")
            assert (second.status, len(controls(second))) == (200, 1)
            first.leave()


async def test_too_many_streams() -> None:
    """No more of them can be watched, which is known before anything is sent."""
    async with serving(Triopoll(settings_for(max_watched_keys=1))) as app:
        api = StreamsApi(app)
        for path in ("a", "b"):
            await api.put(path)
        first = Call("/v1/stream/a?offset=-1&live=sse")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.run, app)
            await until(lambda: app.metrics.waits["stream"].parked)
            second = await api.get("b?offset=-1&live=sse")
            assert second.status == 503
            first.leave()


async def test_a_reader_that_leaves(api: StreamsApi) -> None:
    """Its wait goes with it."""
    await api.put("a")
    call = Call("/v1/stream/a?offset=-1&live=sse")
    meter = api.app.metrics.waits["stream"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call.run, api.app)
        await until(lambda: meter.parked)
        call.leave()
    assert meter.ended == {"disconnect": 1}


@pytest.mark.parametrize(
    ("content_type", "is_text"),
    [
        ("text/plain", True),
        ("Text/HTML; charset=utf-8", True),
        ("application/json", True),
        ("application/octet-stream", False),
        ("image/svg+xml", False),
    ],
)
def test_what_is_sent_as_text(content_type: str, is_text: bool) -> None:
    """Everything else is base64, and the head says so."""
    view = page().view
    typed = StreamView(
        id=view.id,
        content_type=content_type,
        tail=view.tail,
        closed=False,
        ttl=None,
        expires="",
    )
    found = StreamPage(typed, view.tail, page(b"1", b"2").entries)
    (event,) = Receiver().feed(encode_data(found))
    body = "[1,2]" if content_type == "application/json" else "12"
    assert event.data == (body if is_text else base64.b64encode(b"12").decode())
    encoding = (b"stream-sse-data-encoding", b"base64")
    assert (encoding in headers_of(found)) is not is_text
    assert encode_data(found) is encode_data(found)


def test_control_events() -> None:
    """As the protocol spells them, one line each."""
    assert encode_data(page()) == b""
    text = encode_control(page(), 7)
    end = page().end
    assert (
        text
        == (
            f'event: control\ndata:{{"streamNextOffset":"{end}",'
            '"streamCursor":"7","upToDate":true}\n\n'
        ).encode()
    )
