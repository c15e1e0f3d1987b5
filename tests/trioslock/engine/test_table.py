"""The table: its steps one by one, EXECUTE entries, and every limit."""

from __future__ import annotations

from typing import Any

import pytest
from tests.trioslock.engine.commands import (
    KEY,
    OTHER_KEY,
    Talk,
    codes_of,
    lock,
    unlock,
)
from tests.trioslock.engine.model import frame

from trioslock.engine import EngineLimits
from trioslock.engine._keyspace import Claim, Key
from trioslock.engine._peers import Peer, Peers
from trioslock.engine._subscriptions import Subscriptions
from trioslock.engine._table import Table, TableFullError
from trioslock.protocol import LockCommand, LockResult, encode_command

VALUE = frame(0, 0, None, b"value")
SECOND = 1_700_000_000


@pytest.fixture
def talk() -> Talk:
    return Talk()


class Bench:
    """A table with one peer, at a fixed time."""

    def __init__(self, **limits: int) -> None:
        bounds = EngineLimits(**limits)
        self.peers = Peers()
        self.table = Table(
            bounds, self.peers, Subscriptions(bounds), lambda: b"made" * 4
        )
        self.table.second, self.table.wall_ms = SECOND, SECOND * 1000 + 250
        self.peer: Peer = self.peers.add()
        database = self.table.keyspace.open(0)
        assert database is not None
        self.key = Key(database, KEY)

    def claim(self, command: LockCommand) -> Claim:
        return Claim(self.peer, command, self.key, SECOND)

    def codes(self) -> list[int]:
        """Return the result codes of the replies so far, and forget them."""
        codes = [codes_of(each) for each in self.table.replies]
        self.table.replies = []
        return codes


# Steps.


def test_a_grant_counts_and_answers() -> None:
    """The key enters its database, the lease is armed, the result is 0."""
    bench = Bench()
    claim = bench.claim(lock("a", expiry=9))
    bench.table.grant(claim)
    assert bench.codes() == [0]
    assert (claim.levels, claim.expires, claim.exact) == (1, SECOND + 10, False)
    assert claim.due == claim.expires * 1000
    assert bench.key.db.keys == {KEY: bench.key}
    assert (bench.table.keys, bench.table.holders, bench.table.waiters) == (1, 1, 0)
    assert bench.key.db.counters(SECOND)[:3] == (1, 0, 1)


def test_a_lease_in_milliseconds_never_ends_early() -> None:
    """The present millisecond is rounded down, so one more is waited."""
    bench = Bench()
    claim = bench.claim(lock("a", expiry=500, expiry_flag=0x0400))
    bench.table.grant(claim)
    assert claim.exact
    assert claim.due == SECOND * 1000 + 250 + 501


def test_a_lease_without_renewal_counts_from_the_request() -> None:
    """Others count from the grant."""
    for flag, ends in ((0, SECOND + 7 + 10), (0x0100, SECOND + 10)):
        bench = Bench()
        claim = bench.claim(lock("a", expiry=9, timeout=60, timeout_flag=flag))
        bench.table.enqueue(claim)
        bench.table.second += 7
        bench.table.wake(bench.key)
        assert bench.codes() == [0]
        assert claim.expires == ends


def test_a_wait_ends_where_its_unit_says() -> None:
    """Milliseconds below 3000 are exact, all others are ticks."""
    for timeout, flag, due in (
        (5, 0, (SECOND + 6) * 1000),
        (5, 0x0040, (SECOND + 301) * 1000),
        (700, 0x0400, SECOND * 1000 + 250 + 701),
        (3000, 0x0400, (SECOND + 4) * 1000),
    ):
        bench = Bench()
        claim = bench.claim(lock("a", timeout=timeout, timeout_flag=flag))
        bench.table.enqueue(claim)
        assert claim.due == due


def test_waking_grants_as_long_as_the_head_fits() -> None:
    """A waiter behind one that does not fit stays, even if it would fit."""
    bench = Bench()
    for name, count in (("a", 1), ("b", 1), ("c", 0), ("d", 5)):
        bench.table.enqueue(bench.claim(lock(name, timeout=9, max_count=count)))
    bench.table.wake(bench.key)
    assert bench.codes() == [0, 0]
    assert (bench.key.levels, bench.key.waiting) == (2, 2)


def test_a_waiter_with_a_lease_of_zero_is_answered_and_gone() -> None:
    """All of them: that is what sets an event."""
    bench = Bench()
    for name in range(5):
        bench.table.enqueue(bench.claim(lock(name, timeout=9, expiry=0)))
    bench.table.wake(bench.key)
    assert bench.codes() == [0] * 5
    bench.table.free_if_unused(bench.key)
    assert (bench.table.keys, len(bench.table.deadlines)) == (0, 0)


def test_an_unused_key_goes_with_its_value() -> None:
    """One that is held or waited for stays."""
    bench = Bench()
    claim = bench.claim(lock("a", data=VALUE))
    bench.table.grant(claim)
    bench.table.free_if_unused(bench.key)
    assert bench.key.data == VALUE
    bench.table.remove_holder(claim)
    bench.table.free_if_unused(bench.key)
    assert (bench.key.data, bench.table.data_bytes, bench.table.keys) == (None, 0, 0)
    assert bench.key.db.keys == {}


@pytest.mark.parametrize(
    ("limits", "step"),
    [
        ({"holders": 0}, "grant"),
        ({"keys": 0}, "grant"),
        ({"data_total": 5}, "grant"),
        ({"data_size": 5}, "grant"),
        ({"waiters": 0}, "enqueue"),
        ({"keys": 0}, "enqueue"),
        ({"data_total": 5}, "enqueue"),
    ],
)
def test_a_step_that_is_refused_changes_nothing(
    limits: dict[str, int], step: str
) -> None:
    """The claim is neither holder nor waiter, and no byte is counted."""
    bench = Bench(**limits)
    claim = bench.claim(lock("a", timeout=9, data=VALUE))
    with pytest.raises(TableFullError):
        getattr(bench.table, step)(claim)
    table = bench.table
    assert (table.keys, table.holders, table.waiters, table.data_bytes) == (0,) * 4
    assert (bench.key.levels, bench.key.waiting, bench.key.data) == (0, 0, None)
    assert (bench.codes(), len(table.deadlines)) == ([], 0)


def test_results_go_to_the_owner_or_its_successor() -> None:
    """Or nowhere, if no peer has the client id."""
    bench = Bench()
    bench.peers.register(bench.peer, b"c" * 16)
    bench.peers.close(bench.peer.id)
    bench.table.answer(bench.peer, lock("a"), 0, 1, 1, None)
    assert bench.table.replies == []
    successor = bench.peers.add()
    bench.peers.register(successor, b"c" * 16)
    bench.table.answer(bench.peer, lock("a"), 0, 1, 1, VALUE)
    (reply,) = bench.table.replies
    assert reply.peer == successor.id
    assert isinstance(reply.result, LockResult)
    assert (reply.result.flag, reply.result.data) == (0x20, VALUE)


def test_changes_are_noted_once_they_are_watched() -> None:
    """By database and name."""
    bench = Bench()
    bench.table.mark_changed(bench.key)
    assert bench.table.changed is None
    bench.table.changed = set()
    bench.table.mark_changed(bench.key)
    assert bench.table.changed == {(0, KEY)}


# EXECUTE at its stages.


def execute(command: Any, stage: int = 0) -> bytes:
    return frame(5 | stage << 6, 0, None, encode_command(command))


def test_execute_runs_at_its_stage_only(talk: Talk) -> None:
    """Behind the answer to what started it; results are the holder's."""
    other = talk.engine.add_peer(talk.now)
    inner = lock("x", key=OTHER_KEY)
    assert talk.codes(lock("a", data=execute(inner, 1))) == [0]
    replies = talk.send(unlock("a"), other)
    assert [each.peer for each in replies] == [other, talk.peer]
    talk.send(unlock("x", key=OTHER_KEY))
    talk.send(lock("a", data=execute(inner, 3), expiry=1))
    assert talk.codes(unlock("a")) == [0]
    assert talk.engine.statistics().data_bytes == 0


def test_an_update_drops_what_has_not_run(talk: Talk) -> None:
    """If it has data; the bytes kept are counted."""
    entry = execute(lock("x", key=OTHER_KEY), 1)
    talk.send(lock("a", data=entry))
    kept = talk.engine.statistics().data_bytes
    assert kept == 64
    talk.send(lock("a", flag=0x02, data=entry))
    assert talk.engine.statistics().data_bytes == kept
    talk.send(lock("a", flag=0x02, data=VALUE))
    assert talk.engine.statistics().data_bytes == len(VALUE)
    assert talk.codes(unlock("a")) == [0]


def test_an_entry_on_a_lock_without_data_never_runs(talk: Talk) -> None:
    """As on the real server, whose UNLOCK can bring one."""
    talk.send(lock("a", rcount=1))
    talk.send(lock("a", rcount=1))
    for stage in (1, 3):
        talk.send(lock("a", rcount=1))
        talk.send(unlock("a", rcount=1, data=execute(lock("x", key=OTHER_KEY), stage)))
    assert talk.codes(unlock("a")) == [0]
    talk.send(lock("a", rcount=1))
    talk.send(lock("a", rcount=1))
    talk.send(unlock("a", rcount=1, data=execute(lock("x", key=OTHER_KEY), 3)))
    assert [codes_of(each) for each in talk.wait(20)] == [9]
    assert talk.engine.statistics().data_bytes == 0


# Limits.


def limited(**limits: int) -> Talk:
    return Talk(limits=EngineLimits(**limits))


def test_a_limit_on_keys() -> None:
    """A new key is refused with 11; held ones and probes of free ones go on."""
    talk = limited(keys=1)
    assert talk.codes(lock("a", max_count=9)) == [0]
    assert talk.codes(lock("b", key=OTHER_KEY)) == [11]
    assert talk.codes(lock("b", key=OTHER_KEY, expiry=0)) == [0]
    waits = lock("b", key=OTHER_KEY, timeout=5, timeout_flag=0x0200, max_count=1)
    assert talk.codes(waits) == [11]
    assert talk.codes(lock("b", max_count=9)) == [0]
    assert talk.codes(unlock("a")) == [0]
    assert talk.codes(unlock("b")) == [0]
    assert talk.codes(lock("b", key=OTHER_KEY)) == [0]


def test_a_limit_on_holders_and_waiters() -> None:
    """Refused with 11; a waiter that cannot become a holder gets it as well."""
    talk = limited(holders=2, waiters=1)
    assert talk.codes(lock("a", key=OTHER_KEY)) == [0]
    assert talk.codes(lock("a")) == [0]
    assert talk.codes(lock("b", max_count=9, key=b"x" * 16)) == [11]
    assert talk.codes(lock("c", timeout=9)) == []
    assert talk.codes(lock("d", timeout=9)) == [11]
    assert talk.codes(unlock("a", flag=0x08, timeout=9)) == [11]
    view = talk.engine.inspect(0, KEY)
    assert view is not None
    assert (view.levels, len(view.waiters)) == (1, 1)
    assert talk.codes(unlock("a", flag=0x08)) == [0, 0]


def test_a_waiter_is_refused_when_its_turn_comes_too_late() -> None:
    """Its place among the holders went to another key meanwhile."""
    talk = limited(holders=1)
    talk.send(lock("w", timeout=9, timeout_flag=0x0200, max_count=1))
    talk.send(lock("a", key=OTHER_KEY))
    assert talk.codes(lock("p", expiry=0)) == [0, 11]
    assert talk.engine.statistics().waiters == 0


def test_a_limit_on_the_size_of_data() -> None:
    """Frames and the values they would make; the state is as it was before."""
    talk = limited(data_size=20)
    big = frame(0, 0, None, b"x" * 19)
    assert talk.codes(lock("a", data=big)) == [11]
    assert talk.engine.inspect(0, KEY) is None
    half = frame(3, 0, None, b"x" * 10)
    assert talk.codes(lock("a", data=half, max_count=9, rcount=9)) == [0]
    for command in (
        lock("b", data=half, max_count=9),
        lock("b", data=half, max_count=9, expiry=0),
        lock("a", data=half, rcount=9),
        lock("a", data=half, flag=0x02),
        unlock("a", data=half),
    ):
        assert talk.codes(command) == [11]
    view = talk.engine.inspect(0, KEY)
    assert view is not None
    assert (view.levels, len(view.holders)) == (1, 1)


def test_a_limit_on_data_in_all() -> None:
    """Values, frames that wait, wills and entries not run count together."""
    size = len(VALUE)
    talk = limited(data_total=2 * size + 66)
    assert talk.codes(lock("a", data=VALUE)) == [0]
    assert talk.codes(lock("b", data=VALUE, timeout=9)) == []
    assert talk.codes(lock("c", data=execute(lock("x"), 1), timeout=9)) == [11]
    assert talk.codes(lock("c", data=execute(lock("x"), 1), key=OTHER_KEY)) == [0]
    assert talk.codes(lock("a", type=8, data=VALUE)) == [11]
    assert talk.codes(unlock("a")) == [0, 0]
    assert talk.codes(unlock("b")) == [0]
    assert talk.codes(unlock("c", key=OTHER_KEY)) == [0, 0]
    assert talk.engine.flush(0, talk.now)
    assert talk.engine.statistics().data_bytes == 0


def test_a_limit_on_wills() -> None:
    """The one too many is answered with 11 under its own type."""
    talk = limited(wills=1)
    assert talk.send(lock("a", type=8)) == []
    result = talk.result(unlock("a", type=9))
    assert (result.type, result.result) == (9, 11)
