"""What all primitives share that hand out grants: acquire, try, ``async with``.

A handle holds no state of the lock itself, so it may be shared by any number
of tasks. The one thing it remembers is which grant a task's ``async with`` has
entered, so that the exit finds it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from types import TracebackType

import trio
from trio.lowlevel import Task, current_task, enable_ki_protection

from .._errors import NotHeld
from ..link import Requester
from ..protocol import (
    FOREVER,
    CommandType,
    Data,
    LockCommand,
    LockResult,
    PreparedLock,
    ResultCode,
    TimeoutFlag,
    UnlockFlag,
    WireDuration,
)
from ._flags import NO_FLAGS, Flags
from ._grant import Grant
from ._handle import NO_ID, Handle
from ._holder import Holder
from ._lease import Lease, Session, wire_lease
from ._results import refusal

_LOCK = int(CommandType.LOCK)
_OK = int(ResultCode.SUCCED)
_REFUSED = int(ResultCode.TIMEOUT)
_NOT_THERE = (ResultCode.UNLOCK_ERROR, ResultCode.UNKNOWN_DB)
MAX_PRIORITY = 255
"""Highest place in a queue."""


def check_priority(priority: int | None) -> None:
    """Check a place in a queue.

    Raises:
        ValueError: It is neither None nor 0 to 255.
    """
    if priority is not None and not 0 <= priority <= MAX_PRIORITY:
        raise ValueError(f"priority must be 0 to {MAX_PRIORITY}, not {priority!r}")


class Acquirable(Handle):
    """A handle whose grants allow ``count + 1`` holders of ``rcount + 1`` levels.

    Args:
        requester: Carries the commands.
        key: Exactly 16 bytes.
        db: Database, 0 to 254.
        lease: How long a grant lasts.
        count: One less than the number of holders, as on the wire.
        rcount: One less than the number of levels a holder may have.
        priority: Place in the queue, 0 to 255, highest first; it takes the place
            of the levels on the wire. None for the end of the queue.
        flags: Wishes that go with each LOCK.
        renew: Renew a lease of seconds while the body of a grant runs.
    """

    _grant_type: type[Grant] = Grant
    _replay = True

    def __init__(
        self,
        requester: Requester,
        key: bytes,
        *,
        db: int,
        lease: Lease,
        count: int = 0,
        rcount: int = 0,
        priority: int | None = None,
        flags: Flags = NO_FLAGS,
        renew: bool = True,
    ) -> None:
        super().__init__(requester, key, db=db)
        check_priority(priority)
        self.flags = flags
        self.priority = priority
        self.renew = renew
        self._lease = lease
        # The server renews nothing that is counted in milliseconds.
        self._timed = not isinstance(lease, Session) and lease != FOREVER
        self._renew = renew and self._timed
        value, unit = wire_lease(requester, lease, whole_seconds=self._renew)
        self._wire_lease = WireDuration(value, unit | flags.lease_bits)
        self._wait_bits = flags.wait_bits
        if priority is not None:
            self._wait_bits |= TimeoutFlag.RCOUNT_IS_PRIORITY
            rcount = priority
        self._count = count
        self._rcount = rcount
        self._waiting: PreparedLock | None = None
        self._trying: PreparedLock | None = None
        self._entered: dict[Task, Grant] = {}

    def _state(self) -> str:
        priority = "" if self.priority is None else f", priority {self.priority}"
        return f", lease {self._lease!r}{priority}"

    @enable_ki_protection
    async def acquire(self, *, data: Data | None = None) -> Grant:
        """Wait until the key is granted.

        Args:
            data: Operation to apply to the key's value at the grant.

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
        wait, flag = self._requester.wait
        return await self._attempt(wait, flag, data)

    @enable_ki_protection
    async def try_acquire(self, *, data: Data | None = None) -> Grant:
        """Take the key if it is free now.

        Args:
            data: Operation to apply to the key's value at the grant.

        Returns:
            The grant.

        Raises:
            trio.WouldBlock: Others hold it or wait for it.
            ConnectionLost: The client does not reconnect.
            NoLeader: The server cannot reach a leader.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            As for `acquire`.
        """
        return await self._attempt(0, 0, data)

    async def _attempt(self, wait: int, wait_flag: int, data: Data | None) -> Grant:
        pattern = self._waiting if wait else self._trying
        if pattern is None:
            pattern = self._make_pattern(wait, wait_flag)
        requester = self._requester
        attempt = requester.new_id()
        grant = self._grant_type(requester, pattern, attempt)
        asked_at = 0.0
        if self._timed:
            asked_at = trio.current_time()
            if self._renew:
                self._have_renewed(grant, asked_at)
        result: LockResult | None
        if data is None:
            result = await requester.acquire_prepared(pattern, attempt, grant)
        else:
            command = pattern.lock(attempt)._replace(data=data.encode())
            result = await requester.acquire(command, grant, replay=self._replay)
        if result is not None:
            if result.result == _REFUSED and not wait:
                raise trio.WouldBlock
            if result.result != _OK:
                raise refusal(result)
            grant.granted(result)
        if self._timed:
            from_request = self.flags.lease_from_request
            grant.count_from(asked_at if from_request else trio.current_time())
        return grant

    def _make_pattern(self, wait: int, wait_flag: int) -> PreparedLock:
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
        pattern = PreparedLock(lock, self._grant_type.unlock_of(lock))
        if wait:
            self._waiting = pattern
        else:
            self._trying = pattern
        return pattern

    def _have_renewed(self, grant: Grant, asked_at: float) -> None:
        """Have the lease of a grant renewed."""
        assert not isinstance(self._lease, Session)
        grant.renew_from(asked_at, self._lease)

    async def show(self) -> Holder | None:
        """Return who holds the key, None if nobody does.

        Do not ask this of a key that is used as an event: where it is free, the
        server answers by granting it for no time, which wakes the event's
        waiters.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        result = await self._show()
        return None if result is None else Holder.of(result)

    async def release_head(self) -> None:
        """Release the first holder's grant, whoever that is.

        For administration: the holder is not told, and finds out when it
        releases.

        Raises:
            NotHeld: Nobody holds the key.
            ConnectionLost: The connection broke; the outcome is unknown. It is
                not sent again, since that could release the next holder.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        result = await self._requester.request(self._unlock(flag=UnlockFlag.FIRST))
        if result.result in _NOT_THERE:
            raise NotHeld(f"nobody holds key {self.key.hex()}", key=self.key)
        if result.result != ResultCode.SUCCED:
            raise refusal(result)

    @enable_ki_protection
    async def __aenter__(self) -> Grant:
        grant = await self._attempt(*self._requester.wait, None)
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
        grant = self._entered.pop(task)
        if grant.outer is not None:
            self._entered[task] = grant.outer
        return grant.__aexit__(exc_type, exc, traceback)
