"""Delayed messages over two workers as real processes, one of which is killed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio
from tests.services import RedisServer
from tests.triopoll.service import ask, poll_process, slock_process

from triopoll.client import PollClient, Refused, open_poll_client

COUNT = 1000
# All are due between these two, in seconds, while one worker is killed and comes back.
FIRST, LAST = 4.0, 16.0


async def cancel(client: PollClient, id_: str) -> bool:
    """Return whether the message is not delivered."""
    try:
        # False: an attempt before it, whose response was lost, has cancelled it.
        await client.cancel(id_)
    except Refused as refused:
        if refused.code != "delivered":
            raise
        return False
    return True


async def read_all(port: int, key: str) -> list[str]:
    found: list[str] = []
    cursor = "all"
    while True:
        args = {"key": key, "cursor": cursor, "max": 1000, "timeout": 0}
        page = (await ask(port, "/v1/messages", **args)).json
        assert page.get("code") != "gap"
        if not page["messages"]:
            return found
        found += [message["data"] for message in page["messages"]]
        cursor = page["cursor"]


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_each_is_delivered_once_or_never(tmp_path: Path) -> None:
    """As told: 1,000 messages, random cancellations, a worker that dies in between."""
    choice = random.Random(1)
    server = RedisServer(tmp_path)
    server.start()
    settings = {"log_max_messages": 10 * COUNT, "requests_per_ip": 0}
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
                trio.fail_after(150),
            ):
                async with (
                    open_poll_client(f"http://127.0.0.1:{one.port}") as first,
                    open_poll_client(f"http://127.0.0.1:{two.port}") as second,
                ):
                    ids: list[str] = []
                    for n in range(COUNT):
                        delay = choice.uniform(FIRST, LAST)
                        client = first if n % 10 else second
                        published = await client.publish(
                            f"key-{n % 7}", f"{n}", id=f"{n}", not_before=delay
                        )
                        ids.append(published.id)
                    chosen = choice.sample(range(COUNT), COUNT // 3)
                    cancelled = [n for n in chosen[:200] if await cancel(first, ids[n])]
                    one.kill()
                    cancelled += [
                        n for n in chosen[200:] if await cancel(second, ids[n])
                    ]
                    await trio.sleep(3)
                    one.start()
                    metric = b"triopoll_delayed_pending"
                    await trio.sleep(LAST)
                    assert metric in (await ask(two.port, "/metrics")).body
                found = [
                    data
                    for each in range(7)
                    for data in await read_all(two.port, f"key-{each}")
                ]
        wanted = {str(n) for n in range(COUNT)} - set(map(str, cancelled))
        assert len(found) == len(set(found))
        assert set(found) == wanted
        assert len(cancelled) > 100
    finally:
        server.kill()
