"""Capacity, versions, and what a database counts."""

from __future__ import annotations

import pytest
from tests.trioslock.engine.commands import KEY, lock, make_id

from trioslock.engine._keyspace import (
    Claim,
    EngineDatabase,
    Key,
    Keyspace,
    next_version,
)
from trioslock.engine._peers import Peer


def make_key(max_count: int, levels: int) -> Key:
    key = Key(EngineDatabase(0), KEY)
    if levels:
        key.holders.append(Claim(Peer(1), lock("a", max_count=max_count), key, 0))
        key.levels = levels
    return key


@pytest.mark.parametrize(
    ("holder", "levels", "request_count", "fits"),
    [
        (0, 0, 0, True),
        (0, 1, 5, False),
        (5, 1, 0, False),
        (2, 2, 2, True),
        (2, 3, 5, False),
        (5, 3, 2, False),
        (0xFFFF, 0xFFFE, 0xFFFF, True),
        (0xFFFF, 0xFFFF, 0xFFFF, True),
        (0xFFFF, 70_000, 0xFFFF, True),
        (0xFFFF, 0xFFFF, 0xFFFE, False),
        (0xFFFE, 0xFFFF, 0xFFFF, False),
    ],
)
def test_fits(holder: int, levels: int, request_count: int, fits: bool) -> None:
    """Both sides must allow it; 0xffff on both is unlimited."""
    key = make_key(holder, levels)
    assert key.fits(lock("b", max_count=request_count)) is fits


def test_a_newer_version_does_not_fit() -> None:
    """One as old as the holder's does, also beyond 65535 levels."""
    for levels in (1, 70_000):
        key = make_key(0xFFFF, levels)
        holder = key.first_holder
        assert holder is not None
        holder.command = holder.command._replace(lock_id=b"\2" + bytes(15))
        for version, fits in ((1, True), (2, True), (3, False)):
            lock_id = bytes([version]) + bytes(15)
            command = lock(lock_id=lock_id, max_count=0xFFFF, timeout_flag=0x4000)
            assert key.fits(command) is fits


def test_versions_wrap() -> None:
    """The second half of the id is left alone."""
    assert next_version(b"\xff" + bytes(7) + b"x" * 8) == b"\0\1" + bytes(6) + b"x" * 8
    assert next_version(b"\xff" * 16) == bytes(8) + b"\xff" * 8


def test_no_database_above_254() -> None:
    """Others exist once they were opened."""
    keyspace = Keyspace()
    assert keyspace.find(3) is None
    assert keyspace.open(255) is None
    assert keyspace.open(254) is not None
    assert keyspace.open(3) is keyspace.find(3)
    assert [db.number for db in keyspace] == [254, 3]
    assert len(keyspace) == 2


def test_freed_keys_are_counted_for_a_moment() -> None:
    """In this second and the one before, each once, and not if it is back."""
    db = EngineDatabase(0)
    for _ in range(3):
        key = db.keys[KEY] = Key(db, KEY)
        db.free(key, 100)
    assert db.counters(100).key_count == 1
    assert db.counters(101).key_count == 1
    db.keys[KEY] = Key(db, KEY)
    assert db.counters(101).key_count == 1
    db.free(db.keys[KEY], 105)
    assert db.counters(105).key_count == 1
    assert db.counters(107).key_count == 0


def test_only_some_freed_names_are_kept() -> None:
    """A million keys a second leave no million names."""
    db = EngineDatabase(0)
    for number in range(10_000):
        key = Key(db, make_id(number))
        db.keys[key.name] = key
        db.free(key, 100)
    assert 0 < db.counters(100).key_count < 1000
