"""Every operation, cancelled at every step, over every server: nothing is left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import pytest
import trio
from tests.trioslock.backends import (
    NOTHING,
    PATIENCE,
    Backend,
    MemoryBackend,
    open_backend,
    until,
)
from tests.trioslock.sweep import LIMIT, Way, run_interrupted_at, sweep
from trio.testing import MockClock

from trioslock import Client, ConnectionLost, Data, LockLost, NotHeld

Operation = Callable[[], Awaitable[object]]


class Case(NamedTuple):
    """An operation on keys, and the keys that must be free after it."""

    make: Callable[[Client, str], Operation]
    extra_keys: tuple[str, ...] = ()


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


def try_and_release(handle: Any) -> Operation:
    async def run() -> None:
        grant = await handle.try_acquire()
        await grant.release()

    return run


def fenced(client: Client, key: str) -> Operation:
    return enter(client.lock(key, fenced=True))


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


CASES: dict[str, Case] = {
    "lock": Case(lambda client, key: enter(client.lock(key))),
    "lock, acquire": Case(lambda client, key: acquire_and_release(client.lock(key))),
    "lock, try": Case(lambda client, key: try_and_release(client.lock(key))),
    "lock of seconds": Case(lambda client, key: enter(client.lock(key, lease=60))),
    "lock with priority": Case(lambda client, key: enter(client.lock(key, priority=5))),
    "lock, extend": Case(
        lambda client, key: held(client.lock(key), lambda grant: grant.extend(30))
    ),
    "lock, update": Case(
        lambda client, key: held(
            client.lock(key), lambda grant: grant.update(Data.set("x"))
        )
    ),
    "lock, show": Case(lambda client, key: client.lock(key).show),
    "fenced lock": Case(fenced),
    "rlock": Case(lambda client, key: nested(client.rlock(key))),
    "read": Case(lambda client, key: nested(client.rwlock(key).read())),
    "write": Case(lambda client, key: enter(client.rwlock(key).write())),
    "semaphore": Case(lambda client, key: nested(client.semaphore(key, 3))),
    "semaphore, in use": Case(lambda client, key: client.semaphore(key, 3).in_use),
    "concurrency": Case(lambda client, key: enter(client.concurrency(key, 2))),
    "tree": Case(lambda client, key: enter(client.tree(key))),
    "leaf": Case(
        lambda client, key: enter(client.tree(key).child(key + "/child").leaf()),
        ("/child",),
    ),
    "tree, wait free": Case(lambda client, key: client.tree(key).wait_free),
    "value": Case(set_and_unset),
    "group event": Case(clear_and_set),
    "holders": Case(lambda client, key: lambda: client.holders(key)),
    "state": Case(lambda client, key: client.state),
}


@asynccontextmanager
async def nothing_left(
    backend: Backend,
    client: Client,
    key: str,
    case: Case,
    *,
    within: float = PATIENCE,
) -> Any:
    async def check() -> None:
        with trio.CancelScope(shield=True):
            for each in (key, *(key + extra for extra in case.extra_keys)):
                await backend.until(each, *NOTHING, within=within)
            await until(lambda: client.statistics().in_flight == 0)
            statistics = client.statistics()
            assert statistics.unsettled == 0
            assert statistics.held == 0

    yield check


@pytest.mark.parametrize("way", ["parked", "awake"])
@pytest.mark.parametrize("name", CASES)
async def test_nothing_is_left_where_nobody_else_is(
    backend: Backend, client: Client, name: str, way: Way
) -> None:
    case, key = CASES[name], backend.key("sweep")
    async with nothing_left(backend, client, key, case) as check:
        assert await sweep(case.make(client, key), check, way) >= 1


WAITS: dict[str, Case] = {
    name: CASES[name]
    for name in (
        "lock",
        "lock of seconds",
        "lock with priority",
        "fenced lock",
        "rlock",
        "read",
        "write",
        "semaphore",
        "concurrency",
        "tree",
        "leaf",
        "tree, wait free",
    )
}


@pytest.mark.parametrize("way", ["parked", "awake"])
@pytest.mark.parametrize("name", WAITS)
async def test_nothing_is_left_of_a_wait_that_crosses_its_grant(
    backend: Backend, client: Client, other: Client, name: str, way: Way
) -> None:
    """Somebody gives the key back while the wait for it is cancelled."""
    case, key = WAITS[name], backend.key("sweep")
    operation = case.make(client, key)
    async with nothing_left(backend, client, key, case) as check:

        async def run() -> None:
            # The holder's part is not swept: it stands beside the operation.
            with trio.CancelScope(shield=True):
                grant = await other.lock(key).acquire()
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(release_shielded, grant)
                    await operation()
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None

        assert await sweep(run, check, way) >= 1


async def release_shielded(grant: Any) -> None:
    with trio.CancelScope(shield=True):
        await grant.release()


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("name", CASES)
async def test_nothing_is_left_where_the_connection_breaks(
    autojump_clock: MockClock, name: str, cancelled: bool
) -> None:
    """At each step, with and without a cancellation in the same instant."""
    case = CASES[name]
    async with open_backend("memory") as backend, backend.open_client() as client:
        assert isinstance(backend, MemoryBackend)
        for step in range(1, LIMIT):
            key = backend.key("cut")
            cut = trio.Event()
            operation = case.make(client, key)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(break_when, cut, backend)
                with trio.CancelScope() as scope:

                    def act(cut: trio.Event = cut, scope: Any = scope) -> None:
                        cut.set()
                        if cancelled:
                            scope.cancel()

                    with suppress(ConnectionLost, LockLost):
                        await run_interrupted_at(operation, act, step)
                finished = not cut.is_set()
                cut.set()
            await client.wait_connected()
            # What cannot be taken back ends with its lease, at the latest.
            bound = 15.0
            async with nothing_left(backend, client, key, case, within=bound) as check:
                await check()
            if finished:
                return
        raise AssertionError("too many steps")


async def break_when(told: trio.Event, backend: MemoryBackend) -> None:
    await told.wait()
    backend.cut()
    await trio.sleep(0.2)
    backend.mend()


async def test_cancelled_before_the_start(backend: Backend, client: Client) -> None:
    key = backend.key("sweep")
    with trio.move_on_after(0) as scope:
        await client.lock(key).acquire()
        raise AssertionError("a cancelled acquire must not go on")
    assert scope.cancelled_caught
    await backend.until(key, *NOTHING)


async def test_cancelled_twice(backend: Backend, client: Client, other: Client) -> None:
    """A second cancellation changes nothing: the first has taken the wait back."""
    key = backend.key("sweep")
    async with other.lock(key):
        with trio.CancelScope() as outer, trio.CancelScope() as inner:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.lock(key).acquire)
                await backend.until(key, 1, 1)
                inner.cancel()
                outer.cancel()
        await backend.until(key, 1, 0)
        await until(lambda: client.statistics().in_flight == 0)


async def test_a_thousand_waits_cancelled_at_the_moment_of_their_grant(
    backend: Backend, client: Client, other: Client
) -> None:
    """No key stays held, whichever comes first."""
    key = backend.key("race")

    async def wait(scope: trio.CancelScope) -> None:
        with scope:
            async with client.lock(key):
                pass

    for _ in range(20):
        scopes = [trio.CancelScope() for _ in range(50)]
        async with trio.open_nursery() as nursery:
            grant = await other.lock(key).acquire()
            for scope in scopes:
                nursery.start_soon(wait, scope)
            await trio.lowlevel.checkpoint()
            nursery.start_soon(grant.release)
            for index, scope in enumerate(scopes):
                if index % 5 == 0:
                    await trio.lowlevel.checkpoint()
                scope.cancel()
    await backend.until(key, *NOTHING)
    await until(lambda: client.statistics().in_flight == 0)
