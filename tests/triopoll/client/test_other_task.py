"""An ``async with`` in an async generator that another task closes.

Nothing of the client belongs to the task that has entered it, so this is no mistake.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import pytest
import trio
from tests.triopoll.inprocess import publish, served
from tests.triopoll.server.harness import Running
from tests.triopoll.support import eventually

from triopoll.app import Triopoll
from triopoll.client import PollClient, open_poll_client
from triopoll.client._websocket import WebSocketLink

Generator = AsyncGenerator[object]


@dataclass
class Site:
    """The service, with one message in "k", and the tasks before anything is opened."""

    app: Triopoll
    running: Running
    tasks: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.running.port}"

    async def nothing_is_left(self) -> None:
        """Neither a connection nor a task, of the client or for it."""
        await eventually(lambda: self.running.server.connections == 0)
        # The service goes on waiting for a key for five seconds.
        await eventually(lambda: tasks() == self.tasks, limit=20)


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


@pytest.fixture
async def site(free_port: int) -> AsyncGenerator[Site]:
    async with served(free_port) as (app, running):
        await publish(app, "k", b"1")
        yield Site(app, running, tasks())


async def client_of(site: Site) -> Generator:
    async with open_poll_client(site.url) as client:
        yield await client.publish("k", "2")
        yield None


async def messages_of(site: Site, transport: Literal["poll", "websocket"]) -> Generator:
    # With both in it, each is closed by the other task.
    async with open_poll_client(site.url) as client:
        async with client.subscribe(
            "k", cursor="all", transports=[transport]
        ) as messages:
            yield await anext(messages)
            yield None


def polls_of(site: Site) -> Generator:
    return messages_of(site, "poll")


def websocket_of(site: Site) -> Generator:
    return messages_of(site, "websocket")


async def states_of(site: Site) -> Generator:
    async with open_poll_client(site.url) as client:
        created = await client.create_state()
        async with client.watch_state(created.key, created.poll_secret) as states:
            async for state in states:
                yield state


KINDS: list[Callable[[Site], Generator]] = [
    client_of,
    polls_of,
    websocket_of,
    states_of,
]
EVERY_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@asynccontextmanager
async def opened_by_another_task(
    site: Site, generator: Generator
) -> AsyncGenerator[None]:
    """Let a task take one item. When the body has ended, it goes on and ends in order.

    It has a nursery around what it opens, and opens another subscription afterwards.
    """
    closed = trio.Event()

    async def start(*, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as outer, open_poll_client(site.url) as client:
            outer.start_soon(trio.lowlevel.checkpoint)
            assert await anext(generator) is not None
            task_status.started()
            await closed.wait()
            await take_one(client)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(start)
            assert site.running.server.connections > 0
            yield
            closed.set()


async def take_one(client: PollClient) -> None:
    async with client.subscribe("k", cursor="all") as messages:
        assert (await anext(messages)).text == "1"


@EVERY_KIND
async def test_another_task_may_close_it(
    site: Site, kind: Callable[[Site], Generator]
) -> None:
    """Nothing is left open, and neither of the two tasks has an error."""
    generator = kind(site)
    async with opened_by_another_task(site, generator):
        await generator.aclose()
        await eventually(lambda: site.running.server.connections == 0)
    await site.nothing_is_left()


@EVERY_KIND
async def test_it_may_be_left_to_the_garbage_collector(
    site: Site, kind: Callable[[Site], Generator], caplog: pytest.LogCaptureFixture
) -> None:
    """Trio closes it in a task of its own; this is what a ``break`` leads to."""
    generators = [kind(site)]

    def drop() -> None:
        generators.clear()
        gc.collect()

    async with opened_by_another_task(site, generators[0]):
        pass
    with pytest.warns(ResourceWarning, match="garbage collected"):
        drop()
    await site.nothing_is_left()
    # Trio logs what such a generator raises.
    assert "trio.async_generator_errors" not in {each.name for each in caplog.records}


@pytest.mark.parametrize("moment", ["waiting", "opening"])
@pytest.mark.parametrize("transport", ["poll", "websocket"])
async def test_closed_while_a_task_waits_for_a_message(
    site: Site,
    transport: Literal["poll", "websocket"],
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That task is told, and nothing goes on."""
    open_link = WebSocketLink.open

    async def open_late(link: WebSocketLink) -> None:
        await trio.sleep(0.3)
        await open_link(link)

    async def read() -> None:
        with pytest.raises(trio.ClosedResourceError, match="has been left"):
            await anext(messages)

    if moment == "opening":
        monkeypatch.setattr(WebSocketLink, "open", open_late)
    async with open_poll_client(site.url) as client:
        messages = client.subscribe("empty", cursor="all", transports=[transport])
        await messages.__aenter__()
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await trio.sleep(0.2)
                await messages.__aexit__(None, None, None)
            with pytest.raises(trio.ClosedResourceError):
                await anext(messages)
    await site.nothing_is_left()
