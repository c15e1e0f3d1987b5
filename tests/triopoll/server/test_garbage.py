"""When the garbage collector looks at everything, and what it would find."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import trio
from tests.triopoll.asgi_calls import Call, serving
from tests.triopoll.server.harness import run_server
from trio.testing import MockClock

from triopoll.app import Triopoll
from triopoll.server.garbage import collect_seldom
from triopoll.settings import Settings

POLLS = 30


@pytest.fixture
def nothing_frozen() -> Iterator[None]:
    """As in a process that serves: that of the tests has frozen its own objects."""
    gc.unfreeze()
    yield
    gc.collect()
    gc.freeze()


async def test_a_full_collection_every_ten_minutes(
    autojump_clock: MockClock, nothing_frozen: None
) -> None:
    """And none between, however many objects there are; then all is as before."""
    before = gc.get_threshold()
    full = [0]

    def count(phase: str, info: dict[str, int]) -> None:
        full[0] += phase == "start" and info["generation"] == 2

    gc.callbacks.append(count)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect_seldom)
            await trio.sleep(1)
            assert gc.get_freeze_count() > 0
            full[0] = 0
            kept = [[number] for number in range(300_000)]
            assert full[0] == 0
            del kept
            await trio.sleep(1805)
            assert full[0] == 3
            nursery.cancel_scope.cancel()
    finally:
        gc.callbacks.remove(count)
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("ends", ["left", "woken"])
@pytest.mark.parametrize(
    ("target", "item"),
    [
        ("/v1/messages?key=k&cursor=new&timeout=20", b'{"key":"k","data":"1"}'),
        ("/poll/event?event=k&timeout=20", b'{"key":"k","type":"event"}'),
    ],
)
async def test_polls_leave_no_cycles(
    free_port: int, no_collector: None, target: str, item: bytes, ends: str
) -> None:
    """Their memory is free at once, without the collector."""
    app = Triopoll(Settings(slock_url=f"embedded://127.0.0.1:{free_port}"))
    async with serving(app), run_server(app) as running:

        async def park_and_end() -> int:
            for _ in range(POLLS):
                client = await running.connect()
                await client.get(target)
            await trio.sleep(0.3)
            gc.collect()
            if ends == "woken":
                await Call("/v1/publish", method="POST", body=item).run(app)
                await trio.sleep(0.3)
            running.hang_up()
            await running.settle()
            return gc.collect()

        await park_and_end()
        # What a publish leaves does not depend on the number of polls.
        assert await park_and_end() < POLLS
