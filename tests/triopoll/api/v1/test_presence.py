"""The endpoints of presence, and which requests count as waits, in this process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
from tests.services import find_free_port
from tests.triopoll.asgi_calls import Call, serving
from tests.triopoll.support import eventually

from triopoll.access import entry_for, issue_ticket, new_key
from triopoll.api.v1.presence import presence_routes
from triopoll.app import Triopoll
from triopoll.asgi.messages import Request
from triopoll.core.outcomes import Failure
from triopoll.core.presence import Presence
from triopoll.settings import Settings
from triopoll.store import Waiting

SECRET = "s" * 48
KEY = new_key()
SETTINGS = {
    "presence": "chat/*",
    "publish_keys": entry_for("chat", KEY, ["chat/*", "private"]),
    "ticket_secrets": SECRET,
}


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Triopoll]:
    url = f"embedded://127.0.0.1:{find_free_port()}"
    async with serving(Triopoll(Settings(slock_url=url, **settings))) as app:
        yield app


def presence_of(app: Triopoll) -> Presence:
    presence = app.services().presence
    assert presence is not None
    return presence


def here(app: Triopoll) -> dict[str, Waiting]:
    """Return who waits in this process, as it is reported next."""
    return presence_of(app).table.due(trio.current_time() + 5, 100)


async def get(
    app: Triopoll, path: str, query: str, key: str = KEY
) -> tuple[int, dict[str, Any]]:
    headers = [(b"authorization", f"Bearer {key}".encode())]
    call = Call(f"{path}?{query}", headers=headers)
    with trio.fail_after(10):
        await call.run(app)
    return call.status, json.loads(call.body)


def authorized(subject: str, *keys: str) -> list[tuple[bytes, bytes]]:
    ticket = issue_ticket(SECRET, keys, lifetime=60, subject=subject)
    return [(b"authorization", f"Bearer {ticket}".encode())]


async def test_who_waits_in_all_workers() -> None:
    """Each subject once, and each wait without one; nobody is no error."""
    async with running(**SETTINGS) as app:
        nobody = {"key": "chat/1", "count": 0, "subjects": [], "anonymous": 0}
        assert await get(app, "/v1/presence", "key=chat/1") == (200, nobody)
        store = presence_of(app)._store
        await store.report({"chat/1": Waiting(("ann", "bob"), 3)})
        assert await get(app, "/v1/presence", "key=chat/1") == (
            200,
            {"key": "chat/1", "count": 5, "subjects": ["ann", "bob"], "anonymous": 3},
        )


@pytest.mark.parametrize("path", ["/v1/presence", "/v1/presence/changes"])
async def test_refusals(path: str) -> None:
    """Subjects are for publishers to whom the key is granted."""
    async with running(**SETTINGS) as app:
        for query, key, status, code in (
            ("key=chat/1", "unknown", 401, "key_invalid"),
            ("key=other", KEY, 403, "forbidden"),
            ("key=private", KEY, 404, "presence_off"),
            ("", KEY, 400, "bad_request"),
            ("key=", KEY, 400, "bad_request"),
            ("key=chat/1&key=chat/2", KEY, 400, "bad_request"),
            ("key=chat/1&x=1", KEY, 400, "bad_request"),
            ("key=%ff", KEY, 400, "bad_request"),
            (f"key={'k' * 257}", KEY, 400, "bad_request"),
        ):
            found, shape = await get(app, path, query, key)
            assert (found, shape["code"]) == (status, code), query
        ticket = issue_ticket(SECRET, ["*"], lifetime=60)
        assert (await get(app, path, "key=chat/1", ticket))[0] == 401


@pytest.mark.parametrize("path", ["/v1/presence", "/v1/presence/changes"])
async def test_it_is_off_by_default(path: str) -> None:
    settings = {**SETTINGS, "presence": ""}
    async with running(**settings) as app:
        assert app.services().access.attend is None
        status, shape = await get(app, path, "key=chat/1")
        assert (status, shape["code"]) == (404, "presence_off")


async def test_changes_by_cursor() -> None:
    """The first read without a wait says where to begin; the next waits for one."""
    async with running(**SETTINGS) as app:
        path, store = "/v1/presence/changes", presence_of(app)._store
        _, shape = await get(app, path, "key=chat/1&timeout=0")
        assert (shape["messages"], shape["code"]) == ([], "timeout")
        query = f"key=chat/1&timeout=9&cursor={shape['cursor']}"
        found: list[dict[str, Any]] = []

        async def wait() -> None:
            found.append((await get(app, path, query))[1])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await eventually(lambda: "1 followed" in repr(presence_of(app)))
            (key,) = await store.report({"chat/1": Waiting(("ann",))})
            await presence_of(app)._wake([key])
        change = {"joined": ["ann"], "left": [], "count": 1, "anonymous": 0}
        assert [each["data"] for each in found[0]["messages"]] == [change]
        assert "0 followed" in repr(presence_of(app))
        _, shape = await get(app, path, "key=chat/1&cursor=all&max=1")
        assert [each["data"] for each in shape["messages"]] == [{"reset": True}]
        status, shape = await get(app, path, "key=chat/1&cursor=x")
        assert (status, shape["code"]) == (400, "bad_cursor")


async def test_a_publisher_that_leaves_follows_no_longer() -> None:
    async with running(**SETTINGS) as app, trio.open_nursery() as nursery:
        headers = [(b"authorization", f"Bearer {KEY}".encode())]
        call = Call("/v1/presence/changes?key=chat/1", headers=headers)
        nursery.start_soon(call.run, app)
        await eventually(lambda: "1 followed" in repr(presence_of(app)))
        call.leave()
        await eventually(lambda: "0 followed" in repr(presence_of(app)))


async def test_the_log_of_changes_is_read_nowhere_else() -> None:
    """A ticket for everything does not show who else waits."""
    async with running(**SETTINGS) as app:
        await get(app, "/v1/presence/changes", "key=chat/1&timeout=0")
        ticket = issue_ticket(SECRET, ["*"], lifetime=60)
        for path in ("/v1/messages?key=", "/poll/ws?event="):
            call = Call(
                f"{path}triopoll:presence:chat/1&cursor=all&ticket={ticket}",
                kind="websocket" if "ws?" in path else "http",
            )
            await call.run(app)
            assert call.status == 400
            assert b"reserved" in call.body


class Ends:
    """Presence, or a reader, that ends as it is told."""

    def __init__(self, presence: Presence, **endings: Failure | None) -> None:
        self.keeps, self.following = presence.keeps, presence.following
        self._endings = endings

    async def read(self, *_: object) -> Failure | None:
        return self._endings["read"]

    async def record(self, *_: object) -> Failure | None:
        return self._endings["record"]

    async def wait_any(self, *_: object) -> Failure | None:
        return self._endings["wait"]


@pytest.mark.parametrize(
    ("path", "endings"),
    [
        ("/v1/presence", {"read": Failure.STORE_UNREACHABLE}),
        ("/v1/presence/changes", {"record": Failure.STORE_UNREACHABLE}),
        ("/v1/presence/changes", {"record": None, "wait": Failure.STORE_UNREACHABLE}),
    ],
)
async def test_a_store_that_is_away(path: str, endings: dict[str, Any]) -> None:
    async with running(**SETTINGS) as app:
        ends: Any = Ends(presence_of(app), **endings)
        services = replace(app.services(), presence=ends, reader=ends)
        headers = [(b"authorization", f"Bearer {KEY}".encode())]
        request = Request("GET", path, b"key=chat/1", headers, "127.0.0.1", b"")
        answer: Any = await presence_routes(services)[path]["GET"](request)
        assert answer.status == 503
        assert json.loads(answer.body)["code"] == "store_unreachable"


# --- who counts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ("/poll/event?event=chat/1", "chat/1"),
        ("/poll/message?event=chat/1", "chat/1"),
        ("/v1/messages?key=chat/1", "chat/1"),
        ("/v1/messages?key=chat/1&live=sse", "chat/1"),
        ("/v1/wait?message=:chat/1", "chat/1"),
        ("/v1/wait?event=:chat/1&message=:chat/1", "chat/1"),
        ("/poll/group/message?key=chat/1", "chat/1"),
        ("/v1/stream/log/chat/1?live=long-poll&offset=now", "chat/1"),
    ],
)
async def test_every_wait_counts_until_its_client_leaves(target: str, key: str) -> None:
    """With its ticket's subject, from its begin until the linger is over."""
    async with running(**SETTINGS) as app, trio.open_nursery() as nursery:
        call = Call(target, headers=authorized("ann", "chat/*"))
        nursery.start_soon(call.run, app)
        table = presence_of(app).table
        await eventually(lambda: table.places)
        assert here(app) == {key: Waiting(("ann",))}
        call.leave()
        await eventually(lambda: not nursery.child_tasks)
        now = trio.current_time()
        assert table.due(now + 9, 9) == {}
        assert table.due(now + 11, 9) == {key: Waiting()}


async def test_a_websocket_counts_on_what_it_follows() -> None:
    """The one of the poll API from its begin, once."""
    async with running(**SETTINGS) as app, trio.open_nursery() as nursery:
        call = Call(
            "/poll/ws?event=chat/1",
            kind="websocket",
            headers=authorized("ann", "chat/*"),
        )
        nursery.start_soon(call.run, app)
        await eventually(lambda: len(call.sent) > 1)
        assert presence_of(app).table.places == 1
        assert here(app) == {"chat/1": Waiting(("ann",))}
        call.leave()


async def test_waits_without_a_ticket_are_anonymous() -> None:
    """Each of them counts; keys that no pattern matches do not."""
    async with running(presence="chat/*") as app, trio.open_nursery() as nursery:
        targets = ["chat/1", "chat/1", "chat/2", "other"]
        calls = [Call(f"/v1/messages?key={key}") for key in targets]
        for call in calls:
            nursery.start_soon(call.run, app)
        table = presence_of(app).table
        await eventually(lambda: table.places == 3)
        await trio.testing.wait_all_tasks_blocked()
        assert here(app) == {"chat/1": Waiting((), 2), "chat/2": Waiting((), 1)}
        for call in calls:
            call.leave()


async def test_a_refused_wait_does_not_count() -> None:
    async with running(**SETTINGS) as app:
        call = Call("/v1/messages?key=chat/1", headers=authorized("ann", "other"))
        await call.run(app)
        assert call.status == 403
        assert presence_of(app).table.places == 0
