"""Waits and leases that end by their timers."""

from __future__ import annotations

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

from trioslock.protocol import InitCommand, LockResult

VALUE = frame(0, 0, None, b"value")
CLIENT = b"c" * 16


@pytest.fixture
def talk() -> Talk:
    return Talk()


def test_a_wait_ends_with_8_and_wakes_none_behind_it(talk: Talk) -> None:
    """As on the real server: what it blocked waits for the next release."""
    talk.send(lock("holder", expiry=60, max_count=1))
    talk.send(lock("blocks", timeout=2))
    talk.send(lock("fits", timeout=60, max_count=1))
    assert [codes_of(each) for each in talk.wait(3)] == [8]
    assert talk.codes(lock("probe", timeout=0, max_count=9)) == [8]
    assert talk.codes(unlock("holder")) == [0, 0]


def test_a_lease_ends_with_9_and_wakes_the_next(talk: Talk) -> None:
    """The notice comes first."""
    talk.send(lock("a", expiry=1))
    talk.send(lock("b", timeout=60))
    results = [each.result for each in talk.wait(3)]
    assert [(each.lock_id[-1:], each.result) for each in results] == [
        (b"a", 9),
        (b"b", 0),
    ]


@pytest.mark.parametrize("kind", ["wait", "lease"])
def test_keep_alive_is_renewed_while_its_connection_lives(
    talk: Talk, kind: str
) -> None:
    """By its own length each time; without a connection it ends."""
    holder = talk.engine.add_peer(talk.now)
    talk.send(lock("holder", expiry=1000), holder)
    if kind == "wait":
        talk.send(lock("a", timeout=2, timeout_flag=0x8000))
    else:
        talk.send(lock("a", key=OTHER_KEY, expiry=2, expiry_flag=0x8000))
    for _ in range(10):
        assert talk.wait(2) == []
    talk.send(InitCommand(b"r" * 16, CLIENT))
    successor = talk.engine.add_peer(talk.now)
    talk.engine.drop_peer(talk.peer, talk.now)
    talk.send(InitCommand(b"r" * 16, CLIENT), successor)
    replies = talk.wait(4)
    assert [(each.peer, codes_of(each)) for each in replies] == [
        (successor, 8 if kind == "wait" else 9)
    ]


@pytest.mark.parametrize(
    ("flag", "value", "data"), [(0x0400, 500, VALUE), (0, 1, None)]
)
def test_the_notice_of_an_exact_lease_has_the_value(
    talk: Talk, flag: int, value: int, data: bytes | None
) -> None:
    """A timer of seconds has freed the key by then."""
    talk.send(lock("a", expiry=value, expiry_flag=flag, data=VALUE))
    (notice,) = talk.wait(3)
    assert isinstance(notice.result, LockResult)
    assert notice.result.data == data
    assert talk.engine.inspect(0, KEY) is None


@pytest.mark.parametrize("kind", ["wait", "lease"])
def test_reverse_key_locks_the_reversed_key_at_the_end(talk: Talk, kind: str) -> None:
    """Once: the flag is not passed on. A lease gives its timeout as the new lease."""
    key = bytes(range(16))
    if kind == "wait":
        talk.send(lock("holder", key=key, expiry=60))
        ending = lock("a", key=key, timeout=1, timeout_flag=0x0080, expiry=7)
    else:
        ending = lock("a", key=key, timeout=7, expiry=1, expiry_flag=0x0080)
    talk.send(ending)
    replies = talk.wait(3)
    assert [codes_of(each) for each in replies] == [8 if kind == "wait" else 9, 0]
    view = talk.engine.inspect(0, key[::-1])
    assert view is not None
    assert view.holders[0].command.expiry == 7
    assert [codes_of(each) for each in talk.wait(20)] == [9]
    assert [*talk.engine.held_keys(0)] == (
        [talk.engine.peek(0, key)._replace(holders=())] if kind == "wait" else []
    )


def test_a_long_lease_in_milliseconds_that_is_updated_early(talk: Talk) -> None:
    """Its timer first fires after the part below 3000, and ends it there."""
    talk.send(lock("a", expiry=3500, expiry_flag=0x0400))
    assert talk.codes(lock("a", flag=0x02, expiry=9, max_count=1)) == [5]
    assert talk.wait(0.49) == []
    assert [codes_of(each) for each in talk.wait(0.02)] == [9]


def test_a_long_lease_in_milliseconds(talk: Talk) -> None:
    """It ends on a full second, rounded down."""
    talk.send(lock("a", expiry=4900, expiry_flag=0x0400))
    assert talk.wait(4.99) == []
    assert [codes_of(each) for each in talk.wait(0.02)] == [9]


def test_flush_ends_waits_before_leases(talk: Talk) -> None:
    """8 for waiters, 9 for holders; keep-alive does not save them."""
    talk.send(lock("a", expiry_flag=0x8000))
    talk.send(lock("b", timeout=5, timeout_flag=0x8000))
    replies = talk.engine.flush(0, talk.now)
    assert [codes_of(each) for each in replies] == [8, 9]
    assert talk.engine.flush(7, talk.now) == []
    assert talk.engine.statistics().timers == 0


def test_ended_leases_let_the_next_waiter_in(talk: Talk) -> None:
    """9 for the holder, keep-alive or not, and a grant that stays for the waiter."""
    talk.send(lock("a", expiry_flag=0x8000))
    talk.send(lock("b", timeout=5))
    talk.send(lock("c", timeout=5))
    replies = talk.engine.end_leases(0, KEY, talk.now)
    assert [codes_of(each) for each in replies] == [9, 0]
    view = talk.engine.inspect(0, KEY)
    assert view is not None
    assert (len(view.holders), len(view.waiters)) == (1, 1)


def test_a_key_without_holders_has_no_lease_to_end(talk: Talk) -> None:
    """Neither has a key of another database."""
    talk.send(lock("a"))
    assert talk.engine.end_leases(0, OTHER_KEY, talk.now) == []
    assert talk.engine.end_leases(3, KEY, talk.now) == []
