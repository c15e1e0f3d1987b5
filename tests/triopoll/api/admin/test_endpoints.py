"""The JSON API of the admin page, in this process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
import trio
from tests.services import find_free_port
from tests.triopoll.asgi_calls import Call, serving

from triopoll.access import entry_for, issue_ticket
from triopoll.app import Triopoll
from triopoll.core.admin_reports import AdminReports
from triopoll.core.parked_waits import ParkedWaits
from triopoll.core.wait_census import KeyWaits
from triopoll.settings import Settings
from triopoll.store import Appended, NewMessage, StoreUnreachable

KEY, SMALL_KEY = "the-key-of-an-operator", "the-key-of-another-one"
KEYS = " ".join(
    [entry_for("olga", KEY, ["*"]), entry_for("otto", SMALL_KEY, ["user:*", "news"])]
)
SECRET = "a-secret-for-tickets-of-at-least-32-bytes"
HOSTILE = '<script>alert("1")</script>\u202e\x1b[2J\x00\n'
PATHS = ("overview", "key?key=k", "waiters?key=k", "messages?key=k")


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[Triopoll]:
    address = f"embedded://127.0.0.1:{find_free_port()}"
    settings = {"slock_url": address, "admin_keys": KEYS, **settings}
    async with serving(Triopoll(Settings(**settings))) as app:
        yield app


async def request(
    app: Triopoll,
    path: str,
    *,
    key: str | None = KEY,
    body: object = None,
    **query: str,
) -> tuple[int, Any]:
    """Return status and JSON of an answer."""
    target = f"/admin/api/{path}" + (f"?{urlencode(query)}" if query else "")
    headers = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
    call = Call(
        target,
        headers=headers,
        method="GET" if body is None else "POST",
        body=b"" if body is None else json.dumps(body).encode(),
    )
    await call.run(app)
    return call.status, json.loads(call.body)


async def wait_for(app: Triopoll, waits: int) -> None:
    """Return when so many waits are parked."""
    with trio.fail_after(30):
        while sum(meter.parked for meter in app.metrics.waits.values()) < waits:
            await trio.sleep(0.001)


@asynccontextmanager
async def polling(
    app: Triopoll, *targets: str, headers: Sequence[tuple[bytes, bytes]] = ()
) -> AsyncIterator[None]:
    """Have clients wait for the block."""
    async with trio.open_nursery() as nursery:
        before = sum(meter.parked for meter in app.metrics.waits.values())
        for target in targets:
            nursery.start_soon(Call(target, headers=headers).run, app)
        await wait_for(app, before + len(targets))
        yield
        nursery.cancel_scope.cancel()


async def test_off_unless_configured() -> None:
    """There is nothing then, and waits note no details."""
    async with opened(admin_keys="") as app:
        for path in PATHS:
            status, answer = await request(app, path)
            assert (status, answer["code"]) == (404, "not_found")
        waits: ParkedWaits = app.services().reader._waits
        assert not waits.notes_details


@pytest.mark.parametrize(
    ("key", "code"), [(None, "key_missing"), ("", "key_missing"), ("x", "key_invalid")]
)
async def test_a_key_is_needed(key: str | None, code: str) -> None:
    """Also where a publisher's key is not; the refusals are counted."""
    async with opened() as app:
        for path in PATHS:
            status, answer = await request(app, path, key=key)
            assert (status, answer["code"]) == (401, code)
        status, answer = await request(app, "publish", key=key, body={})
        assert (status, answer["code"]) == (401, code)
        assert app.metrics.refusals[code] == 5


async def test_a_publishers_key_is_none() -> None:
    """It opens publishing only."""
    async with opened(publish_keys=entry_for("app", "app-key", ["*"])) as app:
        status, answer = await request(app, "overview", key="app-key")
    assert (status, answer["code"]) == (401, "key_invalid")


async def test_wrong_keys_are_limited_by_address() -> None:
    """As all requests are."""
    async with opened(requests_per_ip=1, burst_per_ip=2) as app:
        call = Call("/admin/api/overview", headers=[(b"authorization", b"Bearer x")])
        call.peer = ("8.8.8.8", 1)
        statuses: list[int] = []
        for _ in range(4):
            call.sent, call._body_read = [], False
            await call.run(app)
            statuses.append(call.status)
    assert statuses == [401, 401, 429, 429]


async def test_grants_limit_what_is_seen_of_one_key() -> None:
    """The overview names all keys."""
    async with opened() as app:
        assert (await request(app, "overview", key=SMALL_KEY))[0] == 200
        for path in ("key", "waiters", "messages"):
            assert (await _one(app, path, "user:1", SMALL_KEY))[0] == 200
            assert (await _one(app, path, "else", SMALL_KEY))[0] == 403
        body = {"key": "else", "data": "x"}
        assert (await request(app, "publish", key=SMALL_KEY, body=body))[0] == 403


async def _one(app: Triopoll, path: str, name: str, key: str = KEY) -> tuple[int, Any]:
    query = urlencode({"key": name})
    return await request(app, f"{path}?{query}", key=key)


async def test_overview() -> None:
    """Waits of every kind, by prefix and key."""
    async with opened() as app:
        polls = (
            "/poll/event?event=user:1&timeout=60",
            "/poll/message?event=user:2&timeout=60",
            "/v1/messages?key=user:1&timeout=60",
            "/v1/wait?message=:news&timeout=60",
            "/v1/messages?key=user:1&live=sse&timeout=60",
        )
        async with polling(app, *polls):
            status, answer = await request(app, "overview")
    assert status == 200
    waits = answer["waits"]
    kinds = {"event": 1, "message": 1, "log": 2, "sse": 1}
    assert waits["total"] == 5
    assert waits["kinds"] == kinds
    assert waits["keys"] == {"user:1": 3, "user:2": 1, "news": 1}
    assert waits["prefixes"] == {"user:": 4, "": 1}
    assert sum(waits["ages"]) == 5
    assert len(waits["ages"]) == len(answer["ages"])
    assert answer["slock"]["up"]
    assert answer["redis"] == {"servers": [], "latency": None}
    assert [each["answered"] for each in answer["workers"]] == [True]


async def test_one_key() -> None:
    """Head and size of its log, and the cursors of its waiters."""
    async with opened() as app:
        log = app.services().log
        await log.append([NewMessage("k", text) for text in (b"1", b"2", b"3")])
        async with polling(app, "/v1/messages?key=k&timeout=60"):
            status, answer = await _one(app, "key", "k")
            assert (await _one(app, "key", "nothing"))[1] == {
                "key": "nothing",
                "head": None,
                "stored": 0,
                "waits": 0,
                "oldest": 0.0,
                "cursors": [],
            }
    assert (status, answer["stored"], answer["waits"]) == (200, 3, 1)
    cursor = {"position": answer["head"], "waits": 1, "lag": 0}
    assert answer["cursors"] == [cursor]


async def test_how_far_waiters_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    """In messages; not known for what is no cursor, or of another epoch."""
    async with opened() as app:
        drafts = [NewMessage("k", text) for text in (b"1", b"2", b"3")]
        first, *_ = await app.services().log.append(drafts)
        assert isinstance(first, Appended)
        positions = {first.id: 4, "": 3, "17": 2, "00000000.1.0000": 1}

        async def key_waits(_reports: object, key: str) -> KeyWaits:
            return KeyWaits(total=10, positions=positions)

        monkeypatch.setattr(AdminReports, "key_waits", key_waits)
        _, answer = await _one(app, "key", "k")
    lags = {each["position"]: each["lag"] for each in answer["cursors"]}
    assert lags == {first.id: 2, "": None, "17": None, "00000000.1.0000": None}


async def test_waiters_with_their_subjects() -> None:
    """With and without a task, page by page."""
    headers = [
        (
            b"authorization",
            b"Bearer "
            + issue_ticket(SECRET, ["*"], lifetime=60, subject=HOSTILE).encode(),
        )
    ]
    async with opened(ticket_secrets=SECRET) as app:
        polls = ("/v1/messages?key=k&timeout=60", "/v1/wait?message=:k&timeout=60")
        streams = (
            "/v1/messages?key=k&live=sse&timeout=60",
            "/poll/event?event=k&timeout=60",
            "/poll/group/message?key=k&message_id=1&timeout=60",
        )
        await Call("/poll/group/message/create?key=k&message_id=1").run(app)
        async with polling(app, *polls, *streams, headers=headers):
            status, answer = await request(app, "waiters?key=k&limit=4")
            assert status == 200
            assert answer["next"] == "0:4"
            waiters = answer["waiters"]
            _, answer = await request(app, "waiters?key=k&page=0:4")
            waiters += answer["waiters"]
    assert answer["next"] is None
    assert [each["subject"] for each in waiters] == [HOSTILE] * 5
    assert sorted(each["kind"] for each in waiters) == [
        *("event", "group", "log", "log", "sse")
    ]


async def test_messages_page_by_page() -> None:
    """The newest first, never all at once, and long ones cut."""
    async with opened() as app:
        log = app.services().log
        texts = [b"%d" % n for n in range(45)] + [b"\xff" * 3000]
        await log.append([NewMessage("k", text) for text in texts])
        pages: list[Any] = []
        before = ""
        while before is not None:
            query = f"messages?key=k&before={before}"
            status, answer = await request(app, query)
            assert status == 200
            pages.append(answer["messages"])
            before = answer["next"]
    assert list(map(len, pages)) == [20, 20, 6]
    newest = pages[0][0]
    assert (newest["size"], newest["is_cut"]) == (3000, True)
    assert newest["text"] == "\ufffd" * 2048
    assert [page[-1]["text"] for page in pages] == ["26", "6", "0"]


async def test_hostile_keys_and_messages() -> None:
    """They come back as they are, in JSON; what shows them has to escape them."""
    async with opened() as app:
        body = {"key": HOSTILE, "data": HOSTILE}
        assert (await request(app, "publish", body=body))[0] == 200
        target = "/v1/messages?" + urlencode({"key": HOSTILE, "timeout": "60"})
        async with polling(app, target):
            _, overview = await request(app, "overview")
        _, answer = await _one(app, "messages", HOSTILE)
    assert overview["waits"]["keys"] == {HOSTILE: 1}
    assert [each["text"] for each in answer["messages"]] == [HOSTILE]


async def test_a_test_message_reaches_its_readers() -> None:
    """It is published as any other."""
    async with opened() as app:
        reader = Call("/v1/messages?key=news&timeout=60")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.run, app)
            await wait_for(app, 1)
            body = {"key": "news", "data": "hello"}
            status, answer = await request(app, "publish", key=SMALL_KEY, body=body)
        assert (status, answer["woken"]) == (200, True)
        (message,) = json.loads(reader.body)["messages"]
    assert (message["id"], message["data"]) == (answer["id"], "hello")


async def test_states_by_stage() -> None:
    """Of the pages that wait, and how long people have taken."""
    async with opened() as app:

        async def call(path: str, body: object, method: str = "POST") -> Any:
            sent = Call(path, method=method, body=json.dumps(body).encode())
            await sent.run(app)
            return json.loads(sent.body)

        made = await call("/v1/states", {})
        wait = {"key": made["key"], "poll_secret": made["poll_secret"], "version": 1}
        async with trio.open_nursery() as nursery:
            body = json.dumps({**wait, "timeout": 55}).encode()
            page = Call(
                "/v1/states/wait",
                method="POST",
                body=body,
                headers=[(b"authorization", f"Bearer {made['poll_secret']}".encode())],
            )
            nursery.start_soon(page.run, app)
            await wait_for(app, 1)
            _, answer = await request(app, "overview")
            assert answer["states"]["waiting"] == {made["state"]: 1}
            path = f"/v1/states/{made['key']}"
            await call(path, {"state": "scanned"}, "PUT")
            await call(path, {"state": "confirmed"}, "PUT")
            nursery.cancel_scope.cancel()
        scans = app.services().states._scans
        assert scans is not None
        assert len(scans.seconds()) == 1


async def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a code and a sentence, as in `/v1`."""
    async with opened() as app:
        assert await request(app, "key") == (
            400,
            {"code": "bad_request", "message": "key is empty"},
        )
        assert await request(app, "waiters?key=k&page=7:0") == (
            404,
            {"code": "unknown_worker", "message": "there is no worker 7"},
        )

        async def fail(*_args: object) -> None:
            raise StoreUnreachable

        monkeypatch.setattr(type(app.services().log), "tail", fail)
        status, answer = await request(app, "key?key=k")
        assert (status, answer["code"]) == (503, "store_unreachable")
        monkeypatch.setattr(type(app.services().log), "append", fail_append)
        body = {"key": "k", "data": ""}
        status, answer = await request(app, "publish", body=body)
        assert (status, answer["code"]) == (503, "store_unreachable")


async def fail_append(_log: object, messages: Sequence[object]) -> list[Exception]:
    return [StoreUnreachable("away")] * len(messages)
