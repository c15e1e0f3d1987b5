"""Waiting for an event, and for a message: look, wait for the wake, look again.

There is no Quart in here: endpoints, websockets and tests call the same functions with
a query that has been read, and get an outcome that they put into words.

How a wait ends is always an outcome, except for a client that has left: that is a
cancellation, and passes through. What it leaves behind:

- parked: the wait is withdrawn on the slock server as well, by the client library;
- between the wake and the answer: an event that was to be put back may have been;
- a message that was popped goes back to the head of its list, by the store before the
  pop has returned, by the caller (`PoppedMessage.give_back`) afterwards. So nothing
  here may be awaited once a message is in hand.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from trioslock import Client, Event, LockError, NotHeld

from ..ops.metrics import Kind, Metrics, monotonic
from ..settings import Settings
from ..store import MessageStore, Taken
from .backend_calls import ask_slock, ask_store, counted
from .outcomes import EventFired, Failure, NothingYet, Outcome, PoppedMessage
from .parked_waits import ParkedWaits, TooManyWaits, Unserved
from .poll_query import PollQuery
from .slock_backend import SlockMonitor, translating

__all__ = ["Poller"]

_T = TypeVar("_T")


class Poller:
    """The two waits of the compatible endpoints, over one client and one store.

    Attributes:
        settings: For the limits.
    """

    def __init__(
        self,
        client: Client,
        store: MessageStore,
        waits: ParkedWaits,
        watch: SlockMonitor,
        settings: Settings,
        metrics: Metrics | None = None,
    ) -> None:
        """Use what others have opened.

        Args:
            client: For the events.
            store: For the messages.
            waits: Where polls are parked.
            watch: Knows whether slock answers.
            settings: For the limits, of queries as well.
            metrics: Where wakes and errors are counted; default: where nobody looks.
        """
        self.settings = settings
        self._metrics = metrics or Metrics()
        self._client = client
        self._store = store
        self._waits = waits
        self._watch = watch
        self._limit = settings.backend_limit

    def __repr__(self) -> str:
        return f"<Poller: {self._waits!r}, {self._watch!r}>"

    async def wait_event(self, query: PollQuery) -> Outcome:
        """Wait until the event is set.

        Returns:
            `EventFired`, `NothingYet` when the time is over or the server drains,
            or the `Failure` that kept it from being served.

        Cancellation:
            The wait is withdrawn on the slock server.
        """
        try:
            return await self._event(query, "event")
        except Unserved as error:
            return counted(self._metrics, error.failure)

    async def wait_message(self, query: PollQuery) -> Outcome:
        """Take the first message of the list, or wait for the event and look again.

        Returns:
            `PoppedMessage`, `NothingYet` when the time is over or the server drains, or
            the `Failure` that kept it from being served.

        Cancellation:
            The wait is withdrawn on the slock server, a message that was popped is
            given back.
        """
        try:
            if (taken := await self._pop(query.key)) is not None:
                return self._in_hand(taken, None)
            outcome = await self._event(query, "message")
            if not isinstance(outcome, EventFired):
                return outcome
            taken = await self._pop(query.key)
        except Unserved as error:
            return counted(self._metrics, error.failure)
        if taken is None:
            self._metrics.waits["message"].empty_wakes += 1
        return self._in_hand(taken, outcome)

    def _in_hand(self, taken: Taken | None, fired: EventFired | None) -> PoppedMessage:
        waited, woken = fired is not None, fired.woken if fired else None
        if taken is None:
            return PoppedMessage(None, waited=waited, woken=woken)
        return PoppedMessage(
            taken.data,
            waited=waited,
            confirm=partial(self._store.confirm, taken),
            give_back=partial(self._store.give_back, taken),
            woken=woken,
        )

    async def _event(
        self, query: PollQuery, kind: Kind
    ) -> EventFired | NothingYet | Failure:
        self._watch.check()
        event = self._client.event(query.key, default=query.default, ttl=query.lease)
        outcome = await self._fired(event, query.timeout, kind)
        if query.reset and isinstance(outcome, EventFired):
            await self._ask_slock(partial(self._put_back, event))
        return outcome

    async def _put_back(self, event: Event) -> None:
        """Clear an event after its wait, whoever has set it."""
        try:
            await event.clear()
        except LockError:
            # An event that is clear by default is set under an id of the publisher's
            # making: pyslock pads the name on the other side, redis-cli says what it
            # likes. The other kind is clear already if somebody else holds it.
            if event.default == "clear":
                with contextlib.suppress(NotHeld):
                    await self._client.lock(event.key).release_head()

    async def _fired(
        self, event: Event, seconds: float, kind: Kind
    ) -> EventFired | NothingYet | Failure:
        if seconds == 0:
            is_set = await self._ask_slock(event.is_set)
            return EventFired() if is_set else NothingYet()
        try:
            with self._waits.parked(seconds, kind) as parked:
                await translating(event.wait)
                parked.outcome = EventFired(monotonic())
                self._metrics.waits[kind].wakes += 1
        except TooManyWaits:
            return Failure.TOO_MANY_WAITS
        return parked.outcome

    async def _ask_slock(self, operation: Callable[[], Awaitable[_T]]) -> _T:
        return await ask_slock(self._limit, operation)

    async def _pop(self, key: str) -> Taken | None:
        return await ask_store(self._limit, partial(self._store.pop, key))
