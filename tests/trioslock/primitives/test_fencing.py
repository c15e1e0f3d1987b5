from __future__ import annotations

from typing import Any

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend, open_backend
from trio.testing import MockClock

from trioslock import Client, ConnectionLost, Data, Flags, Grant, ServerError
from trioslock.primitives import _fencing
from trioslock.primitives._fencing import fence_key, token_of
from trioslock.protocol import LockResult


async def drop_counter(backend: Backend, client: Client, key: str) -> None:
    """The counter is permanent: tests on a shared server take theirs away."""
    await client.value(fence_key(client.lock(key).key)).unset()


async def test_tokens_grow_in_the_order_of_the_grants(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("fenced")
    tokens = []

    async def take(who: Client) -> None:
        for _ in range(5):
            async with who.lock(key, fenced=True) as grant:
                tokens.append(grant.token)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, client)
        nursery.start_soon(take, other)
    assert tokens == list(range(1, 11))
    assert await backend.claims(key) == NOTHING
    await drop_counter(backend, client, key)


async def test_a_refused_request_takes_no_token(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("fenced")
    async with client.lock(key, fenced=True) as grant:
        assert grant.token == 1
        for _ in range(3):
            with pytest.raises(trio.WouldBlock):
                await other.lock(key, fenced=True).try_acquire()
        with trio.move_on_after(0.02):
            await other.lock(key, fenced=True).acquire()
        # On its own connection the withdrawal may come behind the release, and then
        # it releases a grant, which did take a token.
        await backend.until(key, 1, 0)
    async with other.lock(key, fenced=True) as grant:
        assert grant.token == 2
    await drop_counter(backend, client, key)


async def test_a_plain_lock_has_none(backend: Backend, client: Client) -> None:
    async with client.lock(backend.key("plain")) as grant:
        assert grant.token is None


async def test_data_goes_along(backend: Backend, client: Client) -> None:
    key = backend.key("fenced")
    lock = client.lock(key, fenced=True)
    grant = await lock.acquire(data=Data.set("mine"))
    assert grant.token == 1
    holder = await lock.show()
    assert holder is not None
    assert holder.data is not None
    assert holder.data.text == "mine"
    await grant.release()
    await drop_counter(backend, client, key)


async def test_a_pipeline_cannot_go_along(client: Client) -> None:
    with pytest.raises(ValueError, match="not a pipeline"):
        await client.lock("fenced", fenced=True).acquire(
            data=Data.pipeline(Data.set("x"))
        )


async def test_an_acknowledged_lock_cannot_be_fenced(client: Client) -> None:
    with pytest.raises(ValueError, match="fenced and acknowledged"):
        client.lock("fenced", fenced=True, flags=Flags(require_ack=True))


async def test_no_entry_is_left(backend: Backend, client: Client) -> None:
    key = backend.key("fenced")
    async with client.lock(key, fenced=True):
        pass
    assert client.statistics().in_flight == 0
    await drop_counter(backend, client, key)


async def test_a_cut_while_waiting_is_an_error_and_nothing_is_left(
    autojump_clock: MockClock,
) -> None:
    """The server may have counted, so it is not asked again."""
    async with open_backend("memory") as backend:
        memory: Any = backend
        async with backend.open_client() as client, trio.open_nursery() as nursery:
            grant = await client.lock("fenced", lease=500).acquire()

            async def wait() -> None:
                with pytest.raises(ConnectionLost):
                    await client.lock("fenced", fenced=True).acquire()

            nursery.start_soon(wait)
            await backend.until("fenced", 1, 1)
            memory.cut()
            await trio.sleep(1)
            memory.restore()
            await backend.until("fenced", 1, 0)
            await grant.release()
            async with client.lock("fenced", fenced=True) as second:
                assert second.token is not None
            assert client.statistics().in_flight == 0
        assert await backend.claims("fenced") == NOTHING


async def test_a_fenced_wait_begins_when_there_is_a_connection(
    autojump_clock: MockClock,
) -> None:
    async with open_backend("memory") as backend:
        memory: Any = backend
        async with backend.open_client() as client, trio.open_nursery() as nursery:
            memory.cut()
            await trio.sleep(0.1)
            got: list[Grant] = []

            async def wait() -> None:
                got.append(await client.lock("fenced", fenced=True).acquire())

            nursery.start_soon(wait)
            await trio.sleep(1)
            memory.restore()
            await trio.sleep(5)
            assert got[0].token == 1
            await got[0].release()


def test_an_answer_that_is_no_count_is_an_error() -> None:
    answer = LockResult(1, b"", 11, 0, 0, b"", b"", 0, 0, 0, 0, None)
    with pytest.raises(ServerError):
        token_of(answer)


async def test_a_grant_whose_counter_fails_is_released(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grant without its token is of no use to a caller who wants one."""

    def refuse(_result: LockResult) -> int:
        raise ServerError("no counter", result=11)

    monkeypatch.setattr(_fencing, "token_of", refuse)
    lock = client.lock("fenced-twice", fenced=True)
    with pytest.raises(ServerError, match="no counter"):
        await lock.acquire()
    assert not await client.lock("fenced-twice").locked()
    assert client.statistics().in_flight == 0
    await client.value(fence_key(lock.key)).unset()
