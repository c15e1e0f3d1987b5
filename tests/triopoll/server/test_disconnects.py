"""The epoll set of sockets whose peers are watched."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing
from tests.triopoll.server.harness import run_server
from tests.triopoll.server.park_app import ParkApp
from tests.triopoll.support import eventually

from triopoll.asgi.messages import CANCELS
from triopoll.server import disconnects
from triopoll.server.disconnects import open_disconnects


async def test_without_epoll_nothing_is_promised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The scope does not say that the application is cancelled; serving works."""
    monkeypatch.setattr(disconnects, "_new_epoll", lambda: None)
    app = ParkApp()
    async with run_server(app) as running:
        client = await running.connect()
        await client.get("/hello")
        assert (await client.read_answer()).endswith(b"hello")
    assert CANCELS not in app.scopes[0]["extensions"]


def test_a_socket_that_was_closed_first() -> None:
    """It has left the set by itself; a second time is one too many, and harmless."""
    one, other = socket.socketpair()
    with one, other, open_disconnects() as watched:
        descriptor = one.fileno()
        watched.watch(descriptor, lambda: None)
        one.close()
        watched.unwatch(descriptor)
        watched.unwatch(descriptor)
        assert repr(watched) == "<Disconnects: 0 sockets>"


@asynccontextmanager
async def watched_peer() -> AsyncIterator[tuple[trio.SocketStream, list[str]]]:
    """The other end of a watched socket, and what was reported of it."""
    reported: list[str] = []
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    peer = await trio.open_tcp_stream(*listeners[0].socket.getsockname())
    stream = await listeners[0].accept()
    async with stream, peer, listeners[0], trio.open_nursery() as nursery:
        with open_disconnects() as watched:
            nursery.start_soon(watched.run)
            descriptor = stream.socket.fileno()
            watched.watch(descriptor, lambda: reported.append("left"))
            assert repr(watched) == "<Disconnects: 1 sockets>"
            yield peer, reported
            watched.unwatch(descriptor)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["close", "half close", "reset"])
@pytest.mark.parametrize("unread", [b"", b"x" * 1000])
async def test_a_peer_that_leaves_is_reported_once(how: str, unread: bytes) -> None:
    """In whatever way, and whatever it sent before that nothing has read."""
    async with watched_peer() as (peer, reported):
        if unread:
            await peer.send_all(unread)
        if how == "half close":
            await peer.send_eof()
        elif how == "reset":
            linger = trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            peer.socket.setsockopt(*linger)
            peer.socket.close()
        else:
            await peer.aclose()
        await eventually(lambda: bool(reported))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert reported == ["left"]


async def test_data_is_not_reported() -> None:
    """Reading is the business of the connection's task."""
    async with watched_peer() as (peer, reported):
        for _ in range(3):
            await peer.send_all(b"x")
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert not reported


async def test_a_socket_that_is_not_watched_any_more() -> None:
    """Its peer leaves in the moment in which it is taken out."""
    reported: list[str] = []
    one, other = socket.socketpair()
    with one, other, open_disconnects() as watched:
        watched.watch(one.fileno(), lambda: reported.append("left"))
        other.close()
        watched.unwatch(one.fileno())
        with trio.move_on_after(0.02):
            await watched.run()
    assert not reported


async def test_a_peer_that_leaves_with_another_one() -> None:
    """A callback may take another socket out of the set that is reported as well."""
    pairs = [socket.socketpair() for _ in range(2)]
    with open_disconnects() as watched:

        def leave(own: int) -> None:
            reported.append(own)
            watched.unwatch(pairs[1 - own][0].fileno())

        reported: list[int] = []
        for number, (one, other) in enumerate(pairs):
            watched.watch(one.fileno(), partial(leave, number))
            other.close()
        with trio.move_on_after(0.02):
            await watched.run()
        assert len(reported) == 1
    for one, _ in pairs:
        one.close()
