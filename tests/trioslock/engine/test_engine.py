"""The engine's door: sessions, wills, the other commands, views, limits."""

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

from trioslock.engine import ClosePeer, Engine, EngineLimits
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
    encode_command,
)

ID = b"r" * 16
CLIENT = b"c" * 16
VALUE = frame(0, 0, None, b"value")


@pytest.fixture
def talk() -> Talk:
    return Talk()


def execute(command: Any, stage: int = 0) -> bytes:
    return frame(5 | stage << 6, 0, None, encode_command(command))


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


def test_init_tells_of_another_connection(talk: Talk) -> None:
    """Bit 0x01, while the other one is registered."""
    other = talk.engine.add_peer(talk.now)
    assert talk.send(InitCommand(ID, CLIENT))[0].result == InitResult(ID, 0, 0x0C)
    assert talk.send(InitCommand(ID, CLIENT))[0].result == InitResult(ID, 0, 0x0C)
    second = talk.send(InitCommand(ID, CLIENT), other)
    assert second[0].result == InitResult(ID, 0, 0x0D)


def test_state_counts(talk: Talk) -> None:
    """Each counter counts what its name says, levels and not holders."""
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
    """The host has to know its peers."""
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


def test_a_keep_alive_follows_whoever_speaks(talk: Talk) -> None:
    """A wait granted to an successor is renewed as long as the successor is there."""
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


# Inputs that end the real server.


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
    """Version and "wait when unlocked" together end the real server."""

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


# EXECUTE at its stages.


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


def test_flush_ends_waits_before_leases(talk: Talk) -> None:
    """8 for waiters, 9 for holders; keep-alive does not save them."""
    talk.send(lock("a", expiry_flag=0x8000))
    talk.send(lock("b", timeout=5, timeout_flag=0x8000))
    replies = talk.engine.flush(0, talk.now)
    assert [codes_of(each) for each in replies] == [8, 9]
    assert talk.engine.flush(7, talk.now) == []
    assert talk.engine.statistics().timers == 0


def test_repr_and_statistics_show_the_state(talk: Talk) -> None:
    """So that a test, or a user, can look at it."""
    talk.send(lock("a"))
    talk.send(lock("b", timeout=5))
    assert repr(talk.engine) == "<Engine: 1 peers, 1 keys, 1 holders, 1 waiters>"
    assert talk.engine.statistics() == (1, 0, 1, 1, 1, 1, 2, 0, 0)


def test_request_ids_of_the_servers_own_commands_come_from_outside() -> None:
    """Two engines with the same inputs say the same."""
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
