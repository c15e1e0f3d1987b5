"""One suite for every store of states."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
import trio
from msgspec import Raw
from msgspec.structs import replace

from triopoll.store import StateRecord, StateStore, StoreFailed, open_stores
from triopoll.store._states_base import NO_DIGEST, decode_record, is_secret

DIGEST, OTHER = b"d" * 32, b"o" * 32
RECORD = StateRecord(
    version=1,
    state="pending",
    data=Raw(b'{"b":1.50,"a":"\xc3\xa9"}'),
    expires=300.0,
    kept=1200.0,
    confirm_within=60.0,
    moves={"pending": ["scanned"]},
    numbers=(10, 20, 30),
    number=20,
    address="192.0.2.1",
    user_agent="é",
)


@pytest.fixture
async def states(store_url: str) -> AsyncIterator[StateStore]:
    async with open_stores(store_url, limit=5) as stores:
        yield stores.states


async def test_what_is_stored_is_read(states: StateStore, key: str) -> None:
    """With every field, the data as it was; with its secret, and by publishers."""
    await states.insert(key, DIGEST, RECORD)
    for digest in (DIGEST, None):
        found = await states.read(key, digest)
        assert found is not None
        assert found.record == RECORD
        assert found.mark == 1
        assert 0 <= found.age < 60
        assert found.created_at > 1.7e9


async def test_strangers(states: StateStore, key: str) -> None:
    """A wrong digest, an unknown key, and what stands for its digest read nothing."""
    await states.insert(key, DIGEST, RECORD)
    for name in (key, key + "unknown"):
        for digest in (OTHER, NO_DIGEST):
            assert await states.read(name, digest) is None
    assert await states.read(key + "unknown") is None


async def test_a_key_is_stored_once(states: StateStore, key: str) -> None:
    """A second state of a key is refused, and the first one stays."""
    await states.insert(key, DIGEST, RECORD)
    with pytest.raises(StoreFailed, match="there is a state"):
        await states.insert(key, OTHER, replace(RECORD, state="other"))
    found = await states.read(key, DIGEST)
    assert found is not None
    assert found.record == RECORD


async def test_a_swap(states: StateStore, key: str) -> None:
    """It succeeds from the state that was read, and not from an older one."""
    await states.insert(key, DIGEST, RECORD)
    found = await states.read(key)
    assert found is not None
    second = replace(RECORD, version=2, state="scanned", data=Raw(b"2"))
    assert await states.swap(key, found, second, 300.0)
    assert not await states.swap(key, found, replace(second, version=3), 300.0)
    found = await states.read(key, DIGEST)
    assert found is not None
    assert (found.record, found.mark) == (second, 2)
    assert not await states.swap(key + "unknown", found, second, None)


async def test_a_swap_that_is_late(states: StateStore, key: str) -> None:
    """It is refused from the age on at which the state expires; not without one."""
    await states.insert(key, DIGEST, RECORD)
    await trio.sleep(0.05)
    found = await states.read(key)
    assert found is not None
    second = replace(RECORD, version=2)
    assert not await states.swap(key, found, second, found.age)
    assert await states.swap(key, found, second, None)


async def test_everything_ends(states: StateStore, key: str) -> None:
    """A record goes at its age, which a swap may change."""
    await states.insert(key, DIGEST, replace(RECORD, kept=0.2))
    await states.insert(key + "b", DIGEST, replace(RECORD, kept=0.2))
    found = await states.read(key)
    assert found is not None
    assert await states.swap(key, found, replace(RECORD, version=2), None)
    await trio.sleep(0.3)
    assert await states.read(key, DIGEST) is not None
    assert await states.read(key + "b", DIGEST) is None
    assert not await states.swap(key + "b", found, RECORD, None)
    # Its key may be used again.
    await states.insert(key + "b", DIGEST, RECORD)


async def test_marks(states: StateStore) -> None:
    """Those that change are other ones, in the order given, for many at once."""
    keys = [uuid.uuid4().hex for _ in range(300)]
    async with trio.open_nursery() as nursery:
        for key in keys[::2]:
            nursery.start_soon(states.insert, key, DIGEST, RECORD)
    before = await states.heads(keys)
    found = await states.read(keys[2])
    assert found is not None
    await states.swap(keys[2], found, replace(RECORD, version=2), None)
    after = await states.heads(keys)
    differ = [n for n in range(300) if before[n] != after[n]]
    assert differ == [2]
    assert before[0] != before[1]


async def test_writers_at_once(states: StateStore, key: str) -> None:
    """Of those that start from one state, one succeeds."""
    await states.insert(key, DIGEST, RECORD)
    found = await states.read(key)
    assert found is not None
    results: list[bool] = []

    async def swap(name: str) -> None:
        record = replace(RECORD, version=2, state=name)
        results.append(await states.swap(key, found, record, None))

    async with trio.open_nursery() as nursery:
        for n in range(10):
            nursery.start_soon(swap, f"s{n}")
    assert sorted(results) == [False] * 9 + [True]


def test_a_record_of_another_version_of_the_service() -> None:
    """Fields that are not known are ignored, those that lack have their defaults."""
    text = b'{"version":1,"state":"a","expires":1,"kept":2,"confirm_within":3,"new":4}'
    record = decode_record(text)
    assert (record.data, record.moves) == (Raw(b"null"), None)
    assert decode_record(text, may_lack=True).version == 1001


def test_secrets() -> None:
    """They are compared as a whole; a publisher needs none, but a state."""
    assert is_secret(DIGEST, DIGEST)
    assert not is_secret(OTHER, DIGEST)
    assert is_secret(None, DIGEST)
    assert not is_secret(None, NO_DIGEST)
    assert not is_secret(NO_DIGEST, NO_DIGEST)


def test_representation() -> None:
    """It has no data and no number."""
    assert repr(RECORD) == "<StateRecord: 'pending', version 1>"
