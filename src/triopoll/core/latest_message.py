"""The latest message of an event: the messages of the OpenResty API.

A poll gets the latest message of its key, as often as it asks while the event is set.
Nothing is removed by reading. A newer message replaces an older one, so a message that
a client does not read in time is lost to it.
"""

from __future__ import annotations

import math

import trio

from trioslock import Database

from ..ops.metrics import Metrics
from ..store import MessageStore, ValueStore
from .backend_calls import call_slock, call_store, count_failure, limit_until
from .outcomes import (
    EventFired,
    Failure,
    KeptMessage,
    MissingMessage,
    NothingYet,
    OperationFailed,
)
from .poll_query import PollQuery, Sending
from .poller import Poller

__all__ = ["OUTLIVES", "LatestMessages"]

# Seconds that a message stays stored after its event's lease, so that a wait which was
# woken at the last moment still finds it.
OUTLIVES = 60.0


class LatestMessages:
    """Send messages and wait for them, over one slock database and one store."""

    def __init__(
        self,
        events: Database,
        lists: MessageStore,
        values: ValueStore,
        poller: Poller,
        limit: float,
        metrics: Metrics | None = None,
    ) -> None:
        """Use parts that are open already.

        Args:
            events: The database of the events.
            lists: For messages that one poll pops.
            values: For messages that stay.
            poller: For the waits.
            limit: Seconds within which slock and the store must answer.
            metrics: Counts failures; default: a throwaway instance.
        """
        self._events = events
        self._lists = lists
        self._values = values
        self._poller = poller
        self._limit = limit
        self._metrics = metrics or Metrics()

    async def wait(
        self, query: PollQuery
    ) -> KeptMessage | MissingMessage | NothingYet | Failure:
        """Wait until the event is set, then read its message.

        Cancellation:
            The wait is withdrawn on the slock server.
        """
        until = trio.current_time() + query.timeout
        outcome = await self._poller.wait_event(query)
        if not isinstance(outcome, EventFired):
            # A wait for an event never ends with a popped message.
            assert isinstance(outcome, (NothingYet, Failure))
            return outcome
        return await self.latest(query.key, until)

    async def latest(
        self, key: str, until: float = math.inf
    ) -> KeptMessage | MissingMessage | Failure:
        """Read the latest message of an event.

        Args:
            key: The event.
            until: When the wait of this request is over, by trio's clock.

        Cancellation:
            Nothing is left behind.
        """
        try:
            limit = limit_until(self._limit, until)
            message = await call_store(limit, self._values.get, _name_of(key))
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        return MissingMessage() if message is None else KeptMessage(message)

    async def emit(self, sending: Sending) -> Failure | None:
        """Set an event.

        Returns:
            Why it is not known to be set; None if it is.

        Cancellation:
            It may have been set.
        """
        try:
            await self._set(sending)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        return None

    async def send(self, sending: Sending, message: bytes) -> Failure | None:
        """Store a message, then set its event.

        Returns:
            Why not all of it is known to be done; None if it is. The message may be
            stored all the same.

        Cancellation:
            It is completed all the same, and takes no longer than the limits: without
            its event the message would not be noticed before the next one.
        """
        try:
            with trio.CancelScope(shield=True):
                await self._store(sending, message)
                await self._set(sending)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        return None

    async def _store(self, sending: Sending, message: bytes) -> None:
        if sending.to_list:
            await call_store(self._limit, self._lists.push, sending.key, message)
        else:
            name, ttl = _name_of(sending.key), sending.lease + OUTLIVES
            await call_store(self._limit, self._values.put, name, message, ttl)

    async def _set(self, sending: Sending) -> None:
        event = self._events.event(
            sending.key, default=sending.default, ttl=sending.lease
        )
        await call_slock(self._limit, event.set)


def _name_of(key: str) -> str:
    return f"polling:message:{key}"
