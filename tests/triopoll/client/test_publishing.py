"""A publish is stored once, and the client knows that it is stored."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
import trio
from tests.triopoll.client.site import Asked, cursor_of, scripted
from trio.testing import MockClock

from triopoll.client import Draft, Published, Refused, Unreachable


class Store:
    """A server that remembers ids."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}

    async def __call__(self, asked: Asked) -> None:
        assert asked.path == "/v1/publish"
        assert asked.headers["content-type"] == "application/json"
        results: list[dict[str, Any]] = []
        for item in asked.json["items"]:
            duplicate = item["id"] in self.items
            self.items.setdefault(item["id"], item)
            n = list(self.items).index(item["id"]) + 1
            results.append({"id": cursor_of(n), "duplicate": duplicate})
        await asked.answer({"items": results})


async def test_messages_are_stored_in_order(autojump_clock: MockClock) -> None:
    """Text as text, other bytes in base64, with the given ids."""
    store = Store()
    async with scripted(store, api_key="secret") as (client, site):
        drafts = [Draft("k", "grüße", "one", 5), Draft("k", b"\xff"), Draft("l", b"t")]
        assert await client.publish_many(drafts) == [
            Published(cursor_of(n), duplicate=False) for n in (1, 2, 3)
        ]
        assert (await client.publish("k", "again", id="one")).duplicate
    first, second, third = store.items.values()
    assert first == {"key": "k", "id": "one", "data": "grüße", "ttl": 5}
    assert (second["data_base64"], third["data"]) == ("/w==", "t")
    assert site.asked[0].headers["authorization"] == "Bearer secret"
    assert site.state["connections"] == 1


async def test_any_json_value_is_published(autojump_clock: MockClock) -> None:
    """Mappings and sequences of any kind, and null; as JSON, and not in a string."""
    store = Store()
    values: list[Any] = [
        {"b": 1.5, "a": ["grüße", None]},
        *(None, True, 0, -1.5, [], {}),
        (1, MappingProxyType({"a": (2,)})),
    ]
    async with scripted(store) as (client, site):
        for value in values:
            await client.publish("k", value)
    published = [item["data"] for item in store.items.values()]
    assert published == [*values[:-1], [1, {"a": [2]}]]
    assert '"data":{"b":1.5,"a":["grüße",null]}' in site.asked[0].body.decode()


@pytest.mark.parametrize(
    "value", [float("nan"), [float("inf")], "\ud800", {"\ud800": 1}]
)
async def test_what_json_does_not_have_is_a_value_error(value: Any) -> None:
    """It is raised before anything is sent."""
    async with scripted(Store()) as (client, site):
        with pytest.raises(ValueError, match=r"."):
            await client.publish("k", value)
    assert site.asked == []


@pytest.mark.parametrize("value", [object(), [b"x"], {1, 2}, {(1, 2): 3}])
async def test_what_json_cannot_hold_is_a_type_error(value: Any) -> None:
    """It is raised before anything is sent."""
    async with scripted(Store()) as (client, site):
        with pytest.raises(TypeError):
            await client.publish("k", value)
    assert site.asked == []


async def test_an_answer_that_was_lost_is_asked_for_again(
    autojump_clock: MockClock,
) -> None:
    """With the same id, so that the message is stored once."""
    store = Store()

    async def lose(asked: Asked) -> None:
        store.items[asked.json["items"][0]["id"]] = {}
        site.state["script"] = busy
        asked.hang_up()

    async def busy(asked: Asked) -> None:
        site.state["script"] = store
        await asked.answer({"code": "x", "message": "y"}, 503, retry_after="9")

    async with scripted(lose) as (client, site):
        published = await client.publish("k", "v")
    assert published == Published(cursor_of(1), duplicate=True)
    assert len(store.items) == 1
    assert site.asked[2].time - site.asked[1].time >= 9


async def test_it_gives_up_before_the_server_forgets(autojump_clock: MockClock) -> None:
    """A later repetition could be stored twice."""
    async with scripted(Store()) as (client, site):
        site.state["down"] = True
        with pytest.raises(Unreachable):
            await client.publish("k", "v")
    assert 200 < trio.current_time() <= 300
    assert 5 < site.state["connections"] < 60


@pytest.mark.parametrize(
    "shape", [{}, {"items": []}, {"items": [1]}, {"items": "x"}, {"items": [{}, {}]}]
)
async def test_an_answer_that_is_none_is_no_success(
    autojump_clock: MockClock, shape: Any
) -> None:
    """After an invalid answer the client repeats the request."""

    async def nonsense(asked: Asked) -> None:
        site.state["script"] = Store()
        await asked.answer(shape)

    async with scripted(nonsense) as (client, site):
        assert not (await client.publish("k", "v")).duplicate
    assert len(site.asked) == 2


async def test_one_refused_item_is_an_error(autojump_clock: MockClock) -> None:
    """A refused request is one too; an API key is fetched again once."""

    async def refuse_item(asked: Asked) -> None:
        await asked.answer({"items": [{"code": "too_long", "message": "no"}]})

    async def refuse(asked: Asked) -> None:
        await asked.answer({"code": "key", "message": "no"}, 401)

    async def fetch() -> str:
        await trio.lowlevel.checkpoint()
        return "x"

    for script, count in ((refuse_item, 1), (refuse, 2)):
        async with scripted(script, api_key=fetch) as (client, site):
            with pytest.raises(Refused):
                await client.publish("k", "v")
        assert len(site.asked) == count


@pytest.mark.parametrize("code", ["store_failed", "store_unreachable"])
async def test_a_message_that_could_not_be_stored_now_is_sent_again(
    autojump_clock: MockClock, code: str
) -> None:
    """The whole batch, whose other messages are stored once by their ids."""
    store = Store()

    async def partly(asked: Asked) -> None:
        store.items[asked.json["items"][0]["id"]] = {}
        site.state["script"] = store
        failed = {"code": code, "message": "away"}
        await asked.answer({"items": [{"id": cursor_of(1)}, failed]}, 202)

    async with scripted(partly) as (client, site):
        first, second = await client.publish_many([Draft("k", "1"), Draft("k", "2")])
    assert (first.duplicate, second.duplicate) == (True, False)
    assert len(store.items) == len(site.asked) == 2


async def test_a_cancelled_publish_leaves_the_client_usable(
    autojump_clock: MockClock,
) -> None:
    """The next publish uses another connection."""
    store = Store()

    async def hang(asked: Asked) -> None:
        await trio.sleep_forever()

    async with scripted(hang) as (client, site):
        with trio.move_on_after(5):
            await client.publish("k", "v")
        site.state["script"] = store
        await client.publish("k", "w")
    assert [item["data"] for item in store.items.values()] == ["w"]


async def test_a_message_that_is_due_later(autojump_clock: MockClock) -> None:
    """By seconds or by a time; its id is for cancelling."""

    async def schedule(asked: Asked) -> None:
        item = {"id": "aw.YQ", "pending": True, "due": 1795927379, "replaced": True}
        await asked.answer({"items": [item]})

    when = datetime(2027, 1, 1, 9, tzinfo=timezone(timedelta(hours=1)))
    async with scripted(schedule) as (client, site):
        published = await client.publish("k", "v", id="a", not_before=when)
        assert published.pending
        assert published == Published("aw.YQ", False, 1795927379.0, True)
        await client.publish("k", "v", not_before=1.5)
        with pytest.raises(ValueError, match="a time without a zone"):
            await client.publish("k", "v", not_before=when.replace(tzinfo=None))
    sent = [asked.json["items"][0]["not_before"] for asked in site.asked]
    assert sent == ["2027-01-01T09:00:00+01:00", 1.5]
    assert not Published("i", duplicate=False).pending


async def test_a_pending_message_without_a_time(autojump_clock: MockClock) -> None:
    """It is no answer of the server, so the request is repeated."""

    async def nonsense(asked: Asked) -> None:
        site.state["script"] = Store()
        await asked.answer({"items": [{"id": "aw.YQ", "pending": True}]})

    async with scripted(nonsense) as (client, site):
        assert not (await client.publish("k", "v", not_before=1)).pending
    assert len(site.asked) == 2


async def test_cancelling(autojump_clock: MockClock) -> None:
    """Whether it was pending; a message that is delivered is an error."""
    answers: list[tuple[int, dict[str, str]]] = [
        (503, {"code": "store_unreachable", "message": "away"}),
        (200, {"id": "aw.YQ"}),
        (404, {"code": "unknown", "message": "none"}),
        (404, {"code": "not_found", "message": "no path"}),
        (409, {"code": "delivered", "message": "too late", "id": cursor_of(1)}),
    ]

    async def answer(asked: Asked) -> None:
        status, shape = answers.pop(0)
        await asked.answer(shape, status)

    async with scripted(answer, api_key="secret") as (client, site):
        assert await client.cancel("aw.YQ") is True
        assert await client.cancel("aw.YQ") is False
        with pytest.raises(Refused, match="not_found"):
            await client.cancel("a/b")
        with pytest.raises(Refused, match="delivered"):
            await client.cancel("aw.YQ")
    assert [asked.path for asked in site.asked][1::2] == [
        "/v1/publish/aw.YQ",
        "/v1/publish/a%2Fb",
    ]
    assert site.asked[0].headers["authorization"] == "Bearer secret"
