"""CALL: lists of keys, holders and waiters in protobuf."""

from __future__ import annotations

import pytest
from tests.trioslock.server.world import SessionWire, SessionWorld, lock_command

from trioslock.engine import _calls
from trioslock.protocol import (
    CallCommand,
    CallResult,
    ClientSide,
    Data,
    ResultCode,
    decode_message,
    encode_command,
    encode_message,
    to_key,
)

START = 1_700_000_000


@pytest.fixture
def wire() -> SessionWire:
    world = SessionWorld()
    wire = world.connect()
    wire.send(encode_command(lock_command("k", "a", data=Data.set("v").encode())))
    wire.send(encode_command(lock_command("k", "b", wait=5)))
    wire.take()
    return wire


def call(wire: SessionWire, method: str, content: bytes) -> CallResult:
    wire.send(encode_command(CallCommand(bytes(16), 0, 3, 1, method, content)))
    side = ClientSide()
    side.receive_data(wire.take())
    (result,) = side.results()
    assert isinstance(result, CallResult)
    return result


def entry(message: bytes, number: int) -> dict[int, int | bytes]:
    inner = decode_message(message)[number]
    assert isinstance(inner, bytes)
    return decode_message(inner)


def test_lists_keys(wire: SessionWire) -> None:
    """Key, levels and data of each held key."""
    result = call(wire, "LIST_LOCK", b"")
    assert (result.result, result.encoding, result.charset) == (0, 3, 1)
    key = entry(result.content, 1)
    assert (key[1], key[2]) == (to_key("k"), 1)
    data = key[3]
    assert isinstance(data, bytes)
    assert decode_message(data) == {1: b"v"}


def test_lists_holders(wire: SessionWire) -> None:
    """Times are wall seconds; the command is the one that was granted."""
    result = call(wire, "LIST_LOCKED", encode_message([(2, to_key("k"))]))
    fields = decode_message(result.content)
    assert (fields[1], fields[2]) == (to_key("k"), 1)
    holder = entry(result.content, 3)
    command = holder.pop(11)
    assert holder == {
        1: to_key("a"),
        2: START,
        3: START + 1,
        4: START + 10,
        5: 1,
        6: 255,
        7: 1,
    }
    assert isinstance(command, bytes)
    fields = decode_message(command)
    assert (fields[1], fields[3], fields[4]) == (to_key("a"), to_key("a"), to_key("k"))
    assert (fields[2], fields[8]) == (0x20, 9)


def test_lists_waiters(wire: SessionWire) -> None:
    """Those in the queue, and the key's data."""
    result = call(wire, "LIST_WAIT", encode_message([(2, to_key("k"))]))
    waiter = entry(result.content, 3)
    command = waiter.pop(5)
    assert waiter == {1: to_key("b"), 2: START, 3: START + 6}
    assert isinstance(command, bytes)
    assert decode_message(command)[6] == 5
    assert entry(result.content, 4) == {1: b"v"}


def test_an_unlimited_lease_ends_never(wire: SessionWire) -> None:
    """It is shown as the largest time there is."""
    unlimited = lock_command("u")._replace(expiry=1, expiry_flag=0x4000)
    wire.send(encode_command(unlimited))
    wire.take()
    result = call(wire, "LIST_LOCKED", encode_message([(2, to_key("u"))]))
    assert entry(result.content, 3)[4] == 0x7FFF_FFFF_FFFF_FFFF
    assert 4 not in decode_message(result.content)


@pytest.mark.parametrize(
    ("method", "content", "code", "error"),
    [
        ("NOPE", b"", ResultCode.UNKNOWN_COMMAND, ""),
        ("", b"", ResultCode.UNKNOWN_COMMAND, ""),
        ("LIST_LOCK", b"\xff", ResultCode.ERROR, "DECODE_ERROR"),
        ("LIST_LOCK", b"\x0a\x01x", ResultCode.ERROR, "DECODE_ERROR"),
        ("LIST_LOCKED", b"\x10\x01", ResultCode.ERROR, "DECODE_ERROR"),
        ("LIST_LOCK", b"\x08\x09", ResultCode.UNKNOWN_DB, "UNKNOWN_DB_ERROR"),
        ("LIST_LOCK", b"\x08\xff\xff\x03", ResultCode.UNKNOWN_DB, "UNKNOWN_DB_ERROR"),
        ("LIST_LOCKED", b"\x12\x01x", ResultCode.UNKNOWN_DB, "LOCK_MANAGER_ERROR"),
        ("LIST_WAIT", b"\x12\x01x", ResultCode.UNKNOWN_DB, "LOCK_MANAGER_ERROR"),
    ],
)
def test_errors(
    wire: SessionWire, method: str, content: bytes, code: int, error: str
) -> None:
    """A code and a name, no content."""
    result = call(wire, method, content)
    assert (result.result, result.error, result.content) == (code, error, b"")


@pytest.mark.parametrize("method", ["LIST_LOCK", "LIST_LOCKED"])
def test_content_has_a_limit(
    wire: SessionWire, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that no frame can carry is an error, and is not built to its end."""
    monkeypatch.setattr(_calls, "MAX_DATA_SIZE", 20)
    result = call(wire, method, encode_message([(2, to_key("k"))]))
    assert (result.result, result.error) == (ResultCode.ERROR, "ENCODE_ERROR")
