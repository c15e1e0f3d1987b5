"""The endpoints of /v1 without a server: what is said of each ending."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import trio
from tests.services import find_free_port
from tests.triopoll.asgi_calls import serving

from triopoll.access import AccessControl, Rules
from triopoll.api.v1.endpoints import v1_routes
from triopoll.api.v1.pending_ids import pending_id
from triopoll.app import Triopoll
from triopoll.asgi.messages import Request, Response
from triopoll.core.outcomes import Failure
from triopoll.core.publisher import Published, Signalled, Stored, Unpublished
from triopoll.core.reader import ItemState, ReadResult
from triopoll.pending import wait_in_task
from triopoll.services import Services
from triopoll.settings import Settings
from triopoll.store import Appended, NewMessage, Page, StoredMessage


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    settings = Settings(
        slock_url=f"embedded://127.0.0.1:{find_free_port()}",
        v1_default_timeout=0.1,
        v1_max_timeout=0.2,
    )
    async with serving(Triopoll(settings)) as app:
        yield app.services()


async def ask(
    services: Services,
    path: str,
    query: bytes = b"",
    shape: object = None,
    peer: str = "127.0.0.1",
) -> Response:
    method = "GET" if shape is None else "POST"
    endpoint = v1_routes(services)[path][method]
    body = b"" if shape is None else json.dumps(shape).encode()
    headers = [(b"host", b"localhost")]
    answer = await endpoint(Request(method, path, query, headers, peer, body))
    return answer if isinstance(answer, Response) else await wait_in_task(answer)


def shape_of(answer: Response) -> Any:
    return json.loads(answer.body)


class Ends:
    """A reader, or a publisher, that ends as it is told."""

    def __init__(self, ending: Any) -> None:
        self.ending = ending

    async def begin_messages(self, *_: object) -> ReadResult | Failure:
        found: ReadResult | Failure = self.ending
        return found

    async def wait_any(self, *_: object) -> list[ItemState] | Failure:
        found: list[ItemState] | Failure = self.ending
        return found

    async def publish(self, *_: object) -> list[Published]:
        found: list[Published] = self.ending
        return found


def ending(services: Services, with_what: object) -> Services:
    ends: Any = Ends(with_what)
    return replace(services, reader=ends, publisher=ends)


async def test_how_long_a_wait_is(services: Services) -> None:
    """As asked for, up to the maximum, less up to a tenth; the default if not asked."""
    for query, longest in ((b"", 0.1), (b"&timeout=9", 0.2), (b"&timeout=0.01", 0.01)):
        waits = set()
        for _ in range(3):
            answer = await ask(services, "/v1/messages", b"key=k" + query)
            shape = shape_of(answer)
            assert shape["code"] == "timeout"
            assert 0.9 * longest - 0.001 <= shape["wait"] <= longest + 0.001
            assert shape["waited"] >= shape["wait"] - 0.002
            waits.add(shape["wait"])
        assert len(waits) > 1 or longest == 0.01


@pytest.mark.parametrize("failure", Failure)
async def test_failures(services: Services, failure: Failure) -> None:
    """Each is a 503 that says when to come back, and a sentence of its own."""
    failing = ending(services, failure)
    messages = set()
    for answer in (
        await ask(failing, "/v1/messages", b"key=k"),
        await ask(failing, "/v1/wait", b"message=:k"),
    ):
        shape = shape_of(answer)
        assert answer.status == 503
        assert shape["code"] == failure.name.lower()
        seconds = dict(answer.headers)[b"retry-after"]
        assert shape["retry_ms"] == 1000 * int(seconds) > 0
        messages.add(shape["message"])
    assert len(messages) == 1


async def test_a_wake_is_noted(services: Services) -> None:
    """For the metrics: when the wait was over that is answered."""
    look = ReadResult(Page((StoredMessage("i", b"1", 2.0),), "c"), woken=7.0)
    answer = await ask(ending(services, look), "/v1/messages", b"key=k")
    assert answer.woken == 7.0
    others = [look, ReadResult(Page((), "c"))]
    query = b"message=:k&message=:l"
    answer = await ask(ending(services, others), "/v1/wait", query)
    assert answer.woken == 7.0
    assert [each["ready"] for each in shape_of(answer)["items"]] == [True, False]


STORED = Stored("i", duplicate=False, woken=True, waiting=0)
LATE = Stored("i", duplicate=False, woken=False, waiting=None)
AWAY = Unpublished(Failure.SLOCK_UNREACHABLE)
REFUSED = Unpublished(Failure.SLOCK_REFUSED)


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ([STORED, Signalled(), Signalled(7)], 200),
        ([STORED, LATE], 202),
        ([STORED, AWAY], 202),
        ([REFUSED, Signalled()], 202),
        ([AWAY, REFUSED], 503),
        ([Unpublished(Failure.STORE_FAILED)], 503),
        ([REFUSED, REFUSED], 409),
    ],
)
async def test_what_a_publish_is_told(
    services: Services, results: list[Published], status: int
) -> None:
    """All is done, some is, or nothing."""
    publishing = ending(services, results)
    answer = await ask(publishing, "/v1/publish", shape={"key": "k", "data": ""})
    assert answer.status == status
    shape = shape_of(answer)
    if status in (200, 202):
        expected = {
            STORED: {"id": "i", "duplicate": False, "woken": True, "waiting": 0},
            LATE: {"id": "i", "duplicate": False, "woken": False, "waiting": None},
            Signalled(): {},
            Signalled(7): {"version": 7},
            AWAY: {
                "code": "slock_unreachable",
                "message": "slock cannot be reached",
            },
            REFUSED: {
                "code": "slock_refused",
                "message": "slock refused the request",
            },
        }
        assert shape == {"items": [expected[each] for each in results]}
    else:
        assert set(shape) >= {"code", "message"}


async def cancel(services: Services, text: str, peer: str = "127.0.0.1") -> Response:
    endpoint = v1_routes(services)["/v1/publish/{id}"]["DELETE"]
    headers = [(b"host", b"localhost")]
    request = Request("DELETE", f"/v1/publish/{text}", b"", headers, peer, b"")
    request.path_values = {"id": text}
    answer = await endpoint(request)
    assert isinstance(answer, Response)
    return answer


async def test_a_message_that_is_due_later(services: Services) -> None:
    """It is pending, replaced and cancelled by the same id, or delivered."""
    shape = {"key": "k/1", "data": "x", "id": "a", "not_before": 60}
    for replaced in (False, True):
        answer = await ask(services, "/v1/publish", shape=shape)
        assert answer.status == 200
        (item,) = shape_of(answer)["items"]
        assert item.pop("due") == pytest.approx(time.time() + 60, abs=30)
        assert item == {"id": "ay8x.YQ", "pending": True, "replaced": replaced}
    answer = await cancel(services, "ay8x.YQ")
    assert (answer.status, shape_of(answer)) == (200, {"id": "ay8x.YQ"})
    answer = await cancel(services, "ay8x.YQ")
    assert (answer.status, shape_of(answer)["code"]) == (404, "unknown")
    (stored,) = await services.log.append([NewMessage("k/1", b"x", "a")])
    assert isinstance(stored, Appended)
    answer = await cancel(services, "ay8x.YQ")
    assert answer.status == 409
    assert shape_of(answer) == {
        "code": "delivered",
        "message": "the message is delivered",
        "id": stored.id,
    }


async def test_cancellations_that_are_refused(services: Services) -> None:
    """A text that is no id, a reserved name, no grant, a store that fails."""
    internal = pending_id("triopoll:delayed:lock:", "a")
    long = pending_id("k", "a" * 129)
    for text in ("x", "0.0", internal, long):
        answer = await cancel(services, text)
        assert (answer.status, shape_of(answer)["code"]) == (404, "unknown")
    answer = await cancel(services, "aw.YQ", peer="198.51.100.7")
    assert answer.status == 403

    class Fails:
        async def cancel(self, key: str, name: str) -> Failure:
            return Failure.STORE_UNREACHABLE

    fails: Any = Fails()
    answer = await cancel(replace(services, delayed=fails), "aw.YQ")
    assert (answer.status, shape_of(answer)["code"]) == (503, "store_unreachable")


async def test_so_many_are_pending(services: Services) -> None:
    """One more is refused, and the others of the same request are not."""
    items = [{"key": "k", "data": "", "not_before": 60} for _ in range(100)]
    for _ in range(10):
        assert (
            await ask(services, "/v1/publish", shape={"items": items})
        ).status == 200
    refused = await ask(services, "/v1/publish", shape=items[0])
    assert (refused.status, shape_of(refused)["code"]) == (503, "too_many_pending")
    both = {"items": [items[0], {**items[0], "key": "other"}]}
    answer = await ask(services, "/v1/publish", shape=both)
    first, second = shape_of(answer)["items"]
    assert answer.status == 202
    assert first["code"] == "too_many_pending"
    assert second["pending"]


async def test_a_json_value_is_read_as_it_was_sent(services: Services) -> None:
    """By both endpoints, to the digit; a string as a string."""
    value = b'{"b" : 1.50, "a":[12345678901234567890]}'
    for data in (value, b'"text"', b"null"):
        endpoint = v1_routes(services)["/v1/publish"]["POST"]
        body = b'{"key":"k","data":%b}' % data
        request = Request("POST", "/v1/publish", b"", [], "127.0.0.1", body)
        assert (await endpoint(request)).status == 200
    for path, query in (
        ("/v1/messages", b"key=k&cursor=all"),
        ("/v1/wait", b"message=all:k"),
    ):
        body = (await ask(services, path, query)).body
        for data in (value, b'"text"', b"null"):
            assert b'"data":%b,"ts":' % data in body


async def test_access_is_checked(services: Services) -> None:
    """Before anything is done, with all keys."""
    for path, query, shape in (
        ("/v1/publish", b"", {"key": "k", "data": ""}),
        ("/v1/publish", b"", {"items": [{"key": "k", "type": "group"}]}),
    ):
        answer = await ask(services, path, query, shape, peer="192.0.2.1")
        assert answer.status == 403
    tickets: Any = NoTickets()
    closed = replace(services, access=AccessControl(Rules(tickets=tickets)))
    for path, query, body in (
        ("/v1/messages", b"key=k", None),
        ("/v1/wait", b"message=:k", None),
        ("/v1/wait", b"", {"items": [{"key": "k"}]}),
    ):
        answer = await ask(closed, path, query, body)
        assert answer.status == 401


class NoTickets:
    """A reader of tickets that takes none."""

    def read(self, text: str, now: float) -> None:
        from triopoll.access.tickets import BadTicket

        raise BadTicket("ticket_invalid", "no")


async def test_a_session_that_is_replaced(services: Services) -> None:
    """The older wait is told at once, on both endpoints."""
    for path, query in (
        ("/v1/messages", b"key=k&session=s&timeout=50"),
        ("/v1/wait", b"message=:k&session=s&timeout=50"),
    ):
        answers: list[Response] = []

        async def wait(path: str, query: bytes, answers: list[Response]) -> None:
            answers.append(await ask(services, path, query))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, path, query, answers)
            await trio.sleep(0.05)
            nursery.start_soon(wait, path, query, answers)
        assert [answer.status for answer in answers] == [409, 200]


@pytest.mark.parametrize(
    ("path", "query"),
    [("/v1/messages", "key=k&cursor=all&timeout=0"), ("/v1/wait", "message=all:k")],
)
async def test_large_pages_take_turns(
    services: Services, path: str, query: str
) -> None:
    """Clients that request them at once leave each pass of the loop to others, too."""
    await services.log.append([NewMessage("k", b"x" * 2**16)])
    endpoint = v1_routes(services)[path]["GET"]
    answered = 0

    async def read() -> None:
        nonlocal answered
        headers = [(b"host", b"localhost")]
        request = Request("GET", path, query.encode(), headers, "127.0.0.1")
        assert len((await endpoint(request)).body) > 2**16
        answered += 1

    steps: list[int] = []
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(read)
        with trio.fail_after(5):
            while answered < 20:
                before = answered
                await trio.lowlevel.checkpoint()
                steps.append(answered - before)
    assert max(steps) <= 2
