"""What ends the whole process of the real server is refused or answered here.

Source: each of them was sent to a running slock 2.1.12.
"""

from __future__ import annotations

import struct

import pytest
from tests.trioslock.server.world import (
    SessionWire,
    SessionWorld,
    codes,
    lock_command,
    request,
)

from trioslock.protocol import (
    CommandType,
    Data,
    InitCommand,
    LockCommand,
    ResultCode,
    encode_command,
    to_key,
)

OK = ResultCode.SUCCED
REFUSED = ResultCode.ERROR


def raw(body: bytes, *, operation: int, flag: int = 0) -> bytes:
    return struct.pack("<IBB", len(body) + 2, operation, flag) + body


def pipeline(body: bytes) -> bytes:
    return raw(body, operation=6)


@pytest.mark.parametrize("kind", [CommandType.WILL_LOCK, CommandType.WILL_UNLOCK])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_will_of_an_inited_connection(
    world: SessionWorld, wire: SessionWire, kind: CommandType, resumed: bool
) -> None:
    """It runs once; its result goes to the same client id, or nowhere."""
    wire.send(encode_command(InitCommand(bytes(16), to_key("me"))))
    wire.send(encode_command(lock_command("k", "w", kind=kind)))
    other = world.connect()
    if resumed:
        other.send(encode_command(InitCommand(bytes(16), to_key("me"))))
        other.take()
    wire.close()
    held = kind == CommandType.WILL_LOCK
    assert (world.engine.peek(0, to_key("k")) is not None) == held
    expected = [OK] if held else [ResultCode.UNKNOWN_DB]
    assert codes(other) == (expected if resumed else [])


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(bytes(4), REFUSED, id="length 0"),
        pytest.param(b"\x01\0\0\0\0", REFUSED, id="length 1"),
        pytest.param(Data.shift(99).encode(), OK, id="shift beyond the value"),
        pytest.param(raw(b"\x01\0\0", operation=4), OK, id="shift of 3 bytes"),
        pytest.param(raw(b"\x01", operation=2), OK, id="incr of one byte"),
        pytest.param(raw(b"", operation=2), OK, id="incr of nothing"),
        pytest.param(pipeline(b"\x01\0"), OK, id="pipeline with a short tail"),
        pytest.param(pipeline(bytes(4)), REFUSED, id="pipeline with a length 0"),
        pytest.param(raw(b"short", operation=5), OK, id="execute of no command"),
        pytest.param(raw(b"\x09\0", operation=0, flag=0x10), REFUSED, id="properties"),
        pytest.param(raw(b"", operation=8), OK, id="pop of nothing"),
    ],
)
@pytest.mark.parametrize("value", [None, Data.set("v"), Data.set("v", key="name")])
def test_data_frames(
    wire: SessionWire, frame: bytes, code: int, value: Data | None
) -> None:
    """On a key with and without a value; its readers keep their frames."""
    first = lock_command("k", data=value.encode() if value else None)
    wire.send(encode_command(first))
    update = lock_command("k", flag=0x22, lease=30)
    wire.send(encode_command(update) + frame)
    wire.send(encode_command(lock_command("k", flag=0x01)))
    # An update that is done answers 5.
    done = ResultCode.LOCKED_ERROR if code == OK else code
    assert codes(wire) == [OK, done, ResultCode.UNOWN_ERROR]


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (["SETEX", "k", "10"], b"-ERR Command Parse Args Count Error\r\n"),
        (["SET", "k", "v", "EX"], b"-ERR Command Parse Args Count Error\r\n"),
        (["SCAN", "0", "MATCH"], b"-ERR Command Parse Args Count Error\r\n"),
        (["APPEND", "k", "v"], b":1\r\n"),
    ],
)
def test_text_commands(wire: SessionWire, words: list[str], reply: bytes) -> None:
    """Answered, and the connection goes on."""
    assert wire.ask(*words) == reply
    assert wire.ask("PING") == b"+PONG\r\n"


def test_versions_that_wait_for_a_free_key(wire: SessionWire) -> None:
    """Version 4 comes while version 5 waits on a free key: both are answered."""

    def wait(version: int) -> LockCommand:
        lock_id = struct.pack("<QQ", version, 1)
        command = lock_command("k", wait=1, lease=9)
        return command._replace(lock_id=lock_id, timeout_flag=0x4200, max_count=1)

    wire.send(encode_command(wait(5)))
    wire.send(encode_command(wait(4)))
    wire._world.pass_time(4)
    assert len(codes(wire)) == 2
    wire.send(encode_command(lock_command("other")))
    assert codes(wire) == [OK]


def test_text_names_of_all_codes(wire: SessionWire) -> None:
    """Also of 12, whose name the real server's table lacks (see the unit tests)."""
    wire.send(request("LOCK", "k", "TIMEOUT", str(0x1000 << 16 | 1)))
    assert wire.take().startswith(b"*12\r\n$1\r\n0\r\n$2\r\nOK\r\n")
