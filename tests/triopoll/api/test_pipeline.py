"""The one way in: whatever is answered is limited, counted, and readable for a page."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from tests.triopoll.asgi_calls import Call, serving
from tests.triopoll.server.harness import HASTY, run_server

from triopoll.access import AccessControl
from triopoll.access.control import Rules
from triopoll.access.cors import Cors
from triopoll.api.pipeline import Pipeline
from triopoll.app import Triopoll
from triopoll.asgi.messages import (
    CANCELS,
    Request,
    Response,
    StreamingResponse,
    StreamWriter,
    json_response,
)
from triopoll.asgi.types import Message, Receive, Scope, Send
from triopoll.ops.metrics import Metrics
from triopoll.server.http_cycle import HttpCycle
from triopoll.settings import Settings

PAGE = "https://app.example"
CLIENT = "198.51.100.7"


@asynccontextmanager
async def limited(port: int, **more: Any) -> AsyncIterator[Triopoll]:
    """The application: one request a second of each address, five at once."""
    settings = Settings(
        slock_url=f"embedded://127.0.0.1:{port}",
        requests_per_ip=1,
        burst_per_ip=5,
        trusted_proxies="127.0.0.1",
        cors_origins=PAGE,
        max_body_bytes=10_000,
        **more,
    )
    async with serving(Triopoll(settings)) as app:
        yield app


def call(target: str, **more: Any) -> Call:
    headers = [(b"x-forwarded-for", CLIENT.encode()), (b"origin", PAGE.encode())]
    return Call(target, headers=[*headers, *more.pop("headers", [])], **more)


# Paths and bodies that are answered outside any endpoint of the table.
ANYTHING: dict[str, dict[str, Any]] = {
    "unknown path": {"target": "/v1/nothing"},
    "unknown path of the poll API": {"target": "/poll/nothing"},
    "root": {"target": "/", "method": "DELETE"},
    "no path": {"target": "", "method": "DELETE"},
    "all of the server": {"target": "*", "method": "OPTIONS"},
    "no address": {"target": "http://["},
    "wrong method": {"target": "/v1/messages", "method": "DELETE"},
    "long body": {"target": "/v1/publish", "method": "POST", "body": b"x" * 10_001},
    "long body, unknown path": {
        "target": "/nothing",
        "method": "POST",
        "body": b"x" * 10_001,
    },
    "bad request": {"target": "/v1/messages?max=0"},
    "publishing without a key": {
        "target": "/v1/publish",
        "method": "POST",
        "body": b'{"key":"k","data":""}',
    },
}
STATUS = {
    "unknown path": 404,
    "unknown path of the poll API": 404,
    "root": 405,
    "no path": 405,
    "all of the server": 404,
    "no address": 404,
    "wrong method": 405,
    "long body": 413,
    "long body, unknown path": 413,
    "bad request": 400,
    "publishing without a key": 403,
}


@pytest.mark.parametrize("what", ANYTHING)
async def test_everything_is_limited_and_counted(free_port: int, what: str) -> None:
    """Of 20 requests at once 5 are served; all 20 are counted."""
    async with limited(free_port) as app:
        statuses = []
        for _ in range(20):
            request = call(**ANYTHING[what])
            await request.run(app)
            statuses.append(request.status)
        assert statuses[:5] == [STATUS[what]] * 5
        refused = statuses[5:]
        # The endpoints below /poll/ answer a refusal with 200 and a code.
        path = ANYTHING[what]["target"].partition("?")[0]
        assert set(refused) == ({200} if path.startswith("/poll/") else {429})
        label = path if path.startswith("/v1/") and path != "/v1/nothing" else "other"
        counted = {s: n for (p, s), n in app.metrics.answers.items() if p == label}
        assert sum(counted.values()) == 20
        assert counted[STATUS[what]] == 5
        assert app.metrics.refusals["limit"] == 15


@pytest.mark.parametrize("what", ANYTHING)
async def test_a_page_can_read_everything(free_port: int, what: str) -> None:
    """Without these headers, a page sees a network error instead of the status."""
    async with limited(free_port) as app:
        for _ in range(6):
            request = call(**ANYTHING[what])
            await request.run(app)
            names = [name for name, _ in request.headers]
            given = dict(request.headers)
            assert given[b"access-control-allow-origin"] == PAGE.encode()
            assert given[b"x-content-type-options"] == b"nosniff"
            assert names.count(b"access-control-allow-origin") == 1


@pytest.mark.parametrize("what", ANYTHING)
async def test_errors_have_the_documented_shape(free_port: int, what: str) -> None:
    """JSON with a code and a sentence, also where no endpoint has the path."""
    async with limited(free_port) as app:
        request = call(**ANYTHING[what])
        await request.run(app)
        assert dict(request.headers)[b"content-type"] == b"application/json"
        assert {"code", "message"} <= set(json.loads(request.body))


async def test_a_body_that_is_slow(
    free_port: int, autojump_clock: trio.testing.MockClock
) -> None:
    """408 is counted and has the headers; the endpoint is not called."""
    async with limited(free_port) as app:
        for path in ("/v1/publish", "/nothing"):
            request = call(path, method="POST", body=None)
            await request.run(app)
            assert request.status == 408
            assert dict(request.headers)[b"access-control-allow-origin"]
        assert app.metrics.answers["/v1/publish", 408] == 1
        assert app.metrics.answers["other", 408] == 1


async def test_a_refused_request_is_not_read(free_port: int) -> None:
    """The rate limit comes before the body."""
    async with limited(free_port) as app:
        for _ in range(5):
            await call("/livez-not").run(app)
        request = call("/v1/publish", method="POST", body=None)
        with trio.fail_after(1):
            await request.run(app)
        assert request.status == 429


async def test_probes_are_not_limited(free_port: int) -> None:
    """Behind a load balancer all of them have one address."""
    async with limited(free_port, metrics_from="0.0.0.0/0 ::/0") as app:
        for path in ("/livez", "/readyz", "/metrics"):
            for _ in range(8):
                request = call(path)
                await request.run(app)
                assert request.status == 200
            assert app.metrics.answers[path, 200] == 8


async def test_a_preflight(free_port: int) -> None:
    """It is answered for an endpoint, with each header once, and counted."""
    headers = [(b"access-control-request-method", b"POST")]
    async with limited(free_port) as app:
        request = call("/v1/publish", method="OPTIONS", headers=headers)
        await request.run(app)
        assert request.status == 204
        names = [name for name, _ in request.headers]
        assert len(set(names)) == len(names)
        assert b"access-control-allow-methods" in names
        # RFC 9110, section 8.6.
        assert b"content-length" not in names
        assert app.metrics.answers["/v1/publish", 204] == 1


async def test_the_preflight_of_a_users_route(free_port: int) -> None:
    """The methods are those of the route, unless it answers by itself."""
    settings = Settings(
        slock_url=f"embedded://127.0.0.1:{free_port}", cors_origins=PAGE
    )
    app = Triopoll(settings)

    @app.route("/mine", methods=["PUT"])
    async def mine() -> str:
        return ""

    @app.route("/own", methods=["OPTIONS"], provide_automatic_options=False)
    async def own() -> tuple[str, dict[str, str]]:
        return "", {"access-control-allow-methods": "PATCH"}

    headers = [(b"access-control-request-method", b"PUT")]
    async with serving(app):
        for path, methods in (("/mine", b"PUT"), ("/own", b"PATCH")):
            request = call(path, method="OPTIONS", headers=headers)
            await request.run(app)
            given = dict(request.headers)
            assert methods in given[b"access-control-allow-methods"]
            assert given[b"access-control-allow-origin"] == PAGE.encode()
        # Without configured origins, the answer is the route's alone.
        app.services().access.rules.cors.origins = frozenset()
        request = call("/own", method="OPTIONS", headers=headers)
        await request.run(app)
        assert dict(request.headers)[b"access-control-allow-methods"] == b"PATCH"


async def test_an_endpoint_that_fails(
    free_port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """500 with the headers; the log has the traceback, the answer does not."""

    async def fail(*_: object) -> None:
        raise LookupError("a secret")

    async with limited(free_port) as app:
        monkeypatch.setattr(app.services().health, "reasons", fail, raising=False)
        request = call("/readyz")
        await request.run(app)
        assert request.status == 500
        assert b"secret" not in request.body
        assert dict(request.headers)[b"access-control-allow-origin"] == PAGE.encode()
        assert app.metrics.answers["/readyz", 500] == 1
    assert "a secret" in caplog.text


async def test_websocket_handshakes_are_limited_and_counted(free_port: int) -> None:
    """Of our endpoints and of any other path."""
    async with limited(free_port) as app:
        for path in ("/v1/ws", "/poll/ws", "/nothing"):
            app.services().access._rate._buckets.clear()
            statuses = []
            for _ in range(8):
                request = call(path, kind="websocket")
                if path != "/nothing":
                    request.leave()  # an accepted one would stay open
                await request.run(app)
                statuses.append(request.status)
            assert statuses[5:] == [429] * 3, path
            label = "other" if path == "/nothing" else path
            assert app.metrics.answers[label, 429] == 3
        # What Quart denies is counted too.
        assert app.metrics.answers["other", 404] == 5


# --- routes of a user's own ----------------------------------------------------------


async def test_a_route_of_a_users_own(free_port: int) -> None:
    """It is served by Quart, behind the same pipeline."""
    from quart import Blueprint, abort, request, websocket

    settings = Settings(
        slock_url=f"embedded://127.0.0.1:{free_port}",
        max_body_bytes=100,
        cors_origins=PAGE,
    )
    app = Triopoll(settings)
    pages = Blueprint("pages", __name__, url_prefix="/pages")

    @app.route("/hello")
    async def hello() -> str:
        return f"hello {request.args['name']}"

    @app.post("/echo")
    async def echo() -> bytes:
        return bytes(await request.get_data())

    @app.route("/teapot")
    async def teapot() -> None:
        abort(418)

    @app.route("/broken")
    async def broken() -> None:
        raise LookupError("a secret")

    @pages.route("/one")
    async def one() -> tuple[str, int, dict[str, str]]:
        return "one", 201, {"access-control-allow-origin": "https://other.example"}

    @app.websocket("/mine")
    async def mine() -> None:
        await websocket.accept()
        await websocket.send("hello")

    app.register_blueprint(pages)
    async with serving(app):
        for target, status, body in (
            ("/hello?name=a", 200, b"hello a"),
            ("/pages/one", 201, b"one"),
        ):
            got = call(target)
            await got.run(app)
            assert (got.status, got.body) == (status, body)
        # What a route has decided for itself stays.
        assert (
            dict(got.headers)[b"access-control-allow-origin"]
            == b"https://other.example"
        )
        sent = call("/echo", method="POST", body=b"x" * 100)
        await sent.run(app)
        assert sent.body == b"x" * 100
        for target, status in (("/teapot", 418), ("/broken", 500)):
            failed = call(target)
            await failed.run(app)
            assert failed.status == status
            assert b"secret" not in failed.body
            assert dict(failed.headers)[b"access-control-allow-origin"] == PAGE.encode()
        socket = call("/mine", kind="websocket")
        await socket.run(app)
        assert {"type": "websocket.send", "text": "hello", "bytes": None} in [
            {"bytes": None, **event} for event in socket.sent
        ]
        assert app.metrics.answers["other", 200] == 2


async def test_a_route_whose_client_disconnects(free_port: int) -> None:
    """It is cancelled."""
    app = Triopoll(Settings(slock_url=f"embedded://127.0.0.1:{free_port}"))
    ended = trio.Event()

    @app.route("/slow")
    async def slow() -> str:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with serving(app), trio.open_nursery() as nursery:
        request = call("/slow")
        nursery.start_soon(request.run, app)
        await trio.testing.wait_all_tasks_blocked()
        request.leave()
        with trio.fail_after(5):
            await ended.wait()


async def test_a_disconnect_from_inside_the_last_send(free_port: int) -> None:
    """Hypercorn reports it there; its own code behind it must run to its end."""
    app = Triopoll(Settings(slock_url=f"embedded://127.0.0.1:{free_port}"))

    @app.route("/hello")
    async def hello() -> str:
        return "hello"

    async with serving(app):
        for target in ("/hello", "/livez", "/nothing"):
            request = call(target)
            request.leaves_in_last_send = True
            await request.run(app)
            assert request.last_send_completed, target


async def test_a_connection_that_breaks_in_a_users_route(
    free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The server gets its own error back; the log has no error of the application."""
    app = Triopoll(Settings(slock_url=f"embedded://127.0.0.1:{free_port}"))

    @app.route("/hello")
    async def hello() -> str:
        return "hello"

    async with serving(app):
        for event in (0, 1):
            request = call("/hello")
            request.break_at = event
            with pytest.RaisesGroup(OSError, flatten_subgroups=True):
                await request.run(app)
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


async def test_a_response_without_headers(free_port: int) -> None:
    """ASGI makes them optional."""
    app = Triopoll(Settings(slock_url=f"embedded://127.0.0.1:{free_port}"))
    inner = app.asgi_app

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    app.asgi_app = bare  # type: ignore[method-assign,assignment]
    async with serving(app):
        request = call("/mine")
        await request.run(app)
    assert request.headers == [(b"x-content-type-options", b"nosniff")]


async def test_middleware_of_quart(free_port: int) -> None:
    """`app.asgi_app` may be wrapped, as Quart documents it."""
    app = Triopoll(Settings(slock_url=f"embedded://127.0.0.1:{free_port}"))
    seen = []
    inner = app.asgi_app

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope.get("path"))
        await inner(scope, receive, send)

    app.asgi_app = middleware  # type: ignore[method-assign,assignment]
    async with serving(app):
        await call("/mine").run(app)
    assert seen == [None, "/mine"]


@pytest.mark.parametrize("below", ["/push", "/a/push"])
async def test_below_a_path(free_port: int, below: str) -> None:
    """`root_path` is removed where the path has it, as ASGI defines it."""
    app = Triopoll(Settings(slock_url=f"embedded://127.0.0.1:{free_port}"))
    async with serving(app):
        for path in (below + "/livez", "/livez"):
            request = call(path, root_path=below)
            await request.run(app)
            assert request.status == 200
        for path in (below, below + "/"):
            request = call(path, root_path=below)
            await request.run(app)
            assert request.status == 200
            assert b"<h1>triopoll" in request.body
        for path in (below + "/nothing", below + "x/livez"):
            request = call(path, root_path=below)
            await request.run(app)
            assert request.status == 404
        beside = json.loads(request.body)["message"]
        assert beside == f"{below}x/livez is not served here"


@pytest.mark.parametrize("root", ["/push", "/push/"])
@pytest.mark.parametrize("given", ["/push/mine", "/mine"])
async def test_a_users_route_below_a_path(
    free_port: int, root: str, given: str
) -> None:
    """Also from servers that leave the root path out, or end it with a slash."""
    app = Triopoll(Settings(slock_url=f"embedded://127.0.0.1:{free_port}"))

    @app.route("/mine")
    async def mine() -> str:
        return "mine"

    async with serving(app):
        request = call(given, root_path=root)
        await request.run(app)
        assert request.body == b"mine"


@pytest.mark.parametrize("wrapped", [True, False])
async def test_what_stands_in_between_sees_each_response(
    free_port: int, wrapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those to polls that one publish wakes, which are else written early."""
    app = Triopoll(Settings(slock_url=f"embedded://127.0.0.1:{free_port}"))
    respond_now = HttpCycle.respond_now
    early = 0

    def count(cycle: HttpCycle, *args: Any) -> None:
        nonlocal early
        early += 1
        respond_now(cycle, *args)

    async def between(scope: Scope, receive: Receive, send: Send) -> None:
        async def stamp(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-stamp", b"1"))
            await send(message)

        await app(scope, receive, stamp if wrapped else send)

    async def poll() -> None:
        client = await running.connect()
        await client.get("/v1/messages?key=k&cursor=new&timeout=20")
        answer = await client.read_answer()
        assert b'"data":"1"' in answer
        assert (b"x-stamp: 1\r\n" in answer) == wrapped

    monkeypatch.setattr(HttpCycle, "respond_now", count)
    async with serving(app), run_server(between) as running:
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(poll)
            await trio.sleep(0.5)
            publish = Call("/v1/publish", method="POST", body=b'{"key":"k","data":"1"}')
            await publish.run(app)
            assert publish.status == 200
        assert early == (0 if wrapped else 40)


# --- streaming responses --------------------------------------------------------------

Write = Callable[[StreamWriter], Awaitable[Response | None]]


def streaming(write: Write, **more: Any) -> Pipeline:
    """Return a pipeline with one endpoint, which streams what `write` sends."""

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(write, 200, [(b"content-type", b"text/plain")])

    async def nothing_else(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    return Pipeline(
        routes={"/stream": {"GET": endpoint, "HEAD": endpoint}},
        websockets=(),
        unlimited=(),
        public=(),
        access=AccessControl(Rules(cors=Cors([PAGE]))),
        metrics=Metrics(),
        fallback=nothing_else,
        max_body_bytes=1000,
        **more,
    )


async def count_to_three(writer: StreamWriter) -> None:
    for piece in (b"1", b"2", b"3"):
        await writer.send(piece)


async def run_call(pipeline: Pipeline, method: str = "GET", **more: Any) -> Call:
    request = call("/stream", method=method)
    for name, value in more.items():
        setattr(request, name, value)
    await request.run(pipeline.serve)
    return request


SERVERS: list[dict[str, Any]] = [{}, {CANCELS: {}}]


@pytest.mark.parametrize("extensions", SERVERS)
async def test_a_stream_is_counted_and_has_all_headers(extensions: Any) -> None:
    """As any response, once."""
    pipeline = streaming(count_to_three)
    request = await run_call(pipeline, extensions=extensions)
    assert request.body == b"123"
    given = dict(request.headers)
    assert given[b"access-control-allow-origin"] == PAGE.encode()
    assert given[b"x-content-type-options"] == b"nosniff"
    assert given[b"content-type"] == b"text/plain"
    assert pipeline.metrics.answers == {("/stream", 200): 1}


@pytest.mark.parametrize("extensions", SERVERS)
async def test_head_gets_no_body(extensions: Any) -> None:
    """The body is not even made."""
    pipeline = streaming(fail)
    request = await run_call(pipeline, "HEAD", extensions=extensions)
    assert (request.status, request.body) == (200, b"")
    assert pipeline.metrics.answers == {("/stream", 200): 1}


async def fail(writer: StreamWriter) -> None:
    raise LookupError("it broke")


@pytest.mark.parametrize("extensions", SERVERS)
async def test_a_body_that_fails_at_once_is_an_error(
    extensions: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is out: so it is answered as any other error, and counted as one."""
    pipeline = streaming(fail)
    request = await run_call(pipeline, extensions=extensions)
    assert (request.status, json.loads(request.body)["code"]) == (500, "internal")
    assert pipeline.metrics.answers == {("/stream", 500): 1}
    assert caplog.records[-1].message == "GET /stream failed"


@pytest.mark.parametrize("extensions", SERVERS)
async def test_a_whole_response_may_come_instead(extensions: Any) -> None:
    """What the body finds out before its first piece can be answered with a status."""

    async def write(writer: StreamWriter) -> Response:
        await trio.lowlevel.checkpoint()
        return json_response({"code": "not_found"}, 404)

    pipeline = streaming(write)
    request = await run_call(pipeline, extensions=extensions)
    assert (request.status, request.body) == (404, b'{"code":"not_found"}')
    assert dict(request.headers)[b"x-content-type-options"] == b"nosniff"
    assert pipeline.metrics.answers == {("/stream", 404): 1}


@pytest.mark.parametrize("extensions", SERVERS)
async def test_a_body_that_fails_later_is_not_ended(extensions: Any) -> None:
    """The server gets the error, and breaks the connection."""

    async def fail_late(writer: StreamWriter) -> None:
        await writer.send(b"1")
        raise LookupError

    async def answer_late(writer: StreamWriter) -> Response:
        await writer.send(b"1")
        return Response(b"")

    for write, error in ((fail_late, LookupError), (answer_late, RuntimeError)):
        request = call("/stream")
        request.extensions = extensions
        with pytest.raises(error):
            await request.run(streaming(write).serve)
        assert [each.get("more_body") for each in request.sent] == [None, True]


@pytest.mark.parametrize("sends", [False, True])
async def test_a_client_that_leaves_cancels_the_body(sends: bool) -> None:
    """While it waits for something, and while it sends."""
    ended: list[str] = []

    async def write(writer: StreamWriter) -> None:
        await writer.send(b"1")
        try:
            await writer.send(b"2" if sends else b"")
            await trio.sleep_forever()
        finally:
            ended.append("cancelled")

    async with trio.open_nursery() as nursery:
        request = call("/stream")
        if sends:
            request.leave_at = 2
        nursery.start_soon(request.run, streaming(write).serve)
        await trio.testing.wait_all_tasks_blocked()
        assert sends or not ended
        request.leave()
    assert ended == ["cancelled"]
    assert request.body == b"1"


async def test_a_client_that_does_not_read_is_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Where the server has no limit; each piece has all of the time."""

    async def write(writer: StreamWriter) -> None:
        for _ in range(5):
            await writer.send(b"1")
            await trio.sleep(10)
        request.hangs = True
        await writer.send(b"2")

    class Hanging(Call):
        hangs = False

        async def _send(self, event: Any) -> None:
            if self.hangs:
                await trio.sleep_forever()
            await super()._send(event)

    request = Hanging("/stream")
    await request.run(streaming(write).serve)
    assert request.sent[-1]["more_body"]
    assert trio.current_time() == pytest.approx(65)


# The same on sockets.


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_stream_on_a_socket(version: str) -> None:
    """Chunked, and the connection goes on; or up to the end of the connection."""
    async with run_server(streaming(count_to_three).serve) as running:
        client = await running.connect()
        request = f"GET /stream HTTP/{version}\r\nHost: h\r\n"
        keep = "Connection: keep-alive\r\n\r\n"
        await client.send((request + keep).encode())
        if version == "1.0":
            head, _, body = (await client.read_all()).partition(b"\r\n\r\n")
            assert body == b"123"
            assert b"\r\nconnection: close" in head
        else:
            await client.send((request + "Connection: close\r\n\r\n").encode())
            data = await client.read_all()
            assert data.count(b"1\r\n1\r\n1\r\n2\r\n1\r\n3\r\n0\r\n\r\n") == 2
            assert data.count(b"\r\ntransfer-encoding: chunked\r\n") == 2


async def test_a_head_request_on_a_socket() -> None:
    """The next response follows at once."""
    async with run_server(streaming(count_to_three).serve) as running:
        client = await running.connect()
        await client.send(b"HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.get("/stream", "Connection: close\r\n")
        first, second, *body = (await client.read_all()).split(b"\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 200")
        assert second.startswith(b"HTTP/1.1 200")
        assert body[0].startswith(b"1\r\n1")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_body_that_fails_on_a_socket_is_not_whole(
    version: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No last chunk, and no end of the connection in good order."""

    async def write(writer: StreamWriter) -> None:
        await writer.send(b"1")
        await go_on.wait()
        raise LookupError

    go_on = trio.Event()
    async with run_server(streaming(write).serve) as running:
        client = await running.connect()
        await client.send(f"GET /stream HTTP/{version}\r\nHost: h\r\n\r\n".encode())
        data = await client.read_head()
        go_on.set()
        with pytest.raises(trio.BrokenResourceError):
            while more := await client.stream.receive_some():
                data += more
        assert not data.endswith(b"0\r\n\r\n")
    assert [each.message for each in caplog.records] == ["GET /stream failed"]


async def test_a_client_that_leaves_a_socket_cancels_the_body() -> None:
    """At once, while the body waits for something else."""
    ended = trio.Event()

    async def write(writer: StreamWriter) -> None:
        await writer.send(b"1")
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with run_server(streaming(write).serve) as running:
        client = await running.connect()
        await client.get("/stream")
        await client.read_head()
        await client.stream.aclose()
        with trio.fail_after(5):
            await ended.wait()


@pytest.mark.slow
async def test_a_client_on_a_socket_that_does_not_read_is_cut() -> None:
    """One piece is kept for it, until the write deadline."""
    pieces: list[int] = []

    async def write(writer: StreamWriter) -> None:
        try:
            while True:
                pieces.append(running.server.send_budget.waiting)
                await writer.send(b"x" * 100_000)
        finally:
            ended.set()

    ended = trio.Event()
    async with run_server(streaming(write).serve, HASTY) as running:
        client = await running.connect()
        await client.get("/stream")
        with trio.fail_after(5):
            await ended.wait()
        assert len(pieces) < 200
        await running.settle()
        await client.stream.aclose()


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("host", "is_name"),
    [
        (b"a.example:80", True),
        (b"[::1]:80", True),
        (b"\xff.example", True),
        (b"a..example", False),
        (b".", False),
        (b"x" * 64 + b".example", False),
    ],
)
async def test_a_host_that_has_no_name(
    free_port: int,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    host: bytes,
    is_name: bool,
) -> None:
    """A clear refusal, and nothing in the log, where no endpoint has the path."""
    app = Triopoll(Settings(slock_url=f"embedded://127.0.0.1:{free_port}"))
    async with serving(app):
        request = call("/nowhere", kind=kind)
        request.request_headers = [(b"host", host)]
        await request.run(app)
        if is_name:
            assert request.status in (404, 101)
        else:
            assert request.status == 400
            assert json.loads(request.body)["code"] == "bad_request"
    assert "Traceback" not in caplog.text
