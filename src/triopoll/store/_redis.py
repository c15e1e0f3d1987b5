"""Messages in Redis lists, through redis-py; none is lost with who took it.

Taking a message moves it, within Redis, from its list to what this process holds. From
there it is let go once its client has been sent it, or given back; both do nothing if
it is not held any more, so both can be sent as often as a bad connection makes us. What
a process holds that has died is given back by any other (`RedisStore.run`).

Whether a message is held is known in two places, here and in Redis. They differ for a
moment while commands are under way, and for longer where a reply was lost with its
connection: the caller was told that the pop has failed, and Redis had done it. So what
Redis says that we hold, and we do not, is given back as well.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from typing import Any

import trio

from ._base import StoreError, Taken
from ._executors import Command
from ._gather import Gatherer
from ._held_scripts import GIVE_BACK, RECOVER, TAKE
from ._names import Names

__all__ = ["RedisStore"]

_log = logging.getLogger("triopoll.store")

# Signs of life within a lease.
_SIGNS = 3


class RedisStore:
    """Keep messages in the Redis lists that publishers RPUSH to."""

    def __init__(
        self, gatherer: Gatherer, names: Names, prefix: str, *, lease: float
    ) -> None:
        """Use a running gatherer; `open_stores` makes one.

        Args:
            gatherer: Sends the commands.
            names: What keys are called that are not lists.
            prefix: What the names of the lists begin with.
            lease: Seconds after its last sign of life at which a worker is dead.
        """
        self._gatherer = gatherer
        self._names = names
        self._prefix = prefix
        self._lease = lease
        self._lease_ms = str(max(1, round(lease * 1000)))
        self._worker = secrets.token_hex(8)
        self._held_name = names.held(self._worker)
        self._tickets = itertools.count(1)
        self._held: set[int] = set()

    def __repr__(self) -> str:
        return f"<RedisStore: {len(self._held)} held, {self._gatherer!r}>"

    async def pop(self, key: str) -> Taken | None:
        """Take the message at the head of a list, or None; see `MessageStore.pop`.

        Cancellation:
            A message that Redis had given out already goes back to the head of its
            list; another reader may have taken the next one meanwhile.
        """
        ticket = next(self._tickets)

        def undo(reply: Any) -> Command | None:
            return None if reply is None else self._give_back(key, ticket)

        self._held.add(ticket)
        message: bytes | None = None
        try:
            message = await self._gatherer.call(*self._take(key, ticket), undo=undo)
        finally:
            if message is None:
                self._held.discard(ticket)
        return None if message is None else Taken(key, message, ticket)

    async def push(self, key: str, message: bytes) -> int:
        """Append a message at the tail of a list; see `MessageStore.push`.

        Cancellation:
            The message may have been appended.
        """
        return int(await self._gatherer.call("RPUSH", self._prefix + key, message))

    def confirm(self, taken: Taken) -> None:
        """Let go of a message; see `MessageStore.confirm`."""
        if taken.ticket in self._held:
            self._held.remove(taken.ticket)
            self._gatherer.owe("HDEL", self._held_name, str(taken.ticket))

    def give_back(self, taken: Taken) -> None:
        """Put a message back to the head of its list; see `MessageStore.give_back`."""
        if taken.ticket in self._held:
            self._held.remove(taken.ticket)
            self._gatherer.owe(*self._give_back(taken.key, taken.ticket))

    async def run(self) -> None:
        """Show that this process is alive, and give back what dead ones held.

        After trouble it waits for one lease before it looks for the dead: everybody
        else may have been cut off as well, and needs time for a sign of life.

        Cancellation:
            The only end. What is held stays so until the store is closed.
        """
        steady_at = 0.0
        while True:
            try:
                await self._live()
                if trio.current_time() >= steady_at:
                    await self._recover()
            except StoreError as error:
                _log.debug("no sign of life to Redis: %s", error)
                steady_at = trio.current_time() + self._lease
            await trio.sleep(self._lease / _SIGNS)

    def leave(self) -> None:
        """Give back all that is held; nothing may be taken afterwards."""
        self._held.clear()
        self._gatherer.owe("DEL", self._names.alive(self._worker))
        self._gatherer.owe(*self._recovery())

    async def ping(self) -> None:
        """Check that Redis answers; see `MessageStore.ping`.

        Cancellation:
            Nothing is left behind.
        """
        await self._gatherer.call("PING")

    async def _live(self) -> None:
        """Give a sign of life, and give back what only Redis says that we hold."""
        alive = self._names.alive(self._worker)
        await self._gatherer.call("SET", alive, "", "PX", self._lease_ms)
        tickets = await self._gatherer.call("HKEYS", self._held_name)
        for ticket in sorted(map(int, tickets), reverse=True):
            # One that was let go meanwhile is not held any more when this comes.
            if ticket not in self._held:
                self._gatherer.owe(*self._give_back("", ticket))

    async def _recover(self) -> None:
        returned, stuck = await self._gatherer.call(*self._recovery())
        if returned:
            _log.warning("%d messages of workers that died are back", returned)
        if stuck:
            _log.error(
                "%d messages of workers that died cannot go back: their keys are no "
                "lists any more",
                stuck,
            )

    def _take(self, key: str, ticket: int) -> Command:
        keys = [
            self._prefix + key,
            self._held_name,
            self._names.workers,
            self._names.alive(self._worker),
            self._names.places,
        ]
        return TAKE(keys, ticket, self._worker, self._lease_ms)

    def _give_back(self, key: str, ticket: int) -> Command:
        return GIVE_BACK([self._prefix + key, self._held_name], ticket)

    def _recovery(self) -> Command:
        prefixes = (self._names.alive(""), self._names.held(""))
        return RECOVER([self._names.workers], *prefixes)
