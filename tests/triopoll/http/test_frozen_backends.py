"""Backends that take connections and answer nothing: requests and the shutdown end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from tests.services import RedisServer
from tests.triopoll.service import (
    Process,
    ask,
    poll_process,
    requesting,
    slock_process,
)

pytestmark = pytest.mark.slow

# What the documentation promises, and what a busy machine may take.
MARGIN = 1.0
SLACK = 0.9


@pytest.fixture
def slock() -> Iterator[Process]:
    with slock_process() as slock:
        yield slock
        slock.thaw()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    redis = RedisServer(tmp_path)
    redis.start()
    yield redis
    redis.thaw()
    redis.kill()


@pytest.fixture
def service(slock: Process, redis: RedisServer) -> Iterator[Process]:
    with poll_process(
        slock=f"slock://127.0.0.1:{slock.port}", redis=redis.url, server="triopoll"
    ) as service:
        yield service


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/messages", "key=k&timeout=0"),
        ("/v1/messages", "key=k&timeout=1"),
        ("/v1/messages", "key=k&timeout=2&cursor=all"),
        ("/v1/wait", "message=:k&event=:e&timeout=1"),
        ("/poll/message", "event=k&timeout=1"),
    ],
)
async def test_a_request_ends_in_time(
    service: Process, redis: RedisServer, path: str, query: str
) -> None:
    """Within the time that it gives and a margin, with an error that says why."""
    await ask(service.port, "/v1/messages", key="k", timeout=0)
    redis.freeze()
    seconds = float(query.partition("timeout=")[2].partition("&")[0])
    for _ in range(2):
        began = trio.current_time()
        answer = await ask(service.port, path, query.encode())
        assert trio.current_time() - began < seconds + MARGIN + SLACK
        assert b"store" in answer.body or b"redis" in answer.body


async def test_a_read_that_is_slow_is_part_of_its_timeout(
    service: Process, redis: RedisServer
) -> None:
    """What the first look takes is not waited for once more."""
    await ask(service.port, "/v1/messages", key="k", timeout=0)
    redis.freeze()
    began = trio.current_time()
    async with requesting(service.port, "/v1/messages", key="k", timeout=2) as request:
        await trio.sleep(1.5)
        redis.thaw()
        answer = await request.answer()
    assert answer.status == 200
    assert trio.current_time() - began < 2 + SLACK


@pytest.mark.parametrize("frozen", ["redis", "slock", "both"])
async def test_a_shutdown_ends_in_time(
    service: Process, redis: RedisServer, slock: Process, frozen: str
) -> None:
    """No client was cut, so the exit code is 0."""
    await ask(service.port, "/v1/messages", key="k", timeout=0)
    await ask(service.port, "/poll/event", event="k", timeout=0)
    if frozen != "slock":
        redis.freeze()
    if frozen != "redis":
        slock.freeze()
    await trio.sleep(0.2)
    os.kill(service.pid, signal.SIGTERM)
    began = trio.current_time()
    code = await service.ended()
    assert code == 0
    assert trio.current_time() - began < 6
