"""What a server holds at one moment: databases, members, and the keys waited for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from .._errors import ServerError, SlockError
from ..client import Client, Database
from ..link import MemberState, SetState
from ..primitives import DatabaseState, HeldKey, Holder, Waiter
from ..protocol import MAX_DATABASE
from ._common import leaves

__all__ = [
    "KeyState",
    "Snapshot",
    "databases",
    "failed",
    "gather",
    "replica_set",
    "take",
]

_KEYS_ASKED = 500
"""Most keys whose waiters are counted for one snapshot: each is a request."""

_AT_ONCE = 32
"""Requests of a snapshot that are under way at once."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key with its holders and waiters."""

    db: int
    key: bytes
    levels: int
    holders: Sequence[Holder]
    waiters: Sequence[Waiter]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A server or replica set at one moment.

    Attributes:
        at: When, in seconds of trio's clock.
        databases: Those in use.
        keys: Those with most waiters, then most levels; no more than were asked for.
        held_keys: How many keys are held in all databases.
        skipped: How many of them were not asked for their waiters.
        unlisted: Databases whose list of keys is larger than the server sends.
        members: The members of a replica set; empty for a single server.
        leader: The one that leads, if any is known.
        wall: When, in Unix seconds.
        error: Why there is nothing but the members.
    """

    at: float
    databases: dict[int, DatabaseState]
    keys: Sequence[KeyState] = ()
    held_keys: int = 0
    skipped: int = 0
    unlisted: Sequence[int] = ()
    members: Sequence[MemberState] = ()
    leader: tuple[str, int] | None = None
    wall: float = field(default_factory=time.time)
    error: str | None = None


async def take(client: Client, several: bool, rows: int, key: str | None) -> Snapshot:
    """Ask a server for a snapshot.

    Args:
        client: A client of it.
        several: It is a replica set.
        rows: Most keys to return.
        key: The only key to return, of the client's database; None for all.

    Raises:
        SlockError: It did not answer, or refused.

    Cancellation:
        The answers are dropped.
    """
    state = await replica_set(client) if several else None
    found = await databases(client)
    listed = _Listed(client, found)
    if key is None:
        keys = await listed.most_waited_for(rows)
    else:
        keys = [await _key_state(client, key)]
    return Snapshot(
        at=trio.current_time(),
        databases=found,
        keys=keys,
        held_keys=listed.held,
        skipped=listed.skipped,
        unlisted=listed.too_large,
        members=() if state is None else state.members,
        leader=None if state is None else state.leader,
    )


async def failed(client: Client, several: bool, error: str) -> Snapshot:
    """Return the snapshot of a server that gave none: the members, and the reason."""
    state = await replica_set(client) if several else None
    members = () if state is None else state.members
    return Snapshot(trio.current_time(), {}, members=members, error=error)


async def replica_set(client: Client) -> SetState:
    """Return the present state of a client's replica set."""
    return await anext(client.changes())


async def databases(client: Client) -> dict[int, DatabaseState]:
    """Return the counters of the databases that were ever used."""
    numbers = range(MAX_DATABASE + 1)
    states = await gather(lambda number: client.db(number).state(), numbers)
    return {n: s for n, s in zip(numbers, states, strict=True) if s.in_use}


class _Listed:
    """The keys of some databases."""

    def __init__(self, client: Client, found: dict[int, DatabaseState]) -> None:
        self._client = client
        self._found = found
        self.held = 0
        self.skipped = 0
        self.too_large: list[int] = []

    async def most_waited_for(self, rows: int) -> list[KeyState]:
        """Return the keys with most waiters, then most levels."""
        keys = [pair for number in self._found for pair in await self._keys(number)]
        self.held = len(keys)
        # The server's list does not say who waits; a key with many levels is likely.
        keys.sort(key=lambda pair: (not self._found[pair[0]].waiting, -pair[1].levels))
        asked = keys[: max(_KEYS_ASKED, rows)]
        self.skipped = len(keys) - len(asked)
        waiters = await gather(self._waiters, asked)
        counted = sorted(
            zip(asked, waiters, strict=True),
            key=lambda each: (-len(each[1]), -each[0][1].levels, each[0][1].key),
        )
        return await gather(self._with_holders, counted[:rows])

    async def _keys(self, number: int) -> list[tuple[int, HeldKey]]:
        if not self._found[number].held:
            return []
        try:
            return [(number, key) for key in await self._client.db(number).keys()]
        except ServerError:
            self.too_large.append(number)
            return []

    async def _waiters(self, pair: tuple[int, HeldKey]) -> list[Waiter]:
        number, held = pair
        if not self._found[number].waiting:
            return []
        return await self._client.db(number).waiters(held.key)

    async def _with_holders(
        self, counted: tuple[tuple[int, HeldKey], list[Waiter]]
    ) -> KeyState:
        (number, held), waiters = counted
        holders = await self._client.db(number).holders(held.key)
        return KeyState(number, held.key, held.levels, holders, waiters)


async def _key_state(database: Database, key: str) -> KeyState:
    holders = await database.holders(key)
    waiters = await database.waiters(key)
    levels = holders[0].total if holders else 0
    return KeyState(database.number, database.lock(key).key, levels, holders, waiters)


async def gather(
    function: Callable[[T], Awaitable[R]], arguments: Sequence[T]
) -> list[R]:
    """Call a function for each argument, some at once; return the results in order.

    Raises:
        SlockError: The first one of the calls; the others are cancelled.
    """
    results: dict[int, R] = {}
    work = iter(enumerate(arguments))

    async def worker() -> None:
        for index, argument in work:
            results[index] = await function(argument)

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(min(_AT_ONCE, len(arguments))):
                nursery.start_soon(worker)
    except BaseExceptionGroup as group:
        errors = leaves(group)
        if not all(isinstance(error, SlockError) for error in errors):
            raise
        # A connection that is lost fails all of them, for one reason.
        raise errors[0] from group
    return [results[index] for index in range(len(arguments))]
