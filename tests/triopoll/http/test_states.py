"""States over real sockets and processes: two workers, restarts, outages, logs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.services import RedisServer
from tests.triopoll.leaks import DATA, leaked
from tests.triopoll.service import (
    Process,
    Response,
    ask,
    poll_process,
    reads,
    requesting,
    slock_process,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path, durable=True)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def workers(own_redis: RedisServer) -> Iterator[list[Process]]:
    """Two services over one slock server and one Redis, which log every request."""
    with ExitStack() as stack:
        slock = stack.enter_context(slock_process())
        url = f"slock://127.0.0.1:{slock.port}"
        made = [
            poll_process(slock=url, redis=own_redis.url, server="triopoll")
            for _ in range(2)
        ]
        for process in made:
            process._command.append("--access-log")
        yield [stack.enter_context(process) for process in made]


async def post(port: int, path: str, shape: object, method: str = "POST") -> Response:
    return await ask(port, path, method=method, body=json.dumps(shape).encode())


async def create(port: int, **fields: Any) -> Any:
    answer = await post(port, "/v1/states", {"data": DATA, **fields})
    assert answer.status == 201, answer.body
    return answer.json


async def put(port: int, key: str, state: str, **fields: Any) -> Response:
    return await post(port, f"/v1/states/{key}", {"state": state, **fields}, "PUT")


def wait_body(created: Any, version: int, seconds: float = 20) -> bytes:
    shape = {"key": created["key"], "version": version, "timeout": seconds}
    return json.dumps({**shape, "poll_secret": created["poll_secret"]}).encode()


async def wait(port: int, created: Any, version: int = 0) -> Any:
    body = wait_body(created, version)
    answer = await ask(port, "/v1/states/wait", method="POST", body=body)
    return reads(answer)


async def test_a_change_at_another_worker_wakes(workers: list[Process]) -> None:
    """At once; and a worker that is killed in a wait costs the page one repetition."""
    first, second = workers
    created = await create(first.port)
    assert (await wait(second.port, created))["data"] == DATA
    body = wait_body(created, 1)
    async with requesting(
        second.port, "/v1/states/wait", method="POST", body=body
    ) as request:
        await trio.sleep(0.5)
        changed = await put(first.port, created["key"], "scanned", data=DATA)
        assert changed.status == 200
        assert reads(await request.answer())["state"] == "scanned"

    body = wait_body(created, 2)
    async with requesting(
        second.port, "/v1/states/wait", method="POST", body=body
    ) as request:
        await trio.sleep(0.3)
        second.kill()
    done = await put(first.port, created["key"], "confirmed", data=DATA, final=True)
    assert done.status == 200
    second.start()
    state = await wait(second.port, created, 2)
    assert (state["state"], state["data"], state["final"]) == ("confirmed", DATA, True)


async def test_redis_restarts(workers: list[Process], own_redis: RedisServer) -> None:
    """A parked wait goes on; what was confirmed is read by the same version."""
    port = workers[0].port
    created = await create(port)
    assert (await put(port, created["key"], "scanned", data=DATA)).status == 200
    async with requesting(
        port, "/v1/states/wait", method="POST", body=wait_body(created, 2)
    ) as request:
        await trio.sleep(0.3)
        own_redis.kill()
        refused = await put(port, created["key"], "lost")
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) > 0
        own_redis.start()
        with trio.fail_after(10):
            while (
                await put(port, created["key"], "confirmed", data=DATA, if_version=2)
            ).status != 200:
                await trio.sleep(0.1)
        assert reads(await request.answer())["state"] == "confirmed"


async def test_no_log_metric_or_error_has_a_secret(workers: list[Process]) -> None:
    """Whatever is asked, rightly or wrongly; the processes' logs are searched, too."""
    port = workers[0].port
    created = await create(port, match=True)
    secret, key = created["poll_secret"], created["key"]
    own = {"key": key, "version": 1, "poll_secret": secret}
    shapes: list[tuple[str, object]] = [
        ("/v1/states/wait", {**own, "version": 0}),
        ("/v1/states/wait", {**own, "timeout": "x"}),
        ("/v1/states/wait", {**own, secret: 1}),
        ("/v1/states/wait", {**own, "key": "z" * 22}),
        ("/v1/states/ack", own),
        ("/v1/states", {"data": DATA, "ttl": DATA}),
        ("/v1/states", {"data": DATA, "state": DATA * 9}),
        (f"/v1/states/wait?poll_secret={secret}", {**own, "version": 0}),
        (f"/v1/nothing?poll_secret={secret}", own),
    ]
    for path, shape in shapes:
        await post(port, path, shape)
    await put(port, key, "scanned", data=DATA, choice=1)
    await put(port, key, "scanned", data="x" * 65536 + DATA)
    broken = b'{"poll_secret":"%b","data":"%b"' % (secret.encode(), DATA.encode())
    for path in ("/v1/states", "/v1/states/wait", "/v1/states/ack"):
        answer = await ask(port, path, method="POST", body=broken)
        assert answer.status == 400
        assert not leaked(answer.body.decode())
    metrics = await ask(port, "/metrics")
    assert b"triopoll_states_total" in metrics.body
    assert b'path="/v1/states/{key}"' in metrics.body
    assert not leaked(metrics.body.decode())
    assert key not in metrics.body.decode()
