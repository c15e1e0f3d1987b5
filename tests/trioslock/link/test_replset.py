"""A client of a replica set, over memory streams and with virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from tests.trioslock.link.fake_set import ADDRESSES, FakeNode, FakeSet
from trio.testing import MockClock, wait_all_tasks_blocked

from trioslock import Backoff, Client, ConnectionLost, Lock, LockLost, NoLeader
from trioslock.client import open_replica_client, open_session_client
from trioslock.link import BaseLink, ClientSession, Role, SessionSettings, SetState
from trioslock.link._topology import Disconnect
from trioslock.protocol import InitResult, LockCommand, LockResult, to_key

KEY = to_key("job")
TTL = 10.0
SETTINGS = SessionSettings(b"c" * 16, session_ttl=TTL, backoff=Backoff(jitter=0))


@asynccontextmanager
async def open_set(
    lead: str | None = "a", *, settings: SessionSettings = SETTINGS
) -> AsyncIterator[tuple[FakeSet, Client]]:
    async with trio.open_nursery() as nursery:
        fake = FakeSet(nursery)
        if lead is not None:
            fake.lead(getattr(fake, lead))
        async with open_replica_client(
            ADDRESSES,
            fake.open_transport,
            settings,
            heartbeat=5.0,
            wait_connected=lead is not None,
        ) as client:
            yield fake, client
        await trio.sleep(3 * TTL)
        assert fake.claims(KEY) == [(0, 0)] * 3
        nursery.cancel_scope.cancel()


def state_of(client: Client) -> SetState:
    state = client.statistics().replica_set
    assert state is not None
    return state


async def hold(client: Client, seconds: float) -> None:
    async with client.lock("job"):
        await trio.sleep(seconds)


async def test_requests_go_to_the_leader(autojump_clock: MockClock) -> None:
    """Whichever of the members that is."""
    async with open_set("b") as (fake, client):
        async with client.lock("job"):
            assert fake.claims(KEY) == [(0, 0), (1, 0), (0, 0)]
        state = state_of(client)
        assert state.active == state.leader == fake.b.address
        await wait_all_tasks_blocked()
        assert state_of(client).member(fake.a.address).role is Role.FOLLOWER


async def test_waits_are_replayed_when_the_leader_dies(
    autojump_clock: MockClock,
) -> None:
    """All of them, in their order, on the node that leads next."""
    async with open_set() as (fake, client):
        order: list[int] = []

        async def want(number: int) -> None:
            async with client.lock("job"):
                order.append(number)

        holder = await client.lock("job").acquire()
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(want, number)
                await wait_all_tasks_blocked()
            fake.crash(fake.a)
            await trio.sleep(1)
            assert not order
            fake.lead(fake.b, logged=[KEY])
            await wait_all_tasks_blocked()
            assert fake.b.claims(KEY) == (1, 20)
            assert holder.held
            await holder.release()
        assert order == list(range(20))


async def test_a_demoted_leader_grants_nothing(autojump_clock: MockClock) -> None:
    """Its late grant is no grant; its waits end there with the connection."""
    async with open_set() as (fake, client):
        holder = await client.lock("job").acquire()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, client, 0)
            await wait_all_tasks_blocked()
            old = fake.a
            fake.leaderless()
            # The unlock that the new leader replicates to it lets it grant.
            unlock = old.host.engine.inspect(0, KEY)
            assert unlock is not None
            old.log.submit(
                unlock.holders[0].command._replace(
                    type=2, timeout=0, expiry=0, data=None
                )
            )
            assert old.claims(KEY) == (1, 0)
            await wait_all_tasks_blocked()
            assert state_of(client).active is None
            fake.lead(fake.b)
            await wait_all_tasks_blocked()
        assert not holder.held
        await trio.sleep(2 * TTL)
        assert old.claims(KEY) == (0, 0)


async def take_and_give_back(lock: Lock) -> None:
    async with lock:
        pass


async def release_at(node: FakeNode) -> None:
    """Release the first holder at one node, as its log does."""
    view = node.host.engine.inspect(0, KEY)
    assert view is not None
    command = view.holders[0].command
    node.log.submit(command._replace(type=2, timeout=0, expiry=0, data=None))
    await wait_all_tasks_blocked()


async def demote_a(fake: FakeSet, client: Client) -> None:
    """Let ``a`` step down, reconnect, and grant a wait that it still has."""
    fake.leaderless()
    await trio.sleep(1)
    fake.lead(fake.b)
    await trio.sleep(1)
    assert state_of(client).member(fake.a.address).connections == 2
    await release_at(fake.a)
    assert fake.a.claims(KEY) == (1, 0)


@pytest.mark.parametrize("lease", [None, TTL])
async def test_a_new_connection_does_not_revive_what_a_demoted_leader_keeps(
    autojump_clock: MockClock, lease: float | None
) -> None:
    """Its grants end with the old connection while the client stays connected."""
    async with open_set() as (fake, client):
        lock = client.lock("job") if lease is None else client.lock("job", lease=lease)
        holder = await lock.acquire()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_and_give_back, lock)
            await wait_all_tasks_blocked()
            await demote_a(fake, client)
        assert not holder.held
        await trio.sleep(2 * TTL + 2)
        assert fake.claims(KEY) == [(0, 0)] * 3


async def test_what_a_demoted_leader_keeps_is_undone_when_it_leads_again(
    autojump_clock: MockClock,
) -> None:
    """A lease of an hour does not block the key for an hour."""
    async with open_set() as (fake, client):
        lock = client.lock("job", lease=3600)
        await lock.acquire()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_and_give_back, lock)
            await wait_all_tasks_blocked()
            await demote_a(fake, client)
        fake.lead(fake.a)
        await trio.sleep(1)
        assert fake.claims(KEY) == [(0, 0)] * 3
        async with client.lock("job"):
            assert fake.a.claims(KEY) == (1, 0)


async def test_a_grant_that_is_still_held_is_not_undone(
    autojump_clock: MockClock,
) -> None:
    """It moves to the node that leads again, which had it before."""
    async with open_set() as (fake, client):
        async with client.lock("job", lease=3600) as grant:
            fake.lead(fake.b, logged=[KEY])
            await trio.sleep(1)
            fake.lead(fake.a)
            await trio.sleep(1)
            assert grant.held
            assert fake.a.claims(KEY) == (1, 0)
        fake.b.log.submit(release_of(grant.lock_id))
        await wait_all_tasks_blocked()


def release_of(lock_id: bytes) -> LockCommand:
    return LockCommand(2, lock_id, 0, 0, lock_id, KEY)


async def test_late_results_in_the_same_read_are_ignored(
    autojump_clock: MockClock,
) -> None:
    """The push and a grant behind it may arrive together."""
    async with open_set() as (fake, client):
        holder = await client.lock("job").acquire()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, client, 0)
            await wait_all_tasks_blocked()
            [connection] = fake.a.connections
            command = connection.commands[-1]
            # Both frames are in one write, so the client reads them at once.
            fake.a.freeze()
            fake.leaderless()
            connection.put(grant_of(command))
            fake.a.thaw()
            await wait_all_tasks_blocked()
            assert state_of(client).active is None
            assert client.statistics().in_flight == 1
            assert client.statistics().strays == 1
            fake.lead(fake.b)
        assert not holder.held


def grant_of(command: object) -> LockResult:
    request_id = command.request_id  # type: ignore[attr-defined]
    return LockResult(1, request_id, 0, 0, 0, request_id, KEY, 1, 0, 1, 0)


async def test_a_grant_that_was_not_logged_is_lost(autojump_clock: MockClock) -> None:
    """The body is cancelled; what the renewal took is released."""
    async with open_set() as (fake, client):
        lost: list[LockLost] = []

        async def hold_on() -> None:
            try:
                await hold(client, 1000)
            except LockLost as error:
                lost.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold_on)
            await wait_all_tasks_blocked()
            fake.crash(fake.a)
            fake.lead(fake.c)
        assert [error.reason for error in lost] == ["disconnected"]
        await wait_all_tasks_blocked()
        assert fake.c.claims(KEY) == (0, 0)


async def test_a_grant_is_released_if_the_leader_was_away_too_long(
    autojump_clock: MockClock,
) -> None:
    """Its loss is reported by then; the new leader got it from the log."""
    async with open_set() as (fake, client):
        grant = await client.lock("job").acquire()
        fake.crash(fake.a)
        error = await grant.wait_lost()
        assert error.reason == "disconnected"
        fake.lead(fake.b, logged=[KEY])
        assert fake.b.claims(KEY) == (1, 0)
        await client.wait_connected()
        await wait_all_tasks_blocked()
        assert fake.b.claims(KEY) == (0, 0)


@pytest.mark.parametrize("lease", [60.0, None])
async def test_a_logged_grant_is_renewed(
    autojump_clock: MockClock, lease: float | None
) -> None:
    """The new leader is asked for it, and its lease lives on."""
    async with open_set() as (fake, client):
        lock = client.lock("job") if lease is None else client.lock("job", lease=lease)
        async with lock as grant:
            fake.crash(fake.a)
            fake.lead(fake.b, logged=[KEY])
            await trio.sleep(5 * TTL)
            assert grant.held
            assert fake.b.claims(KEY) == (1, 0)


async def test_what_is_refused_is_done_again(autojump_clock: MockClock) -> None:
    """Result 10 is certain to mean "not done", whatever was asked."""
    async with open_set() as (fake, client):
        [connection] = fake.a.connections
        fake.leaderless(push=False)
        found: list[bool] = []

        async def look() -> None:
            found.append(await client.lock("job").locked())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await wait_all_tasks_blocked()
            assert not found
            assert connection not in fake.a.connections
            fake.lead(fake.c)
        assert found == [False]


async def test_what_may_have_been_done_fails(autojump_clock: MockClock) -> None:
    """A request that is not safe to repeat fails: its outcome is unknown."""
    async with open_set() as (fake, client):
        fake.a.freeze()

        async def release_head() -> None:
            with pytest.raises(ConnectionLost, match="took effect is unknown"):
                await client.lock("job").release_head()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(release_head)
            await wait_all_tasks_blocked()
            fake.crash(fake.a)
        fake.a.thaw()
        fake.lead(fake.b)


async def test_a_frozen_leader_is_found(autojump_clock: MockClock) -> None:
    """By the heartbeat of its own link, and by nothing else."""
    async with open_set() as (fake, client):
        started_at = trio.current_time()
        fake.a.freeze()
        async for state in client.changes():
            if state.active is None:
                break
        assert trio.current_time() - started_at == pytest.approx(10)
        assert "the server sent nothing for 10 s" in str(
            state.member(fake.a.address).error
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, client, 0)
            await trio.sleep(60)
            assert state_of(client).active is None
            fake.a.thaw()


async def test_a_follower_forwards(autojump_clock: MockClock) -> None:
    """When the leader cannot be reached, and until it can."""
    async with open_set(None) as (fake, client):
        fake.unreachable.add(fake.a.address)
        fake.lead(fake.a)
        async with client.lock("job") as grant:
            state = state_of(client)
            assert state.active in {fake.b.address, fake.c.address}
            assert state.leader == fake.a.address
            assert fake.a.claims(KEY) == (1, 0)
            await trio.sleep(5 * TTL)
            assert grant.held
            fake.unreachable.clear()
            async for state in client.changes():
                if state.active == fake.a.address:
                    break
            await trio.sleep(5 * TTL)
            assert grant.held
            assert fake.a.claims(KEY) == (1, 0)


async def test_forwarded_waits_are_void_when_the_leader_dies(
    autojump_clock: MockClock,
) -> None:
    """One is answered with an empty 11, the others never; all are replayed."""
    async with open_set(None) as (fake, client):
        fake.unreachable.add(fake.a.address)
        fake.lead(fake.a)
        await client.wait_connected()
        holder = await client.lock("job").acquire()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(hold, client, 0)
            await wait_all_tasks_blocked()
            assert fake.a.claims(KEY) == (1, 5)
            fake.crash(fake.a)
            await wait_all_tasks_blocked()
            assert state_of(client).active is None
            fake.lead(fake.b, logged=[KEY])
            # The link to the new leader was cut with its forwarding role.
            await client.wait_connected()
            await wait_all_tasks_blocked()
            assert fake.b.claims(KEY) == (1, 5)
            await holder.release()


async def test_a_frozen_leader_behind_a_follower_is_found(
    autojump_clock: MockClock,
) -> None:
    """The follower answers pings; the probe that it forwards does not come."""
    async with open_set(None) as (fake, client):
        fake.unreachable.add(fake.a.address)
        fake.lead(fake.a)
        await client.wait_connected()
        fake.a.freeze()
        with trio.fail_after(3 * 5):
            async for state in client.changes():
                if state.active is None:
                    break
        fake.a.thaw()


def grant_of_id(request_id: bytes) -> LockResult:
    return LockResult(1, request_id, 0, 0, 0, request_id, KEY, 1, 0, 1, 0)


async def test_a_live_grant_is_not_released(autojump_clock: MockClock) -> None:
    """A grant that is answered twice is still held."""
    async with open_set() as (fake, client):
        async with client.lock("job") as grant:
            [connection] = fake.b.connections
            connection.put(grant_of_id(grant.lock_id))
            await wait_all_tasks_blocked()
            assert fake.a.claims(KEY) == (1, 0)


async def test_without_a_leader_opening_fails(autojump_clock: MockClock) -> None:
    """After the time for connecting, and the error names every member."""
    async with trio.open_nursery() as nursery:
        fake = FakeSet(nursery)
        fake.crash(fake.c)
        client = open_replica_client(
            ADDRESSES, fake.open_transport, SETTINGS, heartbeat=5.0
        )
        started_at = trio.current_time()
        with pytest.raises(ConnectionLost) as caught:
            await client.__aenter__()
        assert trio.current_time() - started_at == pytest.approx(5, abs=0.1)
        cause = caught.value.__cause__
        assert isinstance(cause, NoLeader)
        assert "a:1 is down" in str(cause)
        assert "c:3 is down (connection refused)" in str(cause)
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_requests_wait_for_a_leader_within_their_scope(
    autojump_clock: MockClock,
) -> None:
    """However long there is none."""
    async with open_set(None) as (fake, client):
        with trio.move_on_after(10) as scope:
            await client.lock("job").acquire()
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, client, 0)
            await trio.sleep(10)
            fake.lead(fake.c)


async def test_a_node_without_a_leader_is_asked_often(
    autojump_clock: MockClock,
) -> None:
    """It lives, and an election takes a second: not a case for a long backoff."""
    async with open_set(None) as (fake, client):
        await trio.sleep(10)
        before = len(fake.attempts)
        await trio.sleep(2)
        assert len(fake.attempts) - before == 3 * 4
        fake.lead(fake.a, push=False)
        with trio.fail_after(0.6):
            await client.wait_connected()


async def test_of_two_leaders_the_followers_tell_the_right_one(
    autojump_clock: MockClock,
) -> None:
    """A leader that is cut off from the others reports to lead for a while."""
    async with open_set() as (fake, client):
        fake.lead(fake.b, push=False)
        fake.a.role = "leader"
        fake.b.push(fake.b.init_type)
        fake.c.push(fake.c.init_type)
        await wait_all_tasks_blocked()
        assert state_of(client).active == fake.b.address
        await trio.sleep(10)
        assert state_of(client).member(fake.a.address).role is Role.LEADER
        assert state_of(client).active == fake.b.address


async def test_a_push_behind_the_handshake_counts(autojump_clock: MockClock) -> None:
    """It comes in the same read, before the link is in use."""
    async with open_set(None) as (fake, client):
        fake.a.said_at_once = [InitResult(b"p" * 16, 0, 0x01)]
        fake.lead(fake.a)
        await trio.sleep(2)
        state = state_of(client)
        assert state.active != fake.a.address
        assert state.member(fake.a.address).role is Role.LEADERLESS
        fake.a.said_at_once = []
        await trio.sleep(10)
        assert state_of(client).active == fake.a.address


async def test_an_order_about_a_link_that_is_gone_is_dropped(
    autojump_clock: MockClock,
) -> None:
    """Carrying out one order may find another link broken."""
    async with open_set() as (fake, client):
        fake.crash(fake.c)
        await wait_all_tasks_blocked()
        client._replica_set()._execute([Disconnect(fake.c.address, "late")])
        assert state_of(client).active == fake.a.address


async def test_closing_without_a_leader_takes_no_time(
    autojump_clock: MockClock,
) -> None:
    """What is left is left to the nodes: it ends with the connections."""
    async with trio.open_nursery() as nursery:
        fake = FakeSet(nursery)
        fake.lead(fake.a)
        async with open_replica_client(
            ADDRESSES, fake.open_transport, SETTINGS, heartbeat=5.0
        ) as client:
            await client.lock("job").acquire()
            fake.crash(fake.a)
            await wait_all_tasks_blocked()
            started_at = trio.current_time()
        assert trio.current_time() == started_at
        await wait_all_tasks_blocked()
        assert [node.connections for node in fake.nodes.values()] == [[], [], []]
        nursery.cancel_scope.cancel()


async def test_changes_end_with_the_client(autojump_clock: MockClock) -> None:
    """A slow reader gets the latest state; each reader gets the end."""
    seen: list[SetState] = []
    async with trio.open_nursery() as nursery:
        async with open_set() as (fake, client):

            async def watch() -> None:
                seen.extend([state async for state in client.changes()])

            nursery.start_soon(watch)
            await wait_all_tasks_blocked()
            fake.crash(fake.a)
            fake.lead(fake.b)
            await wait_all_tasks_blocked()
    numbers = [state.changes for state in seen]
    assert numbers == sorted(set(numbers))
    assert fake.b.address in [state.active for state in seen]


async def test_members_are_added_and_learned(autojump_clock: MockClock) -> None:
    """By the caller at run time, or as the leader that a follower names."""
    async with trio.open_nursery() as nursery:
        fake = FakeSet(nursery)
        fake.lead(fake.a)
        client_manager = open_replica_client(
            [("b", 2)],
            fake.open_transport,
            SETTINGS,
            heartbeat=5.0,
            wait_connected=False,
        )
        async with client_manager as client:
            client.add_member("b", 2)
            await client.wait_connected()
            state = state_of(client)
            assert state.active == fake.a.address
            assert state.member(fake.a.address).learned
            client.add_member("c", 3)
            client.add_member("c", 3)
            await wait_all_tasks_blocked()
            assert state_of(client).member(fake.c.address).role is Role.FOLLOWER
            assert not state_of(client).member(fake.c.address).learned
            assert "active ('a', 1)" in repr(client._replica_set())
        with pytest.raises(trio.ClosedResourceError):
            client.add_member("d", 4)
        assert [state async for state in client.changes()] == []
        nursery.cancel_scope.cancel()


async def test_a_client_of_one_server_has_no_members(
    autojump_clock: MockClock,
) -> None:
    """It says so."""

    async def connect(session: ClientSession) -> BaseLink:
        raise OSError("no server")

    async with open_session_client(connect, SETTINGS, wait_connected=False) as client:
        with pytest.raises(ValueError, match="this client has one server"):
            client.changes()
        with pytest.raises(ValueError, match="this client has one server"):
            client.add_member("a", 1)


def test_a_replica_set_needs_a_backoff() -> None:
    """Its members are connected to again and again."""
    settings = SessionSettings(b"c" * 16, backoff=None)

    async def open_transport(host: str, port: int) -> object:
        raise OSError

    with pytest.raises(ValueError, match="needs a backoff"):
        open_replica_client(ADDRESSES, open_transport, settings, heartbeat=5.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["crash", "step down", "freeze", "forward"])
@pytest.mark.parametrize("moment", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
async def test_cancelling_at_any_moment_leaves_nothing(
    autojump_clock: MockClock, way: str, moment: int
) -> None:
    """Before, while and after the leader changes; ``open_set`` looks at the end."""
    async with open_set(None if way == "forward" else "a") as (fake, client):
        if way == "forward":
            fake.unreachable.add(fake.a.address)
            fake.lead(fake.a)
            await client.wait_connected()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(change_leader, fake, way)
            async with trio.open_nursery() as waiters:
                for _ in range(3):
                    waiters.start_soon(want, client)
                await wait_all_tasks_blocked()
                for _ in range(moment):
                    await trio.lowlevel.checkpoint()
                await trio.sleep(moment / 2)
                waiters.cancel_scope.cancel()
        await client.wait_connected()
        await wait_all_tasks_blocked()
        statistics = client.statistics()
        assert (statistics.in_flight, statistics.held) == (0, 0)


async def want(client: Client) -> None:
    try:
        await hold(client, 1000)
    except LockLost:
        pass  # with a leader that had not logged it


async def change_leader(fake: FakeSet, way: str) -> None:
    if way == "freeze":
        fake.a.freeze()
        await trio.sleep(15)
        fake.a.thaw()
        return
    if way == "step down":
        fake.leaderless()
    else:
        fake.crash(fake.a)
    await trio.sleep(1)
    fake.lead(fake.b, logged=[KEY])
