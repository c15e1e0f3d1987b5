"""What all primitives share that hand out grants: acquire, try, ``async with``.

A handle holds no state of the lock itself, so any number of tasks may share it. It
remembers one thing: which grant a task's ``async with`` has entered, so that the exit
finds it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from types import TracebackType

import trio
from trio.lowlevel import Task, current_task, enable_ki_protection

from .._errors import NotHeld
from ..protocol import (
    FOREVER,
    CommandType,
    Data,
    DataLike,
    LockCommand,
    LockResult,
    PreparedLock,
    ResultCode,
    UnlockFlag,
    as_data,
)
from ._flags import Flags
from ._grant import Grant
from ._handle import NO_ID, Handle
from ._holder import Holder
from ._lease import SessionLease
from ._options import HandleOptions
from ._results import refusal

_LOCK = int(CommandType.LOCK)
_OK = int(ResultCode.SUCCED)
_REFUSED = int(ResultCode.TIMEOUT)
_NOT_THERE = (ResultCode.UNLOCK_ERROR, ResultCode.UNKNOWN_DB)


class Acquirable(Handle):
    """A handle whose grants allow ``count + 1`` holders of ``rcount + 1`` levels.

    Args:
        options: The key, and how to ask for it.
        count: One less than the number of holders, as on the wire.
        rcount: One less than the number of levels a holder may have. A priority takes
            its place on the wire.
    """

    _grant_type: type[Grant] = Grant
    # Whether a wait is sent again after a lost connection.
    _replay = True

    def __init__(
        self, options: HandleOptions, *, count: int = 0, rcount: int = 0
    ) -> None:
        super().__init__(options)
        self.flags: Flags = options.flags
        priority = options.priority
        self.priority: int | None = priority
        self.renew: bool = options.renew
        self._lease = lease = options.lease
        # A lease of seconds ends by itself. It is renewed in whole seconds: the server
        # renews nothing that is counted in milliseconds.
        self._limited = not isinstance(lease, SessionLease) and lease != FOREVER
        self._renew = options.renew and self._limited
        self._wire_lease = options.wire_lease(whole_seconds=self._renew)
        self._wait_bits = options.wait_bits
        self._count = count
        self._rcount = rcount if priority is None else priority
        self._waiting: PreparedLock | None = None
        self._trying: PreparedLock | None = None
        self._entered: dict[Task, Grant] = {}

    def _state(self) -> str:
        priority = "" if self.priority is None else f", priority {self.priority}"
        return f", lease {self._lease!r}{priority}"

    @enable_ki_protection
    async def acquire(self, *, data: DataLike | None = None) -> Grant:
        """Wait until the key is granted.

        Args:
            data: Operation to apply to the key's value at the grant, or the value to
                set.

        Returns:
            The grant, to be released by ``release`` or ``async with``.

        Raises:
            ConnectionLost: The client does not reconnect.
            NoLeader: The server cannot reach a leader.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The wait is withdrawn on the server; nothing is held or waits there.
            A cancellation that comes after the grant has arrived is too late:
            the grant is returned.
        """
        operation = None if data is None else as_data(data)
        wait, flag = self._requester.wait
        return await self._attempt(wait, flag, operation)

    @enable_ki_protection
    async def try_acquire(self, *, data: DataLike | None = None) -> Grant:
        """Take the key if it is free now.

        Args:
            data: Operation to apply to the key's value at the grant, or the value to
                set.

        Returns:
            The grant.

        Raises:
            trio.WouldBlock: The key is held, or others wait for it.
            ConnectionLost: The client does not reconnect.
            NoLeader: The server cannot reach a leader.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            As for `acquire`.
        """
        return await self._attempt(0, 0, None if data is None else as_data(data))

    async def _attempt(self, wait: int, wait_flag: int, data: Data | None) -> Grant:
        prepared = self._waiting if wait else self._trying
        if prepared is None:
            prepared = self._prepare(wait, wait_flag)
        requester = self._requester
        attempt = requester.new_id()
        # Made before the wait: a loss can arrive in the same read as the grant.
        grant = self._grant_type(requester, prepared, attempt)
        asked_at = 0.0
        if self._limited:
            asked_at = trio.current_time()
            if self._renew:
                self._add_renewal(grant, asked_at)
        result: LockResult | None
        if data is None:
            result = await requester.acquire_prepared(prepared, attempt, grant)
        else:
            command = prepared.lock(attempt)._replace(data=data.encode())
            result = await requester.acquire(command, grant, replay=self._replay)
        # None: granted under the id of the attempt, without a value.
        if result is not None:
            if result.result == _REFUSED and not wait:
                raise trio.WouldBlock
            if result.result != _OK:
                raise refusal(result)
            grant.granted(result)
        if self._limited:
            # The wait can have taken longer than the lease. So it is counted from the
            # grant, unless the server counts it from the request.
            from_request = self.flags.lease_from_request
            grant.count_from(asked_at if from_request else trio.current_time())
        return grant

    def _prepare(self, wait: int, wait_flag: int) -> PreparedLock:
        """Return what every attempt sends; kept, since a handle may be used again."""
        lock = LockCommand(
            _LOCK,
            NO_ID,
            0,
            self.db,
            NO_ID,
            self.key,
            wait,
            wait_flag | self._wait_bits,
            *self._wire_lease,
            self._count,
            self._rcount,
        )
        prepared = PreparedLock(lock, self._grant_type.unlock_of(lock))
        if wait:
            self._waiting = prepared
        else:
            self._trying = prepared
        return prepared

    def _add_renewal(self, grant: Grant, asked_at: float) -> None:
        """Renew the lease of a grant while its body runs."""
        assert not isinstance(self._lease, SessionLease)
        grant.renew_from(asked_at, self._lease)

    async def show(self) -> Holder | None:
        """Return the first holder of the key, None if the key is free.

        Do not use it on a key that is used as an event: where the key is free, the
        server answers by granting it for no time, which wakes the event's waiters.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        result = await self._show()
        return None if result is None else Holder.of(result)

    async def release_head(self) -> None:
        """Release the first holder's grant, whichever client has it.

        For administration: the holder gets no notice, and finds out when it
        releases.

        Raises:
            NotHeld: The key is free.
            ConnectionLost: The connection broke; the outcome is unknown. It is
                not sent again, since that could release the next holder.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        result = await self._requester.request(self._unlock(flag=UnlockFlag.FIRST))
        if result.result in _NOT_THERE:
            raise NotHeld(f"key {self.key.hex()} has no holder", key=self.key)
        if result.result != ResultCode.SUCCED:
            raise refusal(result)

    @enable_ki_protection
    async def __aenter__(self) -> Grant:
        grant = await self._attempt(*self._requester.wait, None)
        # No checkpoint between the grant and its scope, so no cancellation and no
        # interrupt comes between them.
        grant.enter()
        task = current_task()
        entered = self._entered
        if task in entered:
            grant.outer = entered[task]
        entered[task] = grant
        return grant

    @enable_ki_protection
    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Awaitable[bool]:
        # Not async itself: each coroutine on the way costs.
        task = current_task()
        # The innermost body of this task; the one around it takes its place.
        grant = self._entered.pop(task)
        if grant.outer is not None:
            self._entered[task] = grant.outer
        return grant.__aexit__(exc_type, exc, traceback)


class ExclusiveHandle(Acquirable):
    """A handle on a key that one holder at a time has."""

    async def locked(self) -> bool:
        """Return whether the key is held, by any client.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        return await self._show() is not None
