from __future__ import annotations

import os
import socket
from functools import partial

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend, MemoryBackend
from tests.trioslock.recipes.sides import open_two_sides
from tests.trioslock.sweep import Way, sweep
from tests.trioslock.worlds import world_of
from trio.testing import MockClock, wait_all_tasks_blocked

from trioslock import SESSION, Client, Flags, Grant, LockLost, open_client
from trioslock.recipes import Election, Leader, leader
from trioslock.recipes._keys import derived_key
from trioslock.recipes._waiting import ChangeSignal


async def test_one_leads_and_the_next_takes_over(
    backend: Backend, client: Client, other: Client
) -> None:
    """Followers see the name and the token; tokens grow."""
    key = backend.key("leader")
    terms = []

    async def lead() -> None:
        async with leader(other, key, name="b") as term:
            terms.append(term)

    async with trio.open_nursery() as nursery:
        async with leader(client, key, name="a", lease=30) as first:
            assert await Election(other, key).current() == Leader("a", first.token)
            nursery.start_soon(lead)
            await backend.until(key, 1, 1)
            assert first.grant.held
    (second,) = terms
    assert (first.name, second.name) == ("a", "b")
    assert first.token < second.token
    assert await Election(other, key).current() is None
    assert await backend.claims(key) == NOTHING


async def test_followers_see_each_change(
    backend: Backend, client: Client, other: Client
) -> None:
    """None leads, one leads, another takes over, none leads."""
    key = backend.key("leader")
    election = Election(client, key, name="a")
    changes = election.changes()
    assert await anext(aiter(changes)) is None
    async with trio.open_nursery() as nursery:
        stop = trio.Event()

        async def lead() -> None:
            async with Election(other, key, name="b").lead():
                await stop.wait()

        async with election.lead() as term:
            assert await anext(changes) == Leader("a", term.token)
            nursery.start_soon(lead)
            await backend.until(key, 1, 1)
        # Between the two there may be a moment without a leader.
        while (present := await anext(changes)) is None:
            pass
        assert present.name == "b"
        assert present.token > term.token
        stop.set()
        assert await anext(changes) is None


async def test_a_slow_follower_gets_the_latest(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("leader")
    changes = Election(client, key).changes()
    assert await anext(changes) is None
    for name in ("a", "b"):
        async with leader(other, key, name=name):
            pass
    async with leader(other, key, name="c") as term:
        assert await anext(changes) == Leader("c", term.token)


async def test_a_follower_waits_without_asking_again(
    autojump_clock: MockClock,
) -> None:
    """While nothing changes the server grants and releases nothing."""
    async with open_two_sides() as (_, client, other):
        async with leader(other, "k", lease=SESSION), trio.open_nursery() as nursery:
            changes = Election(client, "k").changes()
            await anext(changes)
            nursery.start_soon(changes.__anext__)
            await wait_all_tasks_blocked()
            before = await client.state()
            await trio.sleep(600)
            assert await client.state() == before
            assert len(await client.waiters("k")) == 1
            nursery.cancel_scope.cancel()
        assert await client.waiters("k") == []


async def test_the_name_is_the_host_and_the_process(
    backend: Backend, client: Client
) -> None:
    async with leader(client, backend.key("leader")) as term:
        assert term.name == f"{socket.gethostname()}:{os.getpid()}"


async def test_a_key_that_is_used_for_something_else_has_no_leader(
    backend: Backend, client: Client
) -> None:
    """Its value is none of a leader's."""
    key = backend.key("leader")
    for value in (b"x", ["x", "a"], b""):
        async with client.lock(key) as grant:
            await grant.update(value)
            assert await Election(client, key).current() is None


async def test_a_name_may_be_any_text(backend: Backend, client: Client) -> None:
    key = backend.key("leader")
    for name in ("", "a" * 5000, "grüße, \0"):
        async with leader(client, key, name=name) as term:
            assert await Election(client, key).current() == Leader(name, term.token)


async def test_an_election_can_be_used_again(backend: Backend, client: Client) -> None:
    election = Election(client, backend.key("leader"), name="a")
    async with election.lead() as first:
        pass
    async with election.lead() as second:
        assert second.token > first.token
    assert "'a'" in repr(election)


def test_acknowledged_locks_have_no_leader() -> None:
    """The server puts the token off until after the acknowledgement."""

    async def run() -> None:
        async with open_client("slock://127.0.0.1:1", wait_connected=False) as client:
            acknowledged = client.db(0, flags=Flags(require_ack=True))
            with pytest.raises(ValueError, match="fenced"):
                Election(acknowledged, "k")

    trio.run(run)


async def test_a_leader_that_is_cut_off_stops_before_another_leads(
    autojump_clock: MockClock,
) -> None:
    """Its body ends by its own clock; the lease at the server ends later."""
    times: dict[str, float] = {}

    async def take_over(client: Client) -> None:
        async with leader(client, "k", name="b", lease=9):
            times["b leads"] = trio.current_time()

    async with (
        open_two_sides() as (network, client, other),
        trio.open_nursery() as nursery,
    ):
        with pytest.raises(LockLost):
            async with leader(client, "k", name="a", lease=9):
                nursery.start_soon(take_over, other)
                cut_off_at = trio.current_time()
                network.down()
                try:
                    await trio.sleep_forever()
                finally:
                    times["a stops"] = trio.current_time()
    stopped, led = (times[what] - cut_off_at for what in ("a stops", "b leads"))
    assert stopped <= 9 < led <= 9 + 3


async def test_followers_see_that_a_leader_without_a_successor_is_gone(
    autojump_clock: MockClock,
) -> None:
    """It could wake none of them; they see the end of its lease."""
    async with open_two_sides() as (network, client, other):
        changes = Election(other, "k").changes()
        with pytest.raises(LockLost):
            async with leader(client, "k", name="a", lease=9) as term:
                assert await anext(changes) == Leader("a", term.token)
                network.down()
                cut_off_at = trio.current_time()
                await trio.sleep_forever()
        assert await anext(changes) is None
        assert trio.current_time() - cut_off_at <= 9 + 3


async def test_a_follower_that_is_cut_off_catches_up(
    autojump_clock: MockClock,
) -> None:
    """It sees nothing meanwhile, then the latest."""
    async with open_two_sides() as (network, client, other):
        changes = Election(client, "k").changes()
        assert await anext(changes) is None
        async with trio.open_nursery() as nursery:
            seen = []

            async def follow() -> None:
                seen.append(await anext(changes))

            nursery.start_soon(follow)
            await wait_all_tasks_blocked()
            network.down()
            async with leader(other, "k", name="a", lease=300) as term:
                await trio.sleep(60)
                assert seen == []
                network.up()
                await trio.sleep(60)
                assert seen == [Leader("a", term.token)]


async def test_a_server_that_forgot_all_wakes_its_followers(
    autojump_clock: MockClock,
) -> None:
    """It was restarted without a log: what followers know is newer than what it has."""
    async with open_two_sides() as (_, client, other):
        changes = Election(client, "k").changes()
        async with leader(other, "k", name="a") as term:
            assert await anext(changes) == Leader("a", term.token)
        assert await anext(changes) is None
        # As after a restart: nothing is held, so the group is set.
        await client.group_event(derived_key("k", "leader"), ttl=1).set()
        async with leader(other, "k", name="b"):
            following = await anext(changes)
            assert following is not None
            assert following.name == "b"


async def test_a_key_that_is_lost_before_the_term_begins_is_waited_for_again(
    backend: Backend, client: Client, other: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another client has released it before the leader could say its name."""
    key = backend.key("leader")
    election = Election(client, key, name="a")
    acquire, tokens = election._acquire, []

    async def acquire_and_lose() -> Grant:
        grant = await acquire()
        tokens.append(grant.token)
        if len(tokens) == 1:
            await other.lock(key).release_head()
        return grant

    monkeypatch.setattr(election, "_acquire", acquire_and_lose)
    async with election.lead() as term:
        assert term.grant.held
        assert len(tokens) == 2
        assert term.token == tokens[1]
    assert await backend.claims(key) == NOTHING


async def test_a_leader_that_cannot_say_its_name_within_the_lease_does_not_lead(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease is not renewed meanwhile; it is a candidate again."""
    send, calls = ChangeSignal.send, []

    async def send_late(signal: ChangeSignal) -> None:
        calls.append(trio.current_time())
        if len(calls) == 1:
            await trio.sleep_forever()
        await send(signal)

    monkeypatch.setattr(ChangeSignal, "send", send_late)
    async with open_two_sides() as (_, client, other):
        async with leader(client, "k", name="a", lease=9) as term:
            assert calls[1] - calls[0] <= 9
            assert await Election(other, "k").current() == Leader("a", term.token)


@pytest.mark.parametrize("way", ["parked", "awake"])
async def test_a_candidacy_is_cancelled_at_each_step(
    backend: Backend, client: Client, other: Client, way: Way
) -> None:
    """Nothing is left but the token's counter and the signal, which are kept."""
    world, key = world_of(backend, client, other), backend.key("sweep")
    world.fences.add(derived_key(key, "leader"))

    async def lead() -> None:
        async with leader(client, key, name="a"):
            await trio.lowlevel.checkpoint()

    assert await sweep(lead, partial(world.assert_idle, key), way) > 5


@pytest.mark.parametrize("way", ["parked", "awake"])
async def test_following_is_cancelled_at_each_step(
    backend: Backend, client: Client, other: Client, way: Way
) -> None:
    world, key = world_of(backend, client, other), backend.key("sweep")
    world.fences.add(derived_key(key, "leader"))

    async def follow() -> None:
        changes = Election(client, key).changes()
        await anext(changes)
        with trio.move_on_after(0.01):
            await anext(changes)

    assert await sweep(follow, partial(world.assert_idle, key), way) > 5


async def test_a_candidate_survives_a_lost_connection(
    memory: MemoryBackend, autojump_clock: MockClock
) -> None:
    """It asks again; a fenced wait alone would end with the connection."""
    async with memory.open_client() as client, memory.open_client() as other:
        async with trio.open_nursery() as nursery:
            led = trio.Event()

            async def lead() -> None:
                async with leader(client, "k", name="a"):
                    led.set()

            async with leader(other, "k", name="b"):
                nursery.start_soon(lead)
                await memory.until("k", 1, 1)
                memory.cut()
                memory.restore()
                await memory.until("k", 1, 1)
            await led.wait()
