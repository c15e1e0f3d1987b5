"""Who waits, over two workers as real processes, one of which is killed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.services import RedisServer
from tests.triopoll.service import Process, ask, poll_process, requesting, slock_process

from triopoll.access import entry_for, issue_ticket, new_key
from triopoll.client import open_poll_client
from triopoll.settings import Settings

SECRET = "s" * 48
KEY = new_key()
# Within which presence is right again after a worker was killed.
PROMISED = 30.0
# For which a wait that has ended still counts.
LINGER = Settings().presence_linger


@asynccontextmanager
async def polling(port: int, subject: str) -> AsyncIterator[None]:
    """Poll a key in a loop, as a page does; behind the block the page is closed."""
    ticket = issue_ticket(SECRET, ["chat/*"], lifetime=600, subject=subject)

    async def poll() -> None:
        while True:
            # The worker may be killed.
            with contextlib.suppress(OSError, ValueError, IndexError):
                async with requesting(
                    port, "/v1/messages", key="chat/1", timeout=2, bearer=ticket
                ) as request:
                    await request.answer()
            await trio.sleep(0.2)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        yield
        nursery.cancel_scope.cancel()


async def subjects_at(port: int) -> tuple[str, ...]:
    async with open_poll_client(f"http://127.0.0.1:{port}", api_key=KEY) as client:
        return (await client.presence("chat/1")).subjects


async def until(port: int, *subjects: str) -> None:
    """Wait until these wait, and no others."""
    found, end = None, time.monotonic() + PROMISED
    while time.monotonic() < end:
        found = await subjects_at(port)
        if found == subjects:
            return
        await trio.sleep(0.2)
    raise AssertionError(f"{found} after {PROMISED} s, and not {subjects}")


async def changes(port: int, cursor: str, seconds: float) -> dict[str, Any]:
    answer = await ask(
        *(port, "/v1/presence/changes"),
        key="chat/1",
        cursor=cursor,
        timeout=seconds,
        bearer=KEY,
    )
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


@asynccontextmanager
async def two_workers(directory: Path) -> AsyncIterator[tuple[Process, Process]]:
    server = RedisServer(directory)
    server.start()
    settings = {
        "presence": "chat/*",
        "publish_keys": entry_for("chat", KEY, ["chat/*"]),
        "ticket_secrets": SECRET,
    }
    try:
        with slock_process() as slock:
            urls = {
                "slock": f"slock://127.0.0.1:{slock.port}",
                "redis": server.url,
                "server": "triopoll",
            }
            with (
                poll_process(**urls, **settings) as one,
                poll_process(**urls, **settings) as two,
            ):
                yield one, two
    finally:
        server.kill()


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_a_worker_that_is_killed(tmp_path: Path) -> None:
    """Those who waited in it are gone within 30 seconds, and that is recorded.

    Ann waits in both workers, Bob in the one that is killed and Cy in the other.
    """
    async with two_workers(tmp_path) as (one, two), AsyncExitStack() as stack:
        for port, subject in (
            *((one.port, "ann"), (two.port, "ann")),
            *((one.port, "bob"), (two.port, "cy")),
        ):
            await stack.enter_async_context(polling(port, subject))
        await until(two.port, "ann", "bob", "cy")
        cursor = (await changes(two.port, "new", 0))["cursor"]
        one.kill()
        await until(two.port, "ann", "cy")
        shape = await changes(two.port, cursor, 20)
        assert [each["data"]["left"] for each in shape["messages"]] == [["bob"]]


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_a_page_that_is_closed(tmp_path: Path) -> None:
    """It leaves after the linger, and not before."""
    async with two_workers(tmp_path) as (one, two):
        async with polling(one.port, "ann"):
            await until(two.port, "ann")
            # Over some polls and their pauses.
            for _ in range(25):
                assert await subjects_at(two.port) == ("ann",)
                await trio.sleep(0.2)
            since = time.monotonic()
        await until(two.port)
        assert time.monotonic() - since > LINGER
