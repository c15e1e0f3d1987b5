"""What a client leaves on real nodes that stop leading, while it stays open."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from tests.trioslock.replset.cluster import Cluster, until
from tests.trioslock.replset.test_failover import (
    BLOWS,
    LOGGED,
    Blow,
    connected,
    nothing_is_left,
)

from trioslock import Client, ConnectionLost, LockLost
from trioslock.client import open_replica_client
from trioslock.link import SessionSettings
from trioslock.transport import SocketTransport, connect_tcp

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WAITS = 20
KEY = "job"


async def wait_in_line(client: Client, lease: float | None, patience: float) -> None:
    """Want the key for a while; a grant may be lost when the leader changes."""
    lock = client.lock(KEY) if lease is None else client.lock(KEY, lease=lease)
    with trio.move_on_after(patience):
        try:
            async with lock:
                await trio.lowlevel.checkpoint()
        except (LockLost, ConnectionLost):
            pass  # as below


async def in_flight(client: Client, count: int) -> bool:
    return client.statistics().in_flight >= count


async def strike(cluster: Cluster, client: Client, blow: Blow, lease: float | None):  # type: ignore[no-untyped-def]
    """Change the leader under a holder and its waiters; end all of them after."""
    lock = client.lock(KEY) if lease is None else client.lock(KEY, lease=lease)
    grant = await lock.acquire()
    async with trio.open_nursery() as nursery:
        for number in range(WAITS):
            patience = LOGGED + 2 if number % 2 else 60
            nursery.start_soon(wait_in_line, client, lease, patience)
        await until(partial(in_flight, client, WAITS))
        await trio.sleep(LOGGED)
        await blow(cluster)
        await client.wait_connected()
        try:
            await grant.release()
        except (LockLost, ConnectionLost):
            pass  # not in the log yet, or the election took longer than the session
    for node in cluster.nodes:
        if not node.running:
            await node.start()
    await cluster.settle()


@pytest.mark.parametrize("lease", [None, 20.0], ids=["session", "lease"])
@pytest.mark.parametrize("blow", BLOWS)
async def test_two_leaders_lost_in_a_row_keep_nothing(
    cluster: Cluster, blow: Blow, lease: float | None
) -> None:
    """No node has a holder or a waiter left while the client stays open."""
    async with connected(cluster) as client:
        for _ in range(2):
            await strike(cluster, client, blow, lease)
        await client.wait_connected()
        await nothing_is_left(cluster)


async def test_a_released_key_is_free_after_a_restart(cluster: Cluster) -> None:
    """Whenever it is: here when the lease would have ended a moment before.

    A node leaves out of its log what has ended by then. A release ends there with the
    lease that it releases, so the log may have no lease of the grant that ends later.
    """
    lease = 8
    transports: list[SocketTransport] = []

    async def open_transport(host: str, port: int) -> SocketTransport:
        transports.append(await connect_tcp(host, port))
        return transports[-1]

    async def connected_again() -> bool:
        return client.statistics().connections > 1

    leader = await cluster.leader()
    addresses = [(node.host, node.port) for node in cluster.nodes]
    settings = SessionSettings(bytes(range(16)), session_ttl=lease)
    async with open_replica_client(
        addresses, open_transport, settings, heartbeat=1.0
    ) as client:
        async with client.lock(KEY):
            await trio.sleep(LOGGED)
            for transport in transports[:]:
                await transport.aclose()
            await until(connected_again)
            renewed_at = trio.current_time()
        await trio.sleep(LOGGED)
        await leader.kill()
        await cluster.settle()
        # A lease ends one second late.
        await trio.sleep_until(renewed_at + lease + 1.1)
        await leader.start()
        await cluster.settle()
        await nothing_is_left(cluster)
