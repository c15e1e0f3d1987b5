"""Backend outages are reported within the limit, never as a timeout, and end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
import trio
from tests.services import RedisServer
from tests.triopoll.service import (
    Process,
    ask,
    poll_process,
    requesting,
    slock_process,
    until_waiting,
)

import trioslock

UNREACHABLE = {"err_code": 503, "err_message": "slock not reachable"}
# Quicker than the default of 5 s, to keep the suite quick.
LIMIT = 1.0


@pytest.fixture
def slock_server() -> Iterator[Process]:
    with slock_process() as server:
        yield server


@pytest.fixture
def service(
    request: pytest.FixtureRequest, slock_server: Process, own_redis: RedisServer
) -> Iterator[Process]:
    with poll_process(
        slock=f"slock://127.0.0.1:{slock_server.port}",
        redis=own_redis.url,
        backend_limit=getattr(request, "param", LIMIT),
    ) as service:
        yield service


async def until_served(port: int) -> None:
    """Return once a poll with timeout=0 is answered without an error."""
    with trio.fail_after(5):
        while True:
            answer = await ask(port, "/poll/event", event="up", timeout=0)
            if answer.json["err_code"] == 504:
                return
            await trio.sleep(0.02)


@pytest.mark.slow
async def test_slock_is_down_at_the_start(free_port: int) -> None:
    """The service starts, and answers 503 until slock is up."""
    service = poll_process(slock=f"slock://127.0.0.1:{free_port}", backend_limit=LIMIT)
    server = slock_process(free_port)
    with service:
        for path in ("/poll/event", "/poll/message"):
            for seconds in ("0", "30"):
                answer = await ask(service.port, path, event="k", timeout=seconds)
                assert answer.json == UNREACHABLE
        with server:
            await until_served(service.port)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", ["kill", pytest.param("freeze", marks=pytest.mark.long)]
)
async def test_slock_is_lost_during_a_wait(
    service: Process, slock_server: Process, fault: str
) -> None:
    """Parked polls get 503 within the limit, new ones at once; then polls work."""
    async with (
        requesting(service.port, "/poll/event", event="k") as event,
        requesting(service.port, "/poll/message", event="k") as message,
    ):
        async with trioslock.open_client(
            f"slock://127.0.0.1:{slock_server.port}"
        ) as slock:
            await until_waiting(slock, 2)
        getattr(slock_server, fault)()
        with trio.fail_after(LIMIT + 1):
            assert (await event.answer()).json == UNREACHABLE
            assert (await message.answer()).json == UNREACHABLE
    with trio.fail_after(0.5):
        answer = await ask(service.port, "/poll/event", event="k", timeout=0)
    assert answer.json == UNREACHABLE
    if fault == "kill":
        slock_server.start()
    else:
        slock_server.thaw()
    await until_served(service.port)


@pytest.mark.slow
@pytest.mark.parametrize("service", [10], indirect=True, ids=["patient"])
async def test_a_short_loss_of_slock_is_not_noticed(
    service: Process, slock_server: Process
) -> None:
    """After a quick restart of slock the parked poll waits on."""
    url = f"slock://127.0.0.1:{slock_server.port}"
    async with requesting(service.port, "/poll/event", event="k") as request:
        async with trioslock.open_client(url) as slock:
            await until_waiting(slock, 1)
        slock_server.kill()
        slock_server.start()
        async with trioslock.open_client(url) as slock:
            await until_waiting(slock, 1)
            await slock.event("k", ttl=5).set()
            assert (await request.answer()).json["err_code"] == 0


@pytest.mark.slow
async def test_redis_comes_and_goes(
    service: Process, own_redis: RedisServer, slock_server: Process
) -> None:
    """Each poll reports the result of its own pop; events do not need Redis."""
    own_redis.kill()
    connect_fail = {"err_code": 502, "err_message": "redis connect fail"}
    assert (await ask(service.port, "/poll/message", event="k")).json == connect_fail
    answer = await ask(service.port, "/poll/event", event="k", timeout=0)
    assert answer.json["err_code"] == 504
    own_redis.start()
    url = f"slock://127.0.0.1:{slock_server.port}"
    async with (
        trioslock.open_client(url) as slock,
        requesting(service.port, "/poll/message", event="k") as request,
    ):
        await until_waiting(slock, 1)
        own_redis.kill()
        await slock.event("k", ttl=1).set()
        assert (await request.answer()).json == connect_fail
    own_redis.start()
    with redis.Redis(port=own_redis.port) as client:
        client.rpush("k", "1")
    answer = await ask(service.port, "/poll/message", event="k")
    assert answer.json == {"err_code": 0, "err_message": "", "data": "1"}


@pytest.mark.slow
async def test_a_frozen_redis_is_reported_within_the_limit(
    service: Process, own_redis: RedisServer
) -> None:
    """No poll waits longer than the limit for a Redis that does not answer."""
    with redis.Redis(port=own_redis.port) as client:
        client.client_pause(30_000)
    with trio.fail_after(LIMIT + 2):
        answer = await ask(service.port, "/poll/message", event="k")
    assert answer.json == {"err_code": 502, "err_message": "redis connect fail"}
