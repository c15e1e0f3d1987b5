"""Over real sockets: clients receive what the access check decides."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
import redis
import trio
from tests.services import RedisServer
from tests.triopoll.access.variants import (
    MINE,
    SECRET,
    Variant,
    bad_publishers,
    bad_subscribers,
    good_publishers,
    good_subscribers,
    settings,
)
from tests.triopoll.service import Process, ask, poll_process, requesting, until_waiting

import trioslock
from triopoll.access import issue_ticket
from triopoll.store import MessageLog, NewMessage, open_stores

PREFIX = "access-test:"
OURS = "access-test-logs:"
PAGE = "https://app.example"


@pytest.fixture(scope="module", params=["triopoll", "hypercorn"])
def closed(
    request: pytest.FixtureRequest, slock_url: str, redis_server: RedisServer
) -> Iterator[Process]:
    """A service that admits no request without a ticket, under two servers."""
    with poll_process(
        slock=slock_url,
        redis=redis_server.url,
        server=request.param,
        list_prefix=PREFIX,
        redis_prefix=OURS,
        cors_origins=PAGE,
        trusted_proxies="127.0.0.1",
        waits_per_ip=1,
        **settings(),
    ) as it:
        yield it


# Slow tests use one server: the access check is the same under both.
ONE_SERVER = pytest.mark.parametrize("closed", ["triopoll"], indirect=True)


class Client:
    """One connection after the other, each for as many requests as it accepts."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)
        self._socket: socket.socket | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def get(self, path: str, variant: Variant) -> tuple[int, bytes]:
        """Send a variant as it is, well-formed or not."""
        name = "event" if path.startswith("/poll/") else "key"
        query = urlencode({name: variant.key, "timeout": 0, "cursor": "all"})
        return self._send(f"GET {path}?{query}", variant)

    def post(self, path: str, variant: Variant) -> tuple[int, bytes]:
        """Publish to the key of a variant."""
        body = json.dumps({"key": variant.key, "data": "forged"}).encode()
        return self._send(
            f"POST {path}?{urlencode({'key': variant.key})}", variant, body
        )

    def _send(
        self, target: str, variant: Variant, body: bytes = b""
    ) -> tuple[int, bytes]:
        headers = [("host", "127.0.0.1"), *variant.headers]
        if body:
            headers.append(("content-length", str(len(body))))
        lines = [f"{target}&{variant.query} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers]
        if self._socket is None:
            self._socket = socket.create_connection(self._address, 10)
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return self._answer(self._socket)

    def _answer(self, sock: socket.socket) -> tuple[int, bytes]:
        with sock.makefile("rb") as file:
            status = int(file.readline().split()[1])
            headers: dict[bytes, bytes] = {}
            while line := file.readline().strip():
                name, _, value = line.lower().partition(b":")
                headers[name] = value.strip()
            body = file.read(int(headers[b"content-length"]))
        if headers.get(b"connection") == b"close":
            self._close()
        return status, body


@pytest.fixture
def lists(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Redis, with a message for each key that a variant asks for."""
    now = time.time()
    keys = {variant.key for variant in bad_subscribers(now)}
    keys |= {variant.key for variant in good_subscribers(now)}
    with redis.Redis(port=redis_server.port) as client:
        for key in keys:
            client.rpush(PREFIX + key, "for its owner only")
        yield client
        client.delete(*client.keys(PREFIX + "*"))


@ONE_SERVER
@pytest.mark.slow
def test_no_variant_gets_a_message(closed: Process, lists: redis.Redis) -> None:
    """Each variant is refused, and every message is still in its list."""

    def kept() -> dict[bytes, int]:
        return {name: lists.llen(name) for name in lists.keys(PREFIX + "*")}

    before = kept()
    with Client(closed.port) as client:
        for variant in bad_subscribers(time.time()):
            status, body = client.get("/poll/message", variant)
            assert b"owner" not in body, variant
            if status == 200:
                assert json.loads(body)["err_code"] in (400, 401, 403), variant
            else:
                assert 400 <= status < 500, variant
    assert kept() == before


def test_a_valid_ticket_gets_the_message(closed: Process, lists: redis.Redis) -> None:
    """A valid ticket gets the message, so the test above proves something."""
    with Client(closed.port) as client:
        for variant in good_subscribers(time.time()):
            status, body = client.get("/poll/message", variant)
            assert status == 200
            assert json.loads(body)["err_code"] == 0, variant
            lists.rpush(PREFIX + variant.key, "another")


UPGRADE = (
    ("upgrade", "websocket"),
    ("connection", "upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
)


@ONE_SERVER
@pytest.mark.slow
def test_no_variant_opens_a_websocket(closed: Process) -> None:
    """The same access check refuses the handshake."""
    with Client(closed.port) as client:
        for variant in bad_subscribers(time.time()):
            asked = replace(variant, headers=(*variant.headers, *UPGRADE))
            status, body = client.get("/poll/ws", asked)
            assert 400 <= status < 500, (status, body, variant)


def test_a_valid_ticket_opens_a_websocket(closed: Process) -> None:
    """A valid ticket opens a websocket, which receives the messages of its keys."""
    for variant in good_subscribers(time.time()):
        query = urlencode({"event": variant.key}) + "&" + variant.query
        lines = [f"GET /poll/ws?{query} HTTP/1.1", "host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in (*variant.headers, *UPGRADE)]
        with socket.create_connection(("127.0.0.1", closed.port), 10) as sock:
            sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
            assert sock.recv(12) == b"HTTP/1.1 101", variant


@pytest.fixture
async def logs(closed: Process, redis_server: RedisServer) -> AsyncIterator[MessageLog]:
    """The logs of the service, read directly from its Redis."""
    async with open_stores(redis_server.url, limit=5, redis_prefix=OURS) as stores:
        yield stores.log


async def last_of(logs: MessageLog, keys: Iterable[str]) -> dict[str, int]:
    return {key: len((await logs.read(key, "all", 100)).messages) for key in keys}


@ONE_SERVER
@pytest.mark.slow
async def test_no_variant_reads_a_log(closed: Process, logs: MessageLog) -> None:
    """Reading does not change a log, so the access check itself must refuse."""
    variants = list(bad_subscribers(time.time()))
    keys = {variant.key for variant in variants} - {""}
    await logs.append([NewMessage(key, b"for its owner only") for key in keys])

    def read_all() -> None:
        with Client(closed.port) as client:
            for variant in variants:
                status, body = client.get("/v1/messages", variant)
                assert 400 <= status < 500, (status, body, variant)
                assert b"owner" not in body, variant
            for variant in good_subscribers(time.time()):
                status, body = client.get("/v1/messages", variant)
                assert status == 200, (body, variant)
                assert (b"owner" in body) == (variant.key == MINE)

    await trio.to_thread.run_sync(read_all)


@ONE_SERVER
@pytest.mark.slow
async def test_no_variant_publishes(closed: Process, logs: MessageLog) -> None:
    """With API keys, local programs need one too; nothing is stored."""
    now = time.time()
    variants = [*bad_publishers(now), *good_subscribers(now)]
    keys = {variant.key for variant in variants} - {""}
    before = await last_of(logs, keys)

    def publish_all() -> None:
        with Client(closed.port) as client:
            for variant in variants:
                status, body = client.post("/v1/publish", variant)
                assert 400 <= status < 500, (status, body, variant)

    await trio.to_thread.run_sync(publish_all)
    assert await last_of(logs, keys) == before

    def publish_good() -> None:
        with Client(closed.port) as client:
            for variant in good_publishers():
                status, body = client.post("/v1/publish", variant)
                assert status == 200, (body, variant)

    await trio.to_thread.run_sync(publish_good)
    good = {variant.key for variant in good_publishers()}
    assert min((await last_of(logs, good)).values()) >= 1


@ONE_SERVER
@pytest.mark.slow
@pytest.mark.parametrize("path", ["/poll/message/send", "/poll/event/emit"])
def test_no_variant_publishes_by_the_openresty_api(
    closed: Process, redis_server: RedisServer, path: str
) -> None:
    """The OpenResty API refuses the publishers that /v1 refuses."""
    with Client(closed.port) as client, redis.Redis(port=redis_server.port) as store:

        def kept() -> set[bytes]:
            names = {*store.keys(PREFIX + "*"), *store.keys(OURS + "*")}
            # A worker's signs of life come and go, and what it holds for a moment.
            passing = (b":worker:", b":held:")
            return {n for n in names if not any(word in n for word in passing)}

        before = kept()
        for variant in (*bad_publishers(time.time()), *good_subscribers(time.time())):
            status, body = client.post(path, variant)
            if status == 200:
                assert json.loads(body)["code"] in (400, 401, 403), (body, variant)
            else:
                assert 400 <= status < 500, (status, body, variant)
        assert kept() == before
        for variant in good_publishers():
            status, body = client.post(path, variant)
            assert json.loads(body)["code"] == 0, (body, variant)
        assert (kept() > before) is path.endswith("send")
        store.delete(*(kept() - before), "")


def shown(*keys: str, lifetime: float = 60, **claims: Any) -> dict[str, str]:
    return {"ticket": issue_ticket(SECRET, keys, lifetime=lifetime, **claims)}


@pytest.mark.slow
async def test_a_ticket_that_ends_ends_a_parked_poll(closed: Process) -> None:
    """The poll ends at the ticket's expiry, long before its own timeout."""
    with trio.fail_after(8):
        ticket = shown("a-key", lifetime=1)
        got = await ask(closed.port, "/poll/event", event="a-key", timeout=60, **ticket)
    assert got.json == {"err_code": 401, "err_message": "the ticket has expired"}


@pytest.mark.slow
async def test_the_newest_poll_of_a_session_is_the_one(
    closed: Process, slock: trioslock.Client
) -> None:
    """The previous poll is answered at once that it has been replaced."""
    args = shown("a-key", subject="ann") | {"event": "a-key", "session": "tab"}
    async with requesting(closed.port, "/poll/event", timeout=60, **args) as old:
        await until_waiting(slock, 1)
        async with requesting(closed.port, "/poll/event", timeout=1, **args) as new:
            got = await old.answer()
            assert got.json["err_code"] == 409
            assert (await new.answer()).json["err_code"] == 504


async def test_a_full_limit_is_named_with_a_time_to_come_back(
    closed: Process, slock: trioslock.Client
) -> None:
    """The limit holds for the client behind the proxy, not for the proxy."""

    async def poll(stream: trio.SocketStream, address: str, seconds: float) -> None:
        query = urlencode({"event": "k", "timeout": seconds, **shown("k")})
        await stream.send_all(
            f"GET /poll/event?{query} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n"
            f"x-forwarded-for: 198.51.100.1, {address}\r\n\r\n".encode()
        )

    async def read(stream: trio.SocketStream) -> bytes:
        data = b""
        with trio.fail_after(10):
            while more := await stream.receive_some():
                data += more
        return data.lower()

    port = closed.port
    async with (
        await trio.open_tcp_stream("127.0.0.1", port) as first,
        await trio.open_tcp_stream("127.0.0.1", port) as second,
        await trio.open_tcp_stream("127.0.0.1", port) as other,
    ):
        await poll(first, "203.0.113.1", 60)
        await until_waiting(slock, 1)
        await poll(second, "203.0.113.1", 0)
        await poll(other, "203.0.113.2", 0)
        refused, served = await read(second), await read(other)
    assert b'"err_code":429' in refused
    assert b'"limit":"waits_per_ip"' in refused
    assert b"\r\nretry-after: " in refused
    assert b'"err_code":504' in served


async def test_a_page_of_the_list_may_read(closed: Process) -> None:
    """The preflight and every answer allow it, refusals included."""
    async with await trio.open_tcp_stream("127.0.0.1", closed.port) as stream:
        for line in ("OPTIONS", "GET"):
            method = "access-control-request-method: GET\r\n" * (line == "OPTIONS")
            await stream.send_all(
                f"{line} /poll/event?event=k HTTP/1.1\r\nhost: h\r\n"
                f"origin: {PAGE}\r\n{method}\r\n".encode()
            )
            with trio.fail_after(5):
                head = (await stream.receive_some()).lower()
            assert b"access-control-allow-origin: https://app.example\r\n" in head
            assert b"access-control-allow-credentials: true\r\n" in head
            assert head.startswith(b"http/1.1 20")
