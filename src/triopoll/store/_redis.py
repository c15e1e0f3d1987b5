"""Messages in Redis lists; none is lost with the process that took it.

Taking a message moves it, within Redis, from its list to what this process holds. From
there it is let go once its client has been sent it (`ack`), or returned (`nack`); both
do nothing if it is not held any more, so both can be sent as often as a bad connection
requires. What a dead process holds is returned by any other (`RedisStore.run`).

Whether a message is held is known in two places, here and in Redis. They differ for a
moment while commands are under way, and for longer where a reply was lost with its
connection: the caller was told that the pop has failed, and Redis had done it. So what
Redis says that this process holds, and what is neither in hand here nor about to be
acknowledged, is returned as well.

In a cluster a message is held in the slot of its list, so there is a hash for each slot
that messages were taken from. Which slots these are is kept beside the sign of life,
for those who look after a dead process.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Sequence
from typing import Any

import trio

from ._base import Delivery, StoreError
from ._held_scripts import DEAD, ENROL, FORGET, GIVE_BACK, RECOVER, SIGN, TAKE
from ._names import Layout, Names
from ._node import Command
from ._pipeliner import Pipeliner
from ._scripts import milliseconds

__all__ = ["RedisStore"]

_log = logging.getLogger("triopoll.store")

# Signs of life within a lease.
_SIGNS = 3
# Leases after which a slot that no message was taken from is not looked at any more.
_SLOT_REST = 6


class RedisStore:
    """Keep messages in the Redis lists that publishers RPUSH to."""

    def __init__(
        self, pipeliner: Pipeliner, layout: Layout, prefix: str, *, lease: float
    ) -> None:
        """Use a running pipeliner; `open_stores` makes one.

        Args:
            pipeliner: Sends the commands.
            layout: Says what keys are called that are not lists.
            prefix: What the names of the lists begin with.
            lease: Seconds after its last sign of life at which a worker is dead.
        """
        self._pipeliner = pipeliner
        self._layout = layout
        self._prefix = prefix
        self._lease = lease
        self._lease_ms = str(milliseconds(lease))
        self._worker = secrets.token_hex(8)
        self._delivery_tags = itertools.count(1)
        # Deliveries in hand, and those whose ack or nack Redis has not answered yet.
        self._held: set[int] = set()
        self._settling: set[int] = set()
        # Where messages were taken from, and when that was last.
        self._places: dict[Names, float] = {}

    def __repr__(self) -> str:
        return f"<RedisStore: {len(self._held)} held, {self._pipeliner!r}>"

    async def pop(self, key: str) -> Delivery | None:
        """Take the message at the head of a list, or None; see `MessageStore.pop`.

        Cancellation:
            A message that Redis had given out already goes back to the head of its
            list; another reader may have taken the next one meanwhile.
        """
        names = self._layout.of_list(self._prefix + key)
        if names not in self._places and self._layout.is_spread:
            await self._pipeliner.call(*self._enrol(names))
        self._places[names] = trio.current_time()
        tag = next(self._delivery_tags)

        def undo(reply: Any) -> Command | None:
            return None if reply is None else self._give_back(names, tag, key)

        self._held.add(tag)
        message: bytes | None = None
        try:
            take = self._take(names, key, tag)
            message = await self._pipeliner.call(*take, undo=undo)
        finally:
            if message is None:
                self._held.discard(tag)
        return None if message is None else Delivery(key, message, tag)

    async def push(self, key: str, message: bytes) -> int:
        """Append a message at the tail of a list; see `MessageStore.push`.

        Cancellation:
            The message may have been appended.
        """
        return int(await self._pipeliner.call("RPUSH", self._prefix + key, message))

    def ack(self, delivery: Delivery) -> None:
        """Let go of a message; see `MessageStore.ack`."""
        held = self._layout.of_list(self._prefix + delivery.key).held(self._worker)
        self._settle(delivery, ("HDEL", held, str(delivery.tag)))

    def nack(self, delivery: Delivery) -> None:
        """Put a message back to the head of its list; see `MessageStore.nack`."""
        names = self._layout.of_list(self._prefix + delivery.key)
        self._settle(delivery, self._give_back(names, delivery.tag, delivery.key))

    async def run(self) -> None:
        """Show that this process is alive, and return what dead ones held.

        After trouble it waits for one lease before it looks for the dead: all others
        may have been cut off as well, and need time for a sign of life.

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

    def closing_commands(self) -> list[Command]:
        """Return the last commands of this worker: they return all that it holds."""
        self._held.clear()
        control = self._layout.control
        commands: list[Command] = [("DEL", control.alive(self._worker))]
        for names in {control: None} | self._places:
            if names is not control:
                commands.append(("DEL", names.alive(self._worker)))
            commands.append(self._recovery(names, [self._worker]))
        if self._layout.is_spread:
            commands.append(self._forgetting(self._worker))
        return commands

    async def ping(self) -> None:
        """Check that Redis takes writes below our prefix; see `MessageStore.ping`.

        In a cluster that is asked of all primaries.

        Cancellation:
            Nothing is left behind.
        """
        probes = self._layout.probes
        await self._pipeliner.call_many([("SET", key, "", "XX") for key in probes])

    # --- signs of life ------------------------------------------------------------

    async def _live(self) -> None:
        """Give a sign of life; return what is held in Redis but not known here."""
        alive = self._layout.control.alive(self._worker)
        await self._pipeliner.call(*SIGN([alive], self._lease_ms))
        places = list(self._places)
        if self._layout.is_spread:
            # Again, in case that Redis has lost its last writes.
            await self._pipeliner.call_many(list(map(self._enrol, places)))
        names_and_tags = zip(
            places,
            await self._pipeliner.call_many(
                [("HKEYS", names.held(self._worker)) for names in places]
            ),
            strict=True,
        )
        for names, tags in names_and_tags:
            self._return_unknown(names, sorted(map(int, tags), reverse=True))

    def _return_unknown(self, names: Names, tags: Sequence[int]) -> None:
        for tag in tags:
            # One that was let go meanwhile is not held any more when this comes.
            if tag not in self._held and tag not in self._settling:
                self._pipeliner.retry_until_acknowledged(*self._give_back(names, tag))
        rest = _SLOT_REST * self._lease
        if not tags and trio.current_time() > self._places[names] + rest:
            del self._places[names]

    async def _recover(self) -> None:
        if self._layout.is_spread:
            returned, stuck = await self._recover_in_cluster()
        else:
            recovery = self._recovery(self._layout.control)
            returned, stuck = await self._pipeliner.call(*recovery)
        if returned:
            _log.warning("%d messages of workers that died are back", returned)
        if stuck:
            _log.error(
                "%d messages of workers that died cannot go back: their keys are no "
                "lists any more",
                stuck,
            )

    async def _recover_in_cluster(self) -> tuple[int, int]:
        """Return what dead workers held, slot by slot; see `RECOVER`."""
        control = self._layout.control
        found = await self._pipeliner.call(
            *DEAD([control.workers], control.alive(""), control.tags(""))
        )
        dead = [worker.decode() for worker, _ in found]
        tags = sorted({tag.decode() for _, tags in found for tag in tags})
        results = await self._pipeliner.call_many(
            [self._recovery(self._layout.of_tag(tag), dead) for tag in tags]
        )
        stuck = sum(result[1] for result in results)
        if not stuck:
            await self._pipeliner.call_many(list(map(self._forgetting, dead)))
        return sum(result[0] for result in results), stuck

    # --- commands -----------------------------------------------------------------

    def _settle(self, delivery: Delivery, command: Command) -> None:
        """Send what ends a delivery until Redis has answered it."""
        tag = delivery.tag
        if tag in self._held:
            self._held.remove(tag)
            # Until then Redis lists it among what is held.
            self._settling.add(tag)
            self._pipeliner.retry_until_acknowledged(
                *command, done=lambda: self._settling.discard(tag)
            )

    def _take(self, names: Names, key: str, tag: int) -> Command:
        keys = [
            self._prefix + key,
            names.held(self._worker),
            names.workers,
            names.alive(self._worker),
            names.places,
        ]
        return TAKE(keys, tag, self._worker, self._lease_ms)

    def _give_back(self, names: Names, tag: int, key: str | None = None) -> Command:
        lists = [] if key is None else [self._prefix + key]
        return GIVE_BACK([*lists, names.held(self._worker)], tag)

    def _recovery(self, names: Names, workers: Sequence[str] = ()) -> Command:
        return RECOVER([names.workers], names.alive(""), names.held(""), *workers)

    def _enrol(self, names: Names) -> Command:
        control = self._layout.control
        worker = self._worker
        keys = [control.workers, control.tags(worker), control.alive(worker)]
        return ENROL(keys, worker, self._layout.tag_in(names), self._lease_ms)

    def _forgetting(self, worker: str) -> Command:
        control = self._layout.control
        keys = [control.workers, control.tags(worker), control.alive(worker)]
        return FORGET(keys, worker)
