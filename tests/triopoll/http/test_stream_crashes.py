"""Producers of one stream while workers and Redis are killed.

The full number of appends::

    TRIOSLOCK_STREAM_APPENDS=10000 python -m pytest -m long \
        tests/triopoll/http/test_stream_crashes.py
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from tests.services import RedisServer
from tests.triopoll.service import Process, Response, ask, poll_process, slock_process

APPENDS = int(os.environ.get("TRIOSLOCK_STREAM_APPENDS", "2000"))
PRODUCERS = 20
# Seconds between two kills; the worker is away for as long as it takes to start.
PAUSE = 0.7
LIMIT = 60 + APPENDS / 20

pytestmark = [pytest.mark.long, pytest.mark.timeout(LIMIT + 60)]


class Producer:
    """Appends numbers, each until it is answered, at whichever worker answers.

    Attributes:
        retries: How often it has sent one again.
        duplicates: How often a retry had been appended before.
    """

    def __init__(self, name: str, workers: list[Process]) -> None:
        self.retries = self.duplicates = 0
        self._name = name
        self._workers = workers

    async def run(self, count: int) -> None:
        for number in range(count):
            while (answer := await self._send(number)) is None:
                self.retries += 1
                await trio.sleep(random.uniform(0.02, 0.1))
            assert answer.status in (200, 204), answer.body
            assert answer.headers["producer-seq"] == str(number)
            self.duplicates += answer.status == 204

    async def _send(self, number: int) -> Response | None:
        """Append once; return None if that is to be tried again."""
        body = json.dumps([self._name, number]).encode()
        headers = (
            "Content-Type: application/json\r\n"
            f"Producer-Id: {self._name}\r\nProducer-Epoch: 0\r\n"
            f"Producer-Seq: {number}\r\n"
        )
        port = random.choice(self._workers).port
        try:
            with trio.fail_after(10):
                # In an array, or its elements would be the messages.
                answer = await ask(
                    port,
                    "/v1/stream/s",
                    method="POST",
                    body=b"[%b]" % body,
                    headers=headers,
                )
        except (OSError, trio.TooSlowError, trio.BrokenResourceError):
            return None
        except (IndexError, ValueError):
            return None  # not all of the answer
        is_cut = answer.status < 300 and "producer-seq" not in answer.headers
        return None if is_cut or answer.status in (429, 503) else answer


async def kill_in_turn(workers: list[Process], store: RedisServer) -> None:
    """Kill a worker, the other one, and now and then Redis; start each again."""
    for turn in range(10**6):
        await trio.sleep(PAUSE)
        victim = store if turn % 5 == 4 else workers[turn % 2]
        await trio.to_thread.run_sync(victim.kill)
        await trio.to_thread.run_sync(victim.start)


async def read_all(port: int) -> tuple[list[tuple[str, int]], list[str]]:
    """Return all messages, and the offsets of the pages."""
    messages: list[tuple[str, int]] = []
    offsets = ["-1"]
    while True:
        page = await ask(port, "/v1/stream/s", f"offset={offsets[-1]}".encode())
        assert page.status == 200, page.body
        messages += [(name, number) for name, number in page.json]
        if page.headers.get("stream-up-to-date"):
            return messages, offsets[1:]
        offsets.append(page.headers["stream-next-offset"])


async def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    """Each append is there once, those of one producer in their order."""
    store = RedisServer(tmp_path, durable=True)
    store.start()
    with ExitStack() as stack:
        stack.callback(store.kill)
        slock = stack.enter_context(slock_process())
        workers = [
            stack.enter_context(
                poll_process(
                    slock=f"slock://127.0.0.1:{slock.port}",
                    redis=store.url,
                    server="triopoll",
                )
            )
            for _ in range(2)
        ]
        made = await ask(
            workers[0].port,
            "/v1/stream/s",
            method="PUT",
            headers="Content-Type: application/json\r\n",
        )
        assert made.status == 201
        producers = [Producer(f"p{n}", workers) for n in range(PRODUCERS)]
        each = APPENDS // PRODUCERS
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as faults:
                faults.start_soon(kill_in_turn, workers, store)
                async with trio.open_nursery() as nursery:
                    for producer in producers:
                        nursery.start_soon(producer.run, each)
                faults.cancel_scope.cancel()
        messages, offsets = await read_all(workers[0].port)
    counts = Counter(messages)
    assert len(messages) == len(counts) == each * PRODUCERS
    for n in range(PRODUCERS):
        numbers = [number for name, number in messages if name == f"p{n}"]
        assert numbers == list(range(each))
    assert offsets == sorted(set(offsets))
    print(
        f"{len(messages)} appends, {sum(p.retries for p in producers)} sent again, "
        f"{sum(p.duplicates for p in producers)} of them had been appended"
    )
    assert sum(p.retries for p in producers) > 0
