"""What clients see of keys and secrets that change while the service runs."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.services import find_free_port
from tests.triopoll.asgi_calls import serving
from tests.triopoll.inprocess import publish
from tests.triopoll.server.harness import QUICK, run_server
from tests.triopoll.service import Response, ask, requesting
from tests.triopoll.support import eventually, open_websocket
from trio_websocket import ConnectionRejected

from triopoll.access import entry_for, issue_ticket
from triopoll.app import Triopoll
from triopoll.settings import Settings

OLD = "the-old-secret-of-these-tests-is-long-enough"
NEW = "the-new-secret-of-these-tests-is-long-enough-too"


def ticket(secret: str) -> str:
    return issue_ticket(secret, ["k*"], lifetime=60, subject="ann")


@dataclass
class Rotating:
    """A service in this process, and the files of its keys and secrets."""

    app: Triopoll
    port: int
    keys: Path
    secrets: Path

    @property
    def parked(self) -> int:
        return self.app.metrics.waits["log"].parked

    def reload(self) -> None:
        """Signal as a supervisor does; unlike SIGHUP, it would not end the tests."""
        os.kill(os.getpid(), signal.SIGURG)

    async def read(self, secret: str, key: str = "k") -> Response:
        return await ask(
            self.port, "/v1/messages", key=key, cursor="new", timeout=0,
            bearer=ticket(secret),
        )  # fmt: skip

    async def publish(self, api_key: str) -> int:
        body = json.dumps({"key": "k", "data": 1}).encode()
        path = "/v1/publish"
        answer = await ask(self.port, path, method="POST", body=body, bearer=api_key)
        return answer.status

    async def drop_old_secret(self) -> None:
        self.secrets.write_text(NEW)
        self.reload()
        with trio.fail_after(10):
            while (await self.read(OLD)).status != 401:
                await trio.lowlevel.checkpoint()


@pytest.fixture
async def rotating(tmp_path: Path) -> AsyncIterator[Rotating]:
    keys, secrets = tmp_path / "keys", tmp_path / "secrets"
    keys.write_text(entry_for("shop", "old", ["*"]))
    secrets.write_text(OLD)
    app = Triopoll(
        Settings(
            slock_url=f"embedded://127.0.0.1:{find_free_port()}",
            publish_keys=f"file:{keys}",
            ticket_secrets=f"file:{secrets}",
        )
    )
    # As under `triopoll serve`, which leaves the signal to the application.
    app.drain.driven = True
    async with serving(app), run_server(app, QUICK) as running:
        yield Rotating(app, running.port, keys, secrets)


async def test_a_signal_has_new_keys_admitted(rotating: Rotating) -> None:
    """A metric counts it, and shows a file that cannot be used."""
    assert (await rotating.publish("old"), await rotating.publish("new")) == (200, 401)
    rotating.keys.write_text(entry_for("shop", "newer", ["*"]))
    rotating.reload()
    with trio.fail_after(10):
        while await rotating.publish("newer") != 200:
            await trio.lowlevel.checkpoint()
    assert await rotating.publish("old") == 401
    assert rotating.app.metrics.reloads["publish_keys", "ok"]
    rotating.keys.write_text("wrong")
    rotating.reload()
    await eventually(lambda: rotating.app.metrics.readings["reloads_failing"]() == 1)
    assert await rotating.publish("newer") == 200


async def test_a_poll_that_is_parked_goes_on_without_its_secret(
    rotating: Rotating,
) -> None:
    """It gets its message; the next request with its ticket is refused."""
    parked = partial(requesting, rotating.port, "/v1/messages", key="k", cursor="new")
    async with parked(timeout=30, bearer=ticket(OLD)) as poll:
        await eventually(lambda: rotating.parked == 1)
        await rotating.drop_old_secret()
        await publish(rotating.app, "k", b"1")
        answer = await poll.answer()
    assert answer.status == 200
    assert len(answer.json["messages"]) == 1
    assert (await rotating.read(OLD)).json["code"] == "ticket_invalid"
    assert (await rotating.read(NEW)).status == 200


async def test_a_poll_that_is_parked_still_ends_with_its_ticket(
    rotating: Rotating,
) -> None:
    """By a clock at which the ticket has 0.3 s left."""
    now = int(time.time())
    access = rotating.app.services().access
    access.clock = lambda: now + 59.7
    shown = issue_ticket(OLD, ["k"], lifetime=60, now=now)
    parked = partial(requesting, rotating.port, "/v1/messages", key="k", cursor="new")
    async with parked(timeout=30, bearer=shown) as poll:
        # On a machine that stands still, its ticket may have expired already.
        await eventually(
            lambda: rotating.parked == 1 or access.refusals["ticket_expired"]
        )
        await rotating.drop_old_secret()
        answer = await poll.answer()
    assert (answer.status, answer.json["code"]) == (401, "ticket_expired")


async def test_an_open_websocket_goes_on_without_its_secret(rotating: Rotating) -> None:
    """It may also subscribe to further keys; a new one is refused."""
    with_ticket = {"Authorization": f"Bearer {ticket(OLD)}"}
    async with open_websocket(rotating.port, "/v1/ws", with_ticket) as websocket:
        await rotating.drop_old_secret()
        await websocket.send_message(
            json.dumps({"type": "subscribe", "messages": [{"key": "k2"}]})
        )
        await eventually(lambda: rotating.parked == 1)
        await publish(rotating.app, "k2", b"1")
        seen: list[Any] = []
        with trio.fail_after(10):
            while not any(each.get("type") == "messages" for each in seen):
                seen.append(json.loads(await websocket.get_message()))
    with pytest.raises(ConnectionRejected) as refused:
        async with open_websocket(rotating.port, "/v1/ws", with_ticket):
            pass
    assert refused.value.status_code == 401
