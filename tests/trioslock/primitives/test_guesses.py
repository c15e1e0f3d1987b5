from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.trioslock.backends import MemoryBackend
from trio.testing import MockClock

from trioslock import Client, LockError, NotHeld
from trioslock.primitives import Grant
from trioslock.primitives._guesses import GUESSES

HANDLES: dict[str, Callable[[Client], Any]] = {
    "Acquirable": lambda client: client.tree("key"),
    "ExclusiveHandle": lambda client: client.lock("key"),
    "CountedHandle": lambda client: client.concurrency("key", 3),
    "Semaphore": lambda client: client.semaphore("key", 3),
    "TokenBucket": lambda client: client.token_bucket("key", 3, 5),
    "RWLock": lambda client: client.rwlock("key"),
    "Event": lambda client: client.event("key", ttl=5),
    "GroupEvent": lambda client: client.group_event("key", ttl=5),
    "Value": lambda client: client.value("key"),
    "Database": lambda client: client,
}


@pytest.mark.parametrize("kind", [*GUESSES])
async def test_a_guess_is_answered_with_the_call(
    autojump_clock: MockClock, memory: MemoryBackend, kind: str
) -> None:
    """And the call that is named exists."""
    async with memory.open_client() as client:
        grant = await client.lock("granted").acquire()
        thing = grant if kind == "Grant" else HANDLES[kind](client)
        for name, advice in GUESSES[kind].items():
            # More special classes have some of the names.
            with pytest.raises(AttributeError, match=name) as caught:
                getattr(thing, name)
            assert advice in str(caught.value)
            owners = [thing, grant, client, client.value("value"), client.lock("key")]
            calls = re.findall(r"`(?:await )?(?:\w+(?:\(key\))?\.)?(\w+)\(", advice)
            for call in calls:
                assert any(hasattr(owner, call) for owner in owners), advice
        await grant.release()


async def test_a_name_that_is_no_guess_is_simply_missing(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    async with memory.open_client() as client:
        with pytest.raises(
            AttributeError, match=r"^'Lock' object has no attribute 'x'$"
        ):
            _ = client.lock("key").x  # type: ignore[attr-defined]
        assert not hasattr(Grant, "acquire_nowait")


LONG = "orders/2024/customer-4711/invoice"


async def test_errors_and_reprs_name_the_key_as_it_was_given(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    """A long name is hashed for the server, but not for its user."""
    async with memory.open_client() as client, memory.open_client() as other:
        lock = client.lock(LONG)
        assert repr(lock) == f"<Lock on key {LONG!r} of database 0, lease SESSION>"
        assert f"below {LONG!r}" in repr(client.tree(LONG).child("x"))
        with pytest.raises(NotHeld, match=f"key '{LONG}' has no holder"):
            await lock.release_head()
        grant = await lock.acquire()
        assert repr(grant) == f"<Grant of key {LONG!r}: held>"
        with pytest.raises(LockError, match=f"refused key '{LONG}'"):
            await other.value(LONG).set("x")
        await other.lock(LONG).release_head()
        with pytest.raises(NotHeld, match=f"key '{LONG}' is not held"):
            await grant.release()
