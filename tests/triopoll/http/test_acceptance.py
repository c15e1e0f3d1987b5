"""The commands of the README, and existing publishers without changes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import pytest
import trio
from tests.services import RedisServer, find_tool
from tests.triopoll.http.conftest import REAL_DATABASE
from tests.triopoll.service import (
    poll_process,
    requesting,
    slock_process,
    until_waiting,
)

import trioslock

SET_EVENT = "lock test lock_id test flag 2 timeout 5 expried 120 count 2"

# Today's publishers, with the name that pyslock misses on Python 3.11.
PUBLISH = """
import asyncio, sys, types
asyncio.coroutine = types.coroutine
import pyslock, redis
redis_port, slock_host, slock_port = sys.argv[1:]
redis.Redis(port=int(redis_port)).rpush("test", "hello")
pyslock.Client(slock_host, int(slock_port)).Event("test", 5, 120, False).set()
"""


@pytest.fixture
def own_slock(slock_url: str) -> Iterator[str]:
    """A server of the test's own, since waits are counted; or the real one."""
    if slock_url.endswith(REAL_DATABASE):
        yield slock_url
        return
    with slock_process() as server:
        yield f"slock://127.0.0.1:{server.port}"


@pytest.mark.slow
async def test_redis_cli_wakes_a_poll_on_the_embedded_default(free_port: int) -> None:
    """The README's two commands work; only the ports differ."""
    redis_cli = find_tool("redis-cli")
    with poll_process(slock=f"embedded://127.0.0.1:{free_port}") as service:
        query = b"event=test&default_type=clear"
        async with requesting(service.port, "/poll/message", query) as request:
            async with trioslock.open_client(f"slock://127.0.0.1:{free_port}") as slock:
                await until_waiting(slock, 1)
            command = [redis_cli, "-p", str(free_port), *SET_EVENT.split()]
            await trio.run_process(command, capture_stdout=True)
            body = (await request.answer()).body
            assert body == b'{"err_code":0,"err_message":"succed","data":null}'


@pytest.mark.slow
@pytest.mark.parametrize("server", ["hypercorn", "triopoll"])
@pytest.mark.parametrize("wait_type", ["", "reset"])
async def test_pyslock_and_redis_py_send_a_message(
    own_slock: str, own_redis: RedisServer, server: str, wait_type: str
) -> None:
    """redis-py pushes a message, PyPI's pyslock sets the event; the poll returns it."""
    address = own_slock.removeprefix("slock://").partition("/")[0]
    publish = [sys.executable, "-c", PUBLISH, str(own_redis.port)]
    publish += address.rsplit(":", 1)
    args = {"event": "test", "default_type": "clear", "wait_type": wait_type}
    async with trioslock.open_client(f"slock://{address}") as slock:
        # Whoever uses a real server may have left it set.
        with contextlib.suppress(trioslock.NotHeld):
            await slock.lock("test").release_head()
        with poll_process(
            slock=f"slock://{address}", redis=own_redis.url, server=server
        ) as service:
            async with requesting(service.port, "/poll/message", **args) as request:
                await until_waiting(slock, 1)
                await trio.run_process(publish)
                body = (await request.answer()).body
        assert body == b'{"err_code":0,"err_message":"succed","data":"hello"}'
        assert await slock.event("test", ttl=5).is_set() == (wait_type == "")
