"""How each public operation is run, so that it can be disturbed.

They are found by looking at the classes that the package gives out, so a new one fails
until `case_of` says how to run it. ``programs.py`` has several in a row.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import trio
from tests.trioslock.worlds import World

import trioslock
from trioslock import Client, Data, Flags, SlockError
from trioslock import primitives as primitives_room

Operation = Callable[[], Awaitable[object]]


async def nothing() -> None:
    await trio.lowlevel.checkpoint()


@dataclass
class Run:
    """One run of an operation.

    Attributes:
        operate: What is disturbed.
        other: What the other client does after a while.
        undo: What the program does after it, whatever has become of it.
        endless: Whether the other client goes on until this one is done.
    """

    operate: Operation
    other: Operation = nothing
    undo: Operation = nothing
    endless: bool = False
    results: list[Any] = field(default_factory=list)

    async def __call__(self) -> None:
        try:
            self.results.append(await self.operate())
        except (SlockError, trio.WouldBlock):
            # Its name is all that is asked of an error here.
            pass

    async def release_result(self) -> None:
        """Release the grant that the operation has got after all."""
        for result in self.results:
            if isinstance(result, trioslock.Grant):
                await quietly(result.release)


Prepare = Callable[[World, str], Awaitable[Run]]


async def quietly(operation: Operation) -> None:
    with suppress(SlockError, trio.WouldBlock):
        await operation()


# One operation each, with another client that ends what it waits for.


def handle_of(name: str, client: Client, key: str) -> Any:
    """Return a handle by the name of its class."""
    node = client.tree(key).child(key + "/below")
    makers: dict[str, Callable[[], Any]] = {
        "Lock": lambda: client.lock(key),
        "FencedLock": lambda: client.lock(key, fenced=True),
        "RLock": lambda: client.rlock(key),
        "ReadSide": lambda: client.rwlock(key).read(),
        "WriteSide": lambda: client.rwlock(key).write(),
        "Semaphore": lambda: client.semaphore(key, 1),
        "ConcurrencyLimiter": lambda: client.concurrency(key, 1),
        "TreeLock": lambda: node,
        "TreeLeaf": node.leaf,
        "Grant": lambda: client.lock(key),
        "LevelGrant": lambda: client.rlock(key),
        "LeafGrant": node.leaf,
        "Event": lambda: client.event(key, ttl=60),
        "GroupEvent": lambda: client.group_event(key, member=1, ttl=60),
        "TokenBucket": lambda: client.token_bucket(key, 1, 1),
        "Value": lambda: client.value(key, ttl=60),
    }
    return makers[name]()


def taking(name: str, method: str) -> Prepare:
    """The other client holds the key, and releases it after a while."""

    async def prepare(world: World, key: str) -> Run:
        blocker = "WriteSide" if name == "ReadSide" else name
        grant = await handle_of(blocker, world.other, key).acquire()
        handle = handle_of(name, world.client, key)
        operate = partial(body, handle) if method == "body" else getattr(handle, method)
        run = Run(operate, grant.release)
        run.undo = run.release_result
        return run

    return prepare


async def body(handle: Any) -> None:
    async with handle:
        await trio.sleep(0.2)


def releasing_head(name: str, method: str) -> Prepare:
    async def prepare(world: World, key: str) -> Run:
        grant = await handle_of(name, world.other, key).acquire()
        operate = getattr(handle_of(name, world.client, key), method)
        return Run(operate, undo=partial(quietly, grant.release))

    return prepare


def holding(name: str, method: str, *args: Any) -> Prepare:
    """The operation is about a grant that is held."""

    async def prepare(world: World, key: str) -> Run:
        grant = await handle_of(name, world.client, key).acquire()
        if method == "wait_lost":
            # Far enough from the end of the session's lease not to be dropped.
            await grant.extend(6)
        operate = partial(body, grant) if method == "body" else getattr(grant, method)
        head = handle_of(name, world.other, key).release_head
        return Run(
            partial(operate, *args),
            # The server sends no notice of a release by another client.
            other=nothing if method == "wait_lost" else partial(quietly, head),
            undo=partial(quietly, grant.release),
        )

    return prepare


def using(name: str, method: str, *args: Any) -> Prepare:
    """An operation of a handle that hands out no grants."""
    after = {"Event": ("set", "clear"), "GroupEvent": ("wakeup", "set")}
    act, clean = after.get(name, ("get", "unset"))

    async def prepare(world: World, key: str) -> Run:
        other = handle_of(name, world.other, key)
        if name == "GroupEvent" and method != "clear":
            await other.clear()
        if name == "Value":
            await other.set(["a", "b"] if method == "pop" else "ab")
        return Run(
            partial(getattr(handle_of(name, world.client, key), method), *args),
            other=partial(quietly, getattr(other, act)),
            undo=getattr(other, clean),
        )

    return prepare


def counting(method: str) -> Prepare:
    async def prepare(world: World, key: str) -> Run:
        await world.other.token_bucket(key, 1, 1).acquire()
        return Run(getattr(world.client.token_bucket(key, 1, 1), method))

    return prepare


def asking(method: str, *args: Any) -> Prepare:
    async def prepare(world: World, key: str) -> Run:
        await trio.lowlevel.checkpoint()
        return Run(partial(getattr(world.client, method), *args))

    return prepare


async def subscribing(world: World, key: str) -> Run:
    """The life of a subscription, until its first message."""
    grant = await world.other.lock(key).acquire()

    async def operate() -> None:
        async with world.client.subscribe() as changes:
            async for _ in changes:
                return

    async def refuse() -> None:
        lock = world.other.lock(key, flags=Flags(publish=True))
        while True:
            await quietly(lock.try_acquire)
            await trio.sleep(0.5)

    async def undo() -> None:
        await grant.release()

    run = Run(operate, undo=undo)
    run.other, run.endless = refuse, True
    return run


async def opening(world: World, key: str) -> Run:
    """The life of a client, with a wait in its body."""
    grant = await world.other.lock(key).acquire()

    async def operate() -> None:
        async with world.open_another() as client, client.lock(key):
            await client.ping()

    return Run(operate, grant.release)


_ABOUT_GRANTS: dict[str, tuple[Any, ...]] = {
    "extend": (5,),
    "update": (Data.set("x"),),
    "release": (),
    "wait_lost": (),
}
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "Value.set": ("x",),
    "Value.append": ("x",),
    "Value.shift": (1,),
    "Value.push": ("x",),
    "Value.pipeline": (Data.set("x"), Data.set("y")),
}
_TAKES = ("acquire", "try_acquire", "show", "locked", "in_use", "available")
_OF_CLIENTS: dict[str, tuple[Any, ...]] = {
    "ping": (),
    "wait_connected": (),
    "holders": ("k",),
    "waiters": ("k",),
    "keys": (),
    "state": (),
}
_BODY = ("__aenter__", "__aexit__")
_INNER = {
    **{
        f"{grant}.{step}": "a step of acquire"
        for grant in ("Grant", "LevelGrant", "LeafGrant")
        for step in ("confirm", "give_up")
    },
    **{
        f"{grant}.{step}": "a step of release, for trioslock.aio"
        for grant in ("Grant", "LevelGrant", "LeafGrant")
        for step in ("end_body", "end_body_in_trio", "finish_release")
    },
    "LevelGrant.accept": "a step of RLock.acquire",
    "LevelGrant.abandon": "a step of RLock.acquire",
    "TreeLeaf.take": "a step of TreeLock.acquire",
}
_BY_HAND = {
    "Acquirable": "the base of those that are swept",
    "CountedHandle": "the base of those that are swept",
    "ExclusiveHandle": "the base of those that are swept",
    "Changes": "of a replica set: swept with it",
}


def find_operations() -> dict[str, tuple[str, str]]:
    """Return the public coroutine methods of all public classes, by name."""
    found = {"open_client": ("open_client", "")}
    for room in (trioslock, primitives_room):
        for name in room.__all__:
            member = getattr(room, name)
            if not inspect.isclass(member) or name in _BY_HAND:
                continue
            for method, _ in inspect.getmembers(member, inspect.iscoroutinefunction):
                if f"{name}.{method}" in _INNER:
                    continue
                if not method.startswith("_") or method in (*_BODY, "__anext__"):
                    found[f"{name}.{method}"] = (name, method)
    return found


def case_of(name: str, method: str) -> Prepare:
    """Return how an operation is run; KeyError where this file does not say it."""
    if name == "open_client":
        return opening
    if name == "Subscription":
        return subscribing
    if name in ("Client", "Database"):
        return asking(method, *_OF_CLIENTS[method])
    if name == "TokenBucket":
        return counting(method)
    if name in ("Grant", "LevelGrant", "LeafGrant"):
        if method in _BODY:
            return holding(name, "body")
        return holding(name, method, *_ABOUT_GRANTS[method])
    if name in ("Event", "GroupEvent", "Value"):
        return using(name, method, *_ARGUMENTS.get(f"{name}.{method}", ()))
    if method in _BODY:
        return taking(name, "body")
    if method in _TAKES or method == "wait_free":
        return taking(name, method)
    if method == "release_head" or (name, method) == ("Semaphore", "release"):
        return releasing_head(name, method)
    raise KeyError(f"{name}.{method}: say in this file how it is run")


OPERATIONS = find_operations()
EVERY_OPERATION = pytest.mark.parametrize(
    "operation",
    # A body is entered and left in one run, and a client is a database.
    [
        name
        for name in OPERATIONS
        if not name.endswith("_aexit__") and "Data" not in name
    ],
)
