"""/v1 while slock or Redis are down, with two workers that share them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
import trio
from tests.services import RedisServer
from tests.triopoll.service import Process, Response, ask, poll_process, requesting
from tests.triopoll.service import slock_process as new_slock

LIMIT = 1.0
# The longest delay of a message without a wake, plus delays of the machine.
FOUND = 5.0 + 1.5

pytestmark = pytest.mark.slow


class Workers:
    """Two workers, and their shared backends."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self.slock = stack.enter_context(new_slock())
        # Durable: test_redis_is_emptied covers a Redis that comes back empty.
        self.redis = RedisServer(directory, durable=True)
        self.redis.start()
        stack.callback(self.redis.kill)
        self.first, self.second = (self._worker(stack) for _ in range(2))

    def _worker(self, stack: ExitStack) -> Process:
        process = poll_process(
            slock=f"slock://127.0.0.1:{self.slock.port}",
            redis=self.redis.url,
            server="triopoll",
            backend_limit=LIMIT,
        )
        return stack.enter_context(process)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Shared by all tests: each leaves everything running."""
    with ExitStack() as stack:
        yield Workers(stack, tmp_path_factory.mktemp("redis"))


async def publish(worker: Process, shape: object) -> Response:
    body = json.dumps(shape).encode()
    return await ask(worker.port, "/v1/publish", method="POST", body=body)


async def start_cursor(worker: Process, key: str) -> str:
    answer = await ask(worker.port, "/v1/messages", key=key, timeout=0)
    assert answer.status == 200
    return str(answer.json["cursor"])


def texts(answer: Response) -> list[str]:
    assert answer.status == 200, answer.body
    return [message["data"] for message in answer.json["messages"]]


def is_away(answer: Response, code: str) -> bool:
    assert answer.headers["retry-after"].isdecimal()
    shape: dict[str, Any] = answer.json
    return answer.status == 503 and shape["code"] == code and shape["retry_ms"] > 0


async def until_up(worker: Process) -> None:
    with trio.fail_after(10):
        while (await ask(worker.port, "/readyz")).status != 200:
            await trio.sleep(0.05)


async def test_one_worker_wakes_the_other(workers: Workers, key: str) -> None:
    """A publish at one worker wakes a wait at the other at once."""
    cursor = await start_cursor(workers.second, key)
    async with requesting(
        workers.second.port, "/v1/messages", key=key, cursor=cursor, timeout=30
    ) as request:
        await trio.sleep(0.5)
        published = trio.current_time()
        answer = await publish(workers.first, {"key": key, "data": "1"})
        assert answer.json["items"][0]["woken"]
        assert texts(await request.answer()) == ["1"]
    assert trio.current_time() - published < 1


@pytest.mark.parametrize(
    "fault", ["kill", pytest.param("freeze", marks=pytest.mark.long)]
)
async def test_slock_goes_and_comes(workers: Workers, key: str, fault: str) -> None:
    """Without slock messages still arrive, some seconds late, and none is lost."""
    cursor = await start_cursor(workers.second, key)
    async with (
        requesting(
            workers.second.port, "/v1/messages", key=key, cursor=cursor, timeout=30
        ) as request,
        requesting(workers.second.port, "/v1/wait", f"event=:{key}-e") as event,
    ):
        await trio.sleep(0.5)
        getattr(workers.slock, fault)()
        with trio.fail_after(LIMIT + 2):
            assert is_away(await event.answer(), "slock_unreachable")
        published = trio.current_time()
        answer = await publish(
            workers.first,
            {
                "items": [
                    {"key": key, "data": "1"},
                    {"key": f"{key}-e", "type": "event"},
                ]
            },
        )
        assert answer.status == 202
        message, refused = answer.json["items"]
        assert (message["woken"], message["waiting"]) == (False, None)
        assert refused["code"] == "slock_unreachable"
        assert texts(await request.answer()) == ["1"]
        assert trio.current_time() - published < FOUND
    assert is_away(
        await publish(workers.first, {"key": f"{key}-g", "type": "group"}),
        "slock_unreachable",
    )
    # A wait that begins now.
    async with requesting(
        workers.second.port, "/v1/messages", key=key, cursor=message["id"], timeout=30
    ) as request:
        await trio.sleep(0.5)
        if fault == "kill":
            workers.slock.start()
        else:
            workers.slock.thaw()
        await until_up(workers.first)
        await until_up(workers.second)
        await trio.sleep(2)
        published = trio.current_time()
        answer = await publish(workers.first, {"key": key, "data": "2"})
        assert answer.status == 200
        assert texts(await request.answer()) == ["2"]
    assert trio.current_time() - published < 1


async def test_redis_goes_and_comes(workers: Workers, key: str) -> None:
    """No answer is a timeout; stored messages are there again."""
    await publish(workers.first, {"key": key, "data": "1"})
    cursor = await start_cursor(workers.first, key)
    async with requesting(
        workers.first.port, "/v1/messages", key=key, cursor=cursor, timeout=5
    ) as request:
        await trio.sleep(0.5)
        workers.redis.kill()
        answer = await publish(workers.second, {"key": key, "data": "2"})
        assert is_away(answer, "store_unreachable")
        answer = await ask(workers.second.port, "/v1/messages", key=key, cursor="all")
        assert is_away(answer, "store_unreachable")
        # It waited on, as Redis might have come back; it has not.
        assert is_away(await request.answer(), "store_unreachable")
    workers.redis.start()
    await until_up(workers.second)
    async with requesting(
        workers.first.port, "/v1/messages", key=key, cursor=cursor, timeout=30
    ) as request:
        await trio.sleep(0.5)
        workers.redis.kill()
        workers.redis.start()
        await until_up(workers.second)
        answer = await publish(workers.second, {"key": key, "data": "3"})
        assert answer.status == 200
        assert texts(await request.answer()) == ["3"]
    answer = await ask(workers.first.port, "/v1/messages", key=key, cursor="all")
    assert texts(answer) == ["1", "3"]


async def test_redis_is_emptied(workers: Workers, key: str) -> None:
    """Waiting readers get a gap with the next message."""
    await publish(workers.first, {"key": key, "data": "1"})
    cursor = await start_cursor(workers.first, key)
    async with requesting(
        workers.first.port, "/v1/messages", key=key, cursor=cursor, timeout=30
    ) as request:
        await trio.sleep(0.5)
        with redis.Redis(port=workers.redis.port) as client:
            client.flushall()
        await publish(workers.second, {"key": key, "data": "2"})
        answer = await request.answer()
    assert texts(answer) == ["2"]
    assert (answer.json["code"], answer.json["lost"]) == ("gap", None)


async def test_a_worker_that_drains(workers: Workers, key: str) -> None:
    """Its waits are answered with different retry times, to continue elsewhere."""
    cursor = await start_cursor(workers.first, key)
    async with requesting(
        workers.first.port, "/v1/messages", key=key, cursor=cursor, timeout=50
    ) as request:
        await trio.sleep(0.5)
        with trio.fail_after(15):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, workers.first.stop)
                answer = await request.answer()
    workers.first.start()
    assert answer.json["code"] == "draining"
    assert texts(answer) == []
    assert 0 <= answer.json["retry_ms"] <= 2000
