"""The real replica set does what the client's design stands on."""

from __future__ import annotations

import pytest
from tests.trioslock.replset.cluster import Cluster, until

pytestmark = pytest.mark.slow


async def test_a_killed_leader_is_replaced(cluster: Cluster) -> None:
    """Two of three nodes elect a new leader, and the third comes back."""
    old = await cluster.leader()
    await old.kill()
    new = await cluster.settle()
    assert new is not old
    await old.start()
    assert await cluster.settle() is new


async def test_a_leader_that_quits_becomes_a_follower(cluster: Cluster) -> None:
    """After QUIT-LEADER another node leads; no process ends."""
    old = await cluster.leader()
    await cluster.quit_leader()

    async def replaced() -> bool:
        return await cluster.settle() is not old

    await until(replaced)
    assert len(cluster.running) == 3
