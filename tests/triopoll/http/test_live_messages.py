"""Server-sent events of `/v1/messages` under each server, on real backends."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.services import RedisServer
from tests.triopoll.event_stream import Event, EventReader, Receiver, reading
from tests.triopoll.service import SERVERS, Process, ask, poll_process


async def publish(port: int, key: str, *data: object) -> None:
    items = [{"key": key, "data": each, "id": f"{each}"[:60]} for each in data]
    body = json.dumps({"items": items}).encode()
    answer = await ask(port, "/v1/publish", method="POST", body=body)
    assert answer.status in (200, 202), answer


async def take(reader: EventReader, count: int) -> list[Any]:
    """Return the data of so many messages."""
    found: list[Any] = []
    while len(found) < count:
        event = await reader.next()
        assert event is not None, found
        if event.type == "message":
            found.append(json.loads(event.data)["data"])
    return found


async def opening(reader: EventReader) -> Event:
    event = await reader.next()
    assert event is not None
    assert event.type == "cursor"
    return event


async def parked(port: int) -> int:
    """Return how many streams wait, as the process says."""
    text = (await ask(port, "/metrics")).body.decode()
    found = re.search(
        r'^triopoll_waits_parked{kind="sse"[^}]*} (\d+)', text, re.MULTILINE
    )
    assert found is not None
    return int(found[1])


async def until_parked(port: int, count: int) -> None:
    with trio.fail_after(30):
        while await parked(port) != count:
            await trio.sleep(0.02)


async def test_events_come_as_they_are_published(service: Process, key: str) -> None:
    """One by one, and behind a reconnection, none lost and none twice."""
    port = service.port
    async with reading(port, f"key={key}") as reader:
        await opening(reader)
        for number in range(3):
            await publish(port, key, number)
            assert await take(reader, 1) == [number]
    await publish(port, key, 3, 4)
    async with reading(port, f"key={key}", receiver=reader.receiver) as again:
        assert await take(again, 2) == [3, 4]
        await publish(port, key, "é\r\n\n:x")
        assert await take(again, 1) == ["é\r\n\n:x"]


async def test_a_stream_ends_in_good_order(service: Process, key: str) -> None:
    """With its last event, and with the last chunk of its body."""
    await publish(service.port, key, 1)
    async with reading(service.port, f"key={key}&cursor=all&timeout=0.2") as reader:
        await take(reader, 1)
        last = await reader.next()
        assert last is not None
        assert (last.type, json.loads(last.data)["code"]) == ("end", "timeout")
        assert await reader.next() is None
        assert reader.whole


@pytest.mark.parametrize("ending", ["fin", "rst"])
async def test_a_client_that_leaves_ends_its_wait(
    service: Process, key: str, ending: str
) -> None:
    """At once, and not when the next event would be sent."""
    async with reading(service.port, f"key={key}") as reader:
        await opening(reader)
        await until_parked(service.port, 1)
        if ending == "rst":
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            option = trio.socket.SO_LINGER
            reader.stream.setsockopt(trio.socket.SOL_SOCKET, option, linger)
        await reader.stream.aclose()
        await until_parked(service.port, 0)


async def test_many_readers_get_all(service: Process, key: str) -> None:
    """Of one key, in order."""
    counts: list[int] = []

    async def read() -> None:
        async with reading(service.port, f"key={key}&cursor=all") as reader:
            counts.extend(await take(reader, 20))

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(read)
        for number in range(0, 20, 4):
            await publish(service.port, key, *range(number, number + 4))
    assert sorted(counts) == sorted([*range(20)] * 30)


@asynccontextmanager
async def serving(
    server: str, slock_url: str, redis_server: RedisServer, **settings: object
) -> AsyncIterator[Process]:
    url = redis_server.url
    with poll_process(slock=slock_url, redis=url, server=server, **settings) as service:
        yield service


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
async def test_a_deploy_ends_the_streams(
    slock_url: str, redis_server: RedisServer, key: str, server: str
) -> None:
    """Each gets what was read and a last event, and its body is whole."""
    ends: list[tuple[Any, bool]] = []

    async def read(service: Process, started: trio.Event) -> None:
        async with reading(service.port, f"key={key}&cursor=all") as reader:
            assert await take(reader, 2) == [1, 2]
            started.set()
            last = await reader.next()
            assert last is not None
            assert last.type == "end", last
            await reader.next()
            shape = json.loads(last.data)
            assert shape["cursor"] == reader.receiver.last_id
            ends.append((shape["code"], reader.whole))

    async with serving(server, slock_url, redis_server) as service:
        await publish(service.port, key, 1, 2)
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                started = trio.Event()
                nursery.start_soon(read, service, started)
                await started.wait()
            await until_parked(service.port, 10)
            os.kill(service.pid, signal.SIGTERM)
        with trio.fail_after(20):
            await service.ended()
    assert ends == [("draining", True)] * 10


@pytest.mark.slow
async def test_a_worker_is_killed(
    slock_url: str, redis_server: RedisServer, key: str
) -> None:
    """Its clients come back to another one: nothing is lost and nothing comes twice."""
    found: list[Any] = []
    count = 60

    async def read(service: Process) -> None:
        receiver = Receiver()
        while len(found) < count:
            try:
                query = f"key={key}&cursor=all"
                async with reading(service.port, query, receiver=receiver) as reader:
                    receiver = reader.receiver
                    while (event := await reader.next()) is not None:
                        if event.type == "message":
                            found.append(json.loads(event.data)["data"])
                        if len(found) >= count:
                            return
            except (OSError, AssertionError):
                await trio.sleep(0.05)  # as a browser waits, if not for so long

    async with serving("triopoll workers", slock_url, redis_server) as service:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, service)
            for number in range(count):
                if number % 15 == 7:
                    for worker in workers_of(service.pid):
                        os.kill(worker, signal.SIGKILL)
                        await trio.sleep(0.3)
                await publish_for_sure(service.port, key, number)
    assert found == [*range(count)]


def workers_of(pid: int) -> list[int]:
    return [
        int(each)
        for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ]


async def publish_for_sure(port: int, key: str, number: int) -> None:
    """Publish once, however often it has to be tried: the id is known to the log."""
    with trio.fail_after(30):
        while True:
            try:
                await publish(port, key, number)
            except (OSError, AssertionError, ValueError, IndexError):
                await trio.sleep(0.05)
            else:
                return


# Hypercorn on trio shields what it sends, and granian keeps it in its own memory.
CUTTING = [each for each in SERVERS if each not in ("hypercorn", "granian")]


@pytest.mark.long
@pytest.mark.parametrize("server", CUTTING)
async def test_a_client_that_does_not_read_is_cut(
    slock_url: str, redis_server: RedisServer, key: str, server: str
) -> None:
    """Its place is free again: no task of it is left, and no page."""
    limits = {"trusted_proxies": "127.0.0.1", "waits_per_ip": 1}
    proxied = {"X-Forwarded-For": "198.51.100.7"}
    query = f"key={key}&cursor=all"
    async with serving(server, slock_url, redis_server, **limits) as service:
        for number in range(40):
            await publish(service.port, key, f"{number}" + "x" * 200_000)
        async with reading(service.port, query, **proxied) as reader:
            assert reader
            with trio.fail_after(40):
                while not await is_admitted(service.port, query, proxied):
                    await trio.sleep(0.2)


async def is_admitted(port: int, query: str, headers: dict[str, str]) -> bool:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        reader = EventReader(stream, Receiver())
        head = await reader.ask(f"/v1/messages?live=sse&timeout=0&{query}", headers)
        assert head.status_code in (200, 429)
        return head.status_code == 200
