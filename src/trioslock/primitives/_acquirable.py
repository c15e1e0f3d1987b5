"""What all primitives share that hand out grants: acquire, try, ``async with``.

A handle holds no state of the lock itself, so any number of tasks may share it. It
remembers one thing: which grant a task's ``async with`` has entered, so that the exit
finds it.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType, TracebackType

import outcome
import trio
from trio.lowlevel import Task, current_task, enable_ki_protection

from .._errors import ConnectionLost, LockLost, NotHeld, SlockError
from ..link import BegunWait
from ..protocol import (
    FOREVER,
    CommandType,
    Data,
    DataLike,
    ExpiryFlag,
    LockCommand,
    LockResult,
    PreparedLock,
    ResultCode,
    UnlockFlag,
    as_data,
    describe_key,
)
from ._flags import Flags
from ._grant import Grant
from ._handle import NO_ID, NO_TIME, Handle
from ._holder import Holder
from ._lease import SessionLease
from ._options import HandleOptions
from ._renewal import SHARE, QueueProof
from ._results import refusal

_LOCK = int(CommandType.LOCK)
_OK = int(ResultCode.SUCCED)
_REFUSED = int(ResultCode.TIMEOUT)
_NOT_THERE = (ResultCode.UNLOCK_ERROR, ResultCode.UNKNOWN_DB)


class BegunAttempt:
    """An attempt for which no trio task waits; made by `Acquirable.begin_attempt`.

    Args:
        grant: What is granted.
        waits: Whether it waits for the key.
        ended: Called once at its end, unless it was withdrawn.

    Attributes:
        wait: The LOCK that was sent, until its answer has come.
    """

    def __init__(self, grant: Grant, waits: bool, ended: Callable[[], object]) -> None:
        self.wait: BegunWait | None = None
        self._grant = grant
        self._waits = waits
        self._ended = ended
        self._answer: outcome.Outcome[LockResult | None] | None = None

    def end(self, answer: outcome.Outcome[LockResult | None]) -> None:
        """Note the answer."""
        self._answer = answer
        # It refers to this object: without the circle both are freed at once.
        self.wait = None
        self._ended()

    def result(self) -> Grant:
        """Return the grant, once it has ended.

        Raises:
            Exception: What `Acquirable.acquire` or `Acquirable.try_acquire` raises.
        """
        assert self._answer is not None
        result = self._answer.unwrap()
        if result is not None:
            if result.result == _REFUSED and not self._waits:
                raise trio.WouldBlock
            if result.result != _OK:
                raise refusal(result, self._grant.key)
            self._grant.granted(result)
        return self._grant

    def withdraw(self) -> None:
        """End the wait, here and on the server; release what was granted."""
        if self._answer is None:
            assert self.wait is not None
            self.wait.withdraw()
            return
        with suppress(SlockError, trio.WouldBlock, trio.ClosedResourceError):
            grant = self.result()
            if grant.held:
                grant.begin_leave(_ignore).leave()


def _ignore(_answer: object) -> None:
    """Take the answer to a release that nothing depends on."""


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
        # The server renews no lease in milliseconds, and one that it counts from the
        # request must not start anew.
        in_milliseconds = self._wire_lease.flag & ExpiryFlag.MILLISECONDS
        self._confirms = not (in_milliseconds or options.flags.lease_from_request)
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
            the grant is returned. While a lease of seconds is being confirmed (see
            `Grant`) it is held back for at most the client's grace.
        """
        operation = as_data(data)
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
            LockLost: The answer took as long as the lease; nothing is held.
            ConnectionLost: The client does not reconnect.
            NoLeader: The server cannot reach a leader.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            As for `acquire`.
        """
        return await self._attempt(0, 0, as_data(data))

    def begins(self) -> bool:
        """Return whether `begin_attempt` can be used now, and does all there is to do.

        Not so for a lease that ends by itself, for handles whose attempt is more than
        one LOCK, and without a connection that has room.
        """
        return (
            not self._limited
            and type(self)._attempt is Acquirable._attempt
            and self._requester.ready
        )

    def begin_attempt(
        self, ended: Callable[[], object], *, waits: bool
    ) -> BegunAttempt:
        """Ask for the key for a caller that is no trio task.

        Args:
            ended: Called once at the end, on the trio thread; it must not raise.
            waits: As `acquire`, or as `try_acquire`.
        """
        requester = self._requester
        prepared = self._waiting if waits else self._trying
        if prepared is None:
            prepared = self._prepare(*(requester.wait if waits else NO_TIME))
        attempt = requester.new_id()
        grant = self._grant_type(requester, prepared, attempt)
        begun = BegunAttempt(grant, waits, ended)
        begun.wait = requester.begin_prepared(prepared, attempt, grant, begun.end)
        return begun

    async def _attempt(self, wait: int, wait_flag: int, data: Data | None) -> Grant:
        prepared = self._waiting if wait else self._trying
        if prepared is None:
            prepared = self._prepare(wait, wait_flag)
        requester = self._requester
        attempt = requester.new_id()
        # Made before the wait: a loss can arrive in the same read as the grant.
        grant = self._grant_type(requester, prepared, attempt)
        asked_at = 0.0
        proof: QueueProof | None = None
        if self._limited:
            asked_at = trio.current_time()
            if wait and not self._confirms and not self.flags.lease_from_request:
                proof = self._start_proof(asked_at)
            if self._renew:
                self._add_renewal(grant, asked_at)
        result: LockResult | None
        try:
            if data is None:
                result = await requester.acquire_prepared(prepared, attempt, grant)
            else:
                command = prepared.lock(attempt)._replace(data=data.encode())
                result = await requester.acquire(command, grant, replay=self._replay)
        finally:
            if proof is not None:
                proof.stop()
        # None: granted under the id of the attempt, without a value.
        if result is not None:
            if result.result == _REFUSED and not wait:
                raise trio.WouldBlock
            if result.result != _OK:
                raise refusal(result, self.key)
            grant.granted(result)
        if self._limited:
            # The lease began between the request and now: the answer says nothing of
            # how long it was on its way.
            grant.count_from(asked_at if proof is None else proof.waited_until)
            if grant.share_used(SHARE):
                return await self._prove(grant, wait, wait_flag, data)
        return grant

    async def _prove(
        self, grant: Grant, wait: int, wait_flag: int, data: Data | None
    ) -> Grant:
        """Return a grant that was long on its way if it is still good; else ask again.

        Raises:
            LockLost: Its lease may have ended, and it was not waited for.
        """
        assert not isinstance(self._lease, SessionLease)
        try:
            if wait and self._confirms:
                await grant.confirm(self._lease)
            elif grant.share_used(1):
                await grant.give_up()
        except (LockLost, ConnectionLost):
            # A wait goes on over both, unless its data must not be applied twice.
            if not (wait and self._replay):
                raise
        else:
            return grant
        return await Acquirable._attempt(self, wait, wait_flag, data)

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

    def _start_proof(self, asked_at: float) -> QueueProof:
        """Find out, while a request waits, until when it was not granted."""
        assert not isinstance(self._lease, SessionLease)
        proof = QueueProof(self._requester, asked_at, self._lease)
        self._requester.start_soon(proof.run)
        return proof

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
            raise NotHeld(f"key {describe_key(self.key)} has no holder", key=self.key)
        if result.result != ResultCode.SUCCED:
            raise refusal(result, self.key)

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
        # The frame of the `async with`: its exit is called by the same one.
        grant.frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
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
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        # The innermost body of this task; the one around it takes its place.
        grant = self._entered.get(task)
        if grant is None or grant.frame is not frame:
            task, grant = self._find(task, frame)
            if grant is not self._entered[task]:
                self._remove_outer(task, grant)
                return grant.__aexit__(exc_type, exc, traceback)
        grant.frame = None
        if grant.outer is None:
            del self._entered[task]
        else:
            self._entered[task] = grant.outer
        return grant.__aexit__(exc_type, exc, traceback)

    def _find(self, task: Task, frame: FrameType) -> tuple[Task, Grant]:
        """Return the grant whose body ends in ``frame``, and who entered it.

        An async generator may be closed by another task than the one that runs it. An
        exit stack enters and leaves in frames of its own: then it is the task's latest,
        or, in a task that has none, the only one.

        Raises:
            RuntimeError: It cannot be told which one it is.
        """
        everything = [
            (entrant, grant)
            for entrant, latest in self._entered.items()
            for grant in latest.with_outer()
        ]
        for entrant, grant in everything:
            if grant.frame is frame:
                return entrant, grant
        if task in self._entered:
            return task, self._entered[task]
        if len(everything) == 1:
            return everything[0]
        raise RuntimeError(
            f"{self!r} was not entered by {task.name!r}, which leaves it; which of its "
            f"{len(everything)} bodies has ended cannot be told, so none is released"
        )

    def _remove_outer(self, task: Task, grant: Grant) -> None:
        """Take out a grant around which the task has entered further ones."""
        for inner in self._entered[task].with_outer():
            if inner.outer is grant:
                inner.outer = grant.outer


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
