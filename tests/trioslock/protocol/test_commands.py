"""Commands and results: fields in wire order, one class for each."""

from __future__ import annotations

from typing import get_args

import pytest

from trioslock.protocol import Command, LockCommand, Result, encode_command

FIELDS = (
    ("type", 2, 1),
    ("request_id", 3, 16),
    ("flag", 19, 1),
    ("db", 20, 1),
    ("lock_id", 21, 16),
    ("key", 37, 16),
    ("timeout", 53, 2),
    ("timeout_flag", 55, 2),
    ("expiry", 57, 2),
    ("expiry_flag", 59, 2),
    ("max_count", 61, 2),
    ("rcount", 63, 1),
)
PLAIN = LockCommand(1, b"r" * 16, 0, 0, b"l" * 16, b"k" * 16)


def test_a_locks_fields_are_in_wire_order() -> None:
    """So that a codec is one struct."""
    assert (*[name for name, _, _ in FIELDS], "data") == LockCommand._fields


@pytest.mark.parametrize(("name", "offset", "size"), FIELDS)
def test_each_field_has_its_place(name: str, offset: int, size: int) -> None:
    """Changing one changes its bytes alone."""
    before = encode_command(PLAIN)
    value = b"X" * 16 if size == 16 else 2
    after = encode_command(PLAIN._replace(**{name: value}))  # type: ignore[arg-type]
    changed = [n for n in range(64) if before[n] != after[n]]
    assert changed
    assert all(offset <= n < offset + size for n in changed)


def test_what_is_left_out_is_zero() -> None:
    """A LOCK of its ids alone neither waits nor holds."""
    assert (
        LockCommand(1, b"r" * 16, 0, 0, b"l" * 16, b"k" * 16, 0, 0, 0, 0, 0, 0, None)
        == PLAIN
    )


@pytest.mark.parametrize("message", [*get_args(Command), *get_args(Result)])
def test_every_message_has_a_request_id(message: type) -> None:
    """Replies are matched by it. Commands and results are immutable tuples."""
    assert issubclass(message, tuple)
    fields: tuple[str, ...] = message._fields  # type: ignore[attr-defined]
    assert "request_id" in fields
    assert fields.index("request_id") == ("type" in fields)
