"""Values of keys that have just been released."""

from __future__ import annotations

import pytest
from tests.trioslock.backends import Backend

from trioslock import Client, Data
from trioslock.engine import Engine
from trioslock.engine._kept_values import (
    KEPT_BYTES,
    KEPT_MS,
    KEPT_VALUES,
    KeptValues,
)
from trioslock.protocol import LockCommand, LockResult

K = (0, b"k" * 16)
DATA = b"\x07\0\0\0\0\0hello"


def test_a_value_ends() -> None:
    """It is there until its millisecond, and not from then on."""
    kept = KeptValues()
    kept.keep(K, DATA, 100, 0)
    assert kept.peek(K, 99) == DATA
    assert kept.peek(K, 100) is None
    assert kept.take(K, 100) is None
    assert len(kept) == 0


def test_the_number_of_values_is_limited() -> None:
    """The oldest go first."""
    kept = KeptValues()
    for number in range(KEPT_VALUES + 1):
        kept.keep((0, number.to_bytes(16, "big")), DATA, 100, 0)
    assert len(kept) == KEPT_VALUES
    assert kept.peek((0, bytes(16)), 0) is None


def test_the_bytes_of_all_values_are_limited() -> None:
    """A value that alone is too large is not kept, and displaces none."""
    kept = KeptValues()
    kept.keep(K, b"x" * (KEPT_BYTES // 2), 100, 0)
    kept.keep((1, b"k" * 16), b"x" * (KEPT_BYTES + 1), 100, 0)
    assert kept.peek(K, 0) is not None
    kept.keep((2, b"k" * 16), b"x" * (KEPT_BYTES // 2 + 1), 100, 0)
    assert kept.peek(K, 0) is None
    assert len(kept) == 1


def test_values_that_have_ended_make_room() -> None:
    """Nothing but the next value is needed for it."""
    kept = KeptValues()
    kept.keep(K, DATA, 100, 0)
    kept.keep((1, b"k" * 16), DATA, 200, 100)
    assert len(kept) == 1


def command(kind: int, **fields: object) -> LockCommand:
    request = LockCommand(kind, b"r" * 16, 0, 0, b"i" * 16, K[1])
    return request._replace(**fields)  # type: ignore[arg-type]


def ask(engine: Engine, peer: int, request: LockCommand, now: float) -> LockResult:
    [reply] = engine.submit(peer, request, now)
    assert isinstance(reply.result, LockResult)
    return reply.result


@pytest.mark.parametrize(
    ("expiry_flag", "after", "expected"),
    [
        (0, 0.0, DATA),
        (0, (KEPT_MS - 1) / 1000, DATA),
        (0, KEPT_MS / 1000, None),
        (0x0100, 0.0, None),
    ],
)
def test_the_value_of_a_released_key(
    expiry_flag: int, after: float, expected: bytes | None
) -> None:
    """Two seconds, except after a lock that a real server logs at once."""
    engine = Engine(wall_offset=1000.0, new_id=lambda: b"n" * 16)
    peer = engine.add_peer(0.0)
    ask(engine, peer, command(1, expiry=60, expiry_flag=expiry_flag), 0.0)
    ask(engine, peer, command(2, flag=0x20, data=DATA), 1.0)
    # Reading it does not keep it longer.
    assert engine.statistics().data_bytes == 0
    for moment in (1.0 + after / 2, 1.0 + after):
        result = ask(engine, peer, command(1), moment)
        assert result.result == 0
    assert result.data == expected


def test_a_flush_drops_the_values() -> None:
    """Nothing of the database is readable afterwards."""
    engine = Engine(wall_offset=1000.0, new_id=lambda: b"n" * 16)
    peer = engine.add_peer(0.0)
    ask(engine, peer, command(1, expiry=60, flag=0x20, data=DATA), 0.0)
    ask(engine, peer, command(2), 1.0)
    engine.flush(0, 1.0)
    assert ask(engine, peer, command(1), 1.0).data is None


async def test_waiters_read_the_value_of_a_set_event(
    backend: Backend, client: Client
) -> None:
    """``set(data)`` of an event that is initially set frees its key."""
    event = client.event(backend.key("kept"), default="set", ttl=60)
    await event.clear()
    await event.set(Data.set("news"))
    data = await event.wait()
    assert data is not None
    assert data.text == "news"
