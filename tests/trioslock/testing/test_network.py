"""Memory connections to a server, and what can be done to them."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trioslock import Backoff, ConnectionLost
from trioslock.server import open_server
from trioslock.testing import open_network


async def test_clients_share_the_server(autojump_clock: MockClock) -> None:
    """It has no listener; its engine shows what they hold."""
    async with open_network() as network:
        assert network.server.port is None
        async with network.open_client() as one, network.open_client(db=3) as other:
            async with one.lock("k"), other.lock("k"):
                engine = network.server.host_engine.engine
                assert engine.statistics().holders == 2
        assert len(network.streams) == 2
        assert repr(network) == "<Network: up, 2 connections so far>"


async def test_a_server_that_runs_already_can_be_used(
    autojump_clock: MockClock,
) -> None:
    """The network leaves it running."""
    async with open_server(host=None) as server:
        async with open_network(server) as network, network.open_client() as client:
            await client.ping()
            assert network.server is server
        async with open_network(server) as network, network.open_client() as client:
            await client.ping()


async def test_a_cut_breaks_all_connections_and_new_ones_can_be_made(
    autojump_clock: MockClock,
) -> None:
    """A client that is left to its defaults is back within moments."""
    async with open_network() as network, network.open_client() as client:
        network.cut()
        with pytest.raises(ConnectionLost):
            await client.ping()
        with trio.fail_after(0.1):
            while client.statistics().connections < 2:  # noqa: ASYNC110
                await trio.sleep(0.001)
            await client.ping()


async def test_a_network_that_is_down_refuses_connections(
    autojump_clock: MockClock,
) -> None:
    """Until it is up again."""
    async with open_network() as network:
        network.down()
        assert repr(network) == "<Network: down, 0 connections so far>"
        with pytest.raises(ConnectionRefusedError, match="the network is down"):
            await network.open_transport()
        with pytest.raises(ConnectionLost):
            async with network.open_client(backoff=None):
                pytest.fail("it is down")
        network.up()
        async with network.open_client(backoff=Backoff(first=1)) as client:
            await client.ping()


@pytest.mark.parametrize("limit", [{"sends": 2}, {"receives": 1}])
async def test_the_next_connection_is_cut_after_so_many_messages(
    autojump_clock: MockClock, limit: dict[str, float]
) -> None:
    """The handshake is the first; the connection after that is whole again."""
    async with open_network() as network:
        network.cut_next(**limit)
        async with network.open_client() as client:
            await client.lock("k").acquire()
            assert client.statistics().connections == 2
            await client.ping()
            assert client.statistics().connections == 2
