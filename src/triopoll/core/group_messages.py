"""Messages to a group, by number: the OpenResty image's group messages.

A group is a group event of slock, and its version is the number of the next message.
Who has message 6 waits for 7 under version 7; sending 7 wakes him and goes on to 8.
Who comes late is behind the version, so his wait returns at once, and the message is
still there for a while. Messages are Redis strings, one a number.

The image wakes first and stores after it, and readers pass through the sender's lock.
Here a message is stored first. The lock is taken all the same: under it the version
stays what it is, also against a sender that is an image. A reader that finds nothing
looks again a moment later, which does for the lock.

A group that nobody has sent to for its lease is no more, and neither is one whose
slock server has lost its memory. The number that comes next is kept in Redis, so that
it goes on from there, and no new message has the number of an old one.
"""

from __future__ import annotations

import contextlib
from functools import partial

import trio

from trioslock import Client, Grant, GroupEvent, NotHeld

from ..ops.metrics import Metrics, monotonic
from ..store import ValueStore
from .backend_calls import ask_slock, ask_store, counted
from .latest_message import OUTLIVES
from .outcomes import EventFired, Failure, KeptMessage, MissingMessage, NothingYet
from .parked_waits import ParkedWaits, TooManyWaits, Unserved
from .poll_query import MAX_MESSAGE_ID, GroupCreation, GroupPoll, GroupSending
from .slock_backend import SlockMonitor, translating

__all__ = ["GroupMessages"]

# What the image calls the first message to a group that nobody has created.
_FIRST = 1
# Seconds for which the number that comes next is known.
_MEMORY = 7 * 86400.0
# Seconds for which a sender has the lock at most, if he dies.
_LOCK_LEASE = 10.0
# Pauses between looks for a message that should be there. The image stores it within
# moments of the wake. The last pause also slows down those who ask for one that there
# will never be, again and again.
_PAUSES = (0.02, 0.1, 0.4)


class GroupMessages:
    """Creating groups, sending to them and waiting, over one client and one store."""

    def __init__(
        self,
        client: Client,
        values: ValueStore,
        waits: ParkedWaits,
        watch: SlockMonitor,
        limit: float,
        metrics: Metrics | None = None,
    ) -> None:
        """Use what others have opened.

        Args:
            client: For the groups.
            values: For the messages.
            waits: Where polls are parked.
            watch: Knows whether slock answers.
            limit: Seconds within which slock and the store must answer.
            metrics: Where wakes and errors are counted; default: where nobody looks.
        """
        self._metrics = metrics or Metrics()
        self._client = client
        self._values = values
        self._waits = waits
        self._watch = watch
        self._limit = limit

    async def wait(
        self, query: GroupPoll
    ) -> KeptMessage | MissingMessage | NothingYet | Failure:
        """Wait for one message of a group.

        Returns:
            The message; `MissingMessage` if the group is beyond it, or if there is no
            such group; `NothingYet` when the time is over or the server drains; or the
            `Failure` that kept it from being served.

        Cancellation:
            The wait is withdrawn on the slock server.
        """
        try:
            if query.timeout == 0:
                return await self._look(query) or NothingYet()
            outcome = await self._wait(query)
            if query.renews and isinstance(outcome, NothingYet):
                await self._renew(query)
        except TooManyWaits:
            return Failure.TOO_MANY_WAITS
        except Unserved as error:
            return counted(self._metrics, error.failure)
        return outcome

    async def create(self, creation: GroupCreation) -> int | Failure:
        """Create a group whose first message has a certain number.

        Returns:
            The number that the next message will have, which is another one if there
            was such a group already.

        Cancellation:
            The group may have been created.
        """
        group = self._group(creation.key, creation.message_id, creation.lease)
        try:
            await self._clear(group)
        except Unserved as error:
            return counted(self._metrics, error.failure)
        return group.version

    async def send(self, sending: GroupSending, message: bytes) -> int | Failure:
        """Send a message to a group, which is created if need be.

        Returns:
            The message's number; or why it is not known to be sent, in which case it
            may have been all the same.

        Cancellation:
            Before it is the message's turn, or not at all: once it has a number it
            is stored, and who waits for it is woken.
        """
        try:
            turn = await self._turn(sending.key)
        except Unserved as error:
            return counted(self._metrics, error.failure)
        try:
            with trio.fail_after(_LOCK_LEASE, shield=True):
                return await self._send(sending, message)
        except Unserved as error:
            return counted(self._metrics, error.failure)
        except trio.TooSlowError:
            # Each step was quick enough, and all of them together were not.
            return Failure.SLOCK_UNREACHABLE
        finally:
            await self._end(turn)

    def _group(self, key: str, version: int, lease: float) -> GroupEvent:
        return self._client.group_event(key, version=version, ttl=lease)

    async def _wait(
        self, query: GroupPoll
    ) -> KeptMessage | MissingMessage | NothingYet | Failure:
        outcome = await self._woken(query)
        if not isinstance(outcome, EventFired):
            return outcome
        found = await self._find(query)
        if isinstance(found, MissingMessage):
            self._metrics.waits["group"].empty_wakes += 1
        return found

    async def _woken(self, query: GroupPoll) -> EventFired | NothingYet | Failure:
        self._watch.check()
        group = self._group(query.key, query.message_id, query.lease)
        with self._waits.parked(query.timeout, "group") as parked:
            await translating(group.wait)
            parked.outcome = EventFired(monotonic())
            self._metrics.waits["group"].wakes += 1
        return parked.outcome

    async def _find(self, query: GroupPoll) -> KeptMessage | MissingMessage:
        for pause in _PAUSES:
            if (message := await self._look(query)) is not None:
                return message
            await trio.sleep(min(pause, query.timeout))
        return await self._look(query) or MissingMessage()

    async def _look(self, query: GroupPoll) -> KeptMessage | None:
        name = _name_of(query.key, query.message_id)
        message = await ask_store(self._limit, partial(self._values.get, name))
        return None if message is None else KeptMessage(message)

    async def _renew(self, query: GroupPoll) -> None:
        """Keep a group alive that somebody still waits for; if slock can be asked."""
        group = self._group(query.key, query.message_id, query.lease)
        with contextlib.suppress(Unserved):
            await ask_slock(self._limit, group.clear)

    async def _turn(self, key: str) -> Grant:
        """Wait for the lock that all senders to a group take."""
        self._watch.check()
        name = f"polling:group:message:{key}"
        lock = self._client.lock(name, lease=_LOCK_LEASE, renew=False)
        try:
            with trio.fail_after(self._limit):
                return await translating(lock.acquire)
        except trio.TooSlowError:
            # Another sender has it, and does not let go.
            raise Unserved(Failure.SLOCK_REFUSED) from None

    async def _end(self, turn: Grant) -> None:
        """Let the next sender have his turn, now or when the lease ends."""
        with trio.CancelScope(shield=True), contextlib.suppress(Unserved):
            await ask_slock(self._limit, turn.release)

    async def _send(self, sending: GroupSending, message: bytes) -> int:
        group = await self._opened(sending)
        number = group.version
        await self._keep(sending, number, message)
        version = await ask_slock(self._limit, partial(_wake, group))
        if version - 1 != number:
            # Somebody has moved the group on without the lock, or its lease has ended.
            number = version - 1
            await self._keep(sending, number, message)
        await self._remember(sending.key, version)
        return number

    async def _opened(self, sending: GroupSending) -> GroupEvent:
        """Return the group, held for its lease from now on, at its version."""
        known = await self._remembered(sending.key)
        group = self._group(sending.key, known, sending.lease)
        if known == 0 and await ask_slock(self._limit, group.is_set):
            known = _FIRST
            group = self._group(sending.key, known, sending.lease)
        await self._clear(group)
        if group.version != known:
            # Adopted as it was, which is without the lease.
            await self._clear(group)
        return group

    async def _clear(self, group: GroupEvent) -> None:
        """Hold a group, whose version is that of the server from then on."""
        await ask_slock(self._limit, group.clear)
        if group.version > MAX_MESSAGE_ID:
            # This is no version but the name of somebody's lock.
            raise Unserved(Failure.SLOCK_REFUSED)

    async def _keep(self, sending: GroupSending, number: int, message: bytes) -> None:
        name, ttl = _name_of(sending.key, number), sending.lease + OUTLIVES
        await ask_store(self._limit, partial(self._values.put, name, message, ttl))

    async def _remembered(self, key: str) -> int:
        name = _name_of(key, "next")
        text = await ask_store(self._limit, partial(self._values.get, name)) or b""
        number = int(text) if text.isdigit() and len(text) <= 10 else 0
        return number if number <= MAX_MESSAGE_ID else 0

    async def _remember(self, key: str, number: int) -> None:
        put = partial(self._values.put, _name_of(key, "next"), b"%d" % number, _MEMORY)
        # The message has been sent; without this the next one is as well.
        with contextlib.suppress(Unserved):
            await ask_store(self._limit, put)


async def _wake(group: GroupEvent) -> int:
    try:
        return await group.wakeup()
    except NotHeld:
        # Its lease has ended just now.
        await group.clear()
        return await group.wakeup()


def _name_of(key: str, number: int | str) -> str:
    return f"polling:group:message:{key}:{number}"
