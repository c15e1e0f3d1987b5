"""Only type-checked, never run: the public API as its users write it.

A wrong type in a signature fails ``nox -s types`` here and not at a user's.
"""

from __future__ import annotations

from typing import assert_type

import trio

import trioslock
from trioslock import (
    FOREVER,
    SESSION,
    Client,
    Data,
    Event,
    Grant,
    Lock,
    LockLost,
    SessionStatistics,
)


async def open_and_ask() -> None:
    async with trioslock.open_client("slock://127.0.0.1:5658/3") as client:
        assert_type(client, Client)
        assert_type(await client.ping(), float)
        assert_type(client.statistics(), SessionStatistics)
        assert_type(client.lock("name"), Lock)
        assert_type(client.lock(b"0123456789abcdef", lease=2.5), Lock)
        assert_type(client.db(7).event("name", ttl=60), Event)
        await use_lock(client.lock("name", lease=SESSION))
        await use_event(client.event("name", default="set", ttl=FOREVER))


async def use_lock(lock: Lock) -> None:
    async with lock as grant:
        assert_type(grant, Grant)
    with trio.fail_after(5):
        grant = await lock.acquire(data=Data(b"who"))
    async with grant:
        assert_type(grant.key, bytes)
        assert_type(grant.expires_at, float)
        assert_type(grant.data, Data | None)
        assert_type(await grant.wait_lost(), LockLost)
    assert_type(await lock.locked(), bool)


async def use_event(event: Event) -> None:
    await event.set(Data(b"value"))
    assert_type(await event.is_set(), bool)
    assert_type(await event.wait(), Data | None)
    assert_type(await event.wait_and_reset(), Data | None)
