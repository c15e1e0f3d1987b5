"""Only type-checked, never run: the helpers for tests as users write with them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import assert_type

from trioslock import Client
from trioslock.testing import (
    Claims,
    Connections,
    InThread,
    Network,
    SlockServer,
    open_in_thread,
    open_network,
    open_slock_server,
)


async def over_memory() -> None:
    async with open_network() as network, network.open_client() as client:
        assert_type(network, Network)
        assert_type(client, Client)
        break_and_mend(network)


def break_and_mend(network: Connections) -> None:
    network.freeze()
    network.thaw()
    network.delay(0.5)
    assert_type(network.lose(b"key", db=3), int)
    assert_type(network.claims("key"), Claims)


async def over_tcp() -> None:
    with open_slock_server() as server:
        assert_type(server, SlockServer)
        assert_type(server.url, str)
        assert_type(server.port, int)
        assert_type(server.lose("key"), int)
        assert_type(server.wait_claims("key", holders=1, timeout=5).waiters, int)
        server.advance(3.5)
        async with server.open_client(db=7) as client:
            assert_type(client, Client)


@asynccontextmanager
async def number() -> AsyncGenerator[int]:
    yield 7


def in_a_thread() -> None:
    with open_in_thread(number, name="numbers") as thread:
        assert_type(thread, InThread[int])
        assert_type(thread.value, int)
        assert_type(thread.call(lambda: "text"), str)
