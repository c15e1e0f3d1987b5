"""Only type-checked, never run: every primitive as its users write it."""

from __future__ import annotations

from typing import assert_type

import outcome
import trio

from trioslock import (
    FOREVER,
    BegunWait,
    Change,
    Client,
    ConcurrencyLimiter,
    Data,
    Database,
    DatabaseState,
    Flags,
    Grant,
    GroupEvent,
    HeldKey,
    Holder,
    Lock,
    RLock,
    RWLock,
    Semaphore,
    Subscription,
    TokenBucket,
    TreeLock,
    Value,
    Waiter,
)


async def use_locks(client: Client) -> None:
    loud = client.db(7, flags=Flags(publish=True, log="at-once"))
    assert_type(loud, Database)
    assert_type(loud.lock("name", lease=30, renew=False, priority=5), Lock)
    async with client.lock("name", fenced=True) as grant:
        assert_type(grant, Grant)
        assert_type(grant.token, int | None)
        assert_type(await grant.update(Data.increment()), Data | None)
        await grant.extend(FOREVER)
    with trio.move_on_after(1):
        assert_type(await client.lock("name").try_acquire(), Grant)
    assert_type(await client.lock("name").show(), Holder | None)
    (await client.lock("name", lease=60, renew=False).acquire()).detach()


async def use_kinds_of_locks(client: Client) -> None:
    rlock = client.rlock("name")
    assert_type(rlock, RLock)
    assert_type(rlock.levels(), int)
    rwlock = client.rwlock("name", lease=10)
    assert_type(rwlock, RWLock)
    async with rwlock.read() as grant, rwlock.write():
        assert_type(grant, Grant)
    tree = client.tree("root")
    assert_type(tree, TreeLock)
    assert_type(tree.child("child"), TreeLock)
    async with tree.child("child").leaf() as grant:
        assert_type(grant, Grant)
    await tree.wait_free()


async def use_counts(client: Client) -> None:
    semaphore = client.semaphore("name", 3)
    assert_type(semaphore, Semaphore)
    assert_type(await semaphore.available(), int)
    await semaphore.release()
    limiter = client.concurrency("name", 3, priority=1)
    assert_type(limiter, ConcurrencyLimiter)
    async with limiter as grant:
        assert_type(grant, Grant)
    bucket = client.token_bucket("name", 10, 1.0)
    assert_type(bucket, TokenBucket)
    await bucket.acquire()
    await bucket.try_acquire()
    assert_type(client.token_bucket("name", 10, 60, sliding=True).sliding, bool)


def use_begun_wait(client: Client) -> None:
    def ended(answer: outcome.Outcome[Data | None]) -> None:
        assert_type(answer.unwrap(), Data | None)

    assert_type(client.event("name", ttl=60).begin_wait(ended), BegunWait)


async def use_group_event(client: Client) -> None:
    group = client.group_event("name", ttl=60, version=3)
    assert_type(group, GroupEvent)
    assert_type(group.version, int)
    await group.clear()
    assert_type(await group.wakeup(Data.set("text")), int)
    assert_type(await group.wait(), Data | None)
    assert_type(await group.wait_and_reset(), Data | None)
    assert_type(await group.is_set(), bool)
    await group.set()


async def use_value(client: Client) -> None:
    value = client.value("name", ttl=60)
    assert_type(value, Value)
    assert_type(await value.get(), Data | None)
    assert_type(await value.set({"a": b"b"}), Data | None)
    assert_type(await value.set(["a", b"b"]), Data | None)
    assert_type(await value.increment(), int)
    assert_type(await value.append("x"), int)
    assert_type(await value.shift(1), bytes)
    await value.push("x")
    assert_type(await value.pop(2), tuple[bytes, ...])
    assert_type(await value.touch(), bool)
    assert_type(await value.unset(), Data | None)


async def use_lists(client: Client) -> None:
    assert_type(await client.holders("name"), list[Holder])
    assert_type(await client.waiters("name"), list[Waiter])
    assert_type(await client.keys(), list[HeldKey])
    assert_type(await client.state(), DatabaseState)


async def use_subscription(client: Client) -> None:
    async with client.subscribe(b"\xff" * 16, buffer=8) as subscription:
        assert_type(subscription, Subscription)
        assert_type(subscription.statistics().dropped, int)
        async for change in subscription:
            assert_type(change, Change)
