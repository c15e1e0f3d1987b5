"""Server-sent events of `/v1/messages` without a server: what is sent, and the end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from tests.services import find_free_port
from tests.triopoll.asgi_calls import Call, serving
from tests.triopoll.event_stream import Event, Receiver
from tests.triopoll.inprocess import publish
from tests.triopoll.support import eventually

from triopoll.access import issue_ticket
from triopoll.app import Triopoll
from triopoll.core.outcomes import Failure, OperationFailed
from triopoll.settings import Settings
from triopoll.store import StoreUnreachable

SECRET = "a-secret-that-is-long-enough-for-hs256"


class Stream(Call):
    """One request for events, and what its client has received.

    Attributes:
        hangs: The client does not read what is sent from now on.
    """

    def __init__(self, query: str, *headers: tuple[bytes, bytes], **more: Any) -> None:
        super().__init__(f"/v1/messages?live=sse&{query}", headers=headers, **more)
        self.receiver = Receiver()
        self.events: list[Event] = []
        self.ended = False
        self.hangs = False

    async def _send(self, event: Any) -> None:
        if self.hangs:
            await trio.sleep_forever()
        await super()._send(event)
        self.events += self.receiver.feed(event.get("body", b""))

    async def run(self, app: Triopoll) -> None:
        await super().run(app)
        self.ended = True

    async def until(self, count: int) -> list[Event]:
        await eventually(lambda: len(self.events) >= count)
        return self.events

    def messages(self) -> list[str]:
        found = [each for each in self.events if each.type == "message"]
        assert all(json.loads(each.data)["id"] == each.id for each in found)
        return [json.loads(each.data)["data"] for each in found]

    def last(self) -> Any:
        assert self.events[-1].type == "end"
        return json.loads(self.events[-1].data)


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[tuple[Triopoll, trio.Nursery]]:
    """The application, and where its clients run; nothing may be left of them."""
    url = f"embedded://127.0.0.1:{find_free_port()}"
    async with serving(Triopoll(Settings(slock_url=url, **settings))) as app:
        async with trio.open_nursery() as nursery:
            yield app, nursery
            nursery.cancel_scope.cancel()
        services = app.services()
        assert services.drain.parked == 0
        assert len(services.access.concurrency) == 0
        assert app.metrics.waits["sse"].parked == 0


async def start(app: Triopoll, nursery: trio.Nursery, query: str, *headers: Any) -> Any:
    stream = Stream(query, *headers)
    nursery.start_soon(stream.run, app)
    return stream


async def test_each_message_is_an_event() -> None:
    """Those that are there and those that come; the id of each is its cursor."""
    async with running() as (app, nursery):
        await publish(app, "k", b"1", b"2\r\n\nevent: end")
        stream = await start(app, nursery, "key=k&cursor=all")
        await stream.until(2)
        await publish(app, "k", b"3")
        await stream.until(3)
        await publish(app, "k", b"4", b"5")
        await stream.until(5)
        assert stream.messages() == ["1", "2\r\n\nevent: end", "3", "4", "5"]
        assert {each.type for each in stream.events} == {"message"}
        assert dict(stream.headers)[b"content-type"] == b"text/event-stream"
        assert dict(stream.headers)[b"cache-control"] == b"no-store"
        assert dict(stream.headers)[b"x-content-type-options"] == b"nosniff"
        assert 500 <= stream.receiver.retry_ms <= 1500
        assert app.metrics.answers["/v1/messages", 200] == 1
        meter = app.metrics.waits["sse"]
        assert meter.parked == 1
        assert meter.ended["fired"] == 2
        stream.leave()
        await eventually(lambda: meter.parked == 0)
        assert meter.ended["disconnect"] == 1
        assert sum(app.metrics.wake_to_sent.counts) == 2


@pytest.mark.parametrize("by", ["header", "query"])
async def test_a_client_comes_back_with_its_last_id(by: str) -> None:
    """Nothing is lost and nothing comes twice; the header counts before the query."""
    async with running() as (app, nursery):
        stream = await start(app, nursery, "key=k")
        (opening,) = await stream.until(1)
        assert (opening.type, json.loads(opening.data)) == (
            "cursor",
            {"cursor": opening.id},
        )
        stream.leave()
        await publish(app, "k", b"1", b"2")
        last = stream.receiver.last_id
        if by == "header":
            header = (b"last-event-id", last.encode())
            stream = await start(app, nursery, "key=k&cursor=all&max=1", header)
        else:
            empty = (b"last-event-id", b" ")
            stream = await start(app, nursery, f"key=k&cursor={last}&max=1", empty)
        await stream.until(2)
        assert stream.messages() == ["1", "2"]


async def test_readers_share_what_they_read() -> None:
    """One message to many readers is read and encoded once or twice, not by each."""
    async with running() as (app, nursery):
        streams = [await start(app, nursery, "key=k&cursor=all") for _ in range(20)]
        for stream in streams:
            await stream.until(1)
        # Behind the first message they have the same cursor.
        await publish(app, "k", b"1")
        for stream in streams:
            await stream.until(2)
        reads = 0
        log = app.services().log
        read_now = log.read

        async def read(*args: Any, **more: Any) -> Any:
            nonlocal reads
            reads += 1
            return await read_now(*args, **more)

        log.read = read  # type: ignore[method-assign]
        await publish(app, "k", b"2")
        for stream in streams:
            await stream.until(3)
            assert stream.messages() == ["1", "2"]
        await trio.testing.wait_all_tasks_blocked()
        # Behind the wake, behind the page, and once more as the channel waits again.
        assert reads <= 4


@pytest.mark.parametrize("has_messages", [True, False])
async def test_a_gap_is_an_event(has_messages: bool) -> None:
    """It comes before the messages behind it; alone it has an id of its own."""
    lost = "01234567.1.abcd"
    async with running() as (app, nursery):
        if has_messages:
            await publish(app, "k", b"1")
        stream = await start(app, nursery, f"key=k&cursor={lost}")
        first, *_ = await stream.until(1 + has_messages)
        assert (first.type, json.loads(first.data)) == (
            "gap",
            {"code": "gap", "lost": None},
        )
        assert bool(first.id) is not has_messages
        assert stream.receiver.last_id
        assert stream.messages() == ["1"] * has_messages
        assert app.metrics.gaps == 1


async def test_a_comment_shows_that_the_connection_lives() -> None:
    """After each ping interval without an event."""
    async with running(sse_ping=0.01) as (app, nursery):
        stream = await start(app, nursery, "key=k")
        await eventually(lambda: len(stream.receiver.comments) >= 3)
        assert len(stream.events) == 1


@pytest.mark.parametrize("query", ["timeout=0", "timeout=0.05", ""])
async def test_the_time_is_over(query: str) -> None:
    """The last event has the cursor; the client is to come back at once."""
    async with running(sse_lifetime=0.1) as (app, nursery):
        await publish(app, "k", b"1")
        stream = await start(app, nursery, f"key=k&cursor=all&{query}")
        with trio.fail_after(5):
            await eventually(lambda: stream.ended)
        assert stream.messages() == ["1"]
        cursor = stream.events[0].id
        assert stream.last() == {"code": "timeout", "cursor": cursor, "retry_ms": 0}
        assert stream.receiver.last_id == cursor
        assert stream.receiver.retry_ms >= 500
        assert stream.sent[-1]["more_body"] is False


async def test_a_busy_stream_ends_too() -> None:
    """Also where there is always more: behind the page that is being sent."""
    async with running() as (app, nursery):
        await publish(app, "k", b"1", b"2")
        stream = await start(app, nursery, "key=k&cursor=all&max=1&timeout=0")
        await eventually(lambda: stream.ended)
        assert stream.messages() == ["1"]
        assert stream.last()["cursor"] == stream.events[0].id


@pytest.mark.parametrize("is_busy", [False, True])
async def test_the_drain_ends_a_stream(is_busy: bool) -> None:
    """With all that was read delivered, and at a time of its own for each client."""
    async with running() as (app, nursery):
        await publish(app, "k", b"1", b"2")
        page = "&max=1" if is_busy else ""
        stream = await start(app, nursery, "key=k&cursor=all" + page)
        if not is_busy:
            await stream.until(2)
            await trio.testing.wait_all_tasks_blocked()
        await app.drain.release(0)
        await eventually(lambda: stream.ended)
        assert stream.messages() == (["1"] if is_busy else ["1", "2"])
        last = stream.last()
        assert last["code"] == "draining"
        assert last["cursor"] == stream.receiver.last_id == stream.events[-2].id
        assert last["retry_ms"] == stream.receiver.retry_ms >= 500


@pytest.mark.parametrize("query", ["cursor=x", "cursor=1.2.3", "live=ws", "max=0"])
async def test_a_bad_request_is_refused_with_a_status(query: str) -> None:
    async with running() as (app, _):
        stream = Stream(f"key=k&{query}".replace("live=ws", "live=sse"))
        await stream.run(app)
        assert stream.status == 400


@pytest.mark.parametrize("values", [[b"x"], [b"\xff"], [b"new", b"all"]])
async def test_a_bad_last_event_id_is_refused(values: list[bytes]) -> None:
    async with running() as (app, _):
        stream = Stream("key=k", *((b"last-event-id", value) for value in values))
        await stream.run(app)
        assert stream.status == 400
        assert json.loads(stream.body)["code"] == "bad_cursor"


async def test_a_failure_of_the_store_is_the_last_event() -> None:
    """With the status 200: a browser comes back, after the time that it says."""
    async with running() as (app, nursery):

        async def fail(*_: object, **__: object) -> None:
            raise StoreUnreachable

        app.services().log.read = fail  # type: ignore[assignment, method-assign]
        stream = await start(app, nursery, "key=k")
        await eventually(lambda: stream.ended)
        assert stream.status == 200
        last = stream.last()
        assert last["code"] == "store_unreachable"
        assert last["retry_ms"] == stream.receiver.retry_ms >= 1000
        assert stream.receiver.last_id == ""


async def test_a_failure_behind_some_messages() -> None:
    """The client comes back behind what it has."""
    async with running() as (app, nursery):
        await publish(app, "k", b"1")
        stream = await start(app, nursery, "key=k&cursor=all")
        await stream.until(1)
        await trio.testing.wait_all_tasks_blocked()

        async def fail(*_: object, **__: object) -> None:
            raise StoreUnreachable

        app.services().log.read = fail  # type: ignore[assignment, method-assign]
        await app.services().notifier.notify("k")
        await eventually(lambda: stream.ended)
        assert stream.last()["code"] == "store_unreachable"
        assert stream.receiver.last_id == stream.events[0].id


async def test_a_process_that_watches_too_many_logs() -> None:
    async with running(max_watched_keys=1) as (app, nursery):
        first = await start(app, nursery, "key=k")
        await first.until(1)
        stream = await start(app, nursery, "key=other")
        await eventually(lambda: stream.ended)
        assert stream.last()["code"] == "too_many_waits"


async def test_a_process_that_parks_too_many_waits() -> None:
    async with running(max_waits=1) as (app, nursery):
        first = await start(app, nursery, "key=k")
        await first.until(1)
        await trio.testing.wait_all_tasks_blocked()
        stream = await start(app, nursery, "key=k")
        await eventually(lambda: stream.ended)
        assert [each.type for each in stream.events] == ["cursor", "end"]
        assert stream.last()["code"] == "too_many_waits"


@pytest.mark.slow
async def test_a_ticket_ends_a_stream() -> None:
    """The last event says so; a client that comes back is refused with 401."""
    async with running(ticket_secrets=SECRET) as (app, nursery):
        ticket = issue_ticket(SECRET, ["k"], lifetime=1.0)
        stream = await start(app, nursery, f"key=k&ticket={ticket}")
        await eventually(lambda: stream.ended)
        assert stream.last()["code"] == "ticket_expired"
        assert stream.receiver.retry_ms == 30_000
        again = Stream(f"key=k&ticket={ticket}")
        await again.run(app)
        assert again.status == 401


@pytest.mark.slow
async def test_a_ticket_that_ends_while_a_client_does_not_read() -> None:
    """A piece is cut, so nothing follows: the connection breaks, and no error is
    logged.
    """
    async with running(ticket_secrets=SECRET) as (app, nursery):
        ticket = issue_ticket(SECRET, ["k"], lifetime=1.0)
        stream = await start(app, nursery, f"key=k&ticket={ticket}")
        await stream.until(1)
        stream.hangs = True
        await publish(app, "k", b"1")
        await eventually(lambda: stream.ended)
        assert stream.sent[-1]["more_body"]


async def test_limits_hold_while_it_streams() -> None:
    """A stream is one wait of its address from its admission to its end."""
    async with running(waits_per_ip=1) as (app, nursery):
        stream = Stream("key=k")
        stream.peer = ("198.51.100.7", 1)
        nursery.start_soon(stream.run, app)
        await stream.until(1)
        again = Stream("key=k")
        again.peer = stream.peer
        await again.run(app)
        assert (again.status, json.loads(again.body)["code"]) == (429, "limit")


async def test_a_newer_stream_of_a_session_ends_the_older() -> None:
    async with running() as (app, nursery):
        stream = await start(app, nursery, "key=k&session=s")
        await stream.until(1)
        await start(app, nursery, "key=k&session=s")
        await eventually(lambda: stream.ended)
        assert stream.last()["code"] == "replaced"


async def test_a_large_page_is_encoded_once() -> None:
    """While no other is: here by two readers who wait for the same turn."""
    async with running() as (app, nursery):
        streams = [await start(app, nursery, "key=k&cursor=all") for _ in range(2)]
        for stream in streams:
            await stream.until(1)
        await publish(app, "k", b"first")
        for stream in streams:
            await stream.until(2)
        await publish(app, "k", b"x" * 70_000)
        for stream in streams:
            await stream.until(3)
            assert stream.messages() == ["first", "x" * 70_000]


async def test_a_stream_does_not_acknowledge_what_it_sends() -> None:
    """With `log_trim_acked` a cursor trims what is before it: only if a client has
    sent it.
    """
    async with running(log_trim_acked=True) as (app, nursery):
        await publish(app, "k", b"1", b"2")
        stream = await start(app, nursery, "key=k&cursor=all&max=1")
        await stream.until(2)
        await trio.testing.wait_all_tasks_blocked()
        again = await start(app, nursery, "key=k&cursor=all")
        await again.until(2)
        assert again.messages() == ["1", "2"]
        header = (b"last-event-id", stream.receiver.last_id.encode())
        await start(app, nursery, "key=k", header)
        await trio.testing.wait_all_tasks_blocked()
        late = await start(app, nursery, "key=k&cursor=all")
        await late.until(1)
        assert late.messages() == []


def test_all_failures_have_a_last_event() -> None:
    """Each is known to `/v1`, so none is an internal error."""
    from triopoll.api.v1.live_messages import _failed

    for failure in Failure:
        assert failure.value.encode() in _failed(None, OperationFailed(failure).failure)
