"""One connection's conversation: order, blocking, bounds, ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.trioslock.server.world import (
    SessionWire,
    SessionWorld,
    codes,
    lock_command,
    request,
    results,
)

from trioslock.protocol import (
    MAX_DATA_SIZE,
    CommandType,
    Data,
    Dialect,
    InitCommand,
    LockResult,
    PlainCommand,
    ResultCode,
    encode_command,
    to_key,
)
from trioslock.server._session import OUTPUT_PAUSE

PING = encode_command(PlainCommand(CommandType.PING, b"request id 0016x"))


def test_a_binary_connection_runs_ahead(wire: SessionWire) -> None:
    """A waiting LOCK holds up nothing behind it."""
    commands = [
        lock_command("k", "a"),
        lock_command("k", "b", wait=9),
        lock_command("other", "c"),
        lock_command("k", "a", kind=CommandType.UNLOCK),
    ]
    wire.send(b"".join(map(encode_command, commands)))
    found = [(r.type, r.request_id) for r in results(wire) if isinstance(r, LockResult)]
    assert found == [
        (CommandType.LOCK, to_key("a")),
        (CommandType.LOCK, to_key("c")),
        (CommandType.UNLOCK, to_key("a")),
        (CommandType.LOCK, to_key("b")),
    ]


def test_a_text_connection_does_one_thing_at_a_time(
    world: SessionWorld, wire: SessionWire
) -> None:
    """What stands behind a waiting LOCK stays in the buffer until it is answered."""
    other = world.connect()
    other.ask("LOCK", "k", "LOCK_ID", "a")
    wire.send(request("LOCK", "k", "TIMEOUT", "9") + request("PING"))
    assert wire.take() == b""
    assert wire.session.waiting
    assert "waiting" in repr(wire.session)
    more = request("ECHO", "x")
    wire.send(more)
    assert wire.session.buffered >= len(more)
    other.ask("UNLOCK", "k", "LOCK_ID", "a")
    assert wire.take().endswith(b"+PONG\r\n$1\r\nx\r\n")
    assert not wire.session.waiting


def test_a_text_wait_that_times_out_goes_on(
    world: SessionWorld, wire: SessionWire
) -> None:
    """The clock resumes the connection just as another peer does."""
    world.connect().ask("LOCK", "k", "LOCK_ID", "a")
    wire.send(request("LOCK", "k", "TIMEOUT", "2") + request("PING"))
    world.pass_time(4)
    reply = wire.take()
    assert reply.startswith(b"*12\r\n$1\r\n8\r\n")
    assert reply.endswith(b"+PONG\r\n")


def test_results_for_text_are_those_it_waits_for(
    world: SessionWorld, wire: SessionWire
) -> None:
    """The end of a lease sends nothing, however often it happens."""
    for _ in range(3):
        assert wire.ask("LOCK", "k", "EXPRIED", "1").startswith(b"*12\r\n$1\r\n0")
        world.pass_time(3)
        assert wire.take() == b""


def test_admin_answers_in_binary_and_goes_on_in_text(wire: SessionWire) -> None:
    """And results of binary waits are not mixed into the text."""
    wire.send(encode_command(lock_command("k", "a", lease=2)))
    wire.send(encode_command(PlainCommand(CommandType.ADMIN, bytes(16))))
    assert codes(wire) == [0, 0]
    assert wire.session.dialect is Dialect.TEXT
    wire._world.pass_time(4)
    assert wire.ask("PING") == b"+PONG\r\n"


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"\x57\x01", ResultCode.UNKNOWN_MAGIC),
        (b"\x56\x09", ResultCode.UNKNOWN_VERSION),
    ],
)
def test_a_bad_header_is_answered_and_ends(
    wire: SessionWire, head: bytes, code: int
) -> None:
    """Nothing behind it is executed."""
    wire.send(PING + head + PING[2:] + PING)
    assert codes(wire) == [0, code]
    assert wire.closed
    wire.session.receive_data(PING)
    assert not wire.session.pump()
    assert wire.session.take_output() == b""


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100])
def test_garbage_ends_without_a_word(wire: SessionWire, garbage: bytes) -> None:
    """Neither dialect has an answer to it."""
    wire.send(garbage)
    assert wire.closed
    assert wire.take() == b""
    assert "closing" in repr(wire.session)


def test_data_that_is_too_large_ends(wire: SessionWire) -> None:
    """As soon as its length is known; what came before is answered."""
    frame = bytearray(encode_command(lock_command("k", data=Data.set("v").encode())))
    frame[64:68] = (MAX_DATA_SIZE + 1).to_bytes(4, "little")
    wire.send(PING + bytes(frame))
    assert codes(wire) == [0]
    assert wire.closed


def test_data_as_large_as_allowed_is_taken(wire: SessionWire) -> None:
    """In pieces, with everything answered at the end."""
    data = Data.set(b"v" * (MAX_DATA_SIZE - 2)).encode()
    whole = encode_command(lock_command("k", data=data)) + PING
    for start in range(0, len(whole), 60_000):
        wire.send(whole[start : start + 60_000])
    assert codes(wire) == [0, 0]


@pytest.mark.parametrize("length", [0, 1])
def test_a_data_frame_that_is_none_is_refused(wire: SessionWire, length: int) -> None:
    """The real server ends on it; this one answers 11 and goes on."""
    frame = bytearray(encode_command(lock_command("k", data=Data.set("").encode())))
    frame[64:] = length.to_bytes(4, "little") + bytes(length)
    wire.send(bytes(frame) + PING)
    assert codes(wire) == [ResultCode.ERROR, 0]


def test_output_that_is_not_taken_stops_execution(world: SessionWorld) -> None:
    """A value asked for a thousand times is not a thousand values in memory."""
    wire = world.connect()
    wire.ask("SET", "k", b"v" * 10_000)
    session = wire.session
    session.receive_data(request("GET", "k") * 1000)
    assert session.pump()
    assert OUTPUT_PAUSE <= session.output_size < OUTPUT_PAUSE + 11_000
    assert session.pump()
    size = 0
    while session.pump() or session.output_size:
        assert session.output_size < OUTPUT_PAUSE + 11_000
        size += len(session.take_output())
    assert size > 10_000_000


def test_long_pipelines_let_others_run(wire: SessionWire) -> None:
    """One call executes a part and returns that there is more."""
    session = wire.session
    session.receive_data(PING * 1000)
    assert session.pump()
    assert 0 < session.commands < 1000
    while session.pump():
        pass
    assert session.commands == 1000


def test_the_client_id_is_known(wire: SessionWire) -> None:
    """CLIENT LIST shows it; the last INIT counts."""
    assert wire.session.client_id == bytes(16)
    for name in ("one", "two"):
        wire.send(encode_command(InitCommand(bytes(16), to_key(name))))
    assert wire.session.client_id == to_key("two")


@given(
    st.lists(
        st.binary(max_size=90)
        | st.sampled_from(
            [
                PING,
                PING[:30],
                encode_command(lock_command("k", wait=1)),
                request("LOCK", "k", "TIMEOUT", "1"),
                request("SET", "k", "v"),
                request("SCAN", "0", "MATCH"),
                request("INFO"),
                b"*1\r\n",
            ]
        ),
        max_size=12,
    )
)
def test_any_bytes_end_in_answers_or_a_close(chunks: list[bytes]) -> None:
    """No input makes a session raise, and its buffers stay within what it got."""
    world = SessionWorld()
    wire = world.connect()
    for chunk in chunks:
        wire.send(chunk)
        assert wire.session.buffered <= sum(map(len, chunks))
        if wire.closed:
            return
    world.pass_time(3)
    wire.close()
    assert world.engine.statistics().peers == 0
