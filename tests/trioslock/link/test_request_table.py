"""What becomes of each pair of replies, without a wire and without a task."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from typing import Any

import pytest
import trio

from trioslock._errors import LossReason
from trioslock.link import RequestTable
from trioslock.link._entries import PendingCall, PendingLock
from trioslock.link._orphans import OrphanUpdate
from trioslock.protocol import (
    Command,
    CommandType,
    InitResult,
    LockCommand,
    LockResult,
    PlainResult,
)

LOCK, UNLOCK = int(CommandType.LOCK), int(CommandType.UNLOCK)
KEY = bytes(15) + b"k"


class Owner:
    def __init__(self) -> None:
        self.ids = 0
        self.rooms = 0
        self.knows_its_ids = False

    def new_id(self) -> bytes:
        self.ids += 1
        return b"fresh".ljust(8, b"-") + (self.ids << 16).to_bytes(8, "big")

    def made(self, request_id: bytes) -> bool:
        return self.knows_its_ids and request_id.startswith(b"fresh")

    def linger(self, call: Any) -> None:
        raise AssertionError("nothing here lingers")

    def load_reduced(self) -> None:
        self.rooms += 1

    def published(self, result: LockResult) -> None:
        raise AssertionError("nothing here is published")


class Wire(RequestTable):
    """A table whose commands pile up."""

    def __init__(self) -> None:
        super().__init__(Owner())
        self.posted: list[Command] = []

    def post(self, command: Command) -> None:
        self.posted.append(command)

    def retract(self, command: Command) -> bool:
        return False


class Ear:
    def __init__(self) -> None:
        self.heard: list[LossReason] = []

    def lost(self, reason: LossReason) -> None:
        self.heard.append(reason)


def lock(wire: Wire, *, expiry: int = 10, rcount: int = 3) -> LockCommand:
    attempt = wire.new_id()
    return LockCommand(
        LOCK, attempt, 0, 0, attempt, KEY, 10, 0x8000, expiry, 0x8000, 0, rcount
    )


def answer(command: LockCommand, code: int) -> LockResult:
    return LockResult(
        command.type, command.request_id, code, 0, 0, command.lock_id, KEY, 0, 0, 0, 0
    )


@pytest.mark.parametrize("first", ["lock", "unlock"])
@pytest.mark.parametrize(
    ("lock_code", "unlock_code", "expiry"),
    [(6, 5, 10), (0, 0, 10), (8, 6, 10), (0, 6, 0), (10, 10, 10), (3, 3, 10)],
)
def test_a_withdrawal_ends_with_its_second_reply(
    first: str, lock_code: int, unlock_code: int, expiry: int
) -> None:
    wire = Wire()
    command = lock(wire, expiry=expiry)
    wire.withdraw(command)
    (undo,) = wire.posted
    assert isinstance(undo, LockCommand)
    # It takes back one level of its own lock id, and no other wait.
    assert (undo.type, undo.flag, undo.lock_id) == (UNLOCK, 0x02, command.lock_id)
    assert undo.rcount == command.rcount
    replies = [answer(command, lock_code), answer(undo, unlock_code)]
    if first == "unlock":
        replies.reverse()
    wire.receive(replies[0])
    assert wire.load == 1
    wire.receive(replies[1])
    assert wire.load == wire.in_flight == 0
    assert wire.posted == [undo]


@pytest.mark.parametrize(("lock_code", "unlock_code"), [(0, 6), (5, 0), (6, 0), (0, 7)])
def test_what_no_server_should_answer_is_logged_and_undone_once_more(
    lock_code: int, unlock_code: int, caplog: pytest.LogCaptureFixture
) -> None:
    wire = Wire()
    command = lock(wire)
    wire.withdraw(command)
    undo = wire.posted[0]
    assert isinstance(undo, LockCommand)
    with caplog.at_level(logging.WARNING, logger="trioslock.link"):
        wire.receive(answer(command, lock_code))
        wire.receive(answer(undo, unlock_code))
    assert f"{lock_code} and {unlock_code}" in caplog.text
    again = wire.posted[1]
    assert isinstance(again, LockCommand)
    assert (again.flag, again.lock_id) == (0x02, command.lock_id)
    assert again.request_id != undo.request_id
    wire.receive(answer(again, 0))
    assert wire.load == wire.in_flight == 0


def hold(wire: Wire) -> tuple[LockCommand, Ear]:
    ear = Ear()
    command = lock(wire)
    wire.held[command.request_id] = PendingLock(
        wire,
        command,
        ear,
        None,
        True,  # type: ignore[arg-type]
    )
    return command, ear


def test_a_notice_under_any_id_of_a_grant_finds_it() -> None:
    for updates in (0, 1, 3):
        wire = Wire()
        command, ear = hold(wire)
        name = command.request_id
        for _ in range(updates):
            name = wire.follow_up(command.request_id)
        notice = answer(command._replace(request_id=name), 9)
        wire.receive(notice)
        wire.receive(notice)
        assert ear.heard == ["expired"]
        assert wire.strays == 1


def test_follow_ups_go_round_without_using_the_first_id() -> None:
    wire = Wire()
    command, _ = hold(wire)
    names = {wire.follow_up(command.request_id) for _ in range(65_536)}
    assert len(names) == 65_535
    assert command.request_id not in names


def test_a_follow_up_of_nothing_is_a_fresh_id() -> None:
    wire = Wire()
    name = lock(wire).request_id
    assert wire.follow_up(name)[:-2] != name[:-2]


def test_an_update_that_nobody_waits_for_gives_back_what_it_took() -> None:
    wire = Wire()
    command, ear = hold(wire)
    update = command._replace(request_id=wire.follow_up(command.request_id), flag=2)
    wire.register(update, OrphanUpdate(wire, update))
    wire.receive(answer(update, 0))
    assert ear.heard == ["expired"]
    (undo,) = wire.posted
    assert isinstance(undo, LockCommand)
    assert (undo.type, undo.lock_id) == (UNLOCK, command.lock_id)
    command, ear = hold(wire)
    update = command._replace(request_id=wire.follow_up(command.request_id), flag=2)
    wire.register(update, OrphanUpdate(wire, update))
    wire.receive(answer(update, 5))
    assert ear.heard == []
    assert wire.posted == [undo]


def test_replies_to_nothing_are_counted() -> None:
    wire = Wire()
    command = lock(wire)
    wire.receive(answer(command, 0))
    wire.receive(answer(command._replace(type=UNLOCK), 0))
    wire.receive(PlainResult(int(CommandType.PING), bytes(16), 0))
    wire.receive(InitResult(bytes(16), 0, 0x0C))
    assert wire.strays == 4
    assert wire.posted == []


async def test_an_entry_is_what_its_task_wakes_with() -> None:
    """It is an outcome, and a command that it does not have is nobody's pattern."""
    wire = Wire()
    command = lock(wire)
    entries = [
        PendingCall(wire, command, trio.lowlevel.current_task(), False, False)
    ] * 2
    entries.append(
        PendingCall(wire, command, trio.lowlevel.current_task(), False, False)
    )
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
