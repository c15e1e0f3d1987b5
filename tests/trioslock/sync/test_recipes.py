"""The recipes in blocking code."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from trioslock import LockLost, sync
from trioslock.sync import recipes
from trioslock.testing import SlockServer


def test_one_leads_and_followers_see_it(client: sync.Client, key: str) -> None:
    election = recipes.Election(client, key, name="a")
    assert election.name == "a"
    assert "Election" in repr(election)
    changes = election.changes()
    assert changes.next(timeout=5) is None
    with recipes.leader(client, key, name="a") as term:
        assert (term.name, term.grant.token) == ("a", term.token)
        found = election.current()
        assert found is not None
        assert found.token == term.token
        assert next(changes) == found
        with pytest.raises(TimeoutError):
            election.lead(timeout=0.02).__enter__()
    assert election.current() is None


def test_a_lost_leadership_is_seen(server: SlockServer) -> None:
    with sync.open_client(server.url) as client, pytest.raises(LockLost):
        with recipes.leader(client, "key") as term:
            server.lose("key")
            term.grant.wait_lost(timeout=5)
            term.grant.check()


def test_a_context_is_entered_once(client: sync.Client, key: str) -> None:
    pool = recipes.worker_pool(client, key, 1)
    with pool, pytest.raises(RuntimeError, match="entered already"):
        pool.__enter__()


def test_a_slot_is_had_once(client: sync.Client, key: str) -> None:
    job = recipes.OncePer(client, key, "monday")
    assert job.slot == "monday"
    assert "monday" in repr(job)
    assert job.claim()
    assert not recipes.once_per(client, key, "monday")
    job.give_back()
    assert recipes.once_per(client, key, "monday", keep=60)


def test_workers_have_numbers(client: sync.Client, key: str) -> None:
    with (
        recipes.worker_pool(client, key, 2) as one,
        recipes.worker_pool(client, key, 2) as two,
    ):
        assert {one.number, two.number} == {0, 1}
        assert one.permit.held
        with pytest.raises(TimeoutError):
            recipes.worker_pool(client, key, 2, timeout=0.02).__enter__()


def test_parties_wait_for_each_other(client: sync.Client, key: str) -> None:
    with pytest.raises(TimeoutError):
        recipes.barrier(client, key, 2, timeout=0.02)
    with ThreadPoolExecutor(2) as pool:
        ends = [
            pool.submit(recipes.barrier, client, key, 2, keep=60, timeout=10)
            for _ in range(2)
        ]
        assert [end.result(10) for end in ends] == [None, None]


def test_a_rate_is_limited(client: sync.Client, key: str) -> None:
    limit = recipes.rate_limit(client, key, 1, 60)
    limit.acquire()
    with pytest.raises(sync.WouldBlock):
        limit.try_acquire()


def test_one_computes_for_all(client: sync.Client, key: str) -> None:
    cache: dict[str, int] = {}
    computed: list[int] = []
    entry = recipes.cache_lock(client, key)

    def compute() -> int:
        computed.append(1)
        cache["value"] = 7
        return 7

    def get(_: int) -> int:
        return entry.get(lambda: cache.get("value"), compute)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(get, range(8))) == [7] * 8
    assert computed == [1]
    assert "CacheLock" in repr(entry)


def test_a_computation_elsewhere_may_take_too_long(
    client: sync.Client, key: str
) -> None:
    entry = recipes.cache_lock(client, key)
    with client.lock(key), pytest.raises(TimeoutError):
        entry.get(lambda: None, lambda: 1, timeout=0.02)
    with pytest.raises(TypeError, match="must be callable"):
        entry.get(None, lambda: 1)  # type: ignore[arg-type, misc]


def test_a_lost_computation_waits_with_the_rest(server: SlockServer) -> None:
    cache: list[int] = []
    with sync.open_client(server.url) as client:

        def compute() -> int:
            server.lose("key")
            # Its own loss is seen at its end; the value is there by then.
            cache.append(3)
            return 5

        found = recipes.cache_lock(client, "key").get(
            lambda: cache[0] if cache else None, compute
        )
    assert found in (3, 5)


def test_a_wrong_database_is_refused() -> None:
    with pytest.raises(TypeError, match="blocking Client"):
        recipes.rate_limit(None, "key", 1, 1)  # type: ignore[arg-type]
