"""The client and the real endpoints, with an interfering proxy between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tests.triopoll.inprocess import Proxy, proxy_to, served

from triopoll.app import Triopoll
from triopoll.client import Draft, PollClient, Refused, open_poll_client


@asynccontextmanager
async def behind_a_proxy(
    port: int, **opinions: Any
) -> AsyncIterator[tuple[Triopoll, Proxy, PollClient, PollClient]]:
    """A reader behind the proxy, and a publisher without it."""
    async with (
        served(port) as (app, running),
        proxy_to(running.port, **opinions) as proxy,
        open_poll_client(f"http://127.0.0.1:{proxy.port}") as reader,
        open_poll_client(f"http://127.0.0.1:{running.port}") as publisher,
    ):
        yield app, proxy, reader, publisher


async def take(messages: Any, count: int) -> list[str]:
    taken: list[str] = []
    with trio.fail_after(40):
        while len(taken) < count:
            taken.append((await anext(messages)).text)
    return taken


async def test_publish_and_poll(free_port: int) -> None:
    """Publishing and reading work with the documented endpoints; bytes and text."""
    async with behind_a_proxy(free_port) as (_, proxy, reader, publisher):
        async with reader.subscribe("k") as messages:
            first = await publisher.publish("k", "grüße", id="one")
            assert not first.duplicate
            assert (await publisher.publish("k", "x", id="one")).duplicate
            await publisher.publish_many([Draft("k", b"\xff"), Draft("other", "y")])
            message = await anext(messages)
            assert (message.id, message.text) == (first.id, "grüße")
            assert (await anext(messages)).data == b"\xff"
            assert messages.transport == "poll"
        assert proxy.upgrades == 0


async def test_what_the_server_refuses_is_an_error(free_port: int) -> None:
    """The error has the server's code; the connection stays usable."""
    async with behind_a_proxy(free_port) as (_, _, reader, publisher):
        with pytest.raises(Refused) as caught:
            await publisher.publish("", "x")
        assert (caught.value.status, caught.value.code) == (400, "bad_request")
        with pytest.raises(Refused):
            async with reader.subscribe("k", cursor="nonsense") as messages:
                await anext(messages)
        await publisher.publish("k", "x")


@pytest.mark.parametrize("transport", ["poll", "websocket"])
async def test_json_values_arrive_as_they_were_published(
    free_port: int, transport: Any
) -> None:
    """Over both transports; strings and bytes as before."""
    values: list[Any] = [{"b": 1.5, "a": ["é", None]}, None, 10**25, "[1]", b"\xff"]
    async with behind_a_proxy(free_port) as (_, _, reader, publisher):
        async with reader.subscribe("k", transports=[transport]) as messages:
            for value in values:
                await publisher.publish("k", value)
            with trio.fail_after(20):
                for value in values:
                    assert (await anext(messages)).value == value


@pytest.mark.slow
@pytest.mark.parametrize("polls", ["cut", "refuse"])
async def test_where_polls_are_cut_a_websocket_takes_over(
    free_port: int, polls: Any
) -> None:
    """After three cut polls; then messages arrive as they are published."""
    opinions = {"polls": polls, "patience": 0.3}
    async with behind_a_proxy(free_port, polls="pass") as (_, proxy, reader, publisher):
        async with reader.subscribe("k") as messages:
            proxy.polls, proxy.patience = opinions["polls"], 0.3
            await publisher.publish("k", "0")
            async with trio.open_nursery() as nursery:

                async def write() -> None:
                    while messages.transport == "poll":
                        await trio.sleep(0.1)
                    await publisher.publish("k", "1")

                nursery.start_soon(write)
                assert await take(messages, 2) == ["0", "1"]
            assert messages.transport == "websocket"
            assert proxy.upgrades == 1


@pytest.mark.slow
async def test_opened_is_not_works(free_port: int) -> None:
    """If the websocket is cut after the upgrade, short polls are used."""
    async with behind_a_proxy(free_port) as (_, proxy, reader, publisher):
        async with reader.subscribe("k") as messages:
            proxy.polls, proxy.websockets, proxy.patience = "cut", "kill", 0.3
            async with trio.open_nursery() as nursery:

                async def write() -> None:
                    while not proxy.upgrades:
                        await trio.sleep(0.1)
                    await trio.sleep(1)
                    await publisher.publish("k", "0")

                nursery.start_soon(write)
                assert await take(messages, 1) == ["0"]
            assert messages.transport == "poll"
            assert proxy.upgrades == 1


@pytest.mark.long
async def test_transports_change_under_load_without_loss_or_repetition(
    free_port: int,
) -> None:
    """However the proxy interferes, every message arrives once and in order."""
    count = 400
    async with behind_a_proxy(free_port) as (_, proxy, reader, publisher):
        async with reader.subscribe("k", limit=7) as messages:
            seen: set[str] = set()

            async def write() -> None:
                for n in range(count):
                    await publisher.publish("k", str(n))
                    await trio.sleep(0.02)

            async def change_its_mind() -> None:
                proxy.patience = 0.05
                while True:
                    proxy.polls, proxy.websockets = "refuse", "pass"
                    await trio.sleep(3.5)
                    proxy.polls, proxy.websockets = "pass", "kill"
                    proxy.hang_up()
                    await trio.sleep(2)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(write)
                nursery.start_soon(change_its_mind)
                taken: list[str] = []
                with trio.fail_after(60):
                    while len(taken) < count:
                        taken.append((await anext(messages)).text)
                        seen.add(messages.transport)
                nursery.cancel_scope.cancel()
    assert taken == [str(n) for n in range(count)]
    assert seen == {"poll", "websocket"}
