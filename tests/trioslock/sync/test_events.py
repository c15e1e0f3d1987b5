"""Events, buckets and values in blocking code."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from trioslock import Data, sync


def test_an_event_wakes_a_thread(client: sync.Client, key: str) -> None:
    event = client.event(key, ttl=60)
    assert event.default == "clear"
    with pytest.raises(TimeoutError):
        event.wait(timeout=0.02)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(event.wait, timeout=10)
        event.set("paid")
        data = waiting.result(10)
    assert data is not None
    assert data.raw == b"paid"
    assert event.is_set()
    assert event.wait_and_reset() is not None
    event.clear()
    assert not event.is_set()


def test_a_group_wakes_its_members(client: sync.Client, key: str) -> None:
    group = client.group_event(key, member=1, ttl=60)
    assert group.is_set()
    group.clear()
    assert not group.is_set()
    version = client.group_event(key, ttl=60).wakeup("news")
    data = group.wait(timeout=5)
    assert data is not None
    assert data.raw == b"news"
    assert (group.version, group.member) == (version, 1)
    group.set()
    group.wait_and_reset(timeout=5)
    assert not group.is_set()
    client.value(key)


def test_tokens_are_spent(client: sync.Client, key: str) -> None:
    bucket = client.token_bucket(key, 2, 60, sliding=True)
    bucket.acquire()
    bucket.try_acquire()
    with pytest.raises(sync.WouldBlock):
        bucket.try_acquire()
    with pytest.raises(TimeoutError):
        bucket.acquire(timeout=0.02)
    assert (bucket.tokens, bucket.per, bucket.sliding) == (2, 60, True)
    assert bucket.in_use() == 2


def test_a_value_changes(client: sync.Client, key: str) -> None:
    value = client.value(key, ttl=60)
    assert value.ttl == 60
    assert value.get() is None
    assert value.increment(3) == 3
    value.set("ab")
    assert value.append("cd") == 4
    assert value.shift(1) == b"a"
    assert value.touch()
    value.unset()
    value.push("x")
    assert value.pop() == (b"x",)
    value.pipeline(Data.set("y"))
    found = value.get()
    assert found is not None
    assert found.raw == b"y"
    value.unset()
