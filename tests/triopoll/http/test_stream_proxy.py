"""Streams behind nginx, with the configuration that the documentation gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import trio
from tests.documents import all_blocks
from tests.nginx import nginx_file, running_nginx
from tests.services import find_free_port
from tests.triopoll.event_stream import EventReader, Receiver
from tests.triopoll.http.test_live_messages import publish
from tests.triopoll.service import Process, Response, ask, poll_process

BLOCK = ("docs/how-to/use-durable-streams.md", "nginx")
STREAM = "/v1/stream/feed"
READERS = 500
TEXT = "Content-Type: text/plain\r\n"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def service() -> Iterator[Process]:
    """The service; its long polls are short, for those that find nothing."""
    with poll_process(server="triopoll", stream_timeout=5) as process:
        yield process


@pytest.fixture
def proxy(service: Process, tmp_path: Path) -> Iterator[int]:
    """The port of nginx in front of the service."""
    (block,) = [each for each in all_blocks() if (each.page, each.language) == BLOCK]
    port = find_free_port()
    text = block.text
    for old, new in (
        ("listen 80;", f"listen 127.0.0.1:{port} backlog=4096;"),
        ("127.0.0.1:8000", f"127.0.0.1:{service.port}"),
        ("/var/cache/nginx", str(tmp_path)),
        # For the events of /v1/messages, as nginx has them for all of /v1.
        ("location /v1/stream/ {", "location /v1/ {"),
    ):
        assert old in text
        text = text.replace(old, new)
    with running_nginx(nginx_file(text, tmp_path), port):
        yield port


async def append(port: int, method: str, body: bytes) -> Response:
    answer = await ask(port, STREAM, method=method, body=body, headers=TEXT)
    assert answer.status in (201, 204), answer
    return answer


async def answered(service: Process) -> int:
    """Return how many reads and appends of streams have reached the service."""
    text = (await ask(service.port, "/metrics")).body.decode()
    label = re.escape('path="/v1/stream/{path}"')
    pattern = rf'^triopoll_answers_total{{{label},status="20[04]".*}} (\d+)'
    return sum(map(int, re.findall(pattern, text, re.MULTILINE)))


async def parked(service: Process) -> int:
    text = (await ask(service.port, "/metrics")).body.decode()
    found = re.search(
        r'^triopoll_waits_parked{kind="stream"[^}]*} (\d+)', text, re.MULTILINE
    )
    assert found is not None
    return int(found[1])


class Readers:
    """Many that read on from the same place.

    Attributes:
        place: The parameters of the next round, with offset and cursor.
    """

    def __init__(self, port: int, offset: str) -> None:
        self.place = {"offset": offset, "live": "long-poll"}
        self._port = port

    async def round(self) -> Response:
        """Poll once each; return the one response that all have got."""
        query = urlencode(self.place).encode()
        found: list[Response] = []

        async def read() -> None:
            found.append(await ask(self._port, STREAM, query))

        async with trio.open_nursery() as nursery:
            for _ in range(READERS):
                nursery.start_soon(read)
        assert len(found) == READERS
        names = ("stream-next-offset", "stream-cursor")
        (shared,) = {
            (each.status, each.body, *(each.headers[name] for name in names))
            for each in found
        }
        assert shared
        self.place["offset"], self.place["cursor"] = shared[2:]
        return found[0]


@pytest.mark.long
async def test_500_readers_cost_one_poll(service: Process, proxy: int) -> None:
    """Of each round: those with an append, and those in which nothing comes."""
    made = await append(service.port, "PUT", b"")
    readers = Readers(proxy, made.headers["stream-next-offset"])
    for number, text in enumerate([b"one", None, b"two", b"three"]):
        before = await answered(service)
        found: list[Response] = []

        async def read(found: list[Response] = found) -> None:
            found.append(await readers.round())

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                while text and await parked(service) == 0:
                    await trio.sleep(0.02)
                if text:
                    await append(service.port, "POST", text)
        assert found[0].status == (200 if text else 204), number
        assert found[0].body == (text or b"")
        assert await answered(service) == before + 1 + bool(text)


@pytest.mark.slow
@pytest.mark.parametrize("path", [STREAM, "/v1/messages"])
async def test_events_pass_one_by_one(service: Process, proxy: int, path: str) -> None:
    """Each reaches its reader before the next one is sent."""
    await append(service.port, "PUT", b"")
    query = "offset=-1" if path == STREAM else "key=k&cursor=new"
    async with await trio.open_tcp_stream("127.0.0.1", proxy) as stream:
        reader = EventReader(stream, Receiver())
        head = await reader.ask(f"{path}?live=sse&{query}", {})
        assert (head.status_code, head.http_version) == (200, b"1.1")
        await next_of(reader, "control" if path == STREAM else "cursor")
        for text in ("one", "two", "three"):
            if path == STREAM:
                await append(service.port, "POST", text.encode())
                assert await next_of(reader, "data") == text
            else:
                await publish(service.port, "k", text)
                assert f'"{text}"' in await next_of(reader, "message")


async def next_of(reader: EventReader, kind: str) -> str:
    """Return the data of the next event of a kind."""
    while (event := await reader.next()) is not None:
        if event.type == kind:
            return event.data
    raise AssertionError(f"the events end without {kind!r}")
