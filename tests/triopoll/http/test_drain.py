"""A deploy: every waiting client is answered or closed in time, and none is cut."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from typing import Any

import pytest
import trio
from tests.services import RedisServer
from tests.triopoll.service import Service, requesting, slock_process, until_waiting
from tests.triopoll.support import open_websocket
from trio_websocket import ConnectionClosed

import trioslock

# DRAIN_IN_FULL=1 is the promise in full, with the default window of `triopoll serve`;
# the default run keeps to a tenth.
FULL = bool(os.environ.get("DRAIN_IN_FULL"))
POLLS, WEBSOCKETS, WINDOW = (2000, 200, 10.0) if FULL else (200, 20, 2.0)


class Clients:
    """Clients that wait, and how each wait ended."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.ends: Counter[str] = Counter()
        self.subscribed = 0

    async def poll(self, n: int) -> None:
        args = {"event": f"drain-{n % 50}", "timeout": "100"}
        async with requesting(self.port, "/poll/event", **args) as request:
            try:
                with trio.fail_after(60):
                    answer = await request.answer()
                self.ends[f"{answer.status} {answer.json['err_code']}"] += 1
            except Exception as error:  # noqa: BLE001  # counted
                self.ends[repr(error)] += 1

    async def websocket(self, n: int) -> None:
        frame = {"type": "subscribe", "messages": [{"key": f"drain-{n % 50}"}]}
        async with open_websocket(self.port, "/v1/ws", {}) as websocket:
            await websocket.send_message(json.dumps(frame))
            try:
                while True:
                    shape = json.loads(await websocket.get_message())
                    self.subscribed += shape["type"] == "subscribed"
            except ConnectionClosed as closed:
                code = closed.reason.code if closed.reason else None
                self.ends[f"closed {code}"] += 1


async def drained(service: Service, slock_url: str) -> tuple[Clients, int, float]:
    """Park clients, stop the service; return how each wait ended, and the time."""
    clients = Clients(service.port)
    async with (
        trioslock.open_client(slock_url) as slock,
        trio.open_nursery() as nursery,
    ):
        for n in range(POLLS):
            nursery.start_soon(clients.poll, n)
            if n % 50 == 0:
                await trio.sleep(0.01)
        await until_waiting(slock, POLLS, 60)
        for n in range(WEBSOCKETS):
            nursery.start_soon(clients.websocket, n)
        with trio.fail_after(30):
            while clients.subscribed < WEBSOCKETS:  # noqa: ASYNC110
                await trio.sleep(0.01)
        started = trio.current_time()
        os.kill(service.pid, signal.SIGTERM)
        code = await service.ended()
    return clients, code, trio.current_time() - started


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_deploy_cuts_no_client(
    redis_server: RedisServer, tmp_path: Any, workers: int
) -> None:
    """Every poll gets its answer, every websocket its close code, within the window."""
    with slock_process() as slock:
        slock_url = f"slock://127.0.0.1:{slock.port}"
        service = Service(
            [
                *("triopoll", "serve", "triopoll:app", "--bind", "127.0.0.1:PORT"),
                *("--drain-delay", "0", "--drain-window", str(WINDOW)),
                *("--workers", str(workers)),
            ],
            {
                "TRIOPOLL_SLOCK_URL": slock_url,
                "TRIOPOLL_REDIS_URL": redis_server.url,
                "TRIOPOLL_WAITS_PER_IP": "0",
                "TRIOPOLL_REQUESTS_PER_IP": "0",
            },
        )
        with service:
            clients, code, took = await drained(service, slock_url)
    assert clients.ends == {"200 504": POLLS, "closed 1012": WEBSOCKETS}
    assert code == 0
    # A busy machine may take seconds more; a client that is not released takes 100.
    assert took < WINDOW + 20
