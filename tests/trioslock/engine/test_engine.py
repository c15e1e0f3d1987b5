"""The engine: peers and their wills, the other commands, views."""

from __future__ import annotations

from typing import Any

import pytest
from tests.trioslock.engine.commands import (
    KEY,
    OTHER_KEY,
    Talk,
    codes_of,
    lock,
    make_id,
    unlock,
)
from tests.trioslock.engine.model import frame

from trioslock.engine import ClosePeer, Engine
from trioslock.protocol import (
    CallCommand,
    CallResult,
    InitCommand,
    InitResult,
    LeaderResult,
    PlainCommand,
    PlainResult,
    StateCommand,
    StateResult,
)

ID = b"r" * 16
CLIENT = b"c" * 16
VALUE = frame(0, 0, None, b"value")


@pytest.fixture
def talk() -> Talk:
    return Talk()


# The other commands.


@pytest.mark.parametrize(
    ("kind", "code"), [(4, 0), (5, 0), (6, 0), (12, 4), (13, 4), (255, 4)]
)
def test_plain_commands(talk: Talk, kind: int, code: int) -> None:
    """ADMIN, PING and QUIT are answered, unknown types refused."""
    replies = talk.send(PlainCommand(kind, ID))
    assert replies[0] == (talk.peer, PlainResult(kind, ID, code))
    closes = [each for each in replies[1:] if isinstance(each.result, ClosePeer)]
    assert len(closes) == len(replies) - 1 == (kind == 6)


def test_leader_has_no_address(talk: Talk) -> None:
    """The node is the leader itself."""
    assert talk.send(PlainCommand(10, ID))[0].result == LeaderResult(ID, 0, "")


def test_a_call_of_an_unknown_method_is_refused(talk: Talk) -> None:
    """Result 4, without an error's name; the methods are in test_calls."""
    command = CallCommand(ID, 0, 3, 1, "LIST_LEADERS", b"")
    assert talk.send(command)[0].result == CallResult(ID, 4, 0, 3, 1, "", b"")


def test_init_reports_another_connection(talk: Talk) -> None:
    """Bit 0x01, while the other one is registered."""
    other = talk.engine.add_peer(talk.now)
    assert talk.send(InitCommand(ID, CLIENT))[0].result == InitResult(ID, 0, 0x0C)
    assert talk.send(InitCommand(ID, CLIENT))[0].result == InitResult(ID, 0, 0x0C)
    second = talk.send(InitCommand(ID, CLIENT), other)
    assert second[0].result == InitResult(ID, 0, 0x0D)


def test_state_counts(talk: Talk) -> None:
    """Each counter counts levels and not holders, under its name."""
    unused = talk.send(StateCommand(ID, 0, 3))[0].result
    assert unused == StateResult(ID, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0)
    talk.send(lock("a", rcount=1, expiry=2))
    talk.send(lock("a", rcount=1, expiry=2))
    talk.send(lock("z", key=OTHER_KEY, expiry=0))
    talk.send(lock("b", timeout=1))
    talk.send(lock("c", timeout=60))
    talk.send(lock("d"))
    talk.send(unlock("d"))
    result = talk.send(StateCommand(ID, 0, 0))[0].result
    assert result == StateResult(ID, 0, 0, 1, 0, 3, 0, 2, 2, 0, 0, 1, 1)
    talk.send(unlock("c", flag=0x02))
    talk.wait(5)
    assert talk.engine.counters(0)[:7] == (3, 1, 0, 0, 1, 1, 1)
    assert talk.engine.counters(9) == (0,) * 8


# Peers that go.


def test_commands_of_a_peer_that_has_gone_are_an_error(talk: Talk) -> None:
    """A host must not use a peer that it has dropped."""
    talk.engine.drop_peer(talk.peer, talk.now)
    with pytest.raises(KeyError):
        talk.send(lock())
    with pytest.raises(KeyError):
        talk.engine.drop_peer(talk.peer, talk.now)


def test_wills_run_in_order(talk: Talk) -> None:
    """Their results go to a peer with the same client id, if there is one."""
    successor = talk.engine.add_peer(talk.now)
    talk.send(InitCommand(ID, CLIENT))
    talk.send(InitCommand(ID, CLIENT), successor)
    talk.send(lock("a"))
    assert talk.send(unlock("a", type=9)) == []
    assert talk.send(lock("b", type=8, data=VALUE)) == []
    assert talk.engine.statistics().data_bytes == len(VALUE)
    replies = talk.engine.drop_peer(talk.peer, talk.now)
    assert [each.peer for each in replies] == [successor, successor]
    assert [codes_of(each) for each in replies] == [0, 0]
    assert talk.value() == VALUE


def test_wills_after_init_do_no_harm(talk: Talk) -> None:
    """The real server recurses without end over their results."""
    talk.send(InitCommand(ID, CLIENT))
    talk.send(lock("a", type=8))
    assert talk.engine.drop_peer(talk.peer, talk.now) == []
    view = talk.engine.inspect(0, KEY)
    assert view is not None
    assert view.levels == 1


def test_a_keep_alive_follows_the_successor(talk: Talk) -> None:
    """A wait granted to a successor is renewed as long as the successor is there."""
    other = talk.engine.add_peer(talk.now)
    talk.send(InitCommand(ID, CLIENT))
    talk.send(lock("a"), other)
    talk.send(lock("b", timeout=60, expiry=2, expiry_flag=0x8000))
    talk.engine.drop_peer(talk.peer, talk.now)
    successor = talk.engine.add_peer(talk.now)
    talk.send(InitCommand(ID, CLIENT), successor)
    assert [each.peer for each in talk.send(unlock("a"), other)] == [other, successor]
    assert talk.wait(20) == []
    talk.engine.drop_peer(successor, talk.now)
    talk.wait(3)
    assert talk.engine.inspect(0, KEY) is None


# Inputs that crash the real server.


@pytest.mark.parametrize("kind", [1, 2, 8, 9])
@pytest.mark.parametrize("data", [bytes(4), b"\1\0\0\0\0", b"", b"\x09\0\0\0\0\0"])
def test_a_malformed_data_frame_is_refused(talk: Talk, kind: int, data: bytes) -> None:
    """With result 11, and nothing is done or kept."""
    result = talk.result(lock("a", type=kind, data=data))
    assert (result.type, result.result, result.lcount) == (kind, 11, 0)
    assert talk.engine.drop_peer(talk.peer, talk.now) == []
    assert talk.engine.statistics().keys == 0


def test_a_command_of_no_lock_type_is_refused(talk: Talk) -> None:
    """A LockCommand can carry any type number; nothing else runs it."""
    assert talk.result(lock("a", type=3)).result == 11


def test_a_newer_version_waits_beside_another_on_a_free_key(talk: Talk) -> None:
    """Version and "wait when unlocked" together crash the real server."""

    def version(number: int) -> bytes:
        return bytes([number]) + bytes(15)

    flags = {"timeout_flag": 0x4200, "timeout": 1, "max_count": 1}
    assert talk.send(lock(lock_id=version(5), **flags)) == []
    assert talk.send(lock(lock_id=version(4), **flags)) == []
    assert [codes_of(each) for each in talk.wait(2)] == [8, 8]


def test_an_unlogged_acknowledged_lock_can_be_released(talk: Talk) -> None:
    """The real server answers 12 to its own holder until the lease ends."""
    fields = {"timeout_flag": 0x1000, "expiry_flag": 0x0200}
    assert talk.codes(lock("a", **fields)) == [0]
    assert talk.codes(lock("a")) == [5]
    assert talk.codes(unlock("a")) == [0]


# Views.


def test_views_show_holders_and_waiters(talk: Talk) -> None:
    """Times in wall seconds, None for a lease without end."""
    forever = lock("a", expiry=1, expiry_flag=0x4000, max_count=1, data=VALUE)
    talk.send(forever)
    talk.send(lock("b", max_count=1, timeout=3))
    waiter = lock("c", timeout=5)
    talk.send(waiter)
    view = talk.engine.inspect(0, KEY)
    assert view is not None
    assert (view.db, view.key, view.levels, view.data) == (0, KEY, 2, VALUE)
    first, second = view.holders
    start = 1_700_000_000
    assert first[:5] == (make_id("a"), 1, start, start + 1, None)
    assert first.command == forever._replace(data=None)
    assert second[:5] == (make_id("b"), 1, start, start + 4, start + 10)
    assert view.waiters == ((make_id("c"), 0, start, start + 6, None, waiter),)
    assert talk.engine.peek(0, KEY) == (0, KEY, 2, VALUE, (first,), ())
    (listed,) = talk.engine.held_keys(0)
    assert listed == (0, KEY, 2, VALUE, (), ())


def test_views_of_nothing(talk: Talk) -> None:
    """Databases that do not exist, keys that are free or only waited for."""
    assert not talk.engine.database_exists(0)
    assert talk.engine.inspect(0, KEY) is None
    assert talk.engine.peek(0, KEY) is None
    assert [*talk.engine.held_keys(0)] == []
    assert talk.engine.open_database(0)
    assert not talk.engine.open_database(255)
    assert talk.engine.database_exists(0)
    talk.send(lock("a", timeout=5, timeout_flag=0x0200, max_count=1))
    assert [*talk.engine.held_keys(0)] == []
    view = talk.engine.inspect(0, KEY)
    assert view is not None
    assert view.holders == ()


def test_repr_and_statistics_show_the_state(talk: Talk) -> None:
    """Counts, for tests and users."""
    talk.send(lock("a"))
    talk.send(lock("b", timeout=5))
    assert repr(talk.engine) == "<Engine: 1 peers, 1 keys, 1 holders, 1 waiters>"
    assert talk.engine.statistics() == (1, 0, 1, 1, 1, 1, 2, 0, 0)


def test_request_ids_of_the_engines_own_commands_come_from_outside() -> None:
    """Two engines with the same inputs give the same replies."""
    made: list[bytes] = []

    def new_id() -> bytes:
        made.append(bytes([len(made) + 1]) * 16)
        return made[-1]

    engine = Engine(new_id=new_id)
    peer = engine.add_peer(0.0)
    engine.submit(peer, lock("a"), 0.0)
    replies = engine.submit(peer, unlock("a", flag=0x10), 0.0)
    assert [codes_of(each) for each in replies] == [0, 6]
    result: Any = replies[1].result
    assert result.request_id == made[0]
