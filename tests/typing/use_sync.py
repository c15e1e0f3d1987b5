"""Only type-checked, never run: the blocking API as its users write it."""

from __future__ import annotations

from typing import assert_type

from trioslock import Change, Data, Holder, LockLost, SetState, sync
from trioslock.recipes import Leader
from trioslock.sync import Client, Event, Grant, Lock, RLock, TreeLock, recipes


def open_and_ask() -> None:
    with sync.open_client("slock://127.0.0.1:5658/3", timeout=5) as client:
        assert_type(client, Client)
        assert_type(client.ping(timeout=1), float)
        assert_type(client.lock("name", lease=2.5, fenced=True), Lock)
        assert_type(client.rlock("name"), RLock)
        assert_type(client.db(7).event("name", ttl=60), Event)
        assert_type(client.tree("name").child("below"), TreeLock)
        assert_type(client.holders("name"), list[Holder])
        for state in client.changes():
            assert_type(state, SetState)
        with client.subscribe() as changes:
            assert_type(next(changes), Change)
    assert_type(sync.connect(), Client)


def use_grants(lock: Lock) -> None:
    with lock as grant:
        assert_type(grant, Grant)
    with lock.acquire(timeout=5) as grant:
        assert_type(grant, Grant)
        assert_type(grant.token, int | None)
        assert_type(grant.data, Data | None)
        assert_type(grant.wait_lost(timeout=1), LockLost)
        grant.on_lost(lambda error: assert_type(error, LockLost))
    assert_type(lock.locked(), bool)


def use_recipes(client: Client) -> None:
    with recipes.leader(client, "name", timeout=5) as term:
        assert_type(term.grant, Grant)
    for leader in recipes.Election(client, "name").changes():
        assert_type(leader, Leader | None)
    with recipes.worker_pool(client, "name", 3) as worker:
        assert_type(worker.number, int)
    assert_type(recipes.once_per(client, "name", 60), bool)
    assert_type(recipes.cache_lock(client, "name").get(lambda: None, lambda: 1), int)
