"""An event that any number of tasks wait for, implemented as a lock on a key.

Two modes, which cannot be mixed on one key:

- ``default="clear"``: the event is *set* while the key is held (count 1, under
  the key's own bytes as lock id). Waiters ask for the key with a lease of 0 and
  the flag that makes them wait while it is free. This is what publishers use.
- ``default="set"``: the event is *clear* while the key is held (count 0).
  Waiters simply ask for it with a lease of 0.

Since the lock id is the key, every client can set and clear, and doing either twice
is the same as once: both are sent again after a lost connection. Where the name is
shorter than 16 bytes, pyslock holds the key under the name padded on the other side;
such an event is released under that id.

A plain `Lock` on an event's key wakes the event's waiters: use another key for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import outcome

from .._arguments import check_choice, shown
from ..link import BegunWait
from ..protocol import (
    ID_SIZE,
    Data,
    DataLike,
    LockCommand,
    LockFlag,
    LockResult,
    ResultCode,
    TimeoutFlag,
    WireDuration,
    as_data,
)
from ._handle import NO_TIME, Handle
from ._options import HandleOptions
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
        options: The key, and how to ask for it. The lease is the time after which
            a set or cleared event falls back to its default, rounded up to whole ones;
            the server may take one more. ``FOREVER`` for never.
        default: The state of an event that no client has set or cleared.
    """

    def __init__(self, options: HandleOptions, *, default: Default = "clear") -> None:
        if default not in ("clear", "set"):
            check_choice(default, "default", "clear", "set")
        super().__init__(options)
        self.default: Default = default
        self._ttl = options.wire_lease(whole_seconds=True)
        self._set_is_held = default == "clear"
        # A waiter of a held key must fit beside its holder, hence a count of two.
        self._count = int(self._set_is_held)

    def _state(self) -> str:
        return f", default {self.default}"

    async def set(self, data: DataLike | None = None) -> None:
        """Set the event and wake all that wait for it.

        Args:
            data: The value to set, or another operation, such as ``Data.push("text")``.
                Waiters get the value. With ``default="set"`` it is applied only
                if the event is clear, and reaches only waits that have begun:
                the server forgets the value of a key without a holder.

        Raises:
            LockError: A lock that is not this event holds the key.
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The event may have been set. It is sent again after a lost
            connection, which sets an event that was cleared in between.
        """
        await self._change(held=self._set_is_held, data=as_data(data))

    async def clear(self, data: DataLike | None = None) -> None:
        """Clear the event: a wait that begins from now on lasts until it is set.

        Args:
            data: The value to set, or another operation, such as ``Data.unset()``.

        Raises:
            LockError: A lock that is not this event holds the key.
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The event may have been cleared.
        """
        await self._change(held=not self._set_is_held, data=as_data(data))

    async def is_set(self) -> bool:
        """Return whether the event is set.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        result = await self._requester.request(self._probe(NO_TIME), replay=True)
        if result.result == ResultCode.SUCCED:
            return True
        if result.result in _NOT_GRANTED:
            return False
        raise refusal(result, self.key)

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
            lost connection it is sent again: an event that was set and
            cleared again meanwhile is missed.
        """
        result = await self._requester.acquire(self._probe(self._requester.wait))
        return self._value(result)

    def begin_wait(
        self, ended: Callable[[outcome.Outcome[Data | None]], object]
    ) -> BegunWait:
        """Wait until the event is set, without a task that waits.

        For programs with very many waits: a task that waits needs several times the
        memory, and time to be resumed.

        Args:
            ended: Called once at the end, unless the wait was withdrawn, with an
                outcome whose ``unwrap()`` returns what `wait` returns or raises what
                it raises. It is called by a task of the client, so it must return at
                once and must not raise.

        Returns:
            The wait; ``withdraw()`` ends it, here and on the server.

        Raises:
            TypeError: ``ended`` cannot be called.
            trio.WouldBlock: Too many requests are under way: `wait` waits for room
                first.
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.
        """
        if not callable(ended):
            raise TypeError(f"ended must be callable, not {shown(ended)}")

        def end(answer: outcome.Outcome[LockResult]) -> None:
            if isinstance(answer, outcome.Error):
                ended(answer)
            else:
                ended(outcome.capture(self._value, answer.unwrap()))

        command = self._probe(self._requester.wait)
        return self._requester.begin_acquire(command, end)

    def _value(self, result: LockResult) -> Data | None:
        """Return the value of the key when the event was set."""
        if result.result != ResultCode.SUCCED:
            raise refusal(result, self.key)
        return None if result.data is None else Data.decode(result.data)

    async def wait_and_reset(self) -> Data | None:
        """Wait until the event is set, then clear it and remove its value.

        Several tasks that wait in this way all wake, and each one clears: an event
        that is set again in between may be cleared by the second. Let one task at a
        time reset an event.

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
        await self._change(held=not self._set_is_held, data=Data.unset(), linger=True)
        return data

    async def _change(
        self, *, held: bool, data: Data | None, linger: bool = False
    ) -> None:
        """Hold the key under its own bytes, or release it."""
        if held:
            command = self._lock(
                lock_id=self.key,
                flag=_UPDATE,
                lease=self._ttl,
                max_count=self._count,
                data=data,
            )
        else:
            command = self._unlock(lock_id=self.key, max_count=self._count, data=data)
        result = await self._requester.request(command, replay=True, linger=linger)
        if not held and result.result == ResultCode.UNOWN_ERROR:
            # Source: pyslock 0.0.1, ``event.py`` pads with ``ljust``, ``command.py``
            # with ``rjust``.
            pyslock_id = self.key.lstrip(b"\0").ljust(ID_SIZE, b"\0")
            if pyslock_id != self.key:
                command = self._unlock(
                    lock_id=pyslock_id, max_count=self._count, data=data
                )
                result = await self._requester.request(
                    command, replay=True, linger=linger
                )
        if result.result not in (_HELD if held else _FREED):
            raise refusal(result, self.key)

    def _probe(self, wait: WireDuration) -> LockCommand:
        """Return a LOCK that is granted, for no time, when the event is set."""
        # Without the flag a free key would be granted at once, though it is clear.
        flag = _WHEN_UNLOCKED if self._set_is_held else 0
        return self._lock(
            wait=WireDuration(wait.value, wait.flag | flag), max_count=self._count
        )
