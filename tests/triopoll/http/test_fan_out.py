"""Two thousand polls on one worker, woken by one set, or disconnected."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator

import pytest
import trio
from tests.services import RedisServer
from tests.triopoll.service import Process, poll_process, until_waiting

import trioslock

POLLS = 2000
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


@pytest.mark.slow
async def test_one_set_wakes_all(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """Every poll is answered, and no wait is left."""
    socks = await gather(service.port, key, slock)
    await slock.event(key, ttl=30).set()
    answers = await trio.to_thread.run_sync(lambda: [read(sock) for sock in socks])
    assert set(answers) == {b'{"err_code":0,"err_message":"succed"}'}
    await until_waiting(slock, 0)


@pytest.mark.slow
async def test_none_is_left_when_all_are_killed(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """Closed connections end their waits, in the service and on slock."""
    for sock in await gather(service.port, key, slock):
        sock.close()
    await until_waiting(slock, 0)


def read(sock: socket.socket) -> bytes:
    with sock:
        sock.settimeout(20)
        data = b""
        while more := sock.recv(65536):
            data += more
    return data.partition(b"\r\n\r\n")[2]
