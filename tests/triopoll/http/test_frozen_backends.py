"""Backends that take connections and answer nothing: requests and the shutdown end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest
import trio
from tests.services import RedisServer
from tests.triopoll.service import (
    Process,
    Response,
    ask,
    poll_process,
    requesting,
    slock_process,
    until_waiting,
)

import trioslock

pytestmark = pytest.mark.slow

# What the documentation promises, and what a busy machine may take.
MARGIN = 1.0
SLACK = 2.0
# Far above margin and slack, so that a wait for the limit shows.
LIMIT = 6.0
CLOSING = 8.0
FROZEN = ["redis", "slock", pytest.param("both", marks=pytest.mark.long)]
WORKERS = pytest.param("triopoll workers", marks=pytest.mark.long)
ITEMS = b'{"items":[{"key":"k","data":"1"}]}'


@pytest.fixture
def slock() -> Iterator[Process]:
    with slock_process() as slock:
        yield slock
        slock.thaw()


@pytest.fixture(params=["triopoll"])
def service(
    request: pytest.FixtureRequest, slock: Process, own_redis: RedisServer
) -> Iterator[Process]:
    with poll_process(
        slock=f"slock://127.0.0.1:{slock.port}",
        redis=own_redis.url,
        server=request.param,
        backend_limit=LIMIT,
    ) as service:
        yield service


def freeze(frozen: str, own_redis: RedisServer, slock: Process) -> None:
    if frozen != "slock":
        own_redis.freeze()
    if frozen != "redis":
        slock.freeze()


REQUESTS = (
    "/v1/messages?key=k&timeout=0",
    "/v1/messages?key=k&timeout=1",
    "/v1/messages?key=k&timeout=2&cursor=all",
    "/v1/wait?message=:k&event=:e&timeout=1",
    "/v1/wait?event=:e&group=:g&timeout=0",
    "/poll/message?event=k&timeout=0",
    "/poll/message?event=k&timeout=1",
    "/poll/message?event=k&timeout=1&wait_type=reset",
    "/poll/event?event=k&timeout=0",
    "/poll/event?event=k&timeout=1&wait_type=reset",
    "/poll/event?event=k&timeout=1&default_type=clear",
)


async def timed(service: Process, target: str) -> tuple[Response, float]:
    """Return the answer to a request, and the seconds that it took."""
    path, _, query = target.partition("?")
    began = trio.current_time()
    with trio.fail_after(60):
        answer = await ask(service.port, path, query.encode())
    return answer, trio.current_time() - began


def needs_redis(target: str) -> bool:
    return "message" in target


@pytest.mark.parametrize("frozen", FROZEN)
async def test_requests_end_in_time(
    service: Process, own_redis: RedisServer, slock: Process, frozen: str
) -> None:
    """Within the time that each gives and a margin, with an error that says why."""
    await ask(service.port, "/v1/messages", key="k", timeout=0)
    freeze(frozen, own_redis, slock)

    async def check(target: str) -> None:
        answer, took = await timed(service, target)
        seconds = float(target.partition("timeout=")[2].partition("&")[0])
        assert took < seconds + MARGIN + SLACK, target
        if frozen == "redis" and needs_redis(target):
            assert b"store" in answer.body or b"redis" in answer.body

    for _ in range(2):
        async with trio.open_nursery() as nursery:
            for target in REQUESTS:
                nursery.start_soon(check, target)


@pytest.mark.parametrize("frozen", FROZEN)
async def test_a_publish_and_a_probe_end_in_time(
    service: Process, own_redis: RedisServer, slock: Process, frozen: str
) -> None:
    """A publish within the limit of each backend, a probe within a second."""
    await ask(service.port, "/v1/publish", method="POST", body=ITEMS)
    freeze(frozen, own_redis, slock)
    began = trio.current_time()
    answer = await ask(service.port, "/v1/publish", method="POST", body=ITEMS)
    assert trio.current_time() - began < LIMIT + SLACK
    # What is stored is found without a wake.
    assert answer.status == (202 if frozen == "slock" else 503)
    answer, took = await timed(service, "/readyz")
    assert took < MARGIN + SLACK
    assert answer.status == 503
    codes = {reason["code"] for reason in answer.json["reasons"]}
    expected = {"redis": {"store"}, "slock": {"slock"}}
    assert codes == expected.get(frozen, {"store", "slock"})


async def test_a_read_that_is_slow_is_part_of_its_timeout(
    service: Process, own_redis: RedisServer
) -> None:
    """What the first look takes is not waited for once more."""
    await ask(service.port, "/v1/messages", key="k", timeout=0)
    own_redis.freeze()
    for path in ("/v1/messages?key=k", "/poll/message?event=k"):
        path, _, query = path.partition("?")
        began = trio.current_time()
        async with requesting(service.port, path, f"{query}&timeout=6") as request:
            await trio.sleep(4.5)
            own_redis.thaw()
            answer = await request.answer()
        own_redis.freeze()
        assert answer.status == 200
        assert trio.current_time() - began < 6 + SLACK


@pytest.mark.parametrize("service", ["triopoll", WORKERS], indirect=True)
@pytest.mark.parametrize("frozen", FROZEN)
async def test_a_shutdown_ends_in_time(
    service: Process, own_redis: RedisServer, slock: Process, frozen: str
) -> None:
    """No client was cut, so the exit code is 0."""
    await ask(service.port, "/v1/messages", key="k", timeout=0)
    async with (
        requesting(service.port, "/v1/messages", key="k", timeout=50) as reader,
        requesting(service.port, "/poll/event", event="k", timeout=50) as poll,
    ):
        async with trioslock.open_client(f"slock://127.0.0.1:{slock.port}") as client:
            # One of the poll, and one for the log.
            await until_waiting(client, 2)
        freeze(frozen, own_redis, slock)
        os.kill(service.pid, signal.SIGTERM)
        began = trio.current_time()
        for request in (reader, poll):
            answer = await request.answer()
            assert answer.status == 200, answer.body
            assert json.loads(answer.body)
    code = await service.ended()
    assert code == 0
    assert trio.current_time() - began < CLOSING
