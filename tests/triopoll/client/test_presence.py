"""Who waits on a key, as the client reads it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.triopoll.client.site import Asked, scripted
from trio.testing import MockClock

from triopoll.client import Presence, Refused

SHAPE = {"key": "a b/ö", "count": 3, "subjects": ["ann", "bob"], "anonymous": 1}


async def test_who_waits(autojump_clock: MockClock) -> None:
    """With the API key; the key of the question is quoted."""

    async def answer(asked: Asked) -> None:
        await asked.answer(SHAPE)

    async with scripted(answer, api_key="secret") as (client, site):
        assert await client.presence("a b/ö") == Presence(3, ("ann", "bob"), 1)
        assert await client.presence("a b/ö") == Presence(3, ("ann", "bob"), 1)
        assert repr(client._presence).startswith("<PresenceReader: ")
    (asked, _) = site.asked
    assert (asked.path, asked.query) == ("/v1/presence", {"key": "a b/ö"})
    assert asked.headers["authorization"] == "Bearer secret"
    assert site.state["connections"] == 1


async def test_a_server_that_does_not_keep_it(autojump_clock: MockClock) -> None:
    async def answer(asked: Asked) -> None:
        await asked.answer({"code": "presence_off", "message": "off"}, 404)

    async with scripted(answer) as (client, _):
        with pytest.raises(Refused) as caught:
            await client.presence("k")
    assert (caught.value.status, caught.value.code) == (404, "presence_off")


@pytest.mark.parametrize(
    "change",
    [
        {"subjects": "ann"},
        {"subjects": [1]},
        {"count": None},
        {"anonymous": "1"},
    ],
)
async def test_an_answer_that_is_none(
    autojump_clock: MockClock, change: dict[str, Any]
) -> None:
    """The question is asked again."""
    shapes = [{**SHAPE, **change}, SHAPE]

    async def answer(asked: Asked) -> None:
        await asked.answer(shapes.pop(0))

    async with scripted(answer) as (client, site):
        assert (await client.presence("k")).count == 3
    assert len(site.asked) == 2
