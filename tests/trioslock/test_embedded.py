from __future__ import annotations

import time

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints

from trioslock import (
    ConnectionLost,
    LocalProtocolError,
    LockError,
    ServerError,
    open_client,
)
from trioslock.embedded import open_embedded
from trioslock.engine import EngineLimits
from trioslock.server import open_server


async def test_an_engine_of_its_own_keeps_time(autojump_clock: MockClock) -> None:
    async with open_embedded() as client:
        grant = await client.lock("k", lease=5, renew=False).acquire()
        with assert_checkpoints():
            assert await client.lock("k").locked()
        loss = await grant.wait_lost()
        assert loss.reason == "expired"
        assert 5 <= trio.current_time() - grant._granted_at <= 6.1
        assert "EngineLink" in repr(client)
        assert await client.ping() == 0


async def test_an_engine_of_its_own_shows_unix_seconds() -> None:
    """As a server does, whatever the time of trio's clock."""
    async with open_embedded() as client, client.lock("k", lease=60):
        before = time.time()
        (holder,) = await client.holders("k")
    assert holder.since is not None
    assert holder.until is not None
    assert before - 2 <= holder.since <= before + 1
    assert 60 <= holder.until - holder.since <= 61


async def test_two_clients_have_two_engines(autojump_clock: MockClock) -> None:
    async with open_embedded() as one, open_embedded() as two:
        async with one.lock("k"), two.lock("k"):
            pass


async def test_an_engine_shared_with_a_listener() -> None:
    """An event that is set over TCP wakes the waiters in this process."""
    async with (
        open_server(port=0) as server,
        open_embedded(server.host_engine) as client,
        open_client(f"slock://127.0.0.1:{server.port}") as publisher,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.event("e", ttl=30).wait)
            await trio.testing.wait_all_tasks_blocked()
            await publisher.event("e", ttl=30).set()
        async with client.lock("k"):
            with pytest.raises(trio.WouldBlock):
                await publisher.lock("k").try_acquire()
        assert len(await client.holders("e")) == 1
    assert server.host_engine.engine.statistics().peers == 0


async def test_the_end_of_the_server_ends_the_client() -> None:
    """The engine's host closes its peers: nothing hangs."""
    async with open_server(host=None) as server:
        async with open_embedded(server.host_engine) as client:
            link = client._session._link
            link._scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ConnectionLost):
                await client.ping()
            with pytest.raises(ConnectionLost):
                await client.lock("k").acquire()


async def test_errors_leave_as_they_are(autojump_clock: MockClock) -> None:
    with pytest.raises(ValueError, match="mine"):
        async with open_embedded():
            raise ValueError("mine")
    with trio.move_on_after(1) as scope:
        async with open_embedded() as client:
            await client.lock("k").acquire()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_embedded():
            pytest.fail("the body must not run")
    assert scope.cancelled_caught


async def test_limits_of_the_engine_are_kept(autojump_clock: MockClock) -> None:
    async with open_embedded(engine_limits=EngineLimits(keys=1)) as client:
        await client.lock("one").acquire()
        with pytest.raises((LockError, ServerError)):
            await client.lock("two").acquire()


async def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="0 to 254"):
        open_embedded(db=255)
    with pytest.raises(ValueError, match="session_ttl"):
        open_embedded(session_ttl=0)
    async with open_embedded() as client:
        with pytest.raises(LocalProtocolError):
            client.lock("\ud800")
