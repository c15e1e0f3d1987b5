"""What holds for every endpoint there is, read from the application's own table.

A new endpoint is in these tests by itself.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from quart import Response as QuartResponse
from quart import websocket
from tests.services import find_free_port
from tests.triopoll.asgi_calls import Call, serving

from triopoll.api.javascript import module_path
from triopoll.app import Triopoll
from triopoll.settings import Settings
from trioslock.server import open_server

PROBES = {"/livez", "/readyz"}
# For endpoints that need a body or parameters to succeed.
STATE = "a" * 22  # of a key that there is not
PENDING = "aw.YQ"  # of a message that there is not
QUERIES = {
    "/poll/event": "event=k&timeout=0",
    "/poll/message": "event=k&timeout=0",
    "/poll/ws": "event=k",
    "/poll/group/message": "key=g&timeout=0",
    "/poll/event/emit": "key=k",
    "/poll/message/send": "key=k",
    "/poll/group/message/create": "key=g&message_id=1",
    "/poll/group/message/send": "key=g&message_id=1",
    "/v1/messages": "key=k&timeout=0",
    "/v1/wait": "message=:k&timeout=0",
    "/v1/presence": "key=k",
    "/v1/presence/changes": "key=k&timeout=0",
}
BODIES = {
    "/v1/wait": b'{"items":[{"key":"k"}],"timeout":0}',
    "/v1/publish": b'{"key":"k","data":"x"}',
    "/poll/message/send": b"1",
    "/poll/group/message/send": b"1",
    "/v1/states": b"{}",
    "/v1/states/wait": b'{"key":"%b","version":0,"timeout":0}' % STATE.encode(),
    "/v1/states/ack": b'{"key":"%b","version":1}' % STATE.encode(),
    "/v1/states/{key}": b'{"state":"scanned"}',
}
# The OpenResty API takes any method.
GET_BODIES = {"/poll/message/send", "/poll/group/message/send"}
LISTED = "https://app.example"
# What a request that was let in is answered. 404 is about a state that is not there.
SERVED = (0, 101, 200, 201, 204, 404, 504)
Headers = dict[str, str]

REBOUND: list[Headers] = [
    {"host": "evil.example"},
    {"host": "evil.example", "sec-fetch-site": "same-origin"},
    {"host": "evil.example", "origin": "http://evil.example"},
    {"host": "127.0.0.1.nip.io:8000", "x-forwarded-for": "198.51.100.7"},
    {"host": "evil.example", "cf-connecting-ip": "198.51.100.7"},
]
FOREIGN: list[Headers] = [
    {"origin": "http://evil.example"},
    {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    {"referer": "http://evil.example/"},
]
PROGRAMS: list[Headers] = [
    {},
    {"host": "127.0.0.1:8000", "user-agent": "curl/8.5"},
    {"host": "[::1]:8000"},
]
PAGES: list[Headers] = [
    {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"},
    {"host": "localhost:8000", "sec-fetch-site": "same-origin"},
    {"origin": LISTED, "sec-fetch-site": "cross-site"},
]


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Triopoll]:
    url = f"embedded://127.0.0.1:{find_free_port()}"
    async with serving(
        Triopoll(Settings(slock_url=url, cors_origins=LISTED, presence="*", **settings))
    ) as app:
        yield app


def table(app: Triopoll) -> Iterator[tuple[str, str]]:
    """Yield method and path of every endpoint but the probes; WS for a websocket."""
    pipeline = app._pipeline
    assert pipeline is not None
    for path, methods in pipeline.routes.items():
        if path not in PROBES:
            yield from ((method, path) for method in methods)
    yield from (("WS", path) for path in pipeline.websockets)


async def code(app: Triopoll, method: str, path: str, headers: Headers) -> object:
    """Call an endpoint; return the status that it says, in HTTP or in its body."""
    has_body = method in ("POST", "PUT") or path in GET_BODIES
    call = Call(
        path.format(key=STATE, path="s")
        if path == "/v1/wait" and method == "POST"
        else f"{path.format(key=STATE, path='s', id=PENDING)}?{QUERIES.get(path, '')}",
        method=method,
        kind="websocket" if method == "WS" else "http",
        body=BODIES.get(path, b"") if has_body else b"",
    )
    given = {
        "host": "localhost",
        "triopoll-poll-secret": STATE,
        "stream-closed": "true",
        **headers,
    }
    call.request_headers[:1] = [(k.encode(), v.encode()) for k, v in given.items()]
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.run, app)
            while not call.sent:  # noqa: ASYNC110  # the application's own pace
                await trio.sleep(0.001)
            call.leave()
    if call.status != 200 or not path.startswith("/poll/"):
        return call.status
    answer = json.loads(call.body)
    return answer.get("err_code", answer.get("code"))


def publishes(method: str, path: str) -> bool:
    """Return whether an endpoint is for publishers."""
    if path.startswith("/v1/presence"):
        return True
    if path.startswith("/v1/states"):
        return not path.endswith(("/wait", "/ack"))
    if path.startswith("/v1/stream/"):
        return method not in ("GET", "HEAD")
    return path.endswith(("/publish", "/publish/{id}", "/emit", "/send", "/create"))


async def test_a_foreign_page_reaches_no_endpoint() -> None:
    """Neither by a name that was rebound nor from its own origin."""
    async with running() as app:
        for method, path in table(app):
            if path == module_path():
                continue  # the same for everybody
            for headers in (*REBOUND, *FOREIGN):
                got = await code(app, method, path, headers)
                assert got == 403, (method, path, headers)
        counted = app.services().access.refusals
        assert set(counted) <= {"host", "origin", "not_local"}


async def test_programs_reach_every_endpoint() -> None:
    """They send no page, and a local name or an address as Host."""
    async with running() as app:
        for method, path in table(app):
            for headers in PROGRAMS:
                got = await code(app, method, path, headers)
                assert got in SERVED, (method, path, headers)


async def test_pages_of_the_service_and_of_the_list_reach_what_reads() -> None:
    """Publishing without a key is for programs only, whatever the page."""
    async with running() as app:
        for method, path in table(app):
            for headers in PAGES:
                got = await code(app, method, path, headers)
                if publishes(method, path):
                    assert got == 403, (method, path, headers)
                else:
                    assert got in SERVED, (method, path, headers)


async def test_a_configured_proxy_serves_its_own_name() -> None:
    """From the machine itself, too; metrics and publishing stay closed through it."""
    async with running(trusted_proxies="127.0.0.1") as app:
        headers = {"host": "poll.example", "x-forwarded-for": "198.51.100.7"}
        for method, path in table(app):
            got = await code(app, method, path, headers)
            if publishes(method, path) or path == "/metrics":
                assert got == 403, (method, path)
            else:
                assert got in SERVED, (method, path)


async def test_a_listed_host_is_served() -> None:
    """For a name that this machine knows itself, as in /etc/hosts."""
    async with running(hosts="poll.test") as app:
        assert await code(app, "GET", "/v1/messages", {"host": "poll.test:8000"}) == 200
        assert await code(app, "GET", "/metrics", {"host": "poll.test"}) == 200
        assert await code(app, "GET", "/v1/messages", {"host": "evil.example"}) == 403


async def test_probes_ask_nothing() -> None:
    """A load balancer sends any Host."""
    async with running(hosts="poll.test") as app:
        for path in PROBES:
            assert await code(app, "GET", path, {"host": "evil.example"}) == 200


async def test_routes_of_the_application_have_rules_of_their_own() -> None:
    """A page that is served beside the endpoints need not be of this machine."""
    url = f"embedded://127.0.0.1:{find_free_port()}"
    app = Triopoll(Settings(slock_url=url))

    @app.get("/page")
    async def page() -> QuartResponse:
        return QuartResponse("hello")

    @app.websocket("/page/ws")
    async def socket() -> None:
        await websocket.send("hello")

    async with serving(app):
        for method, path in (("GET", "/page"), ("WS", "/page/ws")):
            got = await code(app, method, path, {"host": "evil.example"})
            assert got in (101, 200)


@pytest.mark.parametrize("peer", ["127.0.0.1", "203.0.113.9"])
async def test_a_get_that_changes_a_state(peer: str) -> None:
    """From anywhere, a page may reset an event only if its origin may read."""
    async with running() as app:

        async def ask(query: str, headers: Headers) -> int:
            call = Call(f"/poll/event?event=k&timeout=0&{query}")
            call.peer = (peer, 1)
            call.request_headers += [
                (k.encode(), v.encode()) for k, v in headers.items()
            ]
            await call.run(app)
            return int(json.loads(call.body)["err_code"])

        for headers in FOREIGN:
            assert await ask("wait_type=reset", headers) == 403, headers
            assert await ask("wait_type=reset&default_type=set", headers) == 403
        for headers in ({}, {"origin": LISTED}, {"sec-fetch-site": "same-origin"}):
            assert await ask("wait_type=reset", headers) == 504


INTERNAL = (
    *("polling:group:message:g", "polling:group:message:"),
    *("triopoll:probe:0a", "triopoll:presence:k"),
)
# Each parameter and field that names a key, with the places of the key.
NAMING = [
    ("GET", "/poll/event", "event={}&default_type=set&wait_type=reset", ""),
    ("GET", "/poll/event", "key={}&default_seted=1", ""),
    ("GET", "/poll/message", "event={}", ""),
    ("GET", "/poll/message", "key={}", ""),
    ("GET", "/poll/group/message", "key={}", ""),
    ("WS", "/poll/ws", "event={}", ""),
    *(
        (method, path, query, "1")
        for method in ("GET", "POST")
        for path, query in [
            ("/poll/event/emit", "key={}&default_seted=1"),
            ("/poll/event/emit", "event={}"),
            ("/poll/message/send", "key={}"),
            ("/poll/message/send", "event={}"),
            ("/poll/group/message/create", "key={}"),
            ("/poll/group/message/send", "key={}"),
        ]
    ),
    ("GET", "/v1/messages", "key={}", ""),
    ("GET", "/v1/presence", "key={}", ""),
    ("GET", "/v1/presence/changes", "key={}", ""),
    ("GET", "/v1/wait", "message=:{}", ""),
    ("GET", "/v1/wait", "event=set:{}", ""),
    ("GET", "/v1/wait", "group=:{}", ""),
    ("POST", "/v1/wait", "", '{"items":[{"key":"@"}]}'),
    ("POST", "/v1/wait", "", '{"items":[{"type":"event","key":"@"}]}'),
    ("POST", "/v1/wait", "", '{"items":[{"type":"group","key":"@"}]}'),
    ("POST", "/v1/publish", "", '{"key":"@","data":"x"}'),
    ("POST", "/v1/publish", "", '{"items":[{"type":"event","key":"@"}]}'),
    ("POST", "/v1/publish", "", '{"type":"clear","key":"@"}'),
    ("POST", "/v1/publish", "", '{"type":"group","key":"@"}'),
]
WITHOUT_KEYS = {"/metrics", "/openapi.json", "/v1/ws", module_path()}


async def test_no_endpoint_takes_an_internal_name() -> None:
    """Neither a visitor's nor a publisher's, in any parameter: it is a bad request."""
    async with running() as app:
        assert {(method, path) for method, path, _, _ in NAMING} == {
            (method, path)
            for method, path in table(app)
            # The service chooses the names of states, and streams have paths. That the
            # id of a pending message has no such key is tested with its endpoint.
            if path not in WITHOUT_KEYS
            and not path.startswith(("/v1/states", "/v1/stream/", "/v1/publish/"))
        }
        for method, path, query, body in NAMING:
            for name in INTERNAL:
                call = Call(
                    f"{path}?{query.format(name)}".removesuffix("?"),
                    method=method,
                    kind="websocket" if method == "WS" else "http",
                    body=body.replace("@", name).encode(),
                )
                with trio.fail_after(5):
                    await call.run(app)
                said = (method, path, query, body, call.body)
                assert b"is a name that is reserved" in call.body, said


# All that a visitor can do with a key of its choice, as long as possible.
LEAVING = [
    ("/poll/event", "event={}&default_type=set&wait_type=reset&timeout=0"),
    ("/poll/event", "key={}&default_seted=1&expried=65535&timeout=0.01"),
    ("/poll/message", "event={}&default_type=set&wait_type=reset&timeout=0.01"),
    ("/poll/message", "key={}&expried=65535&timeout=0.01"),
    ("/poll/group/message", "key={}&msg_id=1&expried=65535&timeout=0.01"),
    ("/v1/messages", "key={}&timeout=0.01"),
    ("/v1/wait", "group=:{}&timeout=0.01"),
    ("/v1/wait", "message=:{}&timeout=0.01"),
    ("/v1/wait", "event=set:{}&timeout=0.01"),
]


async def test_what_visitors_leave_on_slock_is_bounded() -> None:
    """For each address, and for the process, whichever endpoints they use."""
    mine, all_ = 4, 7
    async with open_server("127.0.0.1", 0) as server:
        engine = server.host_engine.engine
        address = server.address
        app = Triopoll(
            Settings(
                slock_url=f"slock://{address}",
                held_keys_per_ip=mine,
                max_held_keys=all_,
            )
        )
        async with serving(app):
            for peer, most in (("203.0.113.1", mine), ("203.0.113.2", all_)):
                for number in range(6):
                    for place, (path, query) in enumerate(LEAVING):
                        name = f"{peer}-{number}-{place}"
                        call = Call(f"{path}?{query.format(name)}")
                        call.peer = (peer, 1)
                        with trio.fail_after(5):
                            await call.run(app)
                # The probe of the service has one more key for a second.
                assert mine <= engine.statistics().keys <= most + 1
