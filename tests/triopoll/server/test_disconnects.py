"""The set of sockets whose peers may leave."""

from __future__ import annotations

import socket

import pytest
from tests.triopoll.server.harness import run_server
from tests.triopoll.server.park_app import ParkApp

from triopoll.asgi.messages import CANCELS
from triopoll.server import disconnects
from triopoll.server.disconnects import open_disconnects


async def test_without_epoll_nothing_is_promised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The application is not told that it would be cancelled, and serving works."""
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
