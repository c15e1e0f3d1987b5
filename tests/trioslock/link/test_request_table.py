"""The request table: matching replies, grants on record, the end of a connection."""

from __future__ import annotations

import pytest
import trio
from tests.trioslock.link.parts import (
    UNLOCK,
    FakeOwner,
    FakeTable,
    Holder,
    answer,
    hold,
    lock,
)
from trio.lowlevel import current_task, wait_task_rescheduled
from trio.testing import wait_all_tasks_blocked

from trioslock import ConnectionLost
from trioslock.link._entries import PendingCall, PendingLock
from trioslock.link._orphans import OrphanRequest, OrphanUnlock
from trioslock.link._request_table import Disconnected, query_key
from trioslock.protocol import (
    CommandType,
    InitCommand,
    InitResult,
    LockCommand,
    LockResult,
    PlainCommand,
    PlainResult,
    StateCommand,
)


def test_a_notice_under_any_id_of_a_grant_finds_it() -> None:
    """The loss is reported once; a second notice matches nothing."""
    for updates in (0, 1, 3):
        table = FakeTable()
        command, holder = hold(table)
        name = command.request_id
        for _ in range(updates):
            name = table.follow_up(command.request_id)
        notice = answer(command._replace(request_id=name), 9)
        table.receive(notice)
        table.receive(notice)
        assert holder.losses == ["expired"]
        assert table.strays == 1


def test_follow_ups_go_round_without_using_the_first_id() -> None:
    """The first id is that of the attempt itself."""
    table = FakeTable()
    command, _ = hold(table)
    names = {table.follow_up(command.request_id) for _ in range(65_536)}
    assert len(names) == 65_535
    assert command.request_id not in names


def test_a_follow_up_of_nothing_is_a_fresh_id() -> None:
    """Where no grant is on record, an id could be used twice."""
    table = FakeTable()
    name = lock(table).request_id
    assert table.follow_up(name)[:-2] != name[:-2]


def test_replies_to_nothing_are_counted() -> None:
    """Each kind of result, of whichever id."""
    table = FakeTable()
    command = lock(table)
    table.receive(answer(command, 0))
    table.receive(answer(command._replace(type=UNLOCK), 0))
    table.receive(PlainResult(int(CommandType.PING), bytes(16), 0))
    table.receive(InitResult(bytes(16), 0, 0x0C))
    assert table.strays == 4
    assert table.posted == []


@pytest.mark.parametrize(
    ("code", "regranted", "strays"), [(9, False, 0), (0, True, 0), (0, False, 1)]
)
def test_the_second_answer_to_a_lock_is_no_stray(
    code: int, regranted: bool, strays: int
) -> None:
    """Its lease has ended, or a group's wake-up let it be granted again.

    A second success under the lock id of the attempt itself is a mistake of the server.
    """
    table = FakeTable(FakeOwner(knows_its_ids=True))
    command = lock(table)
    if regranted:
        command = command._replace(lock_id=b"v" * 8 + b"\xff" * 8)
    table.receive(answer(command, code))
    assert table.strays == strays
    table.receive(answer(command._replace(request_id=b"other client 16b"), code))
    assert table.strays == strays + 1


def test_events_go_to_the_owner() -> None:
    """A PUBLISH matches no request."""
    table = FakeTable()
    event = answer(lock(table), 9)._replace(type=int(CommandType.PUBLISH))
    table.receive(event)
    assert table.fake_owner.events == [event]
    assert table.strays == 0


def test_lock_and_unlock_of_an_attempt_share_an_id() -> None:
    """Their types distinguish the replies."""
    table = FakeTable()
    command = lock(table)
    unlock = command._replace(type=UNLOCK)
    table.register(command, OrphanRequest(table, command))
    entry = OrphanUnlock(table, unlock)
    table.register(unlock, entry)
    table.receive(answer(command, 0))
    assert table.has(unlock, entry)
    assert table.in_flight == 1


async def test_a_query_is_matched_by_type_and_id() -> None:
    """Commands and results of one exchange have the same key."""
    assert query_key(StateCommand(b"i" * 16, 0, 0)) != query_key(
        PlainCommand(int(CommandType.PING), b"i" * 16)
    )
    assert query_key(InitCommand(b"i" * 16, b"c" * 16)) == query_key(
        InitResult(b"i" * 16, 0, 0)
    )
    table = FakeTable()
    ping = PlainCommand(int(CommandType.PING), table.new_id())
    answers: list[object] = []

    async def ask() -> None:
        answers.append(await table.ask(ping))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert table.in_flight == 1
        table.receive(PlainResult(int(CommandType.QUIT), ping.request_id, 0))
        assert answers == []
        table.receive(PlainResult(int(CommandType.PING), ping.request_id, 0))
    assert answers == [PlainResult(int(CommandType.PING), ping.request_id, 0)]
    assert (table.in_flight, table.strays) == (0, 1)


def test_withdrawing_what_was_not_sent_sends_nothing() -> None:
    """The LOCK is dropped with its entry."""
    table = FakeTable()
    table.sent = False
    command = lock(table)
    table.register(command, OrphanRequest(table, command))
    table.withdraw(command)
    assert (table.posted, table.in_flight, table.load) == ([], 0, 0)


def test_a_withdrawal_counts_until_it_is_answered() -> None:
    """The owner is notified when the load falls."""
    table = FakeTable()
    table.undo(lock(table))
    (unlock,) = table.posted
    assert isinstance(unlock, LockCommand)
    assert (table.load, table.fake_owner.load_reductions) == (1, 0)
    table.receive(answer(unlock, 6))
    assert (table.load, table.fake_owner.load_reductions) == (0, 1)


@pytest.mark.parametrize(
    ("expiry_flag", "rcount", "rcounts"),
    [(0x8000, 0, [1, 0]), (0x8000, 255, [254, 255]), (0, 1, [1])],
)
def test_renewing_moves_a_session_lease_by_two_updates(
    expiry_flag: int, rcount: int, rcounts: list[int]
) -> None:
    """They differ in the rcount and end alike; other leases need one."""
    table = FakeTable()
    command, _ = hold(table)
    held = table.held[command.request_id]
    held.command = command._replace(expiry_flag=expiry_flag, rcount=rcount)
    table.renew(held)
    updates = [each for each in table.posted if isinstance(each, LockCommand)]
    assert [each.rcount for each in updates] == rcounts
    assert {each.expiry for each in updates} == {command.expiry}
    assert {each.flag for each in updates} == {0x02}
    assert {each.lock_id for each in updates} == {command.lock_id}
    assert len({each.request_id for each in updates}) == len(rcounts)
    assert command.request_id not in {each.request_id for each in updates}


async def test_a_new_connection_gets_undos_first_then_renewals_then_requests() -> None:
    """In one pass, before anything else is sent."""
    owner = FakeOwner()
    disconnected, table = Disconnected(owner), FakeTable(owner)
    old = lock(disconnected)
    disconnected.undo(old)
    granted, holder = hold(disconnected)
    waits = lock(disconnected)
    entry = PendingLock(disconnected, waits, holder, current_task(), True)
    disconnected.register(waits, entry)
    assert repr(disconnected) == "<Disconnected: 1 standing by, 1 held, 1 to undo>"
    disconnected.resume_all(table)
    undo, renewal, restored, request = table.posted
    assert isinstance(undo, LockCommand)
    assert isinstance(renewal, LockCommand)
    assert isinstance(restored, LockCommand)
    assert (undo.type, undo.lock_id) == (UNLOCK, old.lock_id)
    assert renewal.lock_id == restored.lock_id == granted.lock_id
    assert request == waits
    assert table.has(waits, entry)
    assert list(table.held) == [granted.request_id]
    assert (disconnected.load, disconnected.in_flight, disconnected.held) == (0, 0, {})


def test_expiry_ends_session_leases_and_keeps_others() -> None:
    """What is reported as lost is undone when there is a connection again."""
    disconnected = Disconnected(FakeOwner())
    session, first = hold(disconnected)
    seconds, second = hold(disconnected)
    held = disconnected.held[seconds.request_id]
    held.command = seconds._replace(expiry_flag=0)
    disconnected.expire()
    assert (first.losses, second.losses) == (["disconnected"], [])
    assert disconnected.expired
    assert disconnected.load == 1
    assert not disconnected.holds(session.request_id)
    assert disconnected.holds(seconds.request_id)


async def test_closing_fails_tasks_and_releases_grants() -> None:
    """Waits are withdrawn, calls go on without their task."""
    table = FakeTable()
    granted, holder = hold(table)
    call = lock(table)
    errors: list[Exception] = []

    async def wait() -> None:
        entry = PendingCall(table, call, current_task(), False, False)
        table.register(call, entry)
        with pytest.raises(trio.ClosedResourceError) as caught:
            await wait_task_rescheduled(entry.abort)
        errors.append(caught.value)

    async def ask() -> None:
        with pytest.raises(trio.ClosedResourceError) as caught:
            await table.ask(PlainCommand(int(CommandType.PING), table.new_id()))
        errors.append(caught.value)

    closed = trio.ClosedResourceError("closed")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        table.close_all(closed)
    assert errors == [closed, closed]
    assert holder.losses == ["disconnected"]
    undo = table.posted[-1]
    assert isinstance(undo, LockCommand)
    assert (undo.type, undo.lock_id) == (UNLOCK, granted.lock_id)
    assert isinstance(table.locks[call.request_id], OrphanRequest)


async def test_a_query_fails_with_its_connection() -> None:
    """It is not asked again: its answer would be about another connection."""
    owner = FakeOwner()
    disconnected, table = Disconnected(owner), FakeTable(owner)

    async def ask() -> None:
        with pytest.raises(ConnectionLost):
            await table.ask(PlainCommand(int(CommandType.PING), table.new_id()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        table.suspend_all(disconnected)
    assert (table.in_flight, disconnected.in_flight) == (0, 0)


def test_a_notice_that_answers_a_wait_reaches_its_task() -> None:
    """No sound server says "expired" to a wait; a task must not sleep over it."""
    table = FakeTable()
    command = lock(table)
    results: list[LockResult] = []

    class Recorder(OrphanRequest):
        def settle(self, result: LockResult) -> None:
            results.append(result)

    table.register(command, Recorder(table, command))
    table.receive(answer(command, 9))
    assert [result.result for result in results] == [9]
    assert table.in_flight == 0


def test_nothing_is_sent_without_a_connection() -> None:
    """Commands are dropped, and every one counts as not sent."""
    disconnected = Disconnected(FakeOwner())
    command = lock(disconnected)
    disconnected.post(command)
    assert disconnected.retract(command)
    holder = Holder()
    entry = PendingLock(disconnected, command, holder, None, True)  # type: ignore[arg-type]
    disconnected.register(command, entry)
    disconnected.withdraw(command)
    assert (disconnected.in_flight, disconnected.load) == (0, 0)
    entry.in_doubt = True
    disconnected.register(command, entry)
    disconnected.withdraw(command)
    assert (disconnected.in_flight, disconnected.load) == (0, 1)
