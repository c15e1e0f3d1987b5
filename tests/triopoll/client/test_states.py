"""States through the client: against the service, and against servers that fail."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from tests.triopoll.client.site import Asked, scripted
from tests.triopoll.inprocess import served
from trio.testing import MockClock

from triopoll.client import Refused, State, open_poll_client

SECRET = "s" * 22
KEY = "k" * 22


async def test_a_login_against_the_service(free_port: int) -> None:
    """Created, watched, changed, acknowledged; what is printed has no secret."""
    async with served(free_port) as (_, running):
        url = f"http://127.0.0.1:{running.port}"
        async with open_poll_client(url) as client:
            created = await client.create_state(ttl=60, data={"shop": 1}, match=True)
            assert created.poll_secret not in repr(created)
            assert created.numbers is not None
            key, secret = created.key, created.poll_secret
            seen: list[State] = []
            with trio.fail_after(20):
                async with client.watch_state(key, secret) as states:
                    seen.append(await anext(states))
                    scanned = await client.set_state(key, "scanned", if_version=1)
                    assert scanned.number in created.numbers
                    seen.append(await anext(states))
                    done = await client.set_state(
                        key, "confirmed", data="t", final=True, choice=scanned.number
                    )
                    seen += [state async for state in states]
            assert [(s.state, s.data, s.version) for s in seen] == [
                ("pending", {"shop": 1}, 1),
                ("scanned", None, 2),
                ("confirmed", "t", 3),
            ]
            assert done.final
            origin = await client.state_origin(key)
            assert (origin.address, origin.state) == ("127.0.0.1", "confirmed")
            with pytest.raises(Refused) as refused:
                await client.set_state(key, "pending")
            assert (refused.value.status, refused.value.code) == (409, "conflict")
            for _ in range(2):
                await client.ack_state(key, secret, 3)
            with pytest.raises(Refused) as refused:
                async with client.watch_state(key, secret) as states:
                    await anext(states)
            assert (refused.value.status, refused.value.code) == (410, "gone")
            with pytest.raises(Refused) as refused:
                await client.ack_state(KEY, SECRET, 1)
            assert refused.value.status == 404


def shape(version: int, **fields: Any) -> dict[str, Any]:
    shape = {"state": "a", "data": None, "version": version, "final": False}
    return {**shape, "expires_in": 100.0, **fields}


async def test_a_watch_survives_what_servers_do(autojump_clock: MockClock) -> None:
    """Hang-ups, strange answers, refusals for now, early answers and a restart."""
    answers = iter(range(9))

    async def script(asked: Asked) -> None:
        match next(answers):
            case 0:
                asked.hang_up()
            case 1:
                await asked.answer(raw=b"<html>")
            case 2:
                await asked.answer({"state": 1, "version": 2})
            case 3:
                busy = {"code": "limit", "message": "wait"}
                await asked.answer(busy, 429, retry_after="7")
            case 4:
                await asked.answer(shape(1))  # unchanged, and at once
            case 5:
                await asked.answer(shape(1, retry_ms=3000))
            case 6:
                await trio.sleep(20)
                await asked.answer(shape(1))
            case _:
                await asked.answer(shape(2, state="b", final=True))

    async with scripted(script, api_key="key") as (client, site):
        async with client.watch_state(KEY, SECRET, version=1) as states:
            seen = [state async for state in states]
    assert [state.version for state in seen] == [2]
    times = [asked.time for asked in site.asked]
    assert times[4] - times[3] >= 7
    assert times[6] - times[5] >= 3
    assert times[7] - times[6] == pytest.approx(20)
    for asked in site.asked:
        # The secret alone is sent, and in a header.
        assert asked.headers["triopoll-poll-secret"] == SECRET
        assert "authorization" not in asked.headers
        assert SECRET not in asked.path + asked.body.decode()
        assert asked.json == {"key": KEY, "version": 1, "timeout": 25.0}


async def test_a_cancelled_watch_loses_nothing(autojump_clock: MockClock) -> None:
    """The next call asks with the same version."""
    hangs = True

    async def script(asked: Asked) -> None:
        if hangs:
            await trio.sleep_forever()
        await asked.answer(shape(2))

    async with scripted(script) as (client, site):
        async with client.watch_state(KEY, SECRET, version=1) as states:
            with trio.move_on_after(1):
                await anext(states)
            hangs = False
            assert (await anext(states)).version == states.version == 2
    assert [asked.json["version"] for asked in site.asked] == [1, 1]


async def test_a_change_is_repeated_until_it_is_answered(
    autojump_clock: MockClock,
) -> None:
    """With the same body each time, and the publisher's key."""

    async def script(asked: Asked) -> None:
        if len(site.asked) < 3:
            asked.hang_up()
        await asked.answer({"key": KEY, **shape(2)})

    async with scripted(script, api_key="key") as (client, site):
        changed = await client.set_state(KEY, "a", if_version=1, data=[1])
        assert changed.version == 2
    assert {asked.path for asked in site.asked} == {f"/v1/states/{KEY}"}
    assert len({asked.body for asked in site.asked}) == 1
    assert site.asked[0].json == {
        "state": "a",
        "data": [1],
        "if_version": 1,
        "final": False,
    }
    assert site.asked[0].headers["authorization"] == "Bearer key"


def test_arguments_out_of_range() -> None:
    """A wait that does not wait would be a loop."""
    from triopoll.client._client import PollClient

    client: Any = PollClient.__new__(PollClient)
    for arguments in ({"wait": 0}, {"version": -1}):
        with pytest.raises(ValueError, match="above 0"):
            client.watch_state(KEY, SECRET, **arguments)
