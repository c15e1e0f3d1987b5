"""The client and servers that are not the service: proxies, portals, wrong URLs.

The servers are real: small ones on a TCP port of this machine, and nginx.
"""

from __future__ import annotations

import gzip
import logging
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trio
from tests.services import find_tool
from tests.triopoll.client.site import cursor_of

from triopoll.client import PollClient, Refused, open_poll_client

LOGIN = b"<!doctype html>\n<title>Sign in</title>" + b"<p>Accept our terms</p>" * 99
PAGE = b'{"messages":[{"id":"%s","data":"x","ts":1}],"cursor":"%s"}' % (
    (cursor_of(1).encode(),) * 2
)
STORED = b'{"items":[{"id":"%s","duplicate":false}]}' % cursor_of(1).encode()

Operation: TypeAlias = Callable[[PollClient], Awaitable[None]]


async def read_by_poll(client: PollClient) -> None:
    async with client.subscribe("k", cursor="all", transports=["poll"]) as messages:
        await anext(messages)


async def read_by_websocket(client: PollClient) -> None:
    async with client.subscribe("k", transports=["websocket"]) as messages:
        await anext(messages)


async def read_by_either(client: PollClient) -> None:
    async with client.subscribe("k") as messages:
        await anext(messages)


async def publish(client: PollClient) -> None:
    await client.publish("k", "v")


OPERATIONS = (read_by_poll, read_by_websocket, read_by_either, publish)


def response(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class Server:
    """Answer each request with the same bytes; count and keep the requests."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.port = 0
        self.heads: list[bytes] = []
        self.endless = b""

    async def serve(self, stream: trio.SocketStream) -> None:
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                data = await stream.receive_some()
                if not data:
                    return
                head += data
            self.heads.append(head)
            await stream.send_all(self.answer)
            while self.endless:
                await stream.send_all(self.endless)
            await stream.send_eof()
            async for _ in stream:
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


@asynccontextmanager
async def server_that(answers: bytes, **secrets: Any) -> AsyncIterator[Any]:
    """Return a server that answers everything so, and a client of it."""
    server = Server(answers)
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        server.port = listeners[0].socket.getsockname()[1]
        url = f"http://127.0.0.1:{server.port}"
        async with open_poll_client(url, **secrets) as client:
            yield server, client
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (
            response("301 Moved Permanently", b"", "Location: https://h/v1?token=s"),
            "redirect",
            "leads to https://h/v1 (",
        ),
        (response("302 Found", LOGIN, "Location: /login"), "redirect", "to /login ("),
        (response("303 See Other"), "redirect", "leads to nowhere"),
        (response("307 Temporary Redirect", b"", "Location: /a"), "redirect", "to /a"),
        (response("308 Permanent Redirect", b"", "Location: /a"), "redirect", "to /a"),
        (
            response("404 Not Found", LOGIN, "Content-Type: text/html"),
            "foreign_response",
            "text/html, <!doctype html> <title>Sign in",
        ),
        (response("401 Unauthorized", b"no"), "foreign_response", "no Content-Type"),
        (response("400 Bad Request"), "foreign_response", "no body"),
        (response("403 Forbidden", b'{"error":1}'), "foreign_response", '{"error":1}'),
        (response("405 No", b"\x1b[31m\0"), "foreign_response", "\ufffd[31m\ufffd"),
        (response("404 No", b'{"code":"c","message":"m"}'), "c", "m (c, HTTP 404)"),
    ],
)
async def test_a_permanent_refusal_is_raised_at_once(
    operation: Operation, answer: bytes, code: str, says: str
) -> None:
    """With its status and a part of the body, by every operation."""
    async with server_that(answer) as (server, client):
        with trio.fail_after(20), pytest.raises(Refused) as caught:
            await operation(client)
    assert caught.value.status == int(answer[9:12])
    assert caught.value.code == code
    assert says in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)
    assert len(server.heads) == 1


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (response("200 OK", LOGIN, "Content-Type: text/html"), "text/html, <!doctype"),
        (response("200 OK", b'{"hello":"world"}'), ""),
        (response("200 OK", b"[1,2]"), "[1,2]"),
        (response("204 No Content"), "HTTP 204"),
        (
            response("200 OK", gzip.compress(PAGE), "Content-Encoding: gzip"),
            "Content-Encoding gzip",
        ),
        (response("500 Oops", LOGIN), "HTTP 500"),
        (response("502 Bad Gateway", LOGIN), "HTTP 502"),
        (response("511 Network Authentication Required", LOGIN), "HTTP 511"),
        (response("429 Too Many", b"slowly"), "HTTP 429"),
        (response("408 Timeout"), "HTTP 408"),
        (response("425 Too Early"), "HTTP 425"),
        (response("503 Away", b'{"code":"c","message":"m"}'), "m (c)"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ""),
        (b"", ""),
    ],
)
async def test_what_may_be_temporary_is_repeated_and_logged(
    operation: Operation,
    answer: bytes,
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first failure of each kind is a warning, with the reason."""
    caplog.set_level(logging.INFO, "triopoll.client")
    async with server_that(answer) as (server, client):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(operation, client)
            # trio-websocket waits its 10 s for a response, also after the end.
            with trio.fail_after(60):
                while len(server.heads) < 2:
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
    records = [each for each in caplog.records if each.name == "triopoll.client"]
    assert records[0].levelname == "WARNING"
    assert f"127.0.0.1:{server.port} failed: " in records[0].getMessage()
    assert says in records[0].getMessage()
    assert len(records[0].getMessage()) < 500
    warned = [each for each in records if each.levelname == "WARNING"]
    assert len(warned) == 1


@pytest.mark.parametrize("operation", [read_by_poll, publish])
async def test_that_it_works_again_is_a_warning(
    operation: Operation, caplog: pytest.LogCaptureFixture
) -> None:
    """With the time that it did not work, and how often it was tried."""
    async with server_that(response("502 Bad Gateway", LOGIN)) as (server, client):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(operation, client)
            with trio.fail_after(20):
                while len(server.heads) < 2:
                    await trio.sleep(0.05)
                server.answer = response(
                    "200 OK", STORED if operation is publish else PAGE
                )
    texts = [
        each.getMessage() for each in caplog.records if each.levelno > logging.INFO
    ]
    assert len(texts) == 2
    assert "works again after" in texts[1]


@pytest.mark.parametrize("operation", [read_by_poll, publish])
@pytest.mark.parametrize("status", ["404 Not Found", "301 Moved"])
async def test_of_a_refusal_only_the_beginning_is_read(
    operation: Operation, status: str
) -> None:
    """A body without end, or one that stops in the middle, changes nothing."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: 99999999999\r\n\r\n".encode()
    for endless in (b"", b"x" * 2**16):
        async with server_that(head + b"abc") as (server, client):
            server.endless = endless
            with trio.fail_after(20), pytest.raises(Refused) as caught:
                await operation(client)
            assert caught.value.status == int(status[:3])


async def test_secrets_are_sent_to_the_server_of_the_url_only() -> None:
    """A redirect to another origin carries neither ticket nor API key there."""
    async with server_that(response("200 OK", PAGE)) as (other, _):
        place = f"Location: http://127.0.0.1:{other.port}/"
        secrets = {"ticket": "reader", "api_key": "writer"}
        for status in ("301 Moved", "302 Found", "307 Temporary", "308 Permanent"):
            moved = response(status, b"", place)
            for operation in OPERATIONS:
                async with server_that(moved, **secrets) as (_, client):
                    with trio.fail_after(20), pytest.raises(Refused):
                        await operation(client)
    assert other.heads == []


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_secret_that_a_gateway_refuses_is_fetched_once_more(
    operation: Operation,
) -> None:
    """A 401 of any server; the second one is final."""
    fetched: list[str] = []

    async def fetch() -> str:
        await trio.lowlevel.checkpoint()
        fetched.append(f"secret-{len(fetched)}")
        return fetched[-1]

    answer = response("401 Unauthorized", b"<h1>401</h1>")
    async with server_that(answer, ticket=fetch, api_key=fetch) as (server, client):
        with trio.fail_after(20), pytest.raises(Refused, match="HTTP 401"):
            await operation(client)
    assert len(server.heads) == len(fetched) == 2
    assert b"Bearer secret-1" in server.heads[1]


NGINX = """
pid {run}/nginx.pid; error_log {run}/error.log; daemon off; worker_processes 1;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {run}; proxy_temp_path {run}; fastcgi_temp_path {run};
  uwsgi_temp_path {run}; scgi_temp_path {run};
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 1k;
    location /moved/ {{ return 301 https://push.example.com$request_uri; }}
    location /closed/ {{ auth_basic "staff"; auth_basic_user_file {run}/users; }}
    location /nowhere/ {{ return 404; }}
    location /away/ {{ proxy_pass http://127.0.0.1:1; }}
  }}
}}
"""


@asynccontextmanager
async def nginx_in(run: Path, port: int) -> AsyncIterator[str]:
    """Start nginx with the configuration above, and return its URL."""
    program = find_tool("nginx", os.environ["PATH"] + ":/usr/sbin")
    (run / "users").write_text("")
    (run / "nginx.conf").write_text(NGINX.format(run=run, port=port))
    command = [program, "-c", str(run / "nginx.conf"), "-p", str(run)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
    try:
        with trio.fail_after(30):
            while True:
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                    break
                except OSError:
                    await trio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await trio.to_thread.run_sync(process.wait)


async def test_what_nginx_answers(free_port: int, tmp_path: Path) -> None:
    """Redirects, passwords, missing files and long bodies are final; a 502 is not."""
    expected = {
        "/moved": (301, "leads to https://push.example.com/moved/v1/"),
        "/closed": (401, "401 Authorization Required"),
        "/nowhere": (404, "404 Not Found"),
    }
    async with nginx_in(tmp_path, free_port) as url:
        for path, (status, says) in expected.items():
            async with open_poll_client(url + path) as client:
                for operation in OPERATIONS:
                    with trio.fail_after(20), pytest.raises(Refused) as caught:
                        await operation(client)
                    assert caught.value.status == status
                    assert says in str(caught.value)
        async with open_poll_client(url + "/away") as client:
            with trio.fail_after(20), pytest.raises(Refused) as caught:
                await client.publish("k", "x" * 2**20)
            assert caught.value.status == 413
            for operation in OPERATIONS:
                with trio.move_on_after(1) as scope:
                    await operation(client)
                assert scope.cancelled_caught
