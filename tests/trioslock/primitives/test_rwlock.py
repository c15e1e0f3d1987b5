from __future__ import annotations

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend

from trioslock import Client


async def test_readers_share_it(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("rw")
    async with client.rwlock(key).read(), other.rwlock(key).read():
        assert await backend.claims(key) == (2, 0)
        with pytest.raises(trio.WouldBlock):
            await other.rwlock(key).write().try_acquire()
    assert await backend.claims(key) == NOTHING


async def test_a_writer_is_alone(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("rw")
    async with client.rwlock(key).write():
        with pytest.raises(trio.WouldBlock):
            await other.rwlock(key).read().try_acquire()
        with pytest.raises(trio.WouldBlock):
            await other.rwlock(key).write().try_acquire()
    assert await backend.claims(key) == NOTHING


async def test_a_waiting_writer_goes_before_later_readers(
    backend: Backend, client: Client, other: Client
) -> None:
    """First in, first out: neither side starves."""
    key = backend.key("rw")
    order = []

    async def write() -> None:
        async with other.rwlock(key).write():
            order.append("writer")

    async def read() -> None:
        async with other.rwlock(key).read():
            order.append("late reader")

    async with trio.open_nursery() as nursery:
        async with client.rwlock(key).read():
            nursery.start_soon(write)
            await backend.until(key, 1, 1)
            nursery.start_soon(read)
            await backend.until(key, 1, 2)
            assert order == []
    assert order == ["writer", "late reader"]


async def test_a_writer_that_gives_up_lets_in_the_readers_behind_it(
    backend: Backend, client: Client, other: Client
) -> None:
    """The server leaves them asleep until a holder releases."""
    key = backend.key("rw")
    writer_scope = trio.CancelScope()
    reader_in = trio.Event()

    async def write() -> None:
        with writer_scope:
            await client.rwlock(key).write().acquire()

    async def read() -> None:
        async with other.rwlock(key).read():
            reader_in.set()

    async with trio.open_nursery() as nursery:
        async with client.rwlock(key).read():
            nursery.start_soon(write)
            await backend.until(key, 1, 1)
            nursery.start_soon(read)
            await backend.until(key, 1, 2)
            writer_scope.cancel()
            with trio.fail_after(5):
                await reader_in.wait()
    assert await backend.claims(key) == NOTHING


async def test_a_writer_that_gives_up_lets_no_reader_past_another_writer(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("rw")
    scope = trio.CancelScope()

    async def write() -> None:
        with scope:
            await other.rwlock(key).write().acquire()

    async with trio.open_nursery() as nursery:
        async with client.rwlock(key).write():
            nursery.start_soon(write)
            await backend.until(key, 1, 1)
            scope.cancel()
            await backend.until(key, 1, 0)
            await client.ping()
            assert len(await client.holders(key)) == 1
    assert await backend.claims(key) == NOTHING


async def test_repr_shows_the_key(client: Client) -> None:
    assert "RWLock" in repr(client.rwlock(b"0123456789abcdef"))
    assert "ReadSide" in repr(client.rwlock("k").read())
