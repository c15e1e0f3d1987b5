"""The admin API over the workers of one server, with a real Redis."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from tests.services import RedisServer
from tests.triopoll.service import ask, poll_process, requesting, slock_process

from triopoll.access import entry_for

pytestmark = pytest.mark.long

KEY = "the-key-of-an-operator"


async def test_any_worker_answers_for_all(redis_server: RedisServer, key: str) -> None:
    """Whichever the kernel gives the request to; and waiters come page by page."""
    entry = entry_for("olga", KEY, ["*"])
    with slock_process() as slock:
        with poll_process(
            slock=f"slock://127.0.0.1:{slock.port}",
            redis=redis_server.url,
            server="triopoll workers",
            admin_keys=entry,
        ) as service:
            port = service.port

            async def get(path: str, **query: object) -> Any:
                target = f"/admin/api/{path}"
                answer = await ask(port, target, bearer=KEY, **query)
                assert answer.status == 200
                return answer.json

            async with trio.open_nursery() as nursery:
                for _ in range(12):
                    nursery.start_soon(hold, port, key)
                with trio.fail_after(60):
                    while True:
                        overview = await get("overview")
                        answered = [each["answered"] for each in overview["workers"]]
                        if all(answered) and overview["waits"]["keys"] == {key: 12}:
                            break
                        await trio.sleep(0.1)
                assert len(answered) == 2
                ((address, fault, *_),) = overview["redis"]["servers"]
                assert (address, fault) == (f"127.0.0.1:{redis_server.port}", "")
                assert overview["redis"]["latency"] > 0
                found, page = 0, ""
                while page is not None:
                    answer = await get("waiters", key=key, limit=5, page=page)
                    found, page = found + len(answer["waiters"]), answer["next"]
                assert found == 12
                nursery.cancel_scope.cancel()


async def hold(port: int, key: str) -> None:
    async with requesting(port, "/v1/messages", key=key, timeout=50) as request:
        await request.answer()
