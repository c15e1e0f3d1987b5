"""Messages to a group, by number: the group messages of the OpenResty API.

A group is a group event of slock; its version is the number of the next message. A
member that has message 6 asks for message 7: it waits under version 7. Sending message
7 advances the version to 8, which ends that wait. A member that asks for an older
number does not wait at all, and finds the message as long as it is stored. Messages are
Redis strings, one per number.

The OpenResty implementation wakes first and stores afterwards, and its readers pass
through the sender's lock. Here a message is stored before the wake. Senders take the
lock all the same: while it is held, no sender of either implementation changes the
version. A reader that finds no message reads again a moment later instead of taking
the lock.

A group disappears if nothing was sent to it for its lease, and if the slock server
loses its memory. The next number is stored in Redis, so that a group that is created
again continues from there, and no new message gets the number of an old one.
"""

from __future__ import annotations

import contextlib

import trio

from trioslock import Database, Grant, GroupEvent, NotHeld

from ..ops.metrics import Metrics, monotonic
from ..store import ValueStore
from .backend_calls import (
    SLOCK_ERRORS,
    call_slock,
    call_store,
    count_failure,
    limit_until,
    slock_failure,
)
from .latest_message import OUTLIVES
from .outcomes import (
    EventFired,
    Failure,
    KeptMessage,
    MissingMessage,
    NothingYet,
    OperationFailed,
)
from .parked_waits import ParkedWait, ParkedWaits, WaitedKey
from .poll_query import (
    GROUP_NAMES,
    MAX_MESSAGE_ID,
    GroupCreation,
    GroupPoll,
    GroupSending,
)
from .slock_backend import SlockMonitor

__all__ = ["GroupMessages"]

# The OpenResty number of the first message to a group that was not created explicitly.
_FIRST = 1
# Seconds for which the next number of a group stays stored.
_NUMBER_TTL = 7 * 86400.0
# Seconds after which the lock of a sender that died is free again.
_LOCK_LEASE = 10.0
# Pauses between reads of a message that should be there: the OpenResty implementation
# stores it within moments of the wake. The last pause also slows down clients that keep
# asking for a message that will never be there.
_PAUSES = (0.02, 0.1, 0.4)


class GroupMessages:
    """Create groups, send to them and wait, over one slock database and one store."""

    def __init__(
        self,
        events: Database,
        values: ValueStore,
        waits: ParkedWaits,
        monitor: SlockMonitor,
        limit: float,
        metrics: Metrics | None = None,
        locks: Database | None = None,
    ) -> None:
        """Use parts that are open already.

        Args:
            events: The database of the groups.
            values: For the messages.
            waits: Where waits are parked.
            monitor: Knows whether slock answers.
            limit: Seconds within which slock and the store must answer.
            metrics: Counts wakes and failures; default: a throwaway instance.
            locks: The database of the senders' locks; default: that of the groups.
        """
        self._events = events
        self._values = values
        self._waits = waits
        self._monitor = monitor
        self._limit = limit
        self._metrics = metrics or Metrics()
        self._locks = events if locks is None else locks

    async def wait(
        self, query: GroupPoll
    ) -> KeptMessage | MissingMessage | NothingYet | Failure:
        """Wait for one message of a group.

        Returns:
            The message; `MissingMessage` if the group is beyond its number, or does
            not exist; `NothingYet` when the time is over or the server drains; or the
            `Failure` that prevented the wait.

        Cancellation:
            The wait is withdrawn on the slock server.
        """
        until = trio.current_time() + query.timeout
        try:
            if query.timeout == 0:
                return await self._read(query, until) or NothingYet()
            outcome = await self._wait(query, until)
            if query.renews and isinstance(outcome, NothingYet):
                await self._renew(query, until)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        return outcome

    async def create(self, creation: GroupCreation) -> int | Failure:
        """Create a group whose first message has a certain number.

        Returns:
            The number of the next message: another one if the group existed already.

        Cancellation:
            The group may have been created.
        """
        group = self._group(creation.key, creation.message_id, creation.lease)
        try:
            await self._clear(group)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        return group.version

    async def send(self, sending: GroupSending, message: bytes) -> int | Failure:
        """Send a message to a group, which is created if it does not exist.

        Returns:
            The message's number; or why it is not known to be sent, in which case it
            may have been sent all the same.

        Cancellation:
            Only while it waits for the senders' lock. Once the message has a number, it
            is stored and the waits for it are woken.
        """
        try:
            grant = await self._lock(sending.key)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        try:
            with trio.fail_after(_LOCK_LEASE, shield=True):
                return await self._send(sending, message)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        except trio.TooSlowError:
            # Each step kept its limit, but their sum exceeds the lease of the lock.
            return Failure.SLOCK_UNREACHABLE
        finally:
            await self._release(grant)

    def _group(self, key: str, version: int, lease: float) -> GroupEvent:
        return self._events.group_event(key, version=version, ttl=lease)

    # --- waiting ----------------------------------------------------------------------

    async def _wait(
        self, query: GroupPoll, until: float
    ) -> KeptMessage | MissingMessage | NothingYet | Failure:
        self._monitor.raise_if_down()
        group = self._group(query.key, query.message_id, query.lease)
        try:
            with ParkedWait(
                self._waits,
                query.timeout,
                "group",
                waited_keys=lambda: (WaitedKey(query.key, str(query.message_id)),),
            ) as parked:
                await group.wait()
                parked.outcome = EventFired(monotonic())
                self._metrics.waits["group"].wakes += 1
        except SLOCK_ERRORS as error:
            raise slock_failure(error) from None
        if not isinstance(parked.outcome, EventFired):
            return parked.outcome
        found = await self._find(query, until)
        if isinstance(found, MissingMessage):
            self._metrics.waits["group"].empty_wakes += 1
        return found

    async def _find(
        self, query: GroupPoll, until: float
    ) -> KeptMessage | MissingMessage:
        for pause in _PAUSES:
            if (message := await self._read(query, until)) is not None:
                return message
            await trio.sleep(min(pause, query.timeout))
        return await self._read(query, until) or MissingMessage()

    async def _read(self, query: GroupPoll, until: float) -> KeptMessage | None:
        name = _name_of(query.key, query.message_id)
        limit = limit_until(self._limit, until)
        message = await call_store(limit, self._values.get, name)
        return None if message is None else KeptMessage(message)

    async def _renew(self, query: GroupPoll, until: float) -> None:
        """Renew the lease of a group with a wait, if slock can be reached."""
        group = self._group(query.key, query.message_id, query.lease)
        with contextlib.suppress(OperationFailed):
            await call_slock(limit_until(self._limit, until), group.clear)

    # --- sending ----------------------------------------------------------------------

    async def _lock(self, key: str) -> Grant:
        """Acquire the lock that all senders to a group take."""
        self._monitor.raise_if_down()
        lock = self._locks.lock(GROUP_NAMES + key, lease=_LOCK_LEASE, renew=False)
        try:
            with trio.fail_after(self._limit):
                return await lock.acquire()
        except trio.TooSlowError:
            # Slock answers, but another sender keeps the lock.
            raise OperationFailed(Failure.SLOCK_REFUSED) from None
        except SLOCK_ERRORS as error:
            raise slock_failure(error) from None

    async def _release(self, grant: Grant) -> None:
        """Release the senders' lock; if that fails, its lease ends it."""
        with trio.CancelScope(shield=True), contextlib.suppress(OperationFailed):
            await call_slock(self._limit, grant.release)

    async def _send(self, sending: GroupSending, message: bytes) -> int:
        group = await self._open(sending)
        number = group.version
        await self._put(sending, number, message)
        version = await call_slock(self._limit, _wake, group)
        if version - 1 != number:
            # The group was advanced without the lock, or its lease has ended.
            number = version - 1
            await self._put(sending, number, message)
        await self._put_next_number(sending.key, version)
        return number

    async def _open(self, sending: GroupSending) -> GroupEvent:
        """Return the group at its current version, with its lease renewed."""
        known = await self._next_number(sending.key)
        group = self._group(sending.key, known, sending.lease)
        if known == 0 and await call_slock(self._limit, group.is_set):
            known = _FIRST
            group = self._group(sending.key, known, sending.lease)
        await self._clear(group)
        if group.version != known:
            # The first clear adopted the version but did not renew the lease.
            await self._clear(group)
        return group

    async def _clear(self, group: GroupEvent) -> None:
        """Clear a group, and adopt the version that the server has."""
        await call_slock(self._limit, group.clear)
        if group.version > MAX_MESSAGE_ID:
            # Not a version but the id of a lock that holds the key.
            raise OperationFailed(Failure.SLOCK_REFUSED)

    async def _put(self, sending: GroupSending, number: int, message: bytes) -> None:
        name, ttl = _name_of(sending.key, number), sending.lease + OUTLIVES
        await call_store(self._limit, self._values.put, name, message, ttl)

    async def _next_number(self, key: str) -> int:
        """Return the stored number of the next message, 0 without one."""
        name = _name_of(key, "next")
        text = await call_store(self._limit, self._values.get, name) or b""
        number = int(text) if text.isdigit() and len(text) <= 10 else 0
        return number if number <= MAX_MESSAGE_ID else 0

    async def _put_next_number(self, key: str, number: int) -> None:
        name, value = _name_of(key, "next"), b"%d" % number
        # The message has been sent, so a failure here does not fail the send. The next
        # send stores its own number.
        with contextlib.suppress(OperationFailed):
            await call_store(self._limit, self._values.put, name, value, _NUMBER_TTL)


async def _wake(group: GroupEvent) -> int:
    try:
        return await group.wakeup()
    except NotHeld:
        # The lease ended after the clear.
        await group.clear()
        return await group.wakeup()


def _name_of(key: str, number: int | str) -> str:
    return f"{GROUP_NAMES}{key}:{number}"
