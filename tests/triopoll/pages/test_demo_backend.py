"""What the demo does for its pages, and that it touches no key but its own."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.triopoll.pages.asking import pages, post

from triopoll.access import TicketReader, secret_verifier
from triopoll.app import Triopoll
from triopoll.pages.demo_backend import INBOX

SECRET = "x" * 43


async def scanned(app: Triopoll) -> tuple[dict[str, str], dict[str, str]]:
    """A login whose code a phone has scanned: what the page and the phone have."""
    _, login = await post(app, "/demo/logins", {})
    status, phone = await post(app, f"/demo/logins/{login['key']}/scan", {})
    assert status == 200
    return login, phone


async def read(app: Triopoll, mine: dict[str, str]) -> Any:
    body = {"key": mine["key"], "poll_secret": mine["poll_secret"]}
    status, state = await post(app, "/v1/states/wait", {**body, "version": 0})
    assert status == 200
    return state


async def test_a_login() -> None:
    """Both sides have the same states, and only the phone has the number."""
    async with pages() as app:
        login, phone = await scanned(app)
        path = f"/demo/logins/{login['key']}"
        assert (await read(app, login))["state"] == "scanned"
        seen = (await read(app, phone))["data"]
        assert seen["origin"]["address"] == "127.0.0.1"
        assert "number" not in seen
        _, told = await post(app, f"{path}/approve", {"phone": phone["key"]})
        assert told == {"state": "approved"}
        page = await read(app, login)
        number = (await read(app, phone))["data"]["number"]
        assert number in page["numbers"]
        assert page["data"] is None
        choice = {"choice": number, "poll_secret": login["poll_secret"]}
        # Twice, as a page does whose first request was cut.
        for _ in range(2):
            _, told = await post(app, f"{path}/choose", choice)
            assert told == {"state": "confirmed"}
        for mine in (login, phone):
            state = await read(app, mine)
            assert (state["state"], state["final"]) == ("confirmed", True)


async def test_one_phone_scans() -> None:
    """A second phone is refused, and can neither approve nor reject."""
    async with pages() as app:
        login, _ = await scanned(app)
        path = f"/demo/logins/{login['key']}"
        assert (await post(app, f"{path}/scan", {}))[0] == 409
        for action in ("approve", "reject"):
            status, _ = await post(app, f"{path}/{action}", {"phone": login["key"]})
            assert status == 403
        assert (await read(app, login))["state"] == "scanned"


async def test_no_number_before_the_approval() -> None:
    """A choice that comes before the person has approved confirms nothing."""
    async with pages() as app:
        login, _ = await scanned(app)
        for number in (await read(app, login))["numbers"]:
            choice = {"choice": number, "poll_secret": login["poll_secret"]}
            path = f"/demo/logins/{login['key']}/choose"
            assert (await post(app, path, choice))[1] == {"state": "scanned"}


async def test_the_page_alone_chooses() -> None:
    """Without the page's secret, a choice is refused, and nothing is changed."""
    async with pages() as app:
        login, phone = await scanned(app)
        path = f"/demo/logins/{login['key']}"
        await post(app, f"{path}/approve", {"phone": phone["key"]})
        choice = {"choice": 10, "poll_secret": phone["poll_secret"]}
        assert (await post(app, f"{path}/choose", choice))[0] == 404
        assert (await read(app, login))["state"] == "approved"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("logins/{}/scan", {}),
        ("logins/{}/approve", {"phone": "x"}),
        ("logins/{}/reject", {"phone": "x"}),
        ("logins/{}/choose", {"choice": 1, "poll_secret": "x"}),
        ("rooms/{}", {}),
        ("rooms/{}/messages", {"text": "hello", "id": "1"}),
    ],
)
async def test_keys_of_others_are_left_alone(path: str, body: object) -> None:
    """A state that the demo has not made is unknown to all of its routes."""
    async with pages() as app:
        status, made = await post(app, "/v1/states", {})
        assert status == 201
        status, _ = await post(app, "/demo/" + path.format(made["key"]), body)
        assert status == 404
        assert (await read(app, made))["version"] == 1


async def test_a_room_has_one_key() -> None:
    """A message that is sent twice with one id is in the inbox once."""
    async with pages() as app:
        _, made = await post(app, "/demo/rooms", {})
        room = made["room"]
        for _ in range(2):
            message = {"text": "hello", "id": "1"}
            assert (await post(app, f"/demo/rooms/{room}/messages", message))[0] == 200
        status, entered = await post(app, f"/demo/rooms/{room}", {})
        assert (status, entered) == (200, {"key": INBOX + room, "ticket": None})
        page = await app.services().log.read(INBOX + room, "all", 10)
    assert [one.data for one in page.messages] == [b'{"text":"hello"}']


async def test_a_room_has_a_ticket() -> None:
    """Where tickets are asked for, the visitor gets one for this inbox alone."""
    async with pages(demo="on", ticket_secrets=SECRET) as app:
        _, made = await post(app, "/demo/rooms", {})
        _, entered = await post(app, f"/demo/rooms/{made['room']}", {})
    reader = TicketReader([secret_verifier(SECRET)])
    ticket = reader.read(entered["ticket"], time.time())
    assert ticket.grants.allow(entered["key"])
    assert not ticket.grants.allow(INBOX + "other")


async def test_a_job_for_a_worker() -> None:
    """Its key is published for workers, and it stays queued until one has it."""
    async with pages() as app:
        _, job = await post(app, "/demo/jobs", {"by": "worker"})
        page = await app.services().log.read("triopoll-demo:jobs", "all", 10)
        assert (await read(app, job))["state"] == "queued"
    assert [one.data for one in page.messages] == [
        b'{"key":"%b"}' % job["key"].encode()
    ]
