"""A client of a real replica set, while its leader is lost in every way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing
from tests.trioslock.replset.cluster import Cluster, Node, until
from tests.trioslock.replset.many_waiters import KEYS, ManyWaiters, key_of

from trioslock import Client, ConnectionLost, LockLost, open_client
from trioslock.client import open_replica_client
from trioslock.link import Role, SessionSettings
from trioslock.protocol import StateCommand, StateResult
from trioslock.transport import SocketTransport, connect_tcp

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TASKS = 500
LOGGED = 3.0
"""Seconds after which a held lock is in the log of all members."""

SESSION_TTL = 3.0
ENDS = {"granted", "timed out", "ConnectionLost", "lost: disconnected", "lost: expired"}
"""How a wait may end. A grant that is not in the log is lost when a leader changes."""

ELECTION = 90.0
"""What leases have to outlive. Real nodes draw lots: mostly a second or two, but 20 s
without a leader have been seen, and a leader that steps down again at once."""

Blow = Callable[[Cluster], Awaitable[None]]


@asynccontextmanager
async def connected(cluster: Cluster, **settings: float) -> AsyncIterator[Client]:
    settings = {"heartbeat": 1.0, "session_ttl": SESSION_TTL, **settings}
    async with open_client(
        cluster.url,
        wait_connected=False,
        **settings,  # type: ignore[arg-type]
    ) as client:
        # However long the election takes: opening would give up after 5 s.
        await client.wait_connected()
        yield client


async def kill_leader(cluster: Cluster) -> None:
    await (await cluster.leader()).kill()


async def stop_leader(cluster: Cluster) -> None:
    await (await cluster.leader()).stop()


async def quit_leader(cluster: Cluster) -> None:
    await cluster.quit_leader()


async def freeze_leader(cluster: Cluster) -> None:
    """Freeze it until the client has noticed, then let it go on."""
    leader = await cluster.leader()
    leader.freeze()
    await trio.sleep(4)
    leader.thaw()


BLOWS = [kill_leader, stop_leader, quit_leader, freeze_leader]


async def state_of(node: Node) -> StateResult:
    """Return a node's own counters of database 0."""
    url = f"slock://{node.address}"
    async with open_client(url) as client:
        session = client._session
        answer = await session.ask(StateCommand(session.new_id(), 0, 0))
    assert isinstance(answer, StateResult)
    return answer


async def nothing_is_left(cluster: Cluster) -> None:
    """Wait until no running node has a holder or a waiter."""

    async def empty(node: Node) -> bool:
        try:
            state = await state_of(node)
        except ConnectionLost:
            return False  # it has no leader at the moment
        return state.locked_count == 0 and state.wait_count == 0

    for node in cluster.running:
        await until(partial(empty, node))


@pytest.mark.parametrize("blow", BLOWS)
async def test_five_hundred_waits_outlive_their_leader(
    cluster: Cluster, blow: Blow
) -> None:
    """Each is granted once, times out by its own deadline or fails by name."""
    async with (
        connected(cluster) as client,
        connected(cluster, session_ttl=ELECTION) as holder,
    ):
        waiters = ManyWaiters(client)
        grants = [await holder.lock(key_of(number)).acquire() for number in range(KEYS)]
        async with trio.open_nursery() as nursery:
            for number in range(TASKS):
                # A tenth gives up while there is no leader, a tenth soon after.
                patience = {0: LOGGED + 0.5, 1: LOGGED + 2}.get(number % 10, 60)
                nursery.start_soon(waiters.want, number, patience)
            await trio.sleep(LOGGED)
            assert client.statistics().in_flight >= TASKS
            await blow(cluster)
            await holder.wait_connected()
            for grant in grants:
                assert grant.held
                await grant.release()
    assert sorted(waiters.ends) == list(range(TASKS))
    assert waiters.overlaps == 0
    assert set(waiters.granted.values()) == {1}
    counts = waiters.count()
    assert counts.keys() <= ENDS
    assert counts["granted"] >= TASKS * 7 // 10
    await nothing_is_left(cluster)


async def test_waits_for_an_event_outlive_their_leader(cluster: Cluster) -> None:
    """All of them are woken by a set on the new leader."""
    woken: list[int] = []

    async def wait(number: int) -> None:
        await client.event("news", ttl=60).wait()
        woken.append(number)

    async with connected(cluster) as client:
        async with trio.open_nursery() as nursery:
            for number in range(TASKS):
                nursery.start_soon(wait, number)
            await until(partial(waits_parked, client))
            await kill_leader(cluster)
            async with connected(cluster) as publisher:
                await publisher.event("news", ttl=60).set()
        assert sorted(woken) == list(range(TASKS))
        await client.event("news", ttl=60).clear()


async def waits_parked(client: Client) -> bool:
    return client.statistics().in_flight >= TASKS  # and perhaps a heartbeat


async def test_a_logged_grant_survives_its_leader(cluster: Cluster) -> None:
    """The new leader has it from the log, and the lease follows the client."""
    async with connected(cluster, session_ttl=ELECTION) as client:
        async with client.lock("job"), client.lock("timed", lease=60):
            await trio.sleep(LOGGED)
            await kill_leader(cluster)
            await client.wait_connected()
            async with connected(cluster) as other:
                with pytest.raises(trio.WouldBlock):
                    await other.lock("job").try_acquire()
                with pytest.raises(trio.WouldBlock):
                    await other.lock("timed").try_acquire()
        assert client.statistics().held == 0
    await nothing_is_left(cluster)


@pytest.mark.parametrize("lease", [None, 60.0])
async def test_the_loss_of_a_grant_that_was_not_logged_is_reported(
    cluster: Cluster, lease: float | None
) -> None:
    """The body is cancelled; nothing is left of the grant on the new leader."""
    async with connected(cluster, session_ttl=ELECTION) as client:
        lock = client.lock("job") if lease is None else client.lock("job", lease=lease)

        async def lose() -> None:
            async with lock:
                await kill_leader(cluster)
                await trio.sleep_forever()

        with pytest.raises(LockLost) as caught:
            await lose()
        assert caught.value.reason == "disconnected"
        await nothing_is_left(cluster)


async def test_a_dead_member_holds_nothing_up(cluster: Cluster) -> None:
    """Opening, and every request, takes as long as without it."""
    followers = await cluster.followers()
    await followers[0].kill()
    with trio.fail_after(2):
        async with connected(cluster) as client, client.lock("job"):
            pass


async def test_a_frozen_member_holds_nothing_up(cluster: Cluster) -> None:
    """Its kernel still accepts connections; nothing waits for its answer."""
    followers = await cluster.followers()
    followers[0].freeze()
    with trio.fail_after(2):
        async with connected(cluster) as client, client.lock("job"):
            pass


async def test_without_a_majority_requests_wait_within_their_scope(
    cluster: Cluster,
) -> None:
    """One node of three cannot lead; when another is back, requests go on."""
    leader = await cluster.leader()
    followers = await cluster.followers()
    async with connected(cluster) as client:
        for follower in followers:
            await follower.kill()
        await until(partial(has_no_active_member, client))
        with trio.move_on_after(0.3) as scope:
            await client.lock("job").acquire()
        assert scope.cancelled_caught
        assert client.statistics().in_flight == 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_and_give_back, client)
            await followers[0].start()
        assert leader.running
    await nothing_is_left(cluster)


async def has_no_active_member(client: Client) -> bool:
    state = client.statistics().replica_set
    return state is not None and state.active is None


async def take_and_give_back(client: Client) -> None:
    async with client.lock("job"):
        pass


@pytest.mark.parametrize("blow", BLOWS)
async def test_cancelling_at_any_moment_of_a_failover_leaves_nothing(
    cluster: Cluster, blow: Blow
) -> None:
    """Waits and holders are cancelled before, during and after the change."""
    async with connected(cluster) as client:
        waiters = ManyWaiters(client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(blow, cluster)
            for number in range(TASKS):
                nursery.start_soon(waiters.want, number, number * 5 / TASKS)
        assert len(waiters.ends) == TASKS
        assert waiters.overlaps == 0
        await client.wait_connected()
        statistics = client.statistics()
        assert statistics.held == 0
    await nothing_is_left(cluster)


async def test_all_nodes_may_be_restarted_one_after_another(cluster: Cluster) -> None:
    """A rolling restart costs waits their place in the queue, nothing else."""
    async with connected(cluster) as client:
        waiters = ManyWaiters(client)
        for batch, node in enumerate(cluster.nodes):
            async with trio.open_nursery() as nursery:
                for number in range(batch * 100, batch * 100 + 100):
                    nursery.start_soon(waiters.want, number, 60)
                await node.stop()
                await node.start()
                await cluster.settle()
        assert len(waiters.ends) == 100 * len(cluster.nodes)
        assert waiters.count().keys() <= ENDS
        assert waiters.overlaps == 0
    await nothing_is_left(cluster)


async def test_members_are_learned(cluster: Cluster) -> None:
    """A client that knows a single follower finds the leader, and follows it."""
    follower, other = await cluster.followers()
    url = f"slock://{follower.address},{other.address}"
    leader = await cluster.leader()
    async with open_client(url, heartbeat=1.0) as client:
        async for state in client.changes():
            if state.active == (leader.host, leader.port):
                break
        assert state.member((leader.host, leader.port)).learned
        assert state.leader == (leader.host, leader.port)


async def test_members_can_be_added(cluster: Cluster) -> None:
    """A member added at run time is connected to at once."""
    leader = await cluster.leader()
    async with open_client(
        "slock://127.0.0.1:1,127.0.0.1:2", wait_connected=False
    ) as client:
        client.add_member(leader.host, leader.port)
        with trio.fail_after(2):
            async with client.lock("job"):
                pass


async def test_a_follower_forwards_while_the_leader_cannot_be_reached(
    cluster: Cluster,
) -> None:
    """Only this client is cut off from the leader; then the leader dies."""
    leader = await cluster.leader()

    async def open_transport(host: str, port: int) -> SocketTransport:
        if port == leader.port:
            raise OSError("no route to the leader")
        return await connect_tcp(host, port)

    addresses = [(node.host, node.port) for node in cluster.nodes]
    settings = SessionSettings(bytes(range(16)), session_ttl=ELECTION)
    async with (
        open_replica_client(
            addresses, open_transport, settings, heartbeat=1.0
        ) as client,
        connected(cluster, session_ttl=ELECTION) as direct,
    ):
        state = client.statistics().replica_set
        assert state is not None
        assert state.active is not None
        assert state.member(state.active).role is Role.FOLLOWER
        assert state.leader == (leader.host, leader.port)
        waiters = ManyWaiters(client)
        async with client.lock("mine"):
            grants = [
                await direct.lock(key_of(number)).acquire() for number in range(KEYS)
            ]
            async with trio.open_nursery() as nursery:
                for number in range(TASKS):
                    nursery.start_soon(waiters.want, number, 60)
                await trio.sleep(LOGGED)
                await leader.kill()
                await direct.wait_connected()
                for grant in grants:
                    await grant.release()
        assert waiters.count() == {"granted": TASKS}
        assert waiters.overlaps == 0
    await nothing_is_left(cluster)


async def test_a_frozen_leader_behind_a_follower_is_found(cluster: Cluster) -> None:
    """The follower lives and pushes nothing; only the probe shows it."""
    leader = await cluster.leader()

    async def open_transport(host: str, port: int) -> SocketTransport:
        if port == leader.port:
            raise OSError("no route to the leader")
        return await connect_tcp(host, port)

    addresses = [(node.host, node.port) for node in cluster.nodes]
    settings = SessionSettings(bytes(range(16)), session_ttl=SESSION_TTL)
    async with open_replica_client(
        addresses, open_transport, settings, heartbeat=0.5
    ) as client:
        leader.freeze()
        await until(partial(has_no_active_member, client))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_and_give_back, client)
            await trio.testing.wait_all_tasks_blocked()
            leader.thaw()
    await nothing_is_left(cluster)
