"""Two thousand polls on one worker, woken by one set, or disconnected."""

from __future__ import annotations

import json
import resource
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from tests.services import RedisServer
from tests.triopoll.service import Process, ask, poll_process, until_waiting

import trioslock

POLLS = 2000
POLLERS = 200
GET = b"GET /poll/event?event=%b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Raise the limit of open files, which the service inherits."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 2 * POLLS:
        pytest.skip(f"only {before[1]} files may be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * POLLS, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def service(slock_url: str, redis_server: RedisServer) -> Iterator[Process]:
    with poll_process(slock=slock_url, redis=redis_server.url) as service:
        yield service


async def gather(port: int, key: str, slock: trioslock.Client) -> list[socket.socket]:
    """Park the polls."""
    socks = []
    for count in range(1, POLLS + 1):
        socks.append(socket.create_connection(("127.0.0.1", port)))
        socks[-1].sendall(GET % key.encode())
        if count % 50 == 0:
            # Fewer at once than the listen backlog; also fails early if polls hang.
            await until_waiting(slock, count)
    return socks


@pytest.mark.long
async def test_one_set_wakes_all(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """Every poll is answered, and no wait is left."""
    socks = await gather(service.port, key, slock)
    await slock.event(key, ttl=30).set()
    answers = await trio.to_thread.run_sync(lambda: [read(sock) for sock in socks])
    assert set(answers) == {b'{"err_code":0,"err_message":"succed"}'}
    await until_waiting(slock, 0)


@pytest.mark.long
async def test_none_is_left_when_all_are_killed(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """Closed connections end their waits, in the service and on slock."""
    for sock in await gather(service.port, key, slock):
        sock.close()
    await until_waiting(slock, 0)


@pytest.mark.slow
@pytest.mark.parametrize("server", ["triopoll", "hypercorn"])
async def test_one_message_answers_all(
    slock_url: str, redis_server: RedisServer, key: str, server: str
) -> None:
    """Whole, the same for all but their times, counted; connections serve the next."""
    url = redis_server.url
    with poll_process(slock=slock_url, redis=url, server=server) as service:
        await publish_twice(service, key)


async def publish_twice(service: Process, key: str) -> None:
    cursor = "new"
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(
                await trio.open_tcp_stream("127.0.0.1", service.port)
            )
            for _ in range(POLLERS)
        ]
        for number in range(2):
            send, receive = trio.open_memory_channel[Any](POLLERS)
            for stream in streams:
                nursery.start_soon(poll, stream, key, cursor, send)
            await until_parked(service)
            body = {"key": key, "data": "x" * 1000, "id": str(number)}
            await ask(service.port, "/v1/publish", method="POST", body=to_body(body))
            shapes: list[dict[str, Any]] = []
            with trio.fail_after(20):
                while len(shapes) < POLLERS:
                    shapes.append(await receive.receive())
            assert {len(shape["messages"]) for shape in shapes} == {1}
            assert {shape["messages"][0]["data"] for shape in shapes} == {"x" * 1000}
            (cursor,) = {shape["cursor"] for shape in shapes}
            assert all(0 < shape["waited"] < 25 for shape in shapes)
    metrics = (await ask(service.port, "/metrics")).body.decode()
    labels = 'path="/v1/messages",status="200",worker="0"'
    assert f"triopoll_answers_total{{{labels}}} {2.0 * POLLERS}\n" in metrics
    assert f'wake_to_sent_seconds_count{{worker="0"}} {2.0 * POLLERS}\n' in metrics


async def until_parked(service: Process) -> None:
    parked = f'triopoll_waits_parked{{kind="log",worker="0"}} {float(POLLERS)}\n'
    with trio.fail_after(20):
        while parked not in (await ask(service.port, "/metrics")).body.decode():
            await trio.sleep(0.05)


async def poll(
    stream: trio.SocketStream,
    key: str,
    cursor: str,
    send: trio.MemorySendChannel[dict[str, Any]],
) -> None:
    target = f"/v1/messages?key={key}&cursor={cursor}&timeout=30"
    await stream.send_all(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    data = b""
    while not data.endswith(b"}"):
        data += await stream.receive_some()
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"x-content-type-options: nosniff" in head
    assert f"content-length: {len(body)}".encode() in head
    await send.send(json.loads(body))


def to_body(shape: object) -> bytes:
    return json.dumps(shape).encode()


def read(sock: socket.socket) -> bytes:
    with sock:
        sock.settimeout(20)
        data = b""
        while more := sock.recv(65536):
            data += more
    return data.partition(b"\r\n\r\n")[2]
