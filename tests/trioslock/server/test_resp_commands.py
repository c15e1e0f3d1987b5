"""The text dialect on an engine: what redis-cli sees."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.trioslock.server.world import (
    SessionWire,
    SessionWorld,
    lock_command,
    request,
)

from trioslock.protocol import encode_command, to_key
from trioslock.server import _resp_commands as resp_commands

Ask = Callable[..., bytes]


@pytest.fixture
def ask(wire: SessionWire) -> Ask:
    def ask_line(line: str) -> bytes:
        return wire.ask(*line.split(" "))

    return ask_line


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("PING", b"+PONG\r\n"),
        ("PING a b", b"-ERR Command Arguments Error\r\n"),
        ("ECHO", b"-ERR Command Arguments Error\r\n"),
        ("SELECT", b"-ERR Command Parse Len Error\r\n"),
        ("SELECT 1.5", b"-ERR Command Parse DB_ID Error\r\n"),
        ("TIMEOUT SET", b"-ERR Command Parse Len Error\r\n"),
        ("HELLO 3", b"-ERR Unknown Command\r\n"),
        ("AUTH x", b"-ERR Unknown Command\r\n"),
        ("MGET a b", b"-ERR Unknown Command\r\n"),
        ("CONFIG", b"-ERR Command Arguments Error\r\n"),
        ("CONFIG SET x", b"-ERR Command Arguments Error\r\n"),
        ("CONFIG SET LOG_LEVEL INFO", b"-ERR UnSupport Config Set Parameter\r\n"),
        ("CONFIG GET port", b"*2\r\n$4\r\nPORT\r\n$4\r\n5658\r\n"),
        ("CONFIG GET nothing", b"-ERR Unknown Config Parameter\r\n"),
        ("CLIENT", b"-ERR Command Arguments Error\r\n"),
        ("CLIENT KILL", b"-ERR Command Arguments Error\r\n"),
        ("CLIENT KILL 127.0.0.1:1", b"+OK\r\n"),
        ("CLIENT KILL 127.0.0.1:2", b"-ERR No such client\r\n"),
        ("FLUSHDB x", b"-ERR Command Parse DB_ID Error\r\n"),
        ("FLUSHALL", b"+OK\r\n"),
        ("BGREWRITEAOF", b"-Rewrite Error\r\n"),
        ("REWRITEAOF", b"-Rewrite Error\r\n"),
        ("SLAVEOF", b"+OK\r\n"),
        ("SLAVEOF 127.0.0.1", b"-ERR Command Arguments Error\r\n"),
        ("SLAVEOF 127.0.0.1 5658", b"-ERR Change Error\r\n"),
        ("REPLSET", b"-ERR Command Arguments Error\r\n"),
        ("REPLSET CONFIG a", b"-ERR Not Replset server\r\n"),
        ("SHOW", b"-ERR DB Empty\r\n"),
        ("KEYS", b"+\r\n"),
        ("SCAN 0", b"*2\r\n$1\r\n0\r\n*0\r\n"),
        ("SCAN", b"*2\r\n$1\r\n0\r\n*0\r\n"),
        ("SCAN x", b"-ERR Command Parse Cursor Error\r\n"),
        ("SCAN 0 MATCH", b"-ERR Command Parse Args Count Error\r\n"),
        ("SCAN 0 COUNT x", b"-ERR Command Parse COUNT Error\r\n"),
        ("TTL", b"-ERR Command Parse Args Count Error\r\n"),
        ("GET", b"-ERR Command Parse Args Count Error\r\n"),
        ("UNLOCK k", b"-ERR Uknown DB Error\r\n"),
    ],
)
def test_fixed_replies(ask: Ask, line: str, reply: bytes) -> None:
    """On an empty server, each with the real server's words."""
    assert ask(line) == reply


def test_config_lists_everything(ask: Ask) -> None:
    """Without a name all pairs come in one list."""
    assert ask("CONFIG GET").startswith(b"*4\r\n$4\r\nBIND\r\n")


def test_client_list_has_a_line_each(ask: Ask) -> None:
    """Also for what redis-py asks, whatever it is."""
    expected = (
        b"id=7 addr=127.0.0.1:1 fd=3 protocol=text age=2 client_id="
        + b"0" * 32
        + b" command_count=5\r\n\r\n"
    )
    for line in ("CLIENT LIST", "CLIENT SETINFO LIB-NAME x"):
        assert ask(line) == b"$%d\r\n%b\r\n" % (len(expected), expected)


def test_reading_makes_a_database_exist(ask: Ask) -> None:
    """As on the real server: UNLOCK there is 6 from then on, not 3."""
    assert ask("GET k") == b"$-1\r\n"
    assert ask("UNLOCK k").startswith(b"*12\r\n$1\r\n6\r\n")
    assert ask("SHOW *") == b"+\r\n"


def test_keys_are_globs(ask: Ask) -> None:
    """The whole name must match; only named values are listed."""
    for name in ("only", "other", "third"):
        ask(f"SET {name} 1")
    ask("LOCK unnamed SET x")
    ask("LOCK empty")
    assert ask("KEYS o*") == b"*2\r\n$4\r\nonly\r\n$5\r\nother\r\n"
    assert ask("KEYS nl") == b"+\r\n"
    assert ask("KEYS t?ird") == b"$5\r\nthird\r\n"
    assert ask("KEYS").count(b"$") == 3


def test_patterns_cost_no_more_than_they_are_long(ask: Ask) -> None:
    """One that would take a backtracking matcher for ever answers at once."""
    ask(f"SET {'a' * 4000} 1")
    assert ask("KEYS " + "a*" * 500 + "b") == b"+\r\n"
    assert ask("KEYS " + "a" * 1025) == b"-ERR Command Parse Pattern Error\r\n"


def test_scan_comes_to_an_end(ask: Ask) -> None:
    """Each call goes on where the last one stopped; the last one returns 0."""
    names = [f"key{number:02}" for number in range(25)]
    for name in names:
        ask(f"SET {name} 1")
    found: list[bytes] = []
    cursor, calls = b"0", 0
    while calls == 0 or cursor != b"0":
        lines = ask(f"SCAN {cursor.decode()} COUNT 10 MATCH key*").split(b"\r\n")
        cursor = lines[2]
        found += lines[5::2]
        calls += 1
    assert [name.decode() for name in found] == names
    assert calls == 3
    everything = ask("SCAN 0 TYPE string")
    assert everything.startswith(b"*2\r\n$1\r\n0\r\n*25\r\n")


def test_lists_have_an_end(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """With too many keys they are refused rather than built."""
    monkeypatch.setattr(resp_commands, "MAX_LISTED", 2)
    for name in ("a", "b"):
        ask(f"SET {name} 1")
    assert ask("KEYS").startswith(b"*2\r\n")
    ask("SET c 1")
    assert ask("KEYS") == b"-ERR Too Many Keys\r\n"
    assert ask("SHOW") == b"-ERR Too Many Keys\r\n"


def test_a_broken_array_is_shown_as_bytes(ask: Ask) -> None:
    """APPEND ignores types and can make such a value; reading it still works."""
    ask("LOCK k LOCK_ID a EXPRIED 9 PUSH item")
    ask("LOCK k LOCK_ID a EXPRIED 9 FLAG 2 APPEND x")
    assert ask("GET k") == b"$9\r\n\x04\0\0\0itemx\r\n"
    assert ask("KEYS") == b"+\r\n"


def test_malformed_properties_are_no_name(world: SessionWorld, ask: Ask) -> None:
    """A binary client can store a property that is longer than its block."""
    ask("SET good 1")
    frame = b"\x07\0\0\0\0\x10\x03\0\x01\x63\0"
    binary = world.connect()
    binary.send(encode_command(lock_command("bad", data=frame)))
    assert binary.take()[19] == 0
    assert ask("KEYS") == b"$4\r\ngood\r\n"
    assert ask("GET bad") == b"$5\r\n\x03\0\x01\x63\0\r\n"


def test_time_to_live_counts_down(ask: Ask, world: SessionWorld) -> None:
    """In whole wall seconds, one more than was set, until the key is gone."""
    ask("SET k v EX 10")
    assert ask("TTL k") == b":11\r\n"
    assert ask("PTTL k") == b":11000\r\n"
    world.pass_time(2.5)
    assert ask("TTL k") == b":9\r\n"
    assert ask("PTTL k") == b":8500\r\n"
    world.pass_time(9)
    assert ask("TTL k") == b":-2\r\n"
    ask("SET k v")
    assert ask("TTL k") == b":-1\r\n"


def test_reading_costs_the_same_with_many_claims(world: SessionWorld, ask: Ask) -> None:
    """GET and TTL read the first holder alone."""
    ask("LOCK k LOCK_ID first EXPRIED 9 COUNT 3 SET v")
    ask("LOCK k LOCK_ID second EXPRIED 99 COUNT 3")
    world.connect().ask("LOCK", "k", "TIMEOUT", "9")
    view = world.engine.peek(0, to_key("k"))
    assert view is not None
    assert [claim.lock_id for claim in view.holders] == [to_key("first")]
    assert (view.levels, view.waiters) == (2, ())
    assert ask("GET k") == b"$1\r\nv\r\n"
    assert ask("TTL k") == b":10\r\n"


def test_milliseconds_stay_milliseconds(ask: Ask, world: SessionWorld) -> None:
    """PX 5000 is 5 s, where the real server makes 5000 s of it."""
    ask("SET k v PX 5000")
    assert ask("TTL k") == b":6\r\n"
    world.pass_time(6)
    assert ask("GET k") == b"$-1\r\n"


def test_a_lease_on_naof_alone_is_unlimited(ask: Ask) -> None:
    """The real server makes a zero lease of it and forgets the value at once."""
    assert ask("SET k v NAOF") == b"+OK\r\n"
    assert ask("TTL k") == b":-1\r\n"


def test_append_to_nothing(ask: Ask) -> None:
    """It is a SET; the real server ends."""
    assert ask("APPEND k abc") == b":3\r\n"
    assert ask("APPEND k de") == b":5\r\n"
    assert ask("GET k") == b"$5\r\nabcde\r\n"


def test_show_tells_holders_and_waiters(world: SessionWorld, ask: Ask) -> None:
    """Per holder or waiter: id, start, ends, levels, log time, state, data."""
    ask("LOCK k LOCK_ID a TIMEOUT 5 EXPRIED 9 SET v")
    waiting = world.connect()
    assert waiting.ask("LOCK", "k", "LOCK_ID", "b", "TIMEOUT", "7") == b""
    key = to_key("k").hex()
    assert ask("SHOW") == b"*2\r\n$32\r\n%b\r\n$1\r\n1\r\n" % key.encode()
    start = 1_700_000_000
    words = ask("SHOW k").split(b"\r\n")
    assert words[:1] + words[2::2] == [
        b"*8",
        to_key("a").hex().encode(),
        b"%d" % start,
        b"%d" % (start + 6),
        b"%d" % (start + 10),
        b"1",
        b"255",
        b"1",
        b"\x03\0\0\0\0\0v",
    ]
    words = ask("SHOW k WAIT").split(b"\r\n")
    assert words[2] == to_key("b").hex().encode()
    assert words[6::2][:3] == [b"%d" % (start + 8), b"0", b"0"]
    assert ask("SHOW other") == b"-ERR Unknown Lock Manager Error\r\n"


def test_info_has_sections(ask: Ask) -> None:
    """All of them, one by its name in any case, none for an unknown one."""
    ask("LOCK k EXPRIED 9")
    everything = ask("INFO")
    assert b"# Server\r\nversion:0\r\nstate:leader\r\n\r\n# Clients\r\n" in everything
    keyspace = ask("INFO keySPACE")
    assert keyspace.endswith(
        b"# Keyspace\r\ndb0:lock_count=1,unlock_count=0,locked_count=1,wait_count=0,"
        b"timeouted_count=0,expired_count=0,unlock_error_count=0,key_count=1,"
        b"wait_ack_count=0,slow_key_count=0\r\n\r\n"
    )
    assert ask("INFO aof") == b"$0\r\n\r\n"


def test_flush_all(ask: Ask) -> None:
    """Every database is emptied."""
    ask("SET a 1")
    ask("SELECT 9")
    ask("SET b 1")
    assert ask("FLUSHALL") == b"+OK\r\n"
    assert ask("GET b") == b"$-1\r\n"
    ask("SELECT 0")
    assert ask("GET a") == b"$-1\r\n"


def test_push_drops_its_result(ask: Ask) -> None:
    """Later replies are their own, where the real server's are one late."""
    assert ask("PUSH a LOCK_ID p EXPRIED 9") == b"+OK\r\n"
    assert ask("UNLOCK a LOCK_ID p").startswith(b"*12\r\n$1\r\n0\r\n")
    for _ in range(10):
        assert ask("PUSH a LOCK_ID p EXPRIED 9") == b"+OK\r\n"
    assert ask("PING") == b"+PONG\r\n"


def test_a_will_runs_when_the_connection_ends(world: SessionWorld, ask: Ask) -> None:
    """The real server accepts it and never runs it."""
    other = world.connect()
    assert other.ask("LOCK", "k", "LOCK_ID", "w", "WILL", "1") == b"+OK\r\n"
    assert other.ask("LOCK", "m", "LOCK_ID", "w", "EXPRIED", "99")[:5] == b"*12\r\n"
    assert other.ask("UNLOCK", "m", "LOCK_ID", "w", "WILL", "1") == b"+OK\r\n"
    assert b"Lock Manager" in ask("SHOW k")
    other.close()
    assert to_key("w").hex().encode() in ask("SHOW k")
    assert b"Lock Manager" in ask("SHOW m")


@pytest.mark.parametrize("allowed", [True, False])
def test_shutdown(world: SessionWorld, wire: SessionWire, allowed: bool) -> None:
    """It ends the connection and the server, or is refused."""
    world.server.shutdown_allowed = allowed
    reply = wire.ask("SHUTDOWN")
    assert reply == (b"+OK\r\n" if allowed else b"-ERR Shutdown Not Allowed\r\n")
    assert (world.server.shut_down, wire.closed) == (allowed, allowed)


def test_quit_ends_the_pipeline(wire: SessionWire) -> None:
    """What stands behind it is not executed."""
    wire.send(request("QUIT") + request("SET", "k", "v"))
    assert wire.take() == b"+OK\r\n"
    assert wire.closed
    assert wire._world.connect().ask("GET", "k") == b"$-1\r\n"


def test_values_of_others_are_read_on_a_shared_key(ask: Ask) -> None:
    """A plain LOCK with data is a value too."""
    ask("LOCK k LOCK_ID a EXPRIED 9 INCR 7")
    assert ask("GET k") == b":7\r\n"
    assert ask("EXISTS k") == b":1\r\n"
    assert ask("DEL k") == b":1\r\n"
    assert ask("EXISTS k") == b":0\r\n"
