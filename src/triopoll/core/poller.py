"""The two waits of the poll API: for an event, and for a message of a list.

The functions take a parsed query and return a neutral outcome; they know no HTTP.

A wait always ends with an outcome, except when the client disconnects: that is a
cancellation, which passes through. What a cancellation leaves behind:

- parked: nothing; the slock client withdraws the wait on the server as well;
- between the wake and the answer: an event that was to be reset may have been;
- a popped message returns to the head of its list: the store does that before its pop
  has returned, the caller (`PoppedMessage.nack`) from then on. So there is no await
  between the return of a pop and the return of its outcome.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial

import trio

from trioslock import Database, Event, LockError

from ..ops.metrics import Kind, Metrics
from ..pending import wait_in_task
from ..settings import Settings
from ..store import Delivery, MessageStore, StoreError
from .backend_calls import (
    MARGIN,
    call_slock,
    call_store,
    count_failure,
    limit_until,
    store_failure,
)
from .empty_backoff import LONGEST_DELAY, EmptyBackoff
from .event_wait import EventOutcome, EventWait, Then
from .held_keys import OVERTIME
from .outcomes import (
    EventFired,
    Failure,
    NothingYet,
    OperationFailed,
    Outcome,
    PoppedMessage,
)
from .parked_waits import ParkedWaits
from .poll_query import PollQuery
from .slock_backend import SlockMonitor

__all__ = ["Poller"]


class Poller:
    """Wait for events and pop messages, over one slock database and one store."""

    def __init__(
        self,
        events: Database,
        store: MessageStore,
        waits: ParkedWaits,
        monitor: SlockMonitor,
        settings: Settings,
        metrics: Metrics | None = None,
    ) -> None:
        """Use parts that are open already.

        Args:
            events: The database of the events.
            store: For the messages.
            waits: Where waits are parked.
            monitor: Knows whether slock answers.
            settings: For the limits.
            metrics: Counts wakes and failures; default: a throwaway instance.
        """
        self._events = events
        self._store = store
        self._waits = waits
        self._monitor = monitor
        self._limit = settings.backend_limit
        self._metrics = metrics or Metrics()
        self._backoff = EmptyBackoff()

    def __repr__(self) -> str:
        return f"<Poller: {self._waits!r}, {self._monitor!r}>"

    async def wait_event(self, query: PollQuery, visitor: str | None = None) -> Outcome:
        """Wait until the event is set, in this task.

        Args:
            query: What to wait for.
            visitor: Who asks, as limits by visitor are counted; None for no visitor.

        Returns:
            `EventFired`; `NothingYet` when the time is over or the server drains; or
            the `Failure` that prevented the wait.

        Cancellation:
            The wait is withdrawn on the slock server.
        """
        return await _finished(await self.begin_event(query, visitor))

    async def begin_event(
        self, query: PollQuery, visitor: str | None = None
    ) -> Outcome | EventWait:
        """Return the outcome of `wait_event`, or a wait for it.

        The wait is not parked, and leaves nothing behind if it never is.
        """
        until = trio.current_time() + query.timeout
        then = partial(self._reset_after, query, until) if query.reset else None
        try:
            return await self._begin(query, "event", visitor, until, then)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)

    async def wait_message(
        self, query: PollQuery, visitor: str | None = None
    ) -> Outcome:
        """Pop the first message of the list; if it is empty, wait and pop once more.

        An event stays set after it fired, so a message that is published between the
        first pop and the wait ends the wait at once.

        Args:
            query: What to wait for.
            visitor: As for `wait_event`.

        Returns:
            `PoppedMessage`; `NothingYet` when the time is over or the server drains;
            or the `Failure` that prevented the wait.

        Cancellation:
            The wait is withdrawn on the slock server; a message that was popped
            returns to its list.
        """
        return await _finished(await self.begin_message(query, visitor))

    async def begin_message(
        self, query: PollQuery, visitor: str | None = None
    ) -> Outcome | EventWait:
        """Return the outcome of `wait_message`, or a wait for it, as `begin_event`."""
        until = trio.current_time() + query.timeout
        try:
            # Not by `call_store`: a poll resumes three times, each time through every
            # coroutine between here and its task. And not by `limit_until`.
            with trio.fail_after(min(self._limit, query.timeout + MARGIN)):
                taken = await self._store.pop(query.key)
            if taken is not None:
                self._backoff.reset(query.key)
                return self._popped(taken)
            then = partial(self._pop_after, query, until)
            return await self._begin(query, "message", visitor, until, then)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        except (StoreError, trio.TooSlowError) as error:
            return count_failure(self._metrics, store_failure(error))

    async def _reset_after(
        self, query: PollQuery, until: float, fired: EventFired
    ) -> EventOutcome | Failure:
        try:
            await self._reset(query, until)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        return fired

    async def _pop_after(
        self, query: PollQuery, until: float, fired: EventFired
    ) -> EventOutcome | Failure:
        try:
            if query.reset:
                await self._reset(query, until)
            with trio.fail_after(limit_until(self._limit, until)):
                taken = await self._store.pop(query.key)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        except (StoreError, trio.TooSlowError) as error:
            return count_failure(self._metrics, store_failure(error))
        if taken is None:
            self._metrics.waits["message"].empty_wakes += 1
            return PoppedMessage(None, waited=True, woken=fired.woken)
        return self._popped(taken, waited=True, woken=fired.woken)

    async def delay_empty(
        self, query: PollQuery, empty: PoppedMessage, began: float
    ) -> Outcome:
        """Delay the reply to a poll whose event was already set beside an empty list.

        The first reply for a key is not delayed, nor is that of a poll which has waited
        for its event. A client that polls in a loop gets its next replies later and
        later, up to one second apart (see `empty_backoff`).

        Args:
            query: The poll.
            empty: Its outcome.
            began: When `wait_message` was called, by trio's clock.

        Returns:
            The outcome, or a message that arrived during the delay; or the `Failure`
            that prevented a second look.

        Cancellation:
            As `wait_message`.
        """
        now = trio.current_time()
        waited = now - began
        # A poll that resets its event finds it clear next time, and waits.
        if query.reset or waited >= LONGEST_DELAY:
            return empty
        delay = self._backoff.next_delay(query.key, now)
        delay = min(delay, query.timeout - waited)
        if delay <= 0:
            return empty
        await trio.sleep(delay)
        limit = limit_until(self._limit, began + query.timeout)
        try:
            taken = await call_store(limit, self._store.pop, query.key)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        # The delay is no part of the latency from a wake to its reply.
        if taken is None:
            return replace(empty, woken=None)
        self._backoff.reset(query.key)
        return self._popped(taken, waited=True)

    def _popped(
        self, taken: Delivery, *, waited: bool = False, woken: float | None = None
    ) -> PoppedMessage:
        return PoppedMessage(
            taken.data,
            waited=waited,
            ack=partial(self._store.ack, taken),
            nack=partial(self._store.nack, taken),
            woken=woken,
        )

    async def _begin(
        self,
        query: PollQuery,
        kind: Kind,
        visitor: str | None,
        until: float,
        then: Then | None,
    ) -> EventOutcome | Failure | EventWait:
        """Return a wait for the event, or without one what follows if it is set."""
        self._monitor.raise_if_down()
        if query.reset and query.default == "set":
            # The reset holds the key. It is counted before the wait, so that a wait
            # which may not hold it does not end as if its event had been reset.
            lease = query.timeout + query.lease + OVERTIME
            self._waits.held.hold(visitor, "event", query.key, lease)
        event = self._event(query)
        if query.timeout > 0:
            parts = self._waits, self._metrics, event, query.key
            return EventWait(*parts, until, kind, then)
        if not await call_slock(limit_until(self._limit, until), event.is_set):
            return NothingYet()
        return EventFired() if then is None else await then(EventFired())

    def _event(self, query: PollQuery) -> Event:
        return self._events.event(query.key, default=query.default, ttl=query.lease)

    async def _reset(self, query: PollQuery, until: float) -> None:
        """Clear an event after its wait, unless it is the lock of another program."""
        # `clear` knows the ids under which publishers set events. What another id
        # holds is no event: a client must not release it by naming it.
        limit = limit_until(self._limit, until)
        await call_slock(limit, _clear, self._event(query))


async def _clear(event: Event) -> None:
    with contextlib.suppress(LockError):
        await event.clear()


async def _finished(found: Outcome | EventWait) -> Outcome:
    return await wait_in_task(found) if isinstance(found, EventWait) else found
