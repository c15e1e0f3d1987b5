"""Messages that are kept for a while, beside an event: the OpenResty image's messages.

Whoever polls gets the latest message of its key, as often as he polls while the event
is set. Nothing is taken away, and an older message that nobody fetched in time is gone.
"""

from __future__ import annotations

from functools import partial

import trio

from trioslock import Client

from ..ops.metrics import Metrics
from ..store import MessageStore, ValueStore
from .backend_calls import ask_slock, ask_store, counted
from .outcomes import EventFired, Failure, KeptMessage, MissingMessage, NothingYet
from .parked_waits import Unserved
from .poll_query import PollQuery, Sending
from .poller import Poller

__all__ = ["OUTLIVES", "LatestMessages"]

# Seconds that a message is kept longer than its event is set: who has been woken at
# the last moment finds it still.
OUTLIVES = 60.0


class LatestMessages:
    """Sending and waiting, over one client and one store."""

    def __init__(
        self,
        client: Client,
        lists: MessageStore,
        values: ValueStore,
        poller: Poller,
        metrics: Metrics | None = None,
    ) -> None:
        """Use what others have opened.

        Args:
            client: For the events.
            lists: For messages that one poll takes.
            values: For messages that are kept.
            poller: For the waits.
            metrics: Where errors are counted; default: where nobody looks.
        """
        self._client = client
        self._lists = lists
        self._values = values
        self._poller = poller
        self._metrics = metrics or Metrics()
        self._limit = poller.settings.backend_limit

    async def wait(
        self, query: PollQuery
    ) -> KeptMessage | MissingMessage | NothingYet | Failure:
        """Wait until the event is set, then look for its message.

        Cancellation:
            The wait is withdrawn on the slock server.
        """
        outcome = await self._poller.wait_event(query)
        if not isinstance(outcome, EventFired):
            # A message in hand is none of the ways in which this wait ends.
            assert isinstance(outcome, (NothingYet, Failure))
            return outcome
        return await self.latest(query.key)

    async def latest(self, key: str) -> KeptMessage | MissingMessage | Failure:
        """Look for the message of an event.

        Cancellation:
            Nothing is left behind.
        """
        try:
            message = await ask_store(
                self._limit, partial(self._values.get, _name_of(key))
            )
        except Unserved as error:
            return counted(self._metrics, error.failure)
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
        except Unserved as error:
            return counted(self._metrics, error.failure)
        return None

    async def send(self, sending: Sending, message: bytes) -> Failure | None:
        """Store a message, then set its event.

        Returns:
            Why not all of it is known to be done; None if it is. The message may be
            stored all the same.

        Cancellation:
            It is done all the same, and takes no longer than the limits: a message
            that nobody is woken for would wait for the next one.
        """
        try:
            with trio.CancelScope(shield=True):
                await ask_store(self._limit, partial(self._store, sending, message))
                await self._set(sending)
        except Unserved as error:
            return counted(self._metrics, error.failure)
        return None

    async def _store(self, sending: Sending, message: bytes) -> None:
        if sending.to_list:
            await self._lists.push(sending.key, message)
        else:
            ttl = sending.lease + OUTLIVES
            await self._values.put(_name_of(sending.key), message, ttl)

    async def _set(self, sending: Sending) -> None:
        event = self._client.event(
            sending.key, default=sending.default, ttl=sending.lease
        )
        await ask_slock(self._limit, event.set)


def _name_of(key: str) -> str:
    return f"polling:message:{key}"
