"""Commands that no task waits for: what each pair of replies means."""

from __future__ import annotations

import logging

import pytest
from tests.trioslock.link.parts import (
    UNLOCK,
    FakeOwner,
    FakeTable,
    answer,
    hold,
    lock,
)

from trioslock._errors import LossReason
from trioslock.link._orphans import (
    GrantRenewal,
    OrphanRequest,
    OrphanUnlock,
    OrphanUpdate,
    Withdrawal,
    withdrawal,
)
from trioslock.link._request_table import Disconnected
from trioslock.protocol import LockCommand


@pytest.mark.parametrize("first", ["lock", "unlock"])
@pytest.mark.parametrize(
    ("lock_code", "unlock_code", "expiry"),
    [(6, 5, 10), (0, 0, 10), (8, 6, 10), (0, 6, 0), (10, 10, 10), (3, 3, 10)],
)
def test_a_withdrawal_ends_with_its_second_reply(
    first: str, lock_code: int, unlock_code: int, expiry: int
) -> None:
    """In either order of the two replies."""
    table = FakeTable()
    command = lock(table, expiry=expiry)
    table.withdraw(command)
    (undo,) = table.posted
    assert isinstance(undo, LockCommand)
    # It takes back one level of its own lock id, and no other wait.
    assert (undo.type, undo.flag, undo.lock_id) == (UNLOCK, 0x02, command.lock_id)
    assert undo.rcount == command.rcount
    replies = [answer(command, lock_code), answer(undo, unlock_code)]
    if first == "unlock":
        replies.reverse()
    table.receive(replies[0])
    assert table.load == 1
    table.receive(replies[1])
    assert table.load == table.in_flight == 0
    assert table.posted == [undo]


@pytest.mark.parametrize(("lock_code", "unlock_code"), [(0, 6), (5, 0), (6, 0), (0, 7)])
def test_codes_that_do_not_match_are_logged_and_undone_once_more(
    lock_code: int, unlock_code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Codes that do not go together: the state of the server is unknown."""
    table = FakeTable()
    command = lock(table)
    table.withdraw(command)
    undo = table.posted[0]
    assert isinstance(undo, LockCommand)
    with caplog.at_level(logging.WARNING, logger="trioslock.link"):
        table.receive(answer(command, lock_code))
        table.receive(answer(undo, unlock_code))
    assert f"{lock_code} and {unlock_code}" in caplog.text
    again = table.posted[1]
    assert isinstance(again, LockCommand)
    assert (again.flag, again.lock_id) == (0x02, command.lock_id)
    assert again.request_id != undo.request_id
    table.receive(answer(again, 0))
    assert table.load == table.in_flight == 0


def test_an_update_without_a_caller_releases_what_it_took() -> None:
    """Result 0 means that the grant had been lost; 5 that it is held."""
    table = FakeTable()
    command, holder = hold(table)
    update = command._replace(request_id=table.follow_up(command.request_id), flag=2)
    table.register(update, OrphanUpdate(table, update))
    table.receive(answer(update, 0))
    assert holder.losses == ["expired"]
    (undo,) = table.posted
    assert isinstance(undo, LockCommand)
    assert (undo.type, undo.lock_id) == (UNLOCK, command.lock_id)
    command, holder = hold(table)
    update = command._replace(request_id=table.follow_up(command.request_id), flag=2)
    table.register(update, OrphanUpdate(table, update))
    table.receive(answer(update, 5))
    assert holder.losses == []
    assert table.posted == [undo]


def test_a_withdrawal_keeps_the_rcount_and_nothing_else() -> None:
    """With an rcount of 0 a re-entrant holder would lose all its levels."""
    command = lock(FakeTable(), rcount=7)._replace(data=b"data")
    unlock = withdrawal(command)
    assert (unlock.type, unlock.flag, unlock.rcount) == (UNLOCK, 0x02, 7)
    assert (unlock.timeout, unlock.expiry, unlock.data) == (0, 0, None)
    assert (unlock.lock_id, unlock.key) == (command.lock_id, command.key)


@pytest.mark.parametrize("code", [0, 5, 6, 7, 11])
def test_an_unlock_without_a_caller_ends_with_any_code(code: int) -> None:
    """Nothing is held under its lock id any more."""
    table = FakeTable()
    unlock = lock(table)._replace(type=UNLOCK)
    table.release_later(unlock)
    assert table.load == 1
    table.receive(answer(unlock, code))
    assert (table.load, table.in_flight, table.posted) == (0, 0, [])


@pytest.mark.parametrize(
    ("code", "losses", "undone"),
    [
        (5, [], False),
        (0, ["disconnected"], True),
        (8, ["taken"], False),
        (7, ["disconnected"], False),
    ],
)
def test_a_renewal_keeps_the_grant_or_reports_its_loss(
    code: int, losses: list[LossReason], undone: bool
) -> None:
    """5 is the only answer to an UPDATE of a held key; 0 has taken a free one."""
    table = FakeTable()
    command, holder = hold(table)
    held = table.held[command.request_id]
    update = command._replace(request_id=table.follow_up(command.request_id))
    table.register(update, GrantRenewal(table, update, held))
    table.receive(answer(update, code))
    assert holder.losses == losses
    assert bool(table.posted) is undone
    assert table.holds(command.request_id) is (code == 5)


@pytest.mark.parametrize(
    ("kind", "held", "undone"),
    [
        (OrphanRequest, False, False),
        (OrphanUnlock, False, True),
        (OrphanUpdate, False, True),
        (OrphanUpdate, True, False),
        (Withdrawal, False, True),
    ],
)
def test_a_lost_connection_leaves_what_must_be_undone(
    kind: type[OrphanRequest], held: bool, undone: bool
) -> None:
    """Closing the client leaves all of them alone."""
    disconnected = Disconnected(FakeOwner())
    command = hold(disconnected)[0] if held else lock(disconnected)
    entry = kind(disconnected, command)
    entry.close(RuntimeError())
    assert disconnected.load == 0
    entry.suspend(disconnected, sent=True)
    assert disconnected.load == undone


def test_a_renewal_is_not_kept_over_a_lost_connection() -> None:
    """The grant is on record, and the next connection asks again."""
    disconnected = Disconnected(FakeOwner())
    command, holder = hold(disconnected)
    held = disconnected.held[command.request_id]
    GrantRenewal(disconnected, command, held).suspend(disconnected, sent=True)
    assert (disconnected.load, disconnected.in_flight, holder.losses) == (0, 0, [])
