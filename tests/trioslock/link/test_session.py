"""What a session does when its connection ends, at each step of a request."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import outcome
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioslock import Client, ConnectionLost, Data, Grant, LockLost, NotHeld
from trioslock.engine import Engine
from trioslock.link import BegunWait
from trioslock.protocol import to_key
from trioslock.testing import Network, open_network


@pytest.fixture
async def network(autojump_clock: MockClock) -> AsyncIterator[Network]:
    async with open_network() as opened:
        yield opened


@pytest.fixture
async def client(network: Network) -> AsyncIterator[Client]:
    async with network.open_client() as opened:
        yield opened


def claims(network: Network, key: str) -> tuple[int, int]:
    engine: Engine = network.server.host_engine.engine
    view = engine.inspect(0, to_key(key))
    return (0, 0) if view is None else (len(view.holders), len(view.waiters))


def assert_idle(client: Client) -> None:
    statistics = client.statistics()
    assert statistics.in_flight == 0
    assert statistics.unsettled == 0
    assert statistics.held == 0
    assert statistics.tasks_waiting_to_send == 0


async def test_a_wait_is_asked_for_again_under_a_fresh_id(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    """The old attempt is withdrawn, so one grant comes of it, not two."""
    async with network.open_client() as other:
        holder = await other.lock("k").acquire()
        ids: list[bytes] = []

        async def wait() -> None:
            async with client.lock("k") as grant:
                ids.append(grant.lock_id)
                assert claims(network, "k") == (1, 0)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            (waiter,) = network.server.host_engine.engine.inspect(  # type: ignore[union-attr]
                0, to_key("k")
            ).waiters
            network.streams[0].cut()
            await trio.sleep(0.1)
            assert claims(network, "k") == (1, 1)
            await holder.release()
    assert ids != [waiter.lock_id]
    assert claims(network, "k") == (0, 0)
    assert client.statistics().connections == 2
    assert_idle(client)


async def test_a_grant_whose_answer_was_lost_is_undone(
    autojump_clock: MockClock, network: Network
) -> None:
    """The server granted, the answer was cut off: the replay gets the key anew."""
    network.cut_next(receives=1)
    async with network.open_client() as client:
        async with client.lock("k"):
            assert claims(network, "k") == (1, 0)
        assert claims(network, "k") == (0, 0)
        assert client.statistics().connections == 2
        assert_idle(client)


async def test_a_session_lease_follows_to_the_new_connection(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    """Long after the old connection's end it is held, as long as the new one lives."""
    async with client.lock("k") as grant:
        network.cut()
        await trio.sleep(100)
        assert grant.held
        assert claims(network, "k") == (1, 0)
    assert claims(network, "k") == (0, 0)
    assert_idle(client)


async def test_a_session_lease_survives_many_cuts_without_growing(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    """Each renewal brings the lease back to its length."""
    async with client.lock("k"):
        for _ in range(5):
            network.cut()
            await trio.sleep(1)
        (holder,) = network.server.host_engine.engine.inspect(  # type: ignore[union-attr]
            0, to_key("k")
        ).holders
        assert holder.command.expiry == 10


async def test_a_session_that_was_away_too_long_has_lost_its_grants(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    with pytest.raises(LockLost) as caught:
        async with client.lock("k"):
            network.down()
            await trio.sleep_forever()
    assert caught.value.reason == "disconnected"
    assert claims(network, "k")[0] <= 1
    network.up()
    await client.ping()
    assert claims(network, "k") == (0, 0)


async def test_a_key_that_was_taken_meanwhile_is_lost(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    async with network.open_client() as other:
        with pytest.raises(LockLost) as caught:
            async with client.lock("k"):
                await other.lock("k").release_head()
                thief = await other.lock("k").acquire()
                network.streams[0].cut()
                await trio.sleep_forever()
        assert caught.value.reason == "taken"
        assert claims(network, "k") == (1, 0)
        await thief.release()


async def test_a_key_that_became_free_meanwhile_is_lost_and_stays_free(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    """The renewal takes it anew; another client may have had it in between."""
    async with network.open_client() as other:
        with pytest.raises(LockLost) as caught:
            async with client.lock("k"):
                await other.lock("k").release_head()
                network.streams[0].cut()
                await trio.sleep_forever()
        assert caught.value.reason == "disconnected"
        await wait_all_tasks_blocked()
        assert claims(network, "k") == (0, 0)


async def test_a_release_is_sent_again(
    autojump_clock: MockClock, network: Network
) -> None:
    """Whether the first one arrived or not, the second finds nothing wrong."""
    for receives in (1, 2, 3):
        network.cut_next(receives=receives)
        async with network.open_client() as client:
            async with client.lock("k"):
                pass
            assert claims(network, "k") == (0, 0)
            assert_idle(client)


async def test_a_release_gives_up_when_the_session_has_ended(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    grant = await client.lock("k", lease=math.inf).acquire()
    network.down()
    started_at = trio.current_time()
    with pytest.raises(ConnectionLost):
        await grant.release()
    assert trio.current_time() - started_at == pytest.approx(10, abs=0.1)
    # The server still gets the release later.
    network.up()
    await client.ping()
    assert claims(network, "k") == (0, 0)


async def test_what_may_have_been_done_is_not_done_twice(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    """A release of any holder could hit the next one: it fails instead."""
    async with network.open_client() as other, other.lock("k"):
        network.streams[0].hang()
        with pytest.RaisesGroup(pytest.RaisesExc(ConnectionLost, match="UNLOCK")):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.lock("k").release_head)
                await wait_all_tasks_blocked()
                network.streams[0].cut()
        assert claims(network, "k") == (1, 0)


async def test_what_was_never_sent_is_sent_on_the_next_connection(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    """Even what is not safe to repeat: it was not done."""
    async with network.open_client() as other:
        grant = await other.lock("k").acquire()
        network.streams[0].hang()
        async with trio.open_nursery() as nursery:
            # The writer is stuck with this one; what comes now is behind it.
            nursery.start_soon(client.lock("j").locked)
            await wait_all_tasks_blocked()
            nursery.start_soon(client.lock("k").release_head)
            await wait_all_tasks_blocked()
            assert claims(network, "k") == (1, 0)
            network.streams[0].cut()
        assert claims(network, "k") == (0, 0)
        with pytest.raises(NotHeld):
            await grant.release()


async def test_a_cancelled_request_that_was_never_sent_is_not_sent(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    async with network.open_client() as other, other.lock("k"):
        network.streams[0].hang()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.lock("j").locked)
            await wait_all_tasks_blocked()
            with trio.move_on_after(0.1):
                await client.lock("k").release_head()
            with trio.move_on_after(0.1):
                await client.lock("l").acquire()
            with trio.move_on_after(0.1):
                await client.ping()
            assert client.statistics().in_flight == 1
            network.streams[0].thaw()
        await client.ping()
        assert claims(network, "k") == (1, 0)
        assert claims(network, "l") == (0, 0)
        assert_idle(client)


async def test_events_are_set_and_cleared_again(
    autojump_clock: MockClock, network: Network
) -> None:
    for call in ("set", "clear", "is_set", "wait"):
        network.cut_next(receives=2)
        async with network.open_client() as client:
            event = client.event("e", ttl=60)
            await event.set()
            await getattr(event, call)()
            assert await event.is_set() is (call != "clear")
            await event.clear()
            assert client.statistics().connections == 2
            assert_idle(client)


async def test_a_parked_wait_for_an_event_survives_a_cut(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    got: list[Data | None] = []

    async def wait() -> None:
        got.append(await client.event("e", ttl=60).wait())

    async with network.open_client() as other:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            network.streams[0].cut()
            await trio.sleep(1)
            assert claims(network, "e") == (0, 1)
            await other.event("e", ttl=60).set(Data.set("news"))
        await other.event("e", ttl=60).clear()
    assert got[0] is not None
    assert got[0].text == "news"
    assert_idle(client)


async def test_a_wait_that_is_cancelled_while_disconnected_leaves_nothing(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    """Neither a command sent later nor the old wait on the server."""
    async with network.open_client() as other, other.lock("k"):
        with trio.move_on_after(3):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.lock("k").acquire)
                await wait_all_tasks_blocked()
                network.streams[0].hang()
                network.streams[0].cut()
                network._down = True
        network.up()
        await client.ping()
        await wait_all_tasks_blocked()
        assert claims(network, "k") == (1, 0)
        assert_idle(client)


Ended = list[outcome.Outcome[Data | None]]


async def test_a_begun_wait_survives_a_cut(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    """Also one that was begun while there was no connection."""
    event = client.event("e", ttl=60)
    ended: Ended = []
    event.begin_wait(ended.append)
    await wait_all_tasks_blocked()
    network.down()
    await wait_all_tasks_blocked()
    event.begin_wait(ended.append)
    never = event.begin_wait(ended.append)
    network.up()
    await client.ping()
    await wait_all_tasks_blocked()
    assert claims(network, "e") == (0, 3)
    never.withdraw()
    await event.set(Data.set("news"))
    await wait_all_tasks_blocked()
    values = [each.unwrap() for each in ended]
    assert [value and value.text for value in values] == ["news"] * 2
    await event.clear()
    assert_idle(client)


async def test_a_begun_wait_that_is_withdrawn_while_disconnected(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    """It leaves nothing, sent or not."""
    event = client.event("e", ttl=60)
    ended: Ended = []
    waits = [event.begin_wait(ended.append)]
    await wait_all_tasks_blocked()
    network.down()
    await wait_all_tasks_blocked()
    waits.append(event.begin_wait(ended.append))
    for wait in waits:
        wait.withdraw()
    network.up()
    await client.ping()
    await wait_all_tasks_blocked()
    assert claims(network, "e") == (0, 0)
    assert ended == []
    assert_idle(client)


async def test_a_begun_wait_takes_no_room_that_is_not_there(
    autojump_clock: MockClock, network: Network
) -> None:
    """It is refused at once, since it cannot wait."""
    async with network.open_client(max_inflight=4) as client:
        network.streams[0].hang()
        ended: Ended = []
        waits = []
        event = client.event("e", ttl=60)
        with pytest.raises(trio.WouldBlock):
            while True:
                waits.append(event.begin_wait(ended.append))
        assert 4 <= len(waits) < 9
        network.streams[0].thaw()
        await wait_all_tasks_blocked()
        event.begin_wait(ended.append).withdraw()
        for wait in waits:
            wait.withdraw()
        await wait_all_tasks_blocked()
        assert_idle(client)


async def test_closing_ends_begun_waits(
    autojump_clock: MockClock, network: Network
) -> None:
    """With the error that `wait` raises, which later ones raise at once."""
    ended: Ended = []
    async with network.open_client() as client:
        event = client.event("e", ttl=60)
        event.begin_wait(ended.append)
        await wait_all_tasks_blocked()
    with pytest.raises(trio.ClosedResourceError):
        ended[0].unwrap()
    with pytest.raises(trio.ClosedResourceError):
        event.begin_wait(ended.append)
    assert len(ended) == 1
    await wait_all_tasks_blocked()
    assert claims(network, "e") == (0, 0)


async def test_requests_wait_for_the_connection_within_their_scope(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    network.down()
    with trio.move_on_after(1) as scope:
        await client.lock("k").acquire()
    assert scope.cancelled_caught
    with trio.move_on_after(1) as scope:
        await client.lock("k").locked()
    assert scope.cancelled_caught
    assert not client.statistics().connected
    network.up()
    await client.wait_connected()
    assert client.statistics().connected
    # Nothing that was given up is sent after all.
    await client.ping()
    assert claims(network, "k") == (0, 0)


async def test_a_query_fails_with_its_connection(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    network.streams[0].hang()
    with pytest.RaisesGroup(ConnectionLost):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.ping)
            await wait_all_tasks_blocked()
            network.streams[0].cut()


async def test_without_reconnecting_everything_fails_by_name(
    autojump_clock: MockClock,
    network: Network,
) -> None:
    async with (
        network.open_client() as other,
        other.lock("k"),
        network.open_client(backoff=None) as client,
    ):
        with pytest.RaisesGroup(ConnectionLost):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.lock("k").acquire)
                await wait_all_tasks_blocked()
                network.streams[1].cut()
        for call in (client.ping, client.lock("k").acquire, client.wait_connected):
            with pytest.raises(ConnectionLost):
                await call()


async def test_a_dead_peer_is_found(
    autojump_clock: MockClock, network: Network
) -> None:
    """Nothing comes, not even the end of the connection."""
    async with network.open_client(heartbeat=3) as client:
        await trio.sleep(60)
        assert client.statistics().connections == 1
        assert client.statistics().round_trip is not None
        network.streams[0].hang()
        hung_at = trio.current_time()
        with trio.fail_after(6.5):
            while client.statistics().connections == 1:  # noqa: ASYNC110
                await trio.sleep(0.1)
        assert trio.current_time() - hung_at <= 6.5
        await client.ping()


async def test_garbage_ends_the_connection_and_no_request(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    network.streams[0].garble(b"HTTP/1.1 400 Bad Request\r\n" + bytes(64))
    async with client.lock("k"):
        assert client.statistics().connections == 2
    assert claims(network, "k") == (0, 0)


async def test_backing_off_grows_and_ends(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    """A server that was away for a minute is found again within the longest delay."""
    network.down()
    await trio.sleep(60)
    network.up()
    with trio.fail_after(5.1):
        await client.wait_connected()


async def test_back_pressure_admits_as_many_as_are_allowed(
    autojump_clock: MockClock, network: Network
) -> None:
    """Nothing is lost or reordered, and what is unwritten stays bounded."""
    async with network.open_client(max_inflight=4) as client:
        network.streams[0].hang()
        done = []
        most = 0

        async def take(number: int) -> None:
            nonlocal most
            async with client.lock(f"k{number}"):
                most = max(most, client.statistics().unsettled)
                done.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(take, number)
            await wait_all_tasks_blocked()
            assert client.statistics().tasks_waiting_to_send >= 42
            assert client.statistics().unsettled <= 4
            network.streams[0].thaw()
        assert sorted(done) == list(range(50))
        assert_idle(client)


async def test_parked_waits_do_not_use_up_the_room(
    autojump_clock: MockClock, network: Network
) -> None:
    """Else the command that would wake them could not be sent."""
    async with network.open_client(max_inflight=2) as client:
        event = client.event("e", ttl=60)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(event.wait)
            await wait_all_tasks_blocked()
            assert claims(network, "e") == (0, 20)
            await event.set()
        await event.clear()


async def test_a_cancelled_release_waits_for_its_answer_no_longer_than_the_grace(
    autojump_clock: MockClock,
    network: Network,
) -> None:
    async with network.open_client(close_grace=1.5, heartbeat=60) as client:
        grant = await client.lock("k", lease=600, renew=False).acquire()
        network.streams[0].hang()
        started_at = trio.current_time()
        with trio.move_on_after(1) as scope:
            await grant.release()
        assert scope.cancelled_caught
        assert trio.current_time() - started_at == pytest.approx(2.5)
        network.streams[0].thaw()
        await client.ping()
        assert claims(network, "k") == (0, 0)
        assert_idle(client)


async def test_a_release_that_was_given_up_is_repeated_after_a_cut(
    autojump_clock: MockClock,
    network: Network,
) -> None:
    async with network.open_client(close_grace=1, heartbeat=60) as client:
        grant = await client.lock("k", lease=600, renew=False).acquire()
        network.streams[0].hang()
        with trio.move_on_after(1):
            await grant.release()
        network.cut()
        await client.wait_connected()
        await trio.sleep(1)
        assert claims(network, "k") == (0, 0)
        assert_idle(client)


async def test_closing_gives_up_what_does_not_answer(
    autojump_clock: MockClock, network: Network
) -> None:
    """The end of a client takes the grace and no more, whatever hangs."""
    async with network.open_client(close_grace=2, heartbeat=60) as client:
        await client.lock("k").acquire()
        network.streams[0].hang()
        left_at = trio.current_time()
    assert trio.current_time() - left_at <= 2.1


async def test_closing_ends_the_waits_of_other_tasks(
    autojump_clock: MockClock, network: Network
) -> None:
    async with network.open_client() as other, other.lock("k"):
        async with trio.open_nursery() as nursery:
            errors: list[BaseException] = []

            async def wait(client: Client) -> None:
                try:
                    await client.lock("k").acquire()
                except trio.ClosedResourceError as error:
                    errors.append(error)

            async with network.open_client() as client:
                nursery.start_soon(wait, client)
                await wait_all_tasks_blocked()
                assert claims(network, "k") == (1, 1)
        assert len(errors) == 1
        assert claims(network, "k") == (1, 0)


def begin(client: Client, key: str, answers: list[object]) -> tuple[Grant, BegunWait]:
    """Send the LOCK of a handle without a task that waits for its answer."""
    lock, session = client.lock(key), client._session
    prepared = lock._prepare(*session.wait)
    grant = Grant(session, prepared, session.new_id())
    return grant, session.begin_prepared(prepared, grant.lock_id, grant, answers.append)


async def test_a_lock_and_its_release_without_a_task(
    network: Network, client: Client
) -> None:
    answers: list[object] = []
    assert client._session.ready
    grant, begun = begin(client, "k", answers)
    await wait_all_tasks_blocked()
    (answer,) = answers
    assert isinstance(answer, outcome.Value)
    # Nothing waits any more.
    begun.withdraw()
    assert claims(network, "k") == (1, 0)
    release = grant.begin_leave(answers.append)
    await wait_all_tasks_blocked()
    release.leave()
    assert len(answers) == 2
    assert claims(network, "k") == (0, 0)
    assert_idle(client)


async def test_a_lock_without_a_task_is_withdrawn(
    network: Network, client: Client
) -> None:
    answers: list[object] = []
    async with network.open_client() as other, other.lock("k"):
        _, begun = begin(client, "k", answers)
        await wait_all_tasks_blocked()
        assert claims(network, "k") == (1, 1)
        begun.withdraw()
        await wait_all_tasks_blocked()
        assert claims(network, "k") == (1, 0)
    assert answers == []
    assert_idle(client)


async def test_a_lock_without_a_task_goes_on_over_a_cut(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    answers: list[object] = []
    async with network.open_client() as other:
        holder = await other.lock("k").acquire()
        begin(client, "k", answers)
        await wait_all_tasks_blocked()
        network.streams[0].cut()
        assert not answers
        await trio.sleep(0.1)
        assert claims(network, "k") == (1, 1)
        await holder.release()
        await wait_all_tasks_blocked()
    assert len(answers) == 1
    assert claims(network, "k") == (1, 0)


async def test_a_release_without_a_task_takes_effect_all_the_same(
    network: Network, client: Client
) -> None:
    """Its caller has left before the answer."""
    answers: list[object] = []
    grant = await client.lock("k").acquire()
    grant.begin_leave(answers.append).leave()
    await wait_all_tasks_blocked()
    assert claims(network, "k") == (0, 0)
    assert answers == []
    assert_idle(client)


async def test_locks_and_releases_without_a_task_fail_with_their_client(
    autojump_clock: MockClock, network: Network
) -> None:
    answers: list[object] = []
    async with network.open_client() as other, other.lock("k"):
        async with network.open_client() as client:
            held = await client.lock("held").acquire()
            begin(client, "k", answers)
            await wait_all_tasks_blocked()
        assert not client._session.ready
        held.begin_leave(answers.append)
        errors = [answer.error for answer in answers]  # type: ignore[attr-defined]
        assert [type(error) for error in errors] == 2 * [trio.ClosedResourceError]


async def test_the_host_writes_for_every_connection(
    autojump_clock: MockClock, network: Network, client: Client
) -> None:
    """For the present one, and for those to come."""
    calls: list[object] = []
    client.write_by(calls.append)
    for number in range(2):
        assert client._session._link is not None
        assert client._session._link._call_soon is not None  # type: ignore[attr-defined]
        network.streams[number].cut()
        await trio.sleep(0.1)
    await client.wait_connected()
