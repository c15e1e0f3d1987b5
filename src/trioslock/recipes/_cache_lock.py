"""One computes a value that many want, the others wait and read it from the cache.

With a plain lock all that wait take it one after the other, to find the value there.
Here they wait for the key to be free without taking it, so all of them wake at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

import trio

from .._arguments import check_type, shown
from .._errors import LockLost
from ..client import Database, Key
from ..primitives import Lease
from ._keys import DEFAULT_LEASE

T = TypeVar("T")


class CacheLock:
    """A handle on the computation of one cache entry; it may be shared.

    Args:
        db: The client, or a database of it.
        key: A name for the entry that all processes use, and nothing else.
        lease: Seconds after which another process computes when the one that did was
            killed, frozen or cut off; or `SESSION`, see `Database`. It is renewed, so
            it does not limit how long the computation takes.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The key is empty, or the lease is not above 0.
    """

    def __init__(self, db: Database, key: Key, *, lease: Lease = DEFAULT_LEASE) -> None:
        check_type(db, Database, "db", "a Client or a Database")
        self._lock = db.lock(key, lease=lease)
        self._free = db.event(key, default="set", ttl=1)

    def __repr__(self) -> str:
        return f"<CacheLock by {self._lock!r}>"

    async def get(
        self,
        read: Callable[[], Awaitable[T | None]],
        compute: Callable[[], Awaitable[T]],
    ) -> T:
        """Return the entry; compute it if it is missing and no other process does.

        Args:
            read: Reads the cache; returns None if the entry is missing.
            compute: Computes the entry *and stores it in the cache*.

        Returns:
            What ``read`` or ``compute`` has returned.

        Raises:
            TypeError: An argument cannot be called.
            ConnectionLost: The client does not reconnect.
            NoLeader: The server cannot reach a leader of its replica set.
            trio.ClosedResourceError: The client is closed.
            Exception: What ``read`` or ``compute`` raises. Another process that waits
                computes then.

        Cancellation:
            Nothing waits or is held on the server. If this process computes, its
            ``compute`` is cancelled and another one's begins.
        """
        return await read_or_compute(self._lock, self._free, read, compute)


class _Lock(Protocol):
    @property
    def key(self) -> bytes: ...

    async def try_acquire(self) -> AbstractAsyncContextManager[object, bool]: ...


class _Free(Protocol):
    async def wait(self) -> object: ...


async def read_or_compute(
    lock: _Lock,
    free: _Free,
    read: Callable[[], Awaitable[T | None]],
    compute: Callable[[], Awaitable[T]],
) -> T:
    """Do what `CacheLock.get` does, with the handles of trio or those of asyncio.

    Args:
        lock: The lock of the entry.
        free: An event of the same key, set while the key is free.
        read: As there.
        compute: As there.
    """
    for name, function in (("read", read), ("compute", compute)):
        if not callable(function):
            raise TypeError(f"{name} must be callable, not {shown(function)}")
    while True:
        value = await read()
        if value is not None:
            return value
        try:
            grant = await lock.try_acquire()
        except (trio.WouldBlock, LockLost):
            await free.wait()
            continue
        try:
            async with grant:
                # Another may have stored it since the first look.
                value = await read()
                return await compute() if value is None else value
        except LockLost as lost:
            # Another process may compute by now, so this one waits with the rest.
            if lost.key != lock.key:
                raise


def cache_lock(db: Database, key: Key, *, lease: Lease = DEFAULT_LEASE) -> CacheLock:
    """Return a handle on the computation of one cache entry.

    ``await cache_lock(db, key).get(read, compute)``: see `CacheLock`.
    """
    return CacheLock(db, key, lease=lease)
