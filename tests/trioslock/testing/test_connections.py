"""Faults of all connections to a server, over memory streams."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trioslock import LockLost
from trioslock.testing import Claims, open_network


async def test_a_frozen_server_answers_when_it_is_thawed(
    autojump_clock: MockClock,
) -> None:
    """Old connections and new ones hang until then."""
    async with open_network() as network, network.open_client() as client:
        network.freeze()
        assert repr(network) == "<Network: frozen, 1 connections so far>"
        with trio.move_on_after(1) as waiting:
            await client.ping()
        assert waiting.cancelled_caught
        async with network.open_client(wait_connected=False) as late:
            with trio.move_on_after(1) as connecting:
                await late.wait_connected()
            assert connecting.cancelled_caught
            network.thaw()
            await late.ping()
        await client.ping()


async def test_a_delay_is_added_to_each_message(autojump_clock: MockClock) -> None:
    """On connections of now and later, until it is 0."""
    async with open_network() as network, network.open_client() as client:
        network.delay(0.5)
        assert await client.ping() == pytest.approx(0.5)
        async with network.open_client() as late:
            assert await late.ping() == pytest.approx(0.5)
        network.delay(0)
        assert await client.ping() == 0


async def test_a_holder_loses_its_key_and_a_waiter_gets_it(
    autojump_clock: MockClock,
) -> None:
    """The body of the holder is cancelled, and `LockLost` says why."""
    async with open_network() as network, network.open_client(db=3) as client:
        assert network.lose("k", db=3) == 0
        with pytest.raises(LockLost) as caught:
            async with client.lock("k"), trio.open_nursery() as nursery:
                nursery.start_soon(client.lock("k").acquire)
                await trio.testing.wait_all_tasks_blocked()
                assert network.claims("k", db=3) == Claims(holders=1, waiters=1)
                assert network.claims("k") == Claims(0, 0)
                assert network.lose("k", db=3) == 1
                await trio.sleep(1)
                pytest.fail("the key is lost")
        assert caught.value.reason == "expired"
