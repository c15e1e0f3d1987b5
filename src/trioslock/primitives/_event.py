"""A flag that many wait for, on a key of the server.

Two modes, which cannot be mixed on one key:

- ``default="clear"``: the event is *set* while the key is held (count 1, under
  the key's own bytes as lock id). Waiters ask for the key with a lease of 0 and
  the flag that makes them wait while it is free. This is what publishers use.
- ``default="set"``: the event is *clear* while the key is held (count 0).
  Waiters simply ask for it with a lease of 0.

Since the lock id is the key, anybody can set and clear, and doing either twice
is the same as once: both are sent again after a lost connection.

A plain `Lock` on an event's key wakes waiters falsely; use other keys for it.
"""

from __future__ import annotations

from typing import Literal

from ..link import Requester
from ..protocol import (
    Data,
    LockCommand,
    LockFlag,
    ResultCode,
    TimeoutFlag,
    WireDuration,
)
from ._handle import NO_TIME, Handle, decoded
from ._lease import wire_lease
from ._results import refusal

Default = Literal["clear", "set"]

_UPDATE = int(LockFlag.UPDATE)
_WHEN_UNLOCKED = int(TimeoutFlag.WAIT_WHEN_UNLOCKED)
_HELD = (ResultCode.SUCCED, ResultCode.LOCKED_ERROR)
# UNKNOWN_DB: the database was never used, so nothing is held in it.
_FREED = (ResultCode.SUCCED, ResultCode.UNLOCK_ERROR, ResultCode.UNKNOWN_DB)
_NOT_GRANTED = (ResultCode.TIMEOUT, ResultCode.UNOWN_ERROR)


class Event(Handle):
    """A handle on an event; it keeps no state and may be shared.

    Args:
        requester: Carries the commands.
        key: Exactly 16 bytes.
        db: Database, 0 to 254.
        default: What the event is when nobody has touched it.
        ttl: Seconds after which a touched event falls back to its default,
            rounded up to whole ones; the server may take one more. ``FOREVER``
            for never.
    """

    def __init__(
        self,
        requester: Requester,
        key: bytes,
        *,
        db: int = 0,
        default: Default = "clear",
        ttl: float,
    ) -> None:
        if default not in ("clear", "set"):
            raise ValueError(f"default must be 'clear' or 'set', not {default!r}")
        super().__init__(requester, key, db=db)
        self.default = default
        self._ttl = wire_lease(requester, ttl, whole_seconds=True)
        self._set_is_held = default == "clear"
        self._count = int(self._set_is_held)

    def _state(self) -> str:
        return f", default {self.default}"

    async def set(self, data: Data | None = None) -> None:
        """Set the event and wake all who wait for it.

        Args:
            data: Operation on the key's value, such as ``Data.set("text")``.
                Waiters get the value. With ``default="set"`` it is applied only
                if the event is clear, and reaches only those who wait already:
                the server forgets the value of a key that nobody holds.

        Raises:
            LockError: A lock that is not this event holds the key.
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The event may have been set. It is sent again after a lost
            connection, which sets an event that was cleared in between.
        """
        if self._set_is_held:
            await self._hold(data)
        else:
            await self._free(data)

    async def clear(self, data: Data | None = None) -> None:
        """Clear the event: who waits from now on waits until it is set.

        Args:
            data: Operation on the key's value, such as ``Data.unset()``.

        Raises:
            LockError: A lock that is not this event holds the key.
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The event may have been cleared.
        """
        if self._set_is_held:
            await self._free(data)
        else:
            await self._hold(data)

    async def is_set(self) -> bool:
        """Return whether the event is set.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        result = await self._requester.request(self._glance(NO_TIME), replay=True)
        if result.result == ResultCode.SUCCED:
            return True
        if result.result in _NOT_GRANTED:
            return False
        raise refusal(result)

    async def wait(self) -> Data | None:
        """Wait until the event is set; return at once if it is.

        Returns:
            The key's value at that moment, None if it has none.

        Raises:
            LockError: The server ended the wait (its database was flushed).
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The wait is withdrawn on the server; nothing waits there. After a
            lost connection it is asked for anew: an event that was set and
            cleared again meanwhile is missed.
        """
        result = await self._requester.acquire(self._glance(self._requester.wait))
        if result.result != ResultCode.SUCCED:
            raise refusal(result)
        return decoded(result.data)

    async def wait_and_reset(self) -> Data | None:
        """Wait until the event is set, then clear it and remove its value.

        Of several who wait in this way each one wakes, and each one clears: an
        event that is set again in between may be cleared by the second. Let one
        task at a time reset an event.

        Returns:
            The key's value when the event was set, None if it had none.

        Raises:
            LockError: The server ended the wait (its database was flushed).
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            While waiting as for `wait`. Once the event was set the cancellation
            is held back until it is cleared, for at most the client's grace.
        """
        data = await self.wait()
        if self._set_is_held:
            await self._free(Data.unset(), linger=True)
        else:
            await self._hold(Data.unset(), linger=True)
        return data

    async def _hold(self, data: Data | None, *, linger: bool = False) -> None:
        command = self._lock(
            lock_id=self.key,
            flag=_UPDATE,
            lease=self._ttl,
            max_count=self._count,
            data=data,
        )
        result = await self._requester.request(command, replay=True, linger=linger)
        if result.result not in _HELD:
            raise refusal(result)

    async def _free(self, data: Data | None, *, linger: bool = False) -> None:
        command = self._unlock(lock_id=self.key, data=data)
        command = command._replace(max_count=self._count)
        result = await self._requester.request(command, replay=True, linger=linger)
        if result.result not in _FREED:
            raise refusal(result)

    def _glance(self, wait: WireDuration) -> LockCommand:
        """Return a LOCK that is granted, for no time, when the event is set."""
        flag = _WHEN_UNLOCKED if self._set_is_held else 0
        return self._lock(
            wait=WireDuration(wait.value, wait.flag | flag), max_count=self._count
        )
