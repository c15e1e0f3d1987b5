"""`/v1/states` on memory and on Redis: what each request is answered, and what not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from tests.services import RedisServer, find_free_port
from tests.triopoll.asgi_calls import serving
from tests.triopoll.states import Answer, StatesApi

from triopoll.access.keyring import entry_for, new_key
from triopoll.app import Triopoll
from triopoll.settings import Settings

SECRET = "s" * 22
UNKNOWN = "k" * 22


def settings_for(request: pytest.FixtureRequest, **settings: Any) -> Settings:
    url = "memory://"
    if getattr(request, "param", "memory") == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        url = server.url
    slock_url = f"embedded://127.0.0.1:{find_free_port()}"
    return Settings(slock_url=slock_url, redis_url=url, **settings)


@pytest.fixture(params=["memory", "redis"])
async def api(request: pytest.FixtureRequest) -> AsyncIterator[StatesApi]:
    async with serving(Triopoll(settings_for(request))) as app:
        yield StatesApi(app)


@pytest.fixture
async def memory(request: pytest.FixtureRequest) -> AsyncIterator[StatesApi]:
    async with serving(Triopoll(settings_for(request))) as app:
        yield StatesApi(app)


async def test_a_login(api: StatesApi) -> None:
    """Pending, scanned, confirmed; each change wakes the page that waits."""
    created = await api.create(ttl=60, data={"shop": "a"})
    assert created.keys() == {"key", "poll_secret", "version", "state", "expires_in"}
    assert (created["state"], created["version"]) == ("pending", 1)
    assert 59 < created["expires_in"] <= 60
    assert len(created["key"]) == len(created["poll_secret"]) == 22

    first = await api.wait(created)
    assert (first.status, first.headers[b"cache-control"]) == (200, b"no-store")
    assert first.shape["data"] == {"shop": "a"}

    version, seen = 1, list[Any]()

    async def follow() -> None:
        nonlocal version
        while True:
            answer = await api.wait(created, version, 20)
            assert answer.status == 200
            seen.append(answer.shape)
            version = answer.shape["version"]
            if answer.shape["final"]:
                return

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await trio.sleep(0.1)
            scanned = await api.put(created["key"], "scanned", data={"who": "Ada"})
            assert scanned.shape["version"] == 2
            await trio.sleep(0.1)
            done = await api.put(
                created["key"], "confirmed", data={"token": "t"}, final=True
            )
            assert done.status == 200
    assert [(s["state"], s["version"], s["data"], s["final"]) for s in seen] == [
        ("scanned", 2, {"who": "Ada"}, False),
        ("confirmed", 3, {"token": "t"}, True),
    ]

    # A reload before the acknowledgement reads the same again; after it, no more.
    assert (await api.wait(created)).shape["data"] == {"token": "t"}
    for _ in range(2):
        assert (await api.ack(created, 3)).status == 204
    gone = await api.wait(created)
    assert (gone.status, gone.shape["code"]) == (410, "gone")


async def test_unknown_keys_and_wrong_secrets_get_the_same_bytes(
    api: StatesApi,
) -> None:
    """For a wait and for an acknowledgement; neither waits."""
    created = await api.create()
    for path in ("wait", "ack"):
        answers: list[Answer] = []
        for key in (created["key"], UNKNOWN):
            shape = {"key": key, "version": 1, "poll_secret": SECRET}
            with trio.fail_after(4):
                answers.append(await api.call("POST", f"/v1/states/{path}", shape))
        wrong, unknown = answers
        assert wrong == unknown
        assert (wrong.status, wrong.shape["code"]) == (404, "unknown")
    assert api.app.metrics.states["unknown"] == 2


async def test_the_secret_may_be_in_a_header(api: StatesApi) -> None:
    """And nowhere else but in the body: a URL with one is not read."""
    created = await api.create()
    secret = created["poll_secret"]
    shape = {"key": created["key"], "version": 0}
    header = (b"triopoll-poll-secret", secret.encode())
    read = await api.call("POST", "/v1/states/wait", shape, [header])
    assert read.status == 200
    url = f"/v1/states/wait?poll_secret={secret}"
    refused = await api.call("POST", url, shape)
    assert (refused.status, refused.shape["code"]) == (400, "bad_request")
    assert "poll_secret" in refused.shape["message"]


async def test_conflicts(api: StatesApi) -> None:
    """Another version, a forbidden move, a final state: 409, and nothing changes."""
    moves = {"pending": ["scanned"], "scanned": ["confirmed", "rejected"]}
    created = await api.create(moves=moves)
    key = created["key"]
    assert (await api.put(UNKNOWN, "scanned")).shape["code"] == "unknown"
    for fields in ({"state": "confirmed"}, {"state": "scanned", "if_version": 2}):
        refused = await api.call("PUT", f"/v1/states/{key}", fields)
        assert refused.status == 409
        told = refused.shape
        assert (told["code"], told["state"], told["version"]) == (
            "conflict",
            "pending",
            1,
        )
    assert (await api.put(key, "scanned", if_version=1)).status == 200
    assert (await api.put(key, "rejected", final=True)).status == 200
    refused = await api.put(key, "confirmed")
    assert (refused.status, refused.shape["state"]) == (409, "rejected")
    # Acknowledged is the version that was read, and only a final one.
    assert (await api.ack(created, 2)).status == 409
    assert (await api.ack(created, 3)).status == 204


async def test_expiry_is_a_state_that_wakes(api: StatesApi) -> None:
    """After the ttl, and after the time for a confirmation."""
    created = await api.create(ttl=1, data="secret")
    with trio.fail_after(10):
        answer = await api.wait(created, 1, 20)
    assert (answer.shape["state"], answer.shape["final"]) == ("expired", True)
    assert (answer.shape["version"], answer.shape["data"]) == (2, None)
    late = await api.put(created["key"], "scanned")
    assert (late.status, late.shape["state"]) == (409, "expired")

    created = await api.create(confirm_within=1)
    await api.put(created["key"], "scanned")
    with trio.fail_after(10):
        answer = await api.wait(created, 2, 20)
    assert (answer.shape["state"], answer.shape["version"]) == ("expired", 3)


async def test_nothing_expires_behind_a_final_state(api: StatesApi) -> None:
    """It is read as before when the ttl is over."""
    created = await api.create(ttl=1)
    await api.put(created["key"], "confirmed", data=1, final=True)
    await trio.sleep(1.1)
    answer = await api.wait(created)
    assert (answer.shape["state"], answer.shape["data"]) == ("confirmed", 1)


async def test_number_matching(api: StatesApi) -> None:
    """The side that scans gets the right number; one choice confirms or rejects."""
    created = await api.create(match=True)
    numbers = created["numbers"]
    assert len(set(numbers)) == 3
    assert (await api.wait(created)).shape["numbers"] == numbers
    scanned = await api.put(created["key"], "scanned")
    right = scanned.shape["number"]
    assert right in numbers
    assert "number" not in (await api.wait(created)).shape
    missing = await api.put(created["key"], "confirmed")
    assert (missing.status, "choice" in missing.shape["message"]) == (400, True)
    done = await api.put(created["key"], "confirmed", choice=right, final=True)
    assert (done.status, done.shape["state"]) == (200, "confirmed")

    created = await api.create(match=True)
    await api.put(created["key"], "scanned")
    wrong = await api.put(created["key"], "confirmed", choice=0)
    assert (wrong.status, wrong.shape["code"]) == (409, "mismatch")
    read = (await api.wait(created)).shape
    assert (read["state"], read["final"], read["version"]) == ("rejected", True, 3)
    again = await api.put(created["key"], "confirmed", choice=0)
    assert (again.status, again.shape["code"]) == (409, "conflict")


async def test_the_origin(api: StatesApi) -> None:
    """Address, agent and age of the creator."""
    agent = (b"user-agent", "Näv\x07".encode() + b"x" * 999)
    created = (await api.call("POST", "/v1/states", {}, [agent])).shape
    told = (await api.call("GET", f"/v1/states/{created['key']}/origin")).shape
    assert told.pop("user_agent") == ("Näv\ufffd" + "x" * 999)[:256]
    assert 0 <= told.pop("age") < 60
    assert told.pop("created_at") > 1.7e9
    assert told == {"address": "127.0.0.1", "state": "pending", "version": 1}
    missing = await api.call("GET", f"/v1/states/{UNKNOWN}/origin")
    assert (missing.status, missing.shape["code"]) == (404, "unknown")


async def test_polling_without_waiting(api: StatesApi) -> None:
    """It is refused; a wait with time still waits, and other pages are served."""
    created, other = await api.create(), await api.create()
    answers = [await api.wait(created, 1, 0) for _ in range(14)]
    refused = [answer for answer in answers if answer.status == 429]
    assert refused
    assert refused[0].headers[b"retry-after"] == b"1"
    assert refused[0].shape["retry_ms"] == 1000
    # The key is in a QR code: with it alone nobody stops the page.
    assert (await api.wait(other, 1, 0)).status == 200
    await api.put(created["key"], "scanned")
    assert (await api.wait(created, 1)).shape["state"] == "scanned"


BAD: list[tuple[str, str, dict[str, object], str]] = [
    ("POST", "/v1/states", {"ttl": 0}, "ttl is below 1"),
    ("POST", "/v1/states", {"ttl": 601}, "ttl is above 600"),
    ("POST", "/v1/states", {"ttl": "9"}, "ttl is not a number"),
    ("POST", "/v1/states", {"ttl": True}, "ttl is not a number"),
    ("POST", "/v1/states", {"confirm_within": 601}, "confirm_within is above 600"),
    ("POST", "/v1/states", {"match": 1}, "match is not true or false"),
    ("POST", "/v1/states", {"state": ""}, "state has '"),
    ("POST", "/v1/states", {"state": "a b"}, "state has '"),
    ("POST", "/v1/states", {"state": "a\n"}, "state has '"),
    ("POST", "/v1/states", {"state": "a" * 65}, "state has '"),
    ("POST", "/v1/states", {"state": 1}, "state is not a string"),
    (
        "POST",
        "/v1/states",
        {"state": "expired"},
        "state has 'expired', which is reserved",
    ),
    ("POST", "/v1/states", {"moves": {"a": ["expired"]}}, "moves has 'expired'"),
    ("POST", "/v1/states", {"moves": {"a": "b"}}, "moves[...] is not a list"),
    ("POST", "/v1/states", {"moves": {"a": [""]}}, "moves has ''"),
    ("POST", "/v1/states", {"moves": {"": []}}, "moves has ''"),
    ("POST", "/v1/states", {"moves": []}, "moves is not an object"),
    (
        "POST",
        "/v1/states",
        {"moves": {f"s{n}": [] for n in range(65)}},
        "moves has more than 64 members",
    ),
    ("POST", "/v1/states", {"tll": 1}, "unknown field: 'tll'"),
    ("POST", "/v1/states/wait", {}, "lacks key"),
    ("POST", "/v1/states/wait", {"key": UNKNOWN}, "lacks version"),
    (
        "POST",
        "/v1/states/wait",
        {"key": "short", "version": 0, "poll_secret": SECRET},
        "key is not 22 characters",
    ),
    (
        "POST",
        "/v1/states/wait",
        {"key": UNKNOWN, "version": 0},
        "lacks poll_secret",
    ),
    (
        "POST",
        "/v1/states/wait",
        {"key": UNKNOWN, "version": -1, "poll_secret": SECRET},
        "version is not an integer from 0",
    ),
    (
        "POST",
        "/v1/states/wait",
        {"key": UNKNOWN, "version": 0, "poll_secret": SECRET, "timeout": -1},
        "timeout is below 0",
    ),
    (
        "POST",
        "/v1/states/wait",
        {"key": UNKNOWN, "version": 0, "poll_secret": "short"},
        "poll_secret is not 22 characters",
    ),
    ("POST", "/v1/states/ack", {"key": UNKNOWN, "poll_secret": SECRET}, "version"),
    ("PUT", f"/v1/states/{UNKNOWN}", {}, "lacks state"),
    ("PUT", f"/v1/states/{UNKNOWN}", {"state": "expired"}, "reserved"),
    ("PUT", f"/v1/states/{UNKNOWN}", {"state": "a", "final": "y"}, "final is not true"),
    ("PUT", f"/v1/states/{UNKNOWN}", {"state": "a", "ttl": 0.5}, "ttl is below 1"),
    ("PUT", f"/v1/states/{UNKNOWN}", {"state": "a", "if_version": 1.5}, "if_version"),
    ("PUT", f"/v1/states/{UNKNOWN}", {"state": "a", "choice": 100}, "choice is not an"),
    ("PUT", f"/v1/states/{UNKNOWN}", {"state": "a", "next": 1}, "unknown field"),
    ("PUT", "/v1/states/short", {"state": "a"}, "key is not 22 characters"),
]


@pytest.mark.parametrize(("method", "path", "shape", "sentence"), BAD)
async def test_bad_fields_are_named(
    memory: StatesApi, method: str, path: str, shape: dict[str, object], sentence: str
) -> None:
    """400, and a sentence with the name of the field."""
    answer = await memory.call(method, path, shape)
    assert (answer.status, answer.shape["code"]) == (400, "bad_request")
    assert sentence in answer.shape["message"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the body is not JSON"),
        (b"[]", "the body is not an object"),
        (b'{"state":"a","state":"b"}', "the body has 'state' twice"),
        (b'{"state":"a","data":"\xff"}', "data is not UTF-8"),
        (b'{"state":"a","data":NaN}', "NaN, which is not JSON"),
        (b'{"state":"a","data":1e999}', "data has a number that is out of range"),
        (b'{"state":"a","data":"\\ud800"}', "a surrogate that stands alone"),
        (b'{"state":"a","data":' + b"[" * 200 + b"]" * 200 + b"}", "deeper than 128"),
    ],
)
async def test_bad_bodies_change_nothing(
    memory: StatesApi, body: bytes, sentence: str
) -> None:
    """What cannot be read is refused, and the state stays as it is."""
    created = await memory.create(data=1)
    path = f"/v1/states/{created['key']}"
    answer = await memory.call("PUT", path, body=body)
    assert (answer.status, answer.shape["code"]) == (400, "bad_request")
    assert sentence in answer.shape["message"]
    read = (await memory.wait(created)).shape
    assert (read["state"], read["version"], read["data"]) == ("pending", 1, 1)


async def test_data_as_long_as_may_be(api: StatesApi) -> None:
    """64 KB of JSON come back as they were sent; a byte more is 413, without a loss."""
    text = '"' + "x" * 65534 + '"'
    created = await api.create(data=json.loads(text))
    key = created["key"]
    longer = await api.put(key, "scanned", data="x" * 65535)
    assert (longer.status, longer.shape["code"]) == (413, "data_too_long")
    assert longer.shape["message"].startswith("data is longer than 65536")
    read = (await api.wait(created)).shape
    assert (read["version"], read["data"]) == (1, json.loads(text))
    precise = b'{"state":"a","data":{"b":1.50,"a":12345678901234567890}}'
    assert (await api.call("PUT", f"/v1/states/{key}", body=precise)).status == 200
    body = (await api.wait(created)).body
    assert b'"data":{"b":1.50,"a":12345678901234567890}' in body


async def test_publishers_need_a_key_that_grants_states(
    request: pytest.FixtureRequest,
) -> None:
    """Creation, change and origin; `state:*` grants them, another pattern does not."""
    mine, other = new_key(), new_key()
    keys = (entry_for("login", mine, ["state:*"]), entry_for("x", other, ["orders*"]))
    settings = settings_for(request, publish_keys=" ".join(keys))
    async with serving(Triopoll(settings)) as app:
        api = StatesApi(app)
        assert (await api.call("POST", "/v1/states", {})).status == 401
        api.headers = [(b"authorization", f"Bearer {mine}".encode())]
        created = await api.create()
        api.headers = [(b"authorization", f"Bearer {other}".encode())]
        key = created["key"]
        assert (await api.call("POST", "/v1/states", {})).status == 403
        assert (await api.put(key, "scanned")).status == 403
        assert (await api.call("GET", f"/v1/states/{key}/origin")).status == 403
        api.headers = []
        assert (await api.wait(created)).status == 200
        assert (await api.put(key, "scanned")).status == 401
        assert (await api.wait(created)).shape["state"] == "pending"


async def test_visitors_may_create_at_a_limited_rate(
    request: pytest.FixtureRequest,
) -> None:
    """If the setting allows it; the limit is an address's, and not a publisher's."""
    mine = new_key()
    settings = settings_for(
        request,
        publish_keys=entry_for("login", mine, ["*"]),
        states_create="visitors",
        states_per_ip=3,
    )
    async with serving(Triopoll(settings)) as app:
        api = StatesApi(app)
        api.peer = ("192.0.2.7", 1)
        created = [await api.call("POST", "/v1/states", {}) for _ in range(4)]
        assert [answer.status for answer in created] == [201, 201, 201, 429]
        assert created[3].shape["limit"] == "states_per_ip"
        assert int(created[3].headers[b"retry-after"]) > 0
        api.headers = [(b"authorization", f"Bearer {mine}".encode())]
        told = await api.call("GET", f"/v1/states/{created[0].shape['key']}/origin")
        assert told.shape["address"] == "192.0.2.7"
        assert (await api.call("POST", "/v1/states", {})).status == 201
        api.headers, api.peer = [], ("192.0.2.8", 1)
        assert (await api.call("POST", "/v1/states", {})).status == 201
        # What visitors create, publishers change.
        assert (await api.put(created[0].shape["key"], "scanned")).status == 401


async def test_answers_are_counted_by_template(memory: StatesApi) -> None:
    """No label of a metric has a key."""
    created = await memory.create()
    await memory.put(created["key"], "scanned")
    await memory.call("GET", f"/v1/states/{created['key']}/origin")
    answers = memory.app.metrics.answers
    assert answers["/v1/states/{key}", 200] == 1
    assert answers["/v1/states/{key}/origin", 200] == 1
    assert not any(created["key"] in path for path, _ in answers)
    assert (await memory.call("DELETE", f"/v1/states/{created['key']}")).status == 405
    assert memory.app.metrics.states == {"created": 1, "changed": 1}
