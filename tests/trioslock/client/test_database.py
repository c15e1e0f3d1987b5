from __future__ import annotations

from typing import Any

import pytest
from tests.trioslock.backends import Backend

from trioslock import (
    FOREVER,
    SESSION,
    Client,
    ConcurrencyLimiter,
    Database,
    Event,
    Flags,
    GroupEvent,
    Lock,
    RLock,
    RWLock,
    Semaphore,
    TokenBucket,
    TreeLock,
    Value,
    to_key,
)
from trioslock.primitives import FencedLock

LOUD = Flags(publish=True)
FACTORIES: dict[str, tuple[type, tuple[Any, ...], dict[str, Any]]] = {
    "lock": (Lock, (), {}),
    "rlock": (RLock, (), {}),
    "rwlock": (RWLock, (), {}),
    "semaphore": (Semaphore, (2,), {}),
    "event": (Event, (), {"ttl": 60}),
    "group_event": (GroupEvent, (), {"ttl": 60}),
    "concurrency": (ConcurrencyLimiter, (2,), {}),
    "token_bucket": (TokenBucket, (2, 1.0), {}),
    "tree": (TreeLock, (), {}),
    "value": (Value, (), {}),
}
EVERY_FACTORY = pytest.mark.parametrize("name", FACTORIES)


@pytest.fixture(params=["embedded"])
def backend_choice(request: pytest.FixtureRequest) -> tuple[str, None]:
    """One server is enough: what the handles do is tested with each primitive."""
    return request.param, None


def make(database: Database, name: str, key: str | bytes = "k", **more: Any) -> Any:
    _, positional, named = FACTORIES[name]
    return getattr(database, name)(key, *positional, **named, **more)


@EVERY_FACTORY
async def test_a_factory_makes_a_handle_on_its_key(client: Client, name: str) -> None:
    """Of the right kind, on the database that it belongs to."""
    for database in (client, client.db(9)):
        handle = make(database, name)
        assert type(handle) is FACTORIES[name][0]
        assert (handle.key, handle.db) == (to_key("k"), database.number)
    assert make(client, name, bytes(range(16))).key == bytes(range(16))


@pytest.mark.parametrize("name", [name for name in FACTORIES if name != "event"])
async def test_flags_come_from_the_database_unless_they_are_given(
    client: Client, name: str
) -> None:
    loud = client.db(3, flags=LOUD)
    assert make(loud, name)._options.flags == LOUD
    assert make(loud, name, flags=Flags())._options.flags == Flags()
    assert make(loud.db(4), name)._options.flags == LOUD
    assert make(loud.db(4, flags=Flags()), name)._options.flags == Flags()
    assert make(client, name)._options.flags == Flags()


async def test_events_have_no_flags(client: Client) -> None:
    """A publish flag would publish the waits that publishers see as polls."""
    assert make(client.db(3, flags=LOUD), "event")._options.flags == Flags()


@pytest.mark.parametrize("name", ["lock", "rlock", "rwlock", "semaphore", "tree"])
async def test_a_lease_is_that_of_the_session_unless_it_is_given(
    client: Client, name: str
) -> None:
    plain = make(client, name)._options
    assert (plain.lease, plain.renew) == (SESSION, True)
    seconds = make(client, name, lease=7, renew=False)._options
    assert (seconds.lease, seconds.renew) == (7, False)


@pytest.mark.parametrize("name", ["lock", "semaphore", "concurrency", "token_bucket"])
async def test_a_priority_is_none_unless_it_is_given(client: Client, name: str) -> None:
    assert make(client, name)._options.priority is None
    assert make(client, name, priority=7)._options.priority == 7
    with pytest.raises(ValueError, match="priority must be 0 to 255"):
        make(client, name, priority=256)


async def test_a_ttl_is_the_lease_of_what_is_set(client: Client) -> None:
    assert make(client, "event")._options.lease == 60
    assert make(client, "group_event")._options.lease == 60
    assert make(client, "value")._options.lease == FOREVER
    assert client.value("k", ttl=5).ttl == 5


async def test_a_plain_lock_is_made_once(client: Client) -> None:
    """A handle keeps no state, so the same one does for all."""
    assert client.lock("k") is client.lock("k")
    assert client.lock("k") is not client.lock("other")
    assert client.lock("k") is not client.db(client.number).lock("k")
    assert client.lock("k", lease=5) is not client.lock("k", lease=5)


async def test_a_handles_own_flags_take_the_place_of_the_databases(
    client: Client,
) -> None:
    database = client.db(3, flags=Flags(publish=True))
    assert database.lock("lock").flags == Flags(publish=True)
    assert database.lock("lock", flags=Flags()).flags == Flags()
    assert database.db(4).flags == Flags(publish=True)


async def test_a_fenced_lock_is_another_kind(client: Client) -> None:
    assert isinstance(client.lock("k", fenced=True), FencedLock)
    assert not isinstance(client.lock("k"), FencedLock)


async def test_rlocks_of_all_databases_know_the_same_holders(client: Client) -> None:
    async with client.db(3).rlock("k"):
        assert client.db(3).rlock("k").levels() == 1
        assert client.db(4).rlock("k").levels() == 0


@pytest.mark.parametrize("number", [-1, 255])
async def test_a_database_out_of_range_is_refused(client: Client, number: int) -> None:
    with pytest.raises(ValueError, match="0 to 254"):
        client.db(number)


async def test_the_lists_are_those_of_the_database(
    backend: Backend, client: Client
) -> None:
    async with client.db(3).lock("k") as grant:
        (holder,) = await client.db(3).holders("k")
        assert holder.lock_id == grant.lock_id
        assert await client.db(3).waiters("k") == []
        assert [held.key for held in await client.db(3).keys()] == [to_key("k")]
        assert (await client.db(3).state()).held == 1
        assert await client.db(4).holders("k") == []
        assert await client.db(4).keys() == []
        assert (await client.db(4).state()).held == 0


async def test_a_subscription_is_of_the_database(client: Client) -> None:
    async with client.db(3).subscribe(b"\1" * 16, buffer=2) as subscription:
        assert subscription.db == 3
        assert subscription.masks == (b"\1" * 16,)


async def test_repr_shows_the_number(client: Client) -> None:
    assert repr(client.db(7)).startswith("<Database 7 of ")
