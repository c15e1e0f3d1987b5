"""The published clients of Durable Streams read on, whatever happens to the service.

They are the examples, so what these do is what the documentation advises.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import jwt
import pytest
import trio
from tests.npm import installed_packages
from tests.services import RedisServer, find_tool
from tests.triopoll.http.test_live_messages import workers_of
from tests.triopoll.service import Process, ask, poll_process, slock_process

EXAMPLES = Path(__file__).parents[3] / "examples" / "streams"
SOURCE = Path(__file__).parent / "stream_clients"
STREAM = "/v1/stream/feed"
JSON = "Content-Type: application/json\r\n"
SECRET = "a-secret-of-thirty-two-bytes-or-more"
# Seconds; a ticket lives longer than a poll and the time until the next ticket.
POLL, TICKET = 1, 4

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture
def service(own_redis: RedisServer) -> Iterator[Process]:
    """Two workers, whose readers need a ticket."""
    with slock_process() as slock:
        process = poll_process(
            slock=f"slock://127.0.0.1:{slock.port}",
            redis=own_redis.url,
            server="triopoll workers",
            ticket_secrets=SECRET,
            stream_timeout=POLL,
        )
        with process:
            yield process


@pytest.fixture(params=["npm long-poll", "npm sse", "pypi long-poll"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command of a reader; it ends with the stream's URL."""
    registry, live = request.param.split()
    if registry == "pypi":
        return [sys.executable, str(EXAMPLES / "follow.py"), "URL"]
    (tmp_path / "node_modules").symlink_to(
        installed_packages(request.config.cache, SOURCE)
    )
    shutil.copy(EXAMPLES / "follow.mjs", tmp_path)
    return [find_tool("node"), str(tmp_path / "follow.mjs"), "URL", live]


def write_ticket(file: Path) -> int:
    """Replace the ticket; return when it expires."""
    end = int(time.time()) + TICKET
    fresh = file.with_suffix(".new")
    claims = {"exp": end, "keys": ["feed"]}
    fresh.write_text(jwt.encode(claims, SECRET, algorithm="HS256"))
    fresh.rename(file)
    return end


async def renew_tickets(file: Path) -> None:
    while True:
        await trio.sleep(0.5)
        write_ticket(file)


class Reader:
    """The messages that a client has printed.

    Attributes:
        found: All of them, in order.
    """

    def __init__(self) -> None:
        self.found: list[int] = []
        self._news = trio.Condition()

    async def read(self, process: trio.Process) -> None:
        """Take what the client prints, until it ends."""
        rest = b""
        assert process.stdout is not None
        async for piece in process.stdout:
            *lines, rest = (rest + piece).split(b"\n")
            async with self._news:
                self.found += map(json.loads, lines)
                self._news.notify_all()

    async def until(self, count: int) -> None:
        with trio.fail_after(60):
            async with self._news:
                while len(self.found) < count:
                    await self._news.wait()


@asynccontextmanager
async def running(
    command: Sequence[str], service: Process, ticket: Path
) -> AsyncIterator[Reader]:
    """Run a client; at the end of the block it must end by itself."""
    url = f"http://127.0.0.1:{service.port}{STREAM}"
    reader = Reader()
    start = partial(
        trio.run_process,
        [url if word == "URL" else word for word in command],
        env={**os.environ, "TICKET_FILE": str(ticket)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(start)
        nursery.start_soon(reader.read, process)
        yield reader
        with trio.fail_after(30):
            assert await process.wait() == 0


class Writer:
    """An idempotent producer of numbers.

    Attributes:
        count: How many it has appended.
    """

    def __init__(self, service: Process) -> None:
        self.count = 0
        self._service = service

    async def append(self, count: int, more: str = "") -> None:
        for _ in range(count):
            headers = f"{JSON}Producer-Id: p\r\nProducer-Epoch: 0\r\n{more}"
            headers += f"Producer-Seq: {self.count}\r\n"
            await self._send(headers)
            self.count += 1

    async def _send(self, headers: str) -> None:
        body = str(self.count).encode()
        with trio.fail_after(60):
            while True:
                try:
                    answer = await ask(
                        *(self._service.port, STREAM),
                        method="POST",
                        body=body,
                        headers=headers,
                    )
                except (OSError, trio.BrokenResourceError, IndexError, ValueError):
                    await trio.sleep(0.1)
                    continue
                if answer.status in (200, 204):
                    return
                assert answer.status == 503, answer
                await trio.sleep(0.1)


async def test_a_reader_gets_all_once(
    service: Process, client: list[str], tmp_path: Path
) -> None:
    """Over expired tickets, killed workers and a deploy; it ends with the stream."""
    made = await ask(service.port, STREAM, method="PUT", headers=JSON)
    assert made.status == 201, made
    writer = Writer(service)
    ticket = tmp_path / "ticket"
    first_end = write_ticket(ticket)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(renew_tickets, ticket)
        async with running(client, service, ticket) as reader:
            await writer.append(10)
            await reader.until(writer.count)
            while time.time() < first_end + 1:
                await writer.append(1)
                await trio.sleep(0.2)
            await reader.until(writer.count)
            for worker in workers_of(service.pid):
                os.kill(worker, signal.SIGKILL)
            await writer.append(10)
            await reader.until(writer.count)
            await trio.to_thread.run_sync(service.stop)
            await trio.to_thread.run_sync(service.start)
            await writer.append(10)
            await writer.append(1, "Stream-Closed: true\r\n")
            await reader.until(writer.count)
        nursery.cancel_scope.cancel()
    assert reader.found == [*range(writer.count)]
