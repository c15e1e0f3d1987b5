from __future__ import annotations

from typing import Any

import pytest
import trio
from tests.trioslock.backends import Backend, MemoryBackend, open_backend, until
from trio.testing import MockClock

from trioslock import Client, ConnectionLost


def subscriptions(backend: Any) -> int:
    engine = backend.server.host_engine.engine
    return int(engine.statistics().subscriptions)


@pytest.fixture(params=["embedded", "memory", "tcp"])
def backend_choice(request: pytest.FixtureRequest) -> tuple[str, None]:
    return request.param, None


async def test_it_is_subscribed_while_its_body_runs(
    backend: Backend, client: Client
) -> None:
    async with client.subscribe():
        assert subscriptions(backend) == 1
    await until(lambda: subscriptions(backend) == 0)


async def test_the_error_of_the_body_leaves_as_it_is(
    backend: Backend, client: Client
) -> None:
    with pytest.raises(ValueError, match="mine"):
        async with client.subscribe():
            raise ValueError("mine")
    await until(lambda: subscriptions(backend) == 0)


async def test_a_cancelled_body_is_unsubscribed(
    backend: Backend, client: Client
) -> None:
    with trio.CancelScope() as scope:
        async with client.subscribe():
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    await until(lambda: subscriptions(backend) == 0)


async def test_without_a_connection_it_ends_at_once(
    autojump_clock: MockClock,
) -> None:
    """The server ends the subscription by itself."""
    async with open_backend("memory") as backend:
        assert isinstance(backend, MemoryBackend)
        async with backend.open_client() as client:
            async with client.subscribe():
                backend.cut()
                await trio.sleep(0.1)
                left_at = trio.current_time()
            assert trio.current_time() == left_at
            backend.restore()


async def test_a_connection_that_breaks_at_its_end_is_no_error(
    autojump_clock: MockClock,
) -> None:
    async with open_backend("memory") as backend:
        assert isinstance(backend, MemoryBackend)
        async with backend.open_client() as client:
            async with client.subscribe():
                backend.cut_latest()
            assert subscriptions(backend) == 1
            # The server keeps it for as long as the session lives.
            await trio.sleep(client._session.session_ttl + 2)
        assert subscriptions(backend) == 0


async def test_without_a_server_there_is_no_subscription(
    autojump_clock: MockClock,
) -> None:
    async with open_backend("memory") as backend:
        assert isinstance(backend, MemoryBackend)
        async with backend.open_client() as client:
            backend.cut()
            with pytest.raises(ConnectionLost, match="cannot connect"):
                async with client.subscribe():
                    pytest.fail("the body must not run")
            backend.restore()
