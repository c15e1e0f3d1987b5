"""What each entry does at its reply, its task's cancellation, the connection's end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from tests.trioslock.link.parts import (
    LOCK,
    UNLOCK,
    FakeOwner,
    FakeTable,
    Holder,
    answer,
    hold,
    lock,
)
from trio.lowlevel import Task, current_task, wait_task_rescheduled
from trio.testing import wait_all_tasks_blocked

from trioslock import ConnectionLost
from trioslock.link._entries import (
    ExpectedReply,
    PendingCall,
    PendingLock,
    PendingPreparedLock,
    PendingPreparedUnlock,
    PendingRequest,
    PendingUnlock,
    PendingUpdate,
    connection_lost,
)
from trioslock.link._orphans import OrphanRequest, OrphanUnlock, OrphanUpdate
from trioslock.link._request_table import Disconnected
from trioslock.protocol import LockCommand, LockResult, PreparedLock


@dataclass
class Caller:
    """A task that waits for an entry, and how its wait has ended."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    results: list[LockResult | None] = field(default_factory=list)
    error: Exception | None = None


Make = Callable[[Task], PendingLock | PendingCall]


@asynccontextmanager
async def caller(table: FakeTable, make: Make) -> AsyncIterator[Caller]:
    """Run a task that registers an entry and waits; it has ended after the body."""
    state = Caller()

    async def run() -> None:
        entry = make(current_task())
        table.register(entry.command, entry)
        with state.scope:
            try:
                state.results.append(await wait_task_rescheduled(entry.abort))
            except (ConnectionLost, trio.ClosedResourceError) as error:
                state.error = error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        yield state


def posted(table: FakeTable) -> list[LockCommand]:
    return [each for each in table.posted if isinstance(each, LockCommand)]


# LOCK.


@pytest.mark.parametrize("listens", [True, False])
async def test_a_grant_with_a_listener_is_on_record(listens: bool) -> None:
    """Before its task has run: a loss may be reported in the same read."""
    table = FakeTable()
    command, holder = lock(table), Holder() if listens else None
    async with caller(
        table, lambda task: PendingLock(table, command, holder, task, True)
    ) as waiting:
        table.receive(answer(command, 0))
        assert waiting.results == []
        assert table.holds(command.request_id) is listens
    assert [each and each.result for each in waiting.results] == [0]


async def test_a_refusal_is_not_on_record() -> None:
    """The task gets the result."""
    table = FakeTable()
    command = lock(table)
    async with caller(
        table, lambda task: PendingLock(table, command, Holder(), task, True)
    ) as waiting:
        table.receive(answer(command, 8))
    assert [each and each.result for each in waiting.results] == [8]
    assert table.held == {}


async def test_a_cancelled_wait_is_withdrawn() -> None:
    """The task leaves at once; the UNLOCK is on its way."""
    table = FakeTable()
    command = lock(table)
    async with caller(
        table, lambda task: PendingLock(table, command, Holder(), task, True)
    ) as waiting:
        waiting.scope.cancel()
    assert waiting.results == []
    assert [each.type for each in posted(table)] == [UNLOCK]
    assert table.load == 1


@pytest.mark.parametrize("own_lock_id", [True, False])
async def test_a_wait_that_was_sent_is_undone_and_made_anew(own_lock_id: bool) -> None:
    """Under a new id; a lock id of the caller's choice stays."""
    owner = FakeOwner()
    table, disconnected, other = FakeTable(owner), Disconnected(owner), FakeTable(owner)
    command = lock(table)
    if not own_lock_id:
        command = command._replace(lock_id=b"chosen by caller")
    async with caller(
        table, lambda task: PendingLock(table, command, Holder(), task, True)
    ) as waiting:
        table.suspend_all(disconnected)
        disconnected.resume_all(other)
        undo, again = posted(other)
        assert (undo.type, undo.lock_id) == (UNLOCK, command.lock_id)
        assert (again.type, again.key) == (LOCK, command.key)
        assert again.request_id not in {command.request_id, undo.request_id}
        assert again.lock_id == (again.request_id if own_lock_id else command.lock_id)
        other.receive(answer(again, 0))
    assert [each and each.request_id for each in waiting.results] == [again.request_id]


async def test_a_wait_that_was_not_sent_is_sent_as_it_is() -> None:
    """It cannot have been granted."""
    owner = FakeOwner()
    table, disconnected, other = FakeTable(owner), Disconnected(owner), FakeTable(owner)
    command = lock(table)
    table.sent = False
    async with caller(
        table, lambda task: PendingLock(table, command, None, task, False)
    ):
        table.suspend_all(disconnected)
        disconnected.resume_all(other)
        assert posted(other) == [command]
        other.receive(answer(command, 0))


async def test_without_replay_a_sent_wait_fails_and_is_undone() -> None:
    """Its grant would have no holder."""
    owner = FakeOwner()
    table, disconnected = FakeTable(owner), Disconnected(owner)
    command = lock(table)
    async with caller(
        table, lambda task: PendingLock(table, command, Holder(), task, False)
    ) as waiting:
        table.suspend_all(disconnected)
    assert isinstance(waiting.error, ConnectionLost)
    assert (disconnected.in_flight, disconnected.load) == (0, 1)


# Calls.


async def test_a_cancelled_call_that_was_sent_runs_without_its_task() -> None:
    """Its reply is dropped. One that was not sent is dropped itself."""
    for sent in (True, False):
        table = FakeTable()
        table.sent = sent
        command = lock(table)

        def make(
            task: Task, table: FakeTable = table, command: LockCommand = command
        ) -> PendingCall:
            return PendingCall(table, command, task, False, False)

        async with caller(table, make) as waiting:
            waiting.scope.cancel()
        assert table.in_flight == sent
        table.receive(answer(command, 0))
        assert (table.in_flight, table.strays) == (0, not sent)


async def test_a_lingering_call_gets_its_reply_before_the_grace_ends() -> None:
    """Afterwards `give_up` has no effect."""
    table = FakeTable()
    command = lock(table)._replace(type=UNLOCK)
    async with caller(
        table, lambda task: PendingUnlock(table, command, task)
    ) as waiting:
        waiting.scope.cancel()
        await wait_all_tasks_blocked()
        (call,) = table.fake_owner.lingering
        table.receive(answer(command, 0))
        call.give_up()
    assert [each and each.result for each in waiting.results] == [0]
    assert table.load == 0


async def test_a_lingering_call_is_cancelled_when_the_grace_ends() -> None:
    """The UNLOCK stays due."""
    table = FakeTable()
    command = lock(table)._replace(type=UNLOCK)
    async with caller(
        table, lambda task: PendingUnlock(table, command, task)
    ) as waiting:
        waiting.scope.cancel()
        await wait_all_tasks_blocked()
        table.fake_owner.lingering[0].give_up()
    assert waiting.results == []
    assert waiting.scope.cancelled_caught
    assert isinstance(table.unlocks[command.request_id], OrphanUnlock)


async def test_giving_up_a_call_that_was_not_cancelled_does_nothing() -> None:
    """The grace is that of a cancellation."""
    table = FakeTable()
    command = lock(table)
    call = PendingCall(table, command, current_task(), False, True)
    table.register(command, call)
    call.give_up()
    assert table.has(command, call)


@pytest.mark.parametrize("replay", [True, False])
async def test_a_call_that_was_sent_is_repeated_or_fails(replay: bool) -> None:
    """It fails where doing it twice could do harm."""
    owner = FakeOwner()
    table, disconnected, other = FakeTable(owner), Disconnected(owner), FakeTable(owner)
    command = lock(table)
    async with caller(
        table, lambda task: PendingCall(table, command, task, replay, False)
    ) as waiting:
        table.suspend_all(disconnected)
        disconnected.resume_all(other)
        other.receive(answer(command, 0))
    assert posted(other) == ([command] if replay else [])
    assert bool(waiting.results) is replay
    assert isinstance(waiting.error, ConnectionLost) is not replay


@pytest.mark.parametrize("code", [6, 7])
async def test_a_repeated_release_that_finds_nothing_is_a_success(code: int) -> None:
    """The first one has released it. Without a repetition it stays an error."""
    owner = FakeOwner()
    table, disconnected, other = FakeTable(owner), Disconnected(owner), FakeTable(owner)
    command = lock(table)._replace(type=UNLOCK)
    for cut in (False, True):
        async with caller(
            table, lambda task: PendingUnlock(table, command, task)
        ) as waiting:
            if cut:
                table.suspend_all(disconnected)
                disconnected.resume_all(other)
            (other if cut else table).receive(answer(command, code))
        expected = 0 if cut else code
        assert [each and each.result for each in waiting.results] == [expected]


async def test_a_release_fails_when_the_session_has_ended_but_stays_due() -> None:
    """A lease in seconds may be longer than the session."""
    owner = FakeOwner()
    table, disconnected = FakeTable(owner), Disconnected(owner)
    command = lock(table)._replace(type=UNLOCK)
    async with caller(
        table, lambda task: PendingUnlock(table, command, task)
    ) as waiting:
        table.suspend_all(disconnected)
        disconnected.expire()
    assert isinstance(waiting.error, ConnectionLost)
    assert (disconnected.in_flight, disconnected.load) == (0, 1)


async def test_an_update_that_was_accepted_is_what_later_renewals_ask_for() -> None:
    """Result 5; after a cancellation the reply of the UPDATE still counts."""
    table = FakeTable()
    command, _ = hold(table)
    request_id = table.follow_up(command.request_id)
    update = command._replace(request_id=request_id, flag=2, expiry=99)
    async with caller(table, lambda task: PendingUpdate(table, update, task)):
        table.receive(answer(update, 5))
    assert table.held[command.request_id].command.expiry == 99
    async with caller(
        table, lambda task: PendingUpdate(table, update, task)
    ) as waiting:
        waiting.scope.cancel()
        await wait_all_tasks_blocked()
        table.fake_owner.lingering[0].give_up()
    assert isinstance(table.locks[request_id], OrphanUpdate)


async def test_closing_lets_a_call_go_on_and_fails_its_task() -> None:
    """The command was sent: it takes effect."""
    table = FakeTable()
    command = lock(table)
    async with caller(
        table, lambda task: PendingCall(table, command, task, False, False)
    ) as waiting:
        table.close_all(trio.ClosedResourceError("closed"))
    assert isinstance(waiting.error, trio.ClosedResourceError)
    assert isinstance(table.locks[command.request_id], OrphanRequest)


# Prepared locks.


async def test_a_prepared_entry_makes_its_command_on_use() -> None:
    """Only a withdrawal, an update or a lost connection needs it."""
    table = FakeTable()
    command = lock(table)
    prepared = PreparedLock(command, command._replace(type=UNLOCK))
    task = current_task()
    taken = PendingPreparedLock(table, prepared, command.request_id, Holder(), task)
    released = PendingPreparedUnlock(table, prepared, command.request_id, task)
    assert taken._command is released._command is None
    assert taken.command == command
    assert released.command == command._replace(type=UNLOCK)
    assert (taken.replay, released.replay, released.linger) == (True, True, True)
    assert taken.in_session


# Replies of commands that another one brings along.


async def test_an_expected_reply_can_come_before_or_after_the_wait() -> None:
    """It is kept until a task asks for it."""
    for early in (True, False):
        table = FakeTable()
        command = lock(table)
        expected = ExpectedReply(table, command)
        table.register(command, expected)
        results: list[LockResult] = []

        async def wait(
            expected: ExpectedReply = expected, results: list[LockResult] = results
        ) -> None:
            results.append(await expected.wait())

        async with trio.open_nursery() as nursery:
            if early:
                table.receive(answer(command, 6))
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            if not early:
                table.receive(answer(command, 6))
        assert [each.result for each in results] == [6]


async def test_an_expected_reply_fails_with_its_connection() -> None:
    """The command may have run. One that is expected anew waits for a connection."""
    owner = FakeOwner()
    table, disconnected = FakeTable(owner), Disconnected(owner)
    expected = ExpectedReply(table, lock(table))
    table.register(expected.command, expected)
    table.suspend_all(disconnected)
    with pytest.raises(ConnectionLost, match="whether it took effect is unknown"):
        await expected.wait()
    later = ExpectedReply(disconnected, lock(disconnected))
    disconnected.register(later.command, later)
    disconnected.resume_all(table)
    table.receive(answer(later.command, 0))
    assert (await later.wait()).result == 0


async def test_an_expected_reply_is_forgotten_by_its_task() -> None:
    """By a call, by a cancellation, or by the end of the client."""
    table = FakeTable()
    expected = [ExpectedReply(table, lock(table)) for _ in range(3)]
    for each in expected:
        table.register(each.command, each)
    expected[0].forget()
    expected[0].forget()
    with trio.move_on_after(0) as scope:
        await expected[1].wait()
    assert scope.cancelled_caught
    table.close_all(trio.ClosedResourceError("closed"))
    assert table.in_flight == 0
    with pytest.raises(trio.ClosedResourceError):
        await expected[2].wait()


# What all of them are.


def test_the_error_of_a_lost_command_names_it() -> None:
    """The type, the key, and that its outcome is unknown."""
    table = FakeTable()
    command = lock(table)
    assert f"UNLOCK of key {command.key.hex()}" in str(
        connection_lost(command._replace(type=UNLOCK))
    )


def test_a_request_that_is_not_prepared_makes_no_command() -> None:
    """The base class has no way to."""
    with pytest.raises(NotImplementedError):
        PendingRequest()._make()


async def test_an_entry_is_what_its_task_wakes_with() -> None:
    """It is an outcome that is compared by identity."""
    table = FakeTable()
    command = lock(table)
    entries = [PendingCall(table, command, current_task(), False, False)] * 2
    entries.append(PendingCall(table, command, current_task(), False, False))
    assert entries[0] == entries[1] != entries[2]
    assert len(set(entries)) == 2
    entry = entries[0]
    entry.result = answer(command, 0)
    assert entry.unwrap() is entry.result

    def take() -> Generator[None, LockResult | None, LockResult | None]:
        return (yield None)

    async def take_async() -> AsyncGenerator[None, LockResult | None]:
        assert (yield None) is entry.result
        yield None

    generator = take()
    next(generator)
    with pytest.raises(StopIteration) as stopped:
        entry.send(generator)
    assert stopped.value.value is entry.result
    async with aclosing(take_async()) as asynchronous:
        await anext(asynchronous)
        await entry.asend(asynchronous)
    entry._command = None
    with pytest.raises(NotImplementedError):
        _ = entry.command
