"""Start and shutdown under asyncio servers, with the usual command lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio
from tests.services import RedisServer, find_free_port
from tests.triopoll.service import ask, requesting, until_waiting
from tests.triopoll.support import eventually, open_websocket
from trio_websocket import ConnectionClosed

import trioslock

UVICORN = ("uvicorn", "--port", "PORT")
GRANIAN = ("granian", "--interface", "asgi", "--port", "PORT")
HYPERCORN = ("hypercorn", "-b", "127.0.0.1:PORT")
SERVERS = {
    "uvicorn": UVICORN,
    "uvicorn asyncio": (*UVICORN, "--loop", "asyncio", "--http", "h11"),
    "uvicorn workers": (*UVICORN, "--workers", "2"),
    "granian": GRANIAN,
    "granian asyncio": (*GRANIAN, "--loop", "asyncio", "--task-impl", "rust"),
    "granian workers": (*GRANIAN, "--workers", "2"),
    "hypercorn": (*HYPERCORN, "-w", "0"),
    "hypercorn uvloop": (*HYPERCORN, "-w", "0", "-k", "uvloop"),
    "hypercorn trio": (*HYPERCORN, "-w", "0", "-k", "trio"),
    "hypercorn worker": HYPERCORN,
}
# Hypercorn stops its workers by an event; the whole group gets the signal instead.
WHOLE_GROUP = "hypercorn worker"
# What must not be in a server's log, where Python warns and asyncio looks closely.
COMPLAINTS = ("Traceback", "Warning", "never", "rror")
# uvicorn's supervisor leaves its listening socket to the garbage collector.
WARNINGS = "default,ignore::ResourceWarning"
# What a worker says at last. granian forgets a signal that comes while one starts.
STARTED = {
    ("uvicorn", 2): "Application startup complete",
    ("granian", 1): "Started worker",
    ("granian", 2): "Started worker",
}


class Running:
    """A server in a process of its own."""

    def __init__(self, command: Sequence[str], env: dict[str, str]) -> None:
        self.port = find_free_port()
        self._log = tempfile.NamedTemporaryFile()  # noqa: SIM115  # close() closes it
        self._workers = 2 if "--workers" in command else 1
        self._started = STARTED.get((command[0], self._workers), "unning on")
        name, *options = (part.replace("PORT", str(self.port)) for part in command)
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name(name)), *options, "triopoll:app"],
            env={
                **os.environ,
                **env,
                "PYTHONASYNCIODEBUG": "1",
                "PYTHONWARNINGS": WARNINGS,
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def said(self) -> str:
        """Return the output so far."""
        return Path(self._log.name).read_text()

    def wait(self) -> str:
        """Return the output once the server has exited by itself."""
        self.process.wait(20)
        return self.said()

    def is_up(self) -> bool:
        return self.said().count(self._started) >= self._workers

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._log.close()


@asynccontextmanager
async def running(command: Sequence[str], **env: str) -> AsyncIterator[Running]:
    with closing(Running(command, env)) as server:
        await eventually(server.is_up, limit=20)
        yield server


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "number"),
    [
        *((name, signal.SIGTERM) for name in SERVERS),
        *((name, signal.SIGINT) for name in ("uvicorn", "hypercorn")),
    ],
)
async def test_a_deploy_answers_the_parked_polls(
    slock_url: str,
    redis_server: RedisServer,
    slock: trioslock.Client,
    key: str,
    name: str,
    number: signal.Signals,
) -> None:
    """Parked polls are answered 504, and the server exits without an error."""
    env = {"TRIOPOLL_SLOCK_URL": slock_url, "TRIOPOLL_REDIS_URL": redis_server.url}
    async with running(SERVERS[name], **env) as server:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(poll_in_vain, server.port, key)
            await until_waiting(slock, 20)
            # One that left before must not be in anybody's way.
            async with requesting(server.port, "/poll/event", event=key):
                await until_waiting(slock, 21)
            await until_waiting(slock, 20)
            if name == WHOLE_GROUP:
                os.killpg(server.process.pid, number)
            else:
                server.process.send_signal(number)
        with trio.fail_after(10):
            said = await trio.to_thread.run_sync(server.wait)
        assert not [line for line in said.splitlines() if complains(line)]
    await until_waiting(slock, 0)


def complains(line: str) -> bool:
    # uvicorn names a logger so, and it takes two signals for a crash of its child.
    return any(word in line for word in COMPLAINTS) and "uvicorn.error" not in line


async def poll_in_vain(port: int, key: str) -> None:
    answer = await ask(port, "/poll/event", event=key)
    assert answer.json == {"err_code": 504, "err_message": "wait event timeout"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["uvicorn", "uvicorn asyncio", "granian", "hypercorn", "hypercorn trio"]
)
async def test_a_deploy_closes_the_websockets(
    slock_url: str, redis_server: RedisServer, key: str, name: str
) -> None:
    """Messages pass in both directions, and the close code asks to reconnect."""
    env = {"TRIOPOLL_SLOCK_URL": slock_url, "TRIOPOLL_REDIS_URL": redis_server.url}
    async with running(SERVERS[name], **env) as server:
        async with open_websocket(server.port, "/v1/ws", {}) as websocket:
            await websocket.get_message()  # hello
            asked = {"type": "subscribe", "messages": [{"key": key, "cursor": "new"}]}
            await websocket.send_message(json.dumps(asked))
            assert json.loads(await websocket.get_message())["type"] == "subscribed"
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as caught:
                await websocket.get_message()
            assert caught.value.reason is not None
            # granian closes their sockets without waiting for what is sent last.
            codes = (1012, 1006) if name == "granian" else (1012,)
            assert caught.value.reason.code in codes
        with trio.fail_after(10):
            said = await trio.to_thread.run_sync(server.wait)
        assert not [line for line in said.splitlines() if complains(line)]


@pytest.mark.slow
async def test_hypercorn_as_typed(slock_url: str, redis_server: RedisServer) -> None:
    """Hypercorn's default, one worker process on asyncio, works."""
    env = {"TRIOPOLL_SLOCK_URL": slock_url, "TRIOPOLL_REDIS_URL": redis_server.url}
    async with running(HYPERCORN, **env) as server:
        answer = await ask(server.port, "/poll/event", event="k", timeout="0")
        assert answer.json["err_code"] == 504
        server.process.send_signal(signal.SIGTERM)
        said = await trio.to_thread.run_sync(server.wait)
        assert not [line for line in said.splitlines() if complains(line)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uvicorn workers", "granian workers"])
async def test_two_workers_on_messages_in_memory(name: str) -> None:
    """The second worker exits with an error that names the setting to change."""
    url = f"slock://127.0.0.1:{find_free_port()}"
    with closing(Running(SERVERS[name], {"TRIOPOLL_SLOCK_URL": url})) as server:
        # The parent may go on for ever to start another one.
        await eventually(lambda: "TRIOPOLL_REDIS_URL" in server.said(), limit=20)
        assert "Run one worker" in server.said()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uvicorn", "granian", "hypercorn"])
def test_a_bad_setting_is_named(name: str) -> None:
    """The server exits with an error that names the variable."""
    with closing(Running(SERVERS[name], {"TRIOPOLL_MAXTIMEOUT": "5"})) as server:
        assert "TRIOPOLL_MAXTIMEOUT" in server.wait()


@pytest.mark.slow
async def test_a_server_without_a_lifespan() -> None:
    """Each request fails, and the log says what to do."""
    async with running((*UVICORN, "--lifespan", "off")) as server:
        assert (await ask(server.port, "/poll/event", event="k")).status == 500
        server.process.send_signal(signal.SIGTERM)
        said = await trio.to_thread.run_sync(server.wait)
        assert "uvicorn --lifespan on" in said
