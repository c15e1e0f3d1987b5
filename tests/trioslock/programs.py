"""Programs of several operations in a row, as callers write them.

A program releases all that it took, even if it is cancelled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
import trio

from trioslock import Client, Data, NotHeld, recipes
from trioslock.recipes._keys import derived_key

Operation = Callable[[], Awaitable[object]]


def enter(handle: Any) -> Operation:
    async def run() -> None:
        async with handle:
            await trio.lowlevel.checkpoint()

    return run


def nested(handle: Any) -> Operation:
    async def run() -> None:
        async with handle, handle:
            await trio.lowlevel.checkpoint()

    return run


def held(handle: Any, use: Callable[[Any], Awaitable[object]]) -> Operation:
    async def run() -> None:
        async with handle as grant:
            await use(grant)

    return run


def acquire_and_release(handle: Any) -> Operation:
    async def run() -> None:
        grant = await handle.acquire()
        # What has been granted is the caller's: it gives it back whatever comes.
        await grant.release()

    return run


def try_and_release(client: Client, key: str) -> Operation:
    async def run() -> None:
        with suppress(trio.WouldBlock):
            grant = await client.lock(key).try_acquire()
            await grant.release()

    return run


def extend_and_update(client: Client, key: str) -> Operation:
    async def run() -> None:
        grant = await client.lock(key).acquire(data=Data.set("x"))
        try:
            await grant.extend(20)
            await grant.update(Data.append("y"))
        finally:
            await grant.release()

    return run


def look(client: Client, key: str) -> Operation:
    async def run() -> None:
        await client.lock(key).locked()
        await client.ping()

    return run


def set_and_reset(client: Client, key: str) -> Operation:
    event = client.event(key + "/event", ttl=30)

    async def run() -> None:
        try:
            await event.set()
            await event.wait_and_reset()
        finally:
            with trio.CancelScope(shield=True):
                await event.clear()

    return run


def set_and_unset(client: Client, key: str) -> Operation:
    value = client.value(key, ttl=60)

    async def run() -> None:
        try:
            await value.set("x")
            await value.increment()
            await value.push("x")
            await value.pop()
            await value.touch()
        finally:
            with trio.CancelScope(shield=True):
                await value.unset()

    return run


def clear_and_set(client: Client, key: str) -> Operation:
    group = client.group_event(key, ttl=60)

    async def run() -> None:
        try:
            await group.clear()
            await group.wakeup()
            await group.is_set()
        except NotHeld:
            # A clear that was cancelled unsent, and a wakeup after it.
            pass
        finally:
            with trio.CancelScope(shield=True):
                await group.set()

    return run


def lead(client: Client, key: str) -> Operation:
    # The signal for followers, which an election leaves.
    signal = client.group_event(derived_key(key, "leader"), ttl=60)

    async def run() -> None:
        try:
            async with recipes.leader(client, key, name="a"):
                await trio.lowlevel.checkpoint()
        finally:
            with trio.CancelScope(shield=True):
                await signal.set()

    return run


def work_in_pool(client: Client, key: str) -> Operation:
    async def run() -> None:
        async with recipes.worker_pool(client, key, 1):
            await trio.lowlevel.checkpoint()

    return run


def compute(client: Client, key: str) -> Operation:
    async def run() -> None:
        cached: list[str] = []

        async def read() -> str | None:
            await trio.lowlevel.checkpoint()
            return cached[0] if cached else None

        async def store() -> str:
            await trio.lowlevel.checkpoint()
            cached.append("x")
            return "x"

        await recipes.cache_lock(client, key).get(read, store)

    return run


def claim_and_give_back(client: Client, key: str) -> Operation:
    async def run() -> None:
        job = recipes.OncePer(client, key, "slot", keep=60)
        try:
            await job.claim()
        finally:
            await job.give_back()

    return run


class Program(NamedTuple):
    """Several operations on keys.

    Attributes:
        make: Makes the program for a client and a key.
        extra_keys: What is appended to the key for others that it uses.
        waits: Whether it waits until another client releases the key.
    """

    make: Callable[[Client, str], Operation]
    extra_keys: tuple[str, ...] = ()
    waits: bool = False

    def keys(self, key: str) -> list[str]:
        return [key, *(key + extra for extra in self.extra_keys)]


PROGRAMS: dict[str, Program] = {
    "lock": Program(lambda client, key: enter(client.lock(key)), waits=True),
    "lock, acquire": Program(lambda client, key: acquire_and_release(client.lock(key))),
    "lock, try": Program(try_and_release),
    "lock of seconds": Program(
        lambda client, key: enter(client.lock(key, lease=60)), waits=True
    ),
    "lock with priority": Program(
        lambda client, key: enter(client.lock(key, priority=5)), waits=True
    ),
    "lock, extend": Program(
        lambda client, key: held(client.lock(key), lambda grant: grant.extend(30))
    ),
    "lock, update": Program(
        lambda client, key: held(
            client.lock(key), lambda grant: grant.update(Data.set("x"))
        )
    ),
    "lock, extend and update": Program(extend_and_update),
    "lock, show": Program(lambda client, key: client.lock(key).show),
    "lock, look": Program(look),
    "fenced lock": Program(
        lambda client, key: enter(client.lock(key, fenced=True)), waits=True
    ),
    "rlock": Program(lambda client, key: nested(client.rlock(key)), waits=True),
    "read": Program(lambda client, key: nested(client.rwlock(key).read()), waits=True),
    "write": Program(lambda client, key: enter(client.rwlock(key).write()), waits=True),
    "semaphore": Program(
        lambda client, key: nested(client.semaphore(key, 3)), waits=True
    ),
    "semaphore, in use": Program(lambda client, key: client.semaphore(key, 3).in_use),
    "concurrency": Program(
        lambda client, key: enter(client.concurrency(key, 2)), waits=True
    ),
    "tree": Program(lambda client, key: enter(client.tree(key)), waits=True),
    "leaf": Program(
        lambda client, key: enter(client.tree(key).child(key + "/child").leaf()),
        ("/child",),
        waits=True,
    ),
    "tree, wait free": Program(
        lambda client, key: client.tree(key).wait_free, waits=True
    ),
    "event": Program(lambda client, key: client.event(key, default="set", ttl=30).wait),
    "event, reset": Program(set_and_reset, ("/event",)),
    "value": Program(set_and_unset),
    "group event": Program(clear_and_set),
    "leader": Program(lead, waits=True),
    "worker pool": Program(work_in_pool, waits=True),
    "cache lock": Program(compute, waits=True),
    "time slot": Program(claim_and_give_back),
    "holders": Program(lambda client, key: lambda: client.holders(key)),
    "state": Program(lambda client, key: client.state),
}
EVERY_PROGRAM = pytest.mark.parametrize("program", PROGRAMS)
SOME_PROGRAMS = pytest.mark.parametrize(
    "program",
    [
        "lock",
        "lock of seconds",
        "lock, try",
        "lock, extend and update",
        "lock, look",
        "event",
        "event, reset",
    ],
)
"""For what is swept in two dimensions."""
