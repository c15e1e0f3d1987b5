"""RLock, RWLock, semaphore, limiter and tree in blocking code."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from trioslock import sync


def test_an_rlock_belongs_to_a_thread(client: sync.Client, key: str) -> None:
    lock = client.rlock(key)
    with lock, lock, ThreadPoolExecutor(1) as other:
        assert lock.levels() == 2
        assert other.submit(lock.levels).result(5) == 0
        with pytest.raises(sync.WouldBlock):
            other.submit(lock.try_acquire).result(5)
        grant = lock.acquire()
        assert client.rlock(key).levels() == 3
        grant.release()
    assert lock.levels() == 0
    assert not lock.locked()


def test_readers_share_and_writers_do_not(client: sync.Client, key: str) -> None:
    page = client.rwlock(key)
    with page.read(), page.read():
        with pytest.raises(TimeoutError):
            page.write().acquire(timeout=0.02)
    with page.write(), pytest.raises(sync.WouldBlock):
        page.read().try_acquire()


def test_permits_are_counted(client: sync.Client, key: str) -> None:
    pool = client.semaphore(key, 2)
    with pool:
        assert (pool.permits, pool.in_use(), pool.available()) == (2, 1, 1)
    pool.acquire()
    pool.acquire()
    with pytest.raises(sync.WouldBlock):
        pool.try_acquire()
    pool.release()
    pool.release()
    assert pool.in_use() == 0


def test_a_limit_is_counted(client: sync.Client, key: str) -> None:
    limit = client.concurrency(key, 1)
    with limit:
        assert (limit.limit, limit.in_use()) == (1, 1)


def test_a_tree_is_free_when_nothing_is_held_below(
    client: sync.Client, key: str
) -> None:
    root = client.tree(key)
    child = root.child(key + "child")
    assert root.parent is None
    assert child.parent is not None
    assert child.parent.key == root.key
    assert child.leaf().node.key == child.key
    with child.leaf():
        with pytest.raises(TimeoutError):
            root.wait_free(timeout=0.02)
    root.wait_free(timeout=5)
