"""Grants of blocking code: their body, their loss, their end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

import trioslock
from trioslock import LockLost, NotHeld, sync
from trioslock.testing import SlockServer


@pytest.fixture
def own(server: SlockServer) -> Iterator[sync.Client]:
    """A client of the embedded server alone."""
    with sync.open_client(server.url) as opened:
        yield opened


def test_a_body_holds_the_key(client: sync.Client, key: str) -> None:
    lock = client.lock(key)
    with lock as grant:
        assert grant.held
        assert not grant.lost
        grant.check()
        assert lock.locked()
        with pytest.raises(sync.WouldBlock):
            lock.try_acquire()
    assert not grant.held
    assert not lock.locked()
    with pytest.raises(NotHeld, match="has been released"):
        grant.check()


def test_a_body_that_fails_releases(client: sync.Client, key: str) -> None:
    lock = client.lock(key)
    with pytest.raises(ZeroDivisionError), lock:
        raise ZeroDivisionError
    assert not lock.locked()


def test_a_grant_is_entered_once(client: sync.Client, key: str) -> None:
    with client.lock(key).acquire() as grant:
        assert grant.held
        with pytest.raises(RuntimeError, match="entered already"):
            grant.__enter__()
    assert not grant.held


def test_a_grant_has_what_trio_s_has(client: sync.Client, key: str) -> None:
    before = time.monotonic()
    grant = client.lock(key, lease=30, fenced=True).acquire(data="text")
    assert 0 < grant.expires_at - before <= 35
    assert grant.key == client.lock(key).key
    assert len(grant.lock_id) == 16
    assert grant.token is not None
    assert grant.data is None
    grant.extend(60)
    assert grant.expires_at - before > 50
    found = grant.update("other")
    assert found is not None
    assert found.raw == b"text"
    grant.release()
    assert repr(grant).endswith("released>")


def test_a_detached_grant_outlives_its_client(server: SlockServer) -> None:
    with sync.open_client(server.url) as client:
        client.lock("key", lease=30).acquire().detach()
    assert server.claims("key").holders == 1


def test_a_loss_is_seen_and_raised_at_the_end(
    server: SlockServer, own: sync.Client
) -> None:
    with pytest.raises(LockLost, match="its lease has ended"):
        with own.lock("key", lease=5) as grant:
            server.lose("key")
            assert isinstance(grant.wait_lost(timeout=5), LockLost)
            assert not grant.held
            assert grant.lost
            with pytest.raises(LockLost):
                grant.check()


def test_a_body_keeps_its_error_with_a_note(
    server: SlockServer, own: sync.Client
) -> None:
    with pytest.raises(ZeroDivisionError) as caught, own.lock("key") as grant:
        server.lose("key")
        grant.wait_lost(timeout=5)
        raise ZeroDivisionError
    (note,) = caught.value.__notes__
    assert "is not held any more" in note


def test_a_function_is_called_at_the_loss(
    server: SlockServer, own: sync.Client
) -> None:
    """And may use the client: it has a thread of its own."""
    called = threading.Event()
    lost: list[LockLost] = []

    def report(error: LockLost) -> None:
        own.ping()
        lost.append(error)
        called.set()

    grant = own.lock("key").acquire()
    grant.on_lost(report)
    server.lose("key")
    assert called.wait(5)
    assert lost[0].reason == "expired"
    with pytest.raises(TypeError, match="must be callable"):
        grant.on_lost(None)  # type: ignore[arg-type]


def test_a_lease_is_renewed_while_the_body_runs(
    server: SlockServer, own: sync.Client
) -> None:
    """The background thread asks again, though this one does something else."""
    with own.lock("key", lease=1) as grant:
        first = grant.expires_at
        ends_at = time.monotonic() + 10
        while grant.expires_at <= first:
            assert time.monotonic() < ends_at
            time.sleep(0.01)
        assert grant.held


def test_bodies_of_one_handle_in_many_threads(
    server: SlockServer, own: sync.Client
) -> None:
    """50 threads: at no time do two of them have the lock."""
    lock = own.lock("key")
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for _ in range(4):
            with lock:
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(work, range(50)))
    assert most == [1] * 200
    assert server.claims("key") == (0, 0)


@pytest.mark.long
def test_ten_thousand_operations_of_many_threads(
    server: SlockServer, own: sync.Client
) -> None:
    """Some of them give up; nothing is left."""

    def work(number: int) -> None:
        for step in range(200):
            try:
                own.lock(f"key{number % 5}").acquire(
                    timeout=0.001 * (step % 7)
                ).release()
            except TimeoutError:
                continue

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(work, range(50)))
    assert [server.claims(f"key{number}") for number in range(5)] == [(0, 0)] * 5
    assert own.statistics().unsettled == 0


def test_a_body_may_end_in_another_thread(
    server: SlockServer, own: sync.Client
) -> None:
    """As of a generator that another thread closes."""

    @contextmanager
    def holding() -> Iterator[None]:
        with own.lock("key"):
            yield

    context = holding()
    context.__enter__()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(context.__exit__, None, None, None).result(5)
    assert server.claims("key") == (0, 0)


def test_an_exit_that_belongs_to_no_body_is_refused(own: sync.Client) -> None:
    with pytest.raises(RuntimeError, match="cannot be told"):
        own.lock("key").__exit__(None, None, None)


def test_nested_bodies_end_from_the_inside(own: sync.Client) -> None:
    pool = own.semaphore("key", 2)
    with pool as outer:
        with pool as inner:
            assert pool.in_use() == 2
        assert outer.held
        assert not inner.held


def test_what_a_handle_shows(own: sync.Client) -> None:
    lock = own.lock("key", priority=3, renew=False)
    assert (lock.priority, lock.renew, lock.db) == (3, False, 0)
    assert lock.flags == trioslock.Flags()
    assert repr(lock).startswith("<Lock on key")
    assert lock.show() is None
    with lock as grant:
        holder = lock.show()
        assert holder is not None
        assert holder.lock_id == grant.lock_id
    lock.acquire()
    lock.release_head()
    assert lock.show() is None


def test_a_failed_entry_leaves_no_body(server: SlockServer, own: sync.Client) -> None:
    lock = own.lock("key")
    own.close()
    with pytest.raises(sync.ClosedResourceError), lock:
        pass
    assert lock._entered == {}
