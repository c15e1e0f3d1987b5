"""The real replica set does what the client's design stands on."""

from __future__ import annotations

import pytest
from tests.trioslock.replset.cluster import Cluster

pytestmark = pytest.mark.slow


async def test_a_killed_leader_is_replaced(cluster: Cluster) -> None:
    """Two of three nodes elect a new leader, and the third comes back."""
    old = await cluster.leader()
    await old.kill()
    new = await cluster.settle()
    assert new is not old
    await old.start()
    assert await cluster.settle() is new


async def test_after_a_leader_has_quit_there_is_one_again(cluster: Cluster) -> None:
    """Mostly another node, but the same may win; no process ends."""
    await cluster.quit_leader()
    assert await cluster.settle() in cluster.nodes
    assert len(cluster.running) == 3
