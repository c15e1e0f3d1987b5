"""The client over websockets, to the service in this process."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio
from tests.triopoll.access.variants import SECRET
from tests.triopoll.inprocess import proxy_to, publish, served
from tests.triopoll.support import eventually

from triopoll.access import issue_ticket
from triopoll.client import MessagesLost, Refused, _websocket, open_poll_client
from triopoll.client._errors import TransientError

ONLY: Any = {"transports": ["websocket"]}


async def take(messages: Any, count: int) -> list[str]:
    taken: list[str] = []
    with trio.fail_after(20):
        while len(taken) < count:
            taken.append((await anext(messages)).text)
    return taken


async def test_messages_come_in_order(free_port: int) -> None:
    """From where it was entered, in pages and single; afterwards no wait is left."""
    async with served(free_port) as (app, running):
        await publish(app, "k", b"old")
        async with open_poll_client(f"http://127.0.0.1:{running.port}") as client:
            async with client.subscribe("k", limit=3, **ONLY) as messages:
                assert messages.transport == "websocket"
                await publish(app, "k", *(b"%d" % n for n in range(8)))
                assert await take(messages, 8) == [str(n) for n in range(8)]
                await publish(app, "k", b"8")
                assert await take(messages, 1) == ["8"]
                cursor = messages.cursor
            await publish(app, "k", b"9")
            async with client.subscribe("k", cursor=cursor, **ONLY) as messages:
                assert await take(messages, 1) == ["9"]
            async with client.subscribe("k", cursor="all", **ONLY) as messages:
                assert await take(messages, 11) == ["old", *map(str, range(10))]
        await eventually(lambda: app.drain.parked == 0)


async def test_a_cancelled_next_has_taken_nothing(free_port: int) -> None:
    """At whichever await it is cancelled."""
    async with served(free_port) as (app, running):
        async with open_poll_client(f"http://127.0.0.1:{running.port}") as client:
            async with client.subscribe("k", limit=2, **ONLY) as messages:
                taken: list[str] = []

                async def read() -> None:
                    while len(taken) < 40:
                        with trio.move_on_after(0.003):
                            while True:
                                taken.append((await anext(messages)).text)
                        await trio.sleep(0.001)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read)
                    for n in range(40):
                        await publish(app, "k", b"%d" % n)
                        await trio.sleep(0.002)
    assert taken == [str(n) for n in range(40)]


async def test_nothing_is_acknowledged_before_it_was_taken(free_port: int) -> None:
    """With trimming by acknowledgement, the next subscription gets the rest."""
    async with served(free_port, log_trim_acked=True) as (app, running):
        await publish(app, "k", b"1", b"2", b"3", b"4")
        async with open_poll_client(f"http://127.0.0.1:{running.port}") as client:
            async with client.subscribe("k", cursor="all", limit=2, **ONLY) as messages:
                assert await take(messages, 2) == ["1", "2"]
            async with client.subscribe("k", cursor="all", limit=2, **ONLY) as messages:
                assert await take(messages, 3) == ["1", "2", "3"]
            async with client.subscribe("k", cursor="all", **ONLY) as messages:
                assert await take(messages, 2) == ["3", "4"]


async def test_a_gap_is_raised(free_port: int) -> None:
    """As with polls."""
    async with served(free_port) as (app, running):
        await publish(app, "k", b"1")
        async with open_poll_client(f"http://127.0.0.1:{running.port}") as client:
            foreign = "0badcafe.1700000000000000.00ff"
            async with client.subscribe("k", cursor=foreign, **ONLY) as messages:
                with pytest.raises(MessagesLost):
                    await take(messages, 1)
                assert await take(messages, 1) == ["1"]


@pytest.mark.slow
async def test_a_slow_user_keeps_the_websocket(free_port: int) -> None:
    """Pings are answered while the user processes a message."""
    async with served(free_port, websocket_ping=0.3) as (app, running):
        async with open_poll_client(f"http://127.0.0.1:{running.port}") as client:
            async with client.subscribe("k", **ONLY) as messages:
                await publish(app, "k", b"1")
                assert await take(messages, 1) == ["1"]
                await trio.sleep(1.5)
                await publish(app, "k", b"2")
                assert await take(messages, 1) == ["2"]
        meter = app.metrics.waits["websocket"]
        await eventually(lambda: not meter.parked)
        assert meter.ended == {"disconnect": 1}


@pytest.mark.slow
async def test_it_comes_back_after_every_loss(free_port: int) -> None:
    """If a proxy cuts it repeatedly, messages are delayed and none is lost."""
    async with (
        served(free_port) as (app, running),
        proxy_to(running.port, websockets="kill", patience=0.1) as proxy,
        open_poll_client(f"http://127.0.0.1:{proxy.port}") as client,
        client.subscribe("k", cursor="all", **ONLY) as messages,
    ):
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                for n in range(60):
                    await publish(app, "k", b"%d" % n)
                    await trio.sleep(0.02)
                proxy.websockets = "pass"

            nursery.start_soon(write)
            assert await take(messages, 60) == [str(n) for n in range(60)]
    assert proxy.upgrades > 2


async def test_a_refused_upgrade_is_an_error_if_there_is_no_other_transport(
    free_port: int,
) -> None:
    """A denied handshake is raised; where polls are allowed, they take over."""
    async with served(free_port, websockets=False) as (app, running):
        async with open_poll_client(f"http://127.0.0.1:{running.port}") as client:
            with trio.fail_after(20), pytest.raises(Refused) as caught:
                async with client.subscribe("k", **ONLY):
                    pass
            assert (caught.value.status, caught.value.code) == (404, "websockets_off")
            async with client.subscribe("k") as messages:
                messages._transport_choice.cuts = 3
                await publish(app, "k", b"1")
                assert await take(messages, 1) == ["1"]
                assert messages.transport == "poll"
        assert running.server.connections <= 1


async def test_what_the_server_refuses_over_a_websocket_is_an_error(
    free_port: int,
) -> None:
    """A frame that is refused would be refused again."""
    async with served(free_port) as (_, running):
        async with open_poll_client(f"http://127.0.0.1:{running.port}") as client:
            with trio.fail_after(20), pytest.raises(Refused) as caught:
                async with client.subscribe("k", cursor="nonsense", **ONLY) as messages:
                    await anext(messages)
    assert (caught.value.status, caught.value.code) == (101, "bad_frame")


async def test_a_cancelled_handshake_closes_the_connection() -> None:
    """The task of the websocket has ended when the cancellation leaves."""
    closed = trio.Event()

    async def say_nothing(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async for _ in stream:
                scope.cancel()
        closed.set()

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, say_nothing, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        before = trio.lowlevel.current_statistics().tasks_living
        async with open_poll_client(url) as client:
            with trio.CancelScope() as scope:
                await client.subscribe("k", **ONLY).__aenter__()
        assert scope.cancelled_caught
        # The task of the connection's other end may live for a moment.
        assert trio.lowlevel.current_statistics().tasks_living <= before + 1
        with trio.fail_after(5):
            await closed.wait()
        nursery.cancel_scope.cancel()


async def test_a_link_that_has_failed_is_closed(free_port: int) -> None:
    """At once, although the subscription goes on with another one."""
    async with served(free_port) as (app, running):
        async with open_poll_client(f"http://127.0.0.1:{running.port}") as client:
            async with client.subscribe("k", **ONLY) as messages:
                link = messages._link
                assert link is not None
                with pytest.raises(TransientError, match="does not read"):
                    while True:
                        link._send({"type": "pong"})
                await publish(app, "k", b"1")
                assert await take(messages, 1) == ["1"]
                assert messages._link is not link
                await eventually(lambda: running.server.connections == 1)


async def test_a_bug_is_raised_where_messages_are_taken(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The websocket has a task of its own, whose error would end the program."""
    async with served(free_port) as (app, running):
        async with open_poll_client(f"http://127.0.0.1:{running.port}") as client:
            async with client.subscribe("k", **ONLY) as messages:
                monkeypatch.setattr(_websocket, "page_from", lambda frame: 1 / 0)
                await publish(app, "k", b"1")
                with trio.fail_after(20), pytest.raises(ExceptionGroup) as caught:
                    await anext(messages)
                assert caught.group_contains(ZeroDivisionError)
            await eventually(lambda: running.server.connections == 0)


@pytest.mark.slow
async def test_a_ticket_that_ends_is_fetched_again(free_port: int) -> None:
    """Also where only websockets are allowed; a fixed one that ends is an error."""
    fetched: list[str] = []

    async def fetch() -> str:
        await trio.lowlevel.checkpoint()
        fetched.append(issue_ticket(SECRET, ["k"], lifetime=2))
        return fetched[-1]

    async with served(free_port, ticket_secrets=SECRET) as (app, running):
        url = f"http://127.0.0.1:{running.port}"
        async with open_poll_client(url, ticket=fetch) as client:
            async with client.subscribe("k", **ONLY) as messages:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(take, messages, 1)
                    with trio.fail_after(15):
                        while len(fetched) < 2:
                            await trio.sleep(0.05)
                    await publish(app, "k", b"1")
        async with open_poll_client(url, ticket=await fetch()) as client:
            with trio.fail_after(20), pytest.raises(Refused) as caught:
                async with client.subscribe("k", **ONLY) as messages:
                    await anext(messages)
        assert caught.value.code == "ticket_expired"
