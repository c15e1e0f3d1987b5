"""A granted key in the hands of its holder: release it, extend it, notice its loss.

A `Grant` is made before the wait, and the requester notifies it of everything that
happens to it. So a loss that comes in the same read as the grant is not missed.

The module has more than 400 lines: lease, loss, release and body change the same fields
of one object, so they stay in one class.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from types import FrameType, TracebackType
from typing import NoReturn, Protocol, Self

import trio
from trio.lowlevel import Task, current_task, enable_ki_protection

from .._errors import ConnectionLost, LockLost, LossReason, NotHeld, SlockError
from ..link import BegunRelease, PreparedEnded, Requester
from ..protocol import (
    FOREVER,
    CommandType,
    Data,
    DataLike,
    ExpiryFlag,
    LockCommand,
    LockFlag,
    LockResult,
    PreparedLock,
    ResultCode,
    TimeoutFlag,
    WireDuration,
    as_data,
    decode_duration,
    describe_key,
)
from ._flags import UNIT_BITS
from ._guesses import Guessed
from ._handle import decoded
from ._lease import Lease, check_lease, wire_lease
from ._renewal import EXTRA, LeaseRenewer, equal_within
from ._results import loss, raise_outcome, refusal
from ._scope_pool import abandon_scope, enter_scope, leave_scope

_OK = int(ResultCode.SUCCED)
_UPDATED = int(ResultCode.LOCKED_ERROR)
_REFUSED = int(ResultCode.TIMEOUT)
_KEEPALIVE = int(ExpiryFlag.KEEPALIVE)
_PRIORITY = int(TimeoutFlag.RCOUNT_IS_PRIORITY)
_UNLOCK = int(CommandType.UNLOCK)
_UPDATE = int(LockFlag.UPDATE)


class BodyScope(Protocol):
    """What a loss cancels: a ``trio.CancelScope``, or what does the same elsewhere."""

    @property
    def deadline(self) -> float:
        """Time on trio's clock at which it cancels by itself."""
        ...

    @deadline.setter
    def deadline(self, deadline: float, /) -> None: ...

    def cancel(self) -> None:
        """Cancel the body. Called on the trio thread."""


class Grant(Guessed):
    """One holding of a key, owned by the task that acquired it.

    As an async context manager it releases on exit, and its body is cancelled
    when the grant is lost; `LockLost` is then raised from the exit. A body that
    fails by itself keeps its error, with a note about the loss.

    Entering it does not wait, so a grant cannot get lost between `acquire` and
    the body. While the body runs a lease of seconds is renewed, unless the handle
    says no; and in any case the body is cancelled before the lease can have ended.

    A lease of seconds is counted from the moment at which it was asked for. If the key
    had to be waited for, it began at some time since then; so where more than a third
    of it may have gone by, `acquire` starts it anew before it returns, and asks again
    if it has ended meanwhile. A lease in milliseconds cannot start anew: it is counted
    from the last time at which the server showed that the request still waited.
    """

    token: int | None = None
    """The fencing token, larger than that of every grant before; None without one."""

    # Defaults on the class keep the making of a grant cheap.
    _frame: bytes | None = None
    _lost: LossReason | None = None
    _released = False
    _entered = False
    _scope: BodyScope | None = None
    _loss: trio.Event | None = None
    _task: Task | None = None
    outer: Grant | None = None
    frame: FrameType | None = None
    _made: LockCommand | None = None
    _limited = False
    _granted_at = 0.0
    _unlock_flag = 0
    _renewer: LeaseRenewer | None = None

    def __init__(
        self, requester: Requester, prepared: PreparedLock, attempt: bytes
    ) -> None:
        self._requester = requester
        self._prepared = prepared
        self._attempt = attempt

    @classmethod
    def unlock_of(cls, lock: LockCommand) -> LockCommand:
        """Return the UNLOCK that ends what a LOCK was granted."""
        return lock._replace(
            type=_UNLOCK,
            flag=cls._unlock_flag,
            timeout=0,
            timeout_flag=lock.timeout_flag & _PRIORITY,
            expiry=0,
            expiry_flag=0,
            data=None,
        )

    def __repr__(self) -> str:
        if self._lost is not None:
            state = f"lost ({self._lost})"
        else:
            state = "released" if self._released else "held"
        return f"<{type(self).__name__} of key {describe_key(self.key)}: {state}>"

    @property
    def key(self) -> bytes:
        """The 16 bytes of the key."""
        return self._prepared.key

    @property
    def lock_id(self) -> bytes:
        """The 16 bytes under which the server knows this grant."""
        return self._attempt

    @property
    def held(self) -> bool:
        """Whether the grant has neither been released nor, as known here, lost."""
        return not self._released and self._lost is None

    @property
    def loss_reason(self) -> LossReason | None:
        """Why the grant is lost; None if it is not, as known here."""
        return self._lost

    @property
    def expires_at(self) -> float:
        """Time on trio's clock when the lease can end.

        ``math.inf`` for a session lease (which ends with the connection) and
        for an unlimited one.
        """
        if not self._limited:
            return FOREVER
        command = self._command
        return self._granted_at + decode_duration(command.expiry, command.expiry_flag)

    @property
    def data(self) -> Data | None:
        """The value that the key carried when it was granted, or None.

        Raises:
            RemoteProtocolError: It is malformed.
        """
        return decoded(self._frame)

    @property
    def _command(self) -> LockCommand:
        """The LOCK that this grant was made by, with the present lease."""
        command = self._made
        if command is None:
            command = self._made = self._prepared.lock(self._attempt)
        return command

    # Called by the requester and the handle.

    def lost(self, reason: LossReason) -> None:
        """Note that the grant has ended, and cancel the body."""
        self._note_loss(reason)
        # Without a scope the body has not begun, or has ended: `enter` and `__aexit__`
        # look at the reason.
        if self._scope is not None:
            self._scope.cancel()
        self._stop_renewal()

    def _note_loss(self, reason: LossReason) -> None:
        self._lost = reason
        if self._loss is not None:
            self._loss.set()

    def granted(self, result: LockResult) -> None:
        """Take over the server's answer to the LOCK.

        After a lost connection the key was asked for again, under another id.
        """
        self._attempt = result.request_id
        self._made = None
        self._frame = result.data

    def renew_from(self, asked_at: float, lease: float) -> None:
        """Renew the lease while the body runs.

        Args:
            asked_at: When the key was asked for: its lease is not older.
            lease: Its seconds.
        """
        self._renewer = LeaseRenewer(self._renew, asked_at, lease)

    def count_from(self, started_at: float) -> None:
        """Count the lease, which ends by itself, from ``started_at``."""
        self._limited = True
        self._granted_at = started_at

    def share_used(self, share: int) -> bool:
        """Return whether more than one part in ``share`` of the lease has gone by."""
        used = trio.current_time() - self._granted_at
        return used * share > self.expires_at - self._granted_at

    async def give_up(self) -> NoReturn:
        """Release a grant whose lease may have ended before it arrived.

        Raises:
            LockLost: Always.

        Cancellation:
            The key is released in any case.
        """
        self._lost = "expired"
        with suppress(SlockError, trio.ClosedResourceError):
            await self._leave_late()
        raise loss(self.key, self._lost)

    async def confirm(self, lease: float) -> None:
        """Start the lease anew, since it is not known when it began.

        Raises:
            LockLost: It had ended already; nothing is held.
            ConnectionLost: The session has ended; nothing is held.

        Cancellation:
            Held back until the answer is there, for at most the client's grace; then
            the grant is released.
        """
        try:
            await self._renew(lease + EXTRA)
        except BaseException:
            await release_unusable(self)
            raise
        if self._renewer is not None:
            self._renewer.change(lease)

    # While it is held.

    async def extend(self, lease: Lease) -> None:
        """Replace the lease by one that starts now.

        After a shorter one, a real server that is restarted may take a released key
        again, until the former lease would have ended.

        Args:
            lease: Seconds, rounded up to whole ones; ``FOREVER`` or `SESSION`.

        Raises:
            LockLost: The grant had ended already; nothing is held.
            NotHeld: The grant has been released.
            ConnectionLost: The client does not reconnect.

        Cancellation:
            Held back until the answer is there, for at most the client's
            grace. The lease may have been replaced.
        """
        await self._renew(lease)
        # The renewal that is planned is a third of the old lease away.
        if self._renewer is not None:
            self._renewer.change(lease)

    async def _renew(self, lease: Lease) -> None:
        await self._update(
            wire_lease(self._requester, check_lease(lease), whole_seconds=True),
            data=None,
        )

    async def update(self, data: DataLike) -> Data | None:
        """Apply an operation to the key's value; the lease starts again.

        Args:
            data: Operation to apply to the key's value, or the value to set.

        Returns:
            The value before the operation.

        Raises:
            LockLost: The grant had ended already; nothing is held.
            NotHeld: The grant has been released.
            ConnectionLost: The client does not reconnect.

        Cancellation:
            As for `extend`: the operation may have been applied. After a
            broken connection it may be applied twice, which matters for
            ``increment``, ``append``, ``push`` and ``pop``.
        """
        operation = as_data(data)
        if operation is None:
            raise TypeError("data must be an operation or a value, not None")
        command = self._command
        lease = WireDuration(command.expiry, command.expiry_flag)
        return decoded(await self._update(lease, data=operation))

    async def _update(self, lease: WireDuration, data: Data | None) -> bytes | None:
        self._check_held()
        # Before it is sent: the server's lease cannot begin earlier than this.
        started_at = trio.current_time()
        command = self._command._replace(
            request_id=self._requester.follow_up(self._command.request_id),
            flag=_UPDATE,
            timeout=0,
            timeout_flag=self._command.timeout_flag & _PRIORITY,
            expiry=lease.value,
            # A new unit; the other bits, such as that for publishing, stay.
            expiry_flag=lease.flag | self._command.expiry_flag & ~UNIT_BITS,
            data=None if data is None else data.encode(),
        )
        result = await self._requester.update(command)
        if result.result != _UPDATED:
            await self._refused(result)
        if data is None:
            # The server drops an update that would move the end by this much.
            started_at -= equal_within(command.expiry_flag)
        self.renewed(command.expiry, command.expiry_flag, started_at)
        return result.data

    def renewed(self, expiry: int, expiry_flag: int, started_at: float) -> None:
        """Note a lease that was asked for at ``started_at``."""
        self._made = self._command._replace(expiry=expiry, expiry_flag=expiry_flag)
        self._limited = not expiry_flag & _KEEPALIVE
        self._granted_at = started_at
        if self._scope is not None:
            self._scope.deadline = self.expires_at

    def _check_held(self) -> None:
        if self._lost is not None:
            raise loss(self.key, self._lost)
        if self._released:
            raise NotHeld(f"{self!r} cannot be extended", key=self.key)

    async def _refused(self, result: LockResult) -> NoReturn:
        """Raise what the answer to an update says other than "updated"."""
        if result.result == _OK:
            # The grant had ended, and the update has taken the key again. Another
            # client may have held it in between, so it is not the same grant. If it
            # was released meanwhile, that UNLOCK went behind the update.
            self._end("expired")
            if not self._released:
                await self._requester.release_prepared(self._prepared, self._attempt)
        elif result.result == _REFUSED:
            # Another client holds the key: there is nothing of this grant to release.
            self._requester.forget(self._attempt)
            self._end("taken")
        else:
            raise refusal(result, self.key)
        raise loss(self.key, self._lost or "expired")

    def _end(self, reason: LossReason) -> None:
        if self._lost is None:
            self.lost(reason)

    async def wait_lost(self) -> LockLost:
        """Wait until the grant is lost; return the error with the reason.

        It waits for ever once the grant has been released.
        """
        if self._loss is None:
            self._loss = trio.Event()
            if self._lost is not None:
                self._loss.set()
        await self._loss.wait()
        return loss(self.key, self._lost or "expired")

    # The end.

    def detach(self) -> None:
        """Leave the key held until its lease ends, even if this client closes.

        No loss is reported any more, and no lease renewed. `release` still works. For
        a grant with a lease of seconds that has not been entered.

        Raises:
            RuntimeError: It has been entered, or would be held for ever.
        """
        if self._entered or not self._limited:
            raise RuntimeError(
                f"{self!r} cannot be detached: only a grant with a lease of seconds, "
                "as `acquire` returns it"
            )
        self._requester.forget(self._attempt)

    async def release(self, data: DataLike | None = None) -> None:
        """Release the key; do nothing if it is released or lost already.

        Args:
            data: Operation to apply to the key's value, or the value to set.

        Raises:
            NotHeld: The server says that the grant had ended before.
            ConnectionLost: There was no connection for ``session_ttl``.

        Cancellation:
            Held back until the answer is there, for at most the client's
            grace. The key is released in any case.
        """
        # First: the grant must not count as released if the data is refused here.
        operation = as_data(data)
        frame = None if operation is None else operation.encode()
        if self.held:
            await self._release(frame)
        else:
            await trio.lowlevel.checkpoint()

    @enable_ki_protection
    async def _release(self, frame: bytes | None = None) -> None:
        # Before the first await: a second release, or a loss that comes meanwhile,
        # finds the grant released.
        self._released = True
        self._stop_renewal()
        await self.finish_release(
            self._requester.release_prepared(self._prepared, self._attempt)
            if frame is None
            else self._requester.release(self._unlock(frame))
        )

    def begin_leave(self, ended: PreparedEnded) -> BegunRelease:
        """Send the UNLOCK for a caller that is no trio task.

        Args:
            ended: Gets the answer, for `finish_release`.
        """
        self._released = True
        self._stop_renewal()
        return self._requester.begin_release(self._prepared, self._attempt, ended)

    async def finish_release(self, answer: Awaitable[LockResult | None]) -> None:
        """Wait for the answer to the UNLOCK.

        Raises:
            NotHeld: The server says that the grant had ended before.
        """
        result = await answer
        if result is not None and result.result != _OK:
            raise refusal(result, self.key)

    def _unlock(self, frame: bytes | None) -> LockCommand:
        return self._prepared.unlock(self._attempt)._replace(data=frame)

    def _stop_renewal(self) -> None:
        if self._renewer is not None:
            self._renewer.stop()

    @enable_ki_protection
    async def __aenter__(self) -> Self:
        self.enter()
        return self

    @enable_ki_protection
    def enter(self) -> None:
        """Begin the body, which a loss cancels. Not async, so nothing can interrupt."""
        self._check_not_entered()
        self._task = current_task()
        if self._limited:
            scope = trio.CancelScope(deadline=self.expires_at).__enter__()
        else:
            scope = enter_scope()
        self._begin(scope)

    @enable_ki_protection
    def begin_body(self, scope: BodyScope) -> None:
        """Begin a body that runs in no trio task; `end_body` must follow.

        Args:
            scope: Cancels the body.

        Raises:
            RuntimeError: The grant has been entered already.
        """
        self._check_not_entered()
        if self._limited:
            scope.deadline = self.expires_at
        self._begin(scope)

    def _check_not_entered(self) -> None:
        if self._entered:
            raise RuntimeError(f"{self!r} has been entered already")
        self._entered = True

    def _begin(self, scope: BodyScope) -> None:
        self._scope = scope
        if self._lost is not None:
            scope.cancel()
        if self._renewer is not None:
            self._requester.start_soon(self._renewer.run)

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        scope = self._scope
        assert isinstance(scope, trio.CancelScope)
        if self._task is not current_task():
            await self._leave_elsewhere(exc)
        # From here on a loss has no body to cancel.
        self._scope = None
        error = exc
        try:
            if leave_scope(scope, exc_type, exc, traceback):
                error = None
        except BaseException as rest:  # noqa: BLE001 - raised again below
            # A group of which the scope's own cancellations were taken out.
            error = rest
        # By this side's clock the lease is over: the scope's deadline has passed.
        late = (self._limited or exc is not None) and scope.cancel_called
        leave = self._leave_late if late else self._leave
        release_error = await self.end_body(leave, late=late)
        if error is None and release_error is None:
            return exc is not None
        return raise_outcome(exc, error, release_error)

    async def end_body(
        self, leave: Callable[[], Awaitable[LockResult | None]], *, late: bool
    ) -> BaseException | None:
        """Release at the end of a body.

        Args:
            leave: Sends the UNLOCK and waits for its answer.
            late: Whether the lease may have ended already, by this side's clock.

        Returns:
            What is to be raised: `LockLost`, or what the release has raised.
        """
        self._scope = None
        self._stop_renewal()
        release_error: BaseException | None = None
        if self._lost is None and not self._released:
            try:
                await self.finish_release(leave())
            except NotHeld:
                # The server sends no notice when another client releases the key.
                self._note_loss("expired")
            except ConnectionLost:
                self._note_loss("disconnected")
            except BaseException as failure:  # noqa: BLE001 - raised again below
                release_error = failure
            if late and self._lost is None:
                self._note_loss("expired")
        return release_error if self._lost is None else loss(self.key, self._lost)

    def with_outer(self) -> Iterator[Grant]:
        """Yield this grant and those that the task had entered before it."""
        grant: Grant | None = self
        while grant is not None:
            yield grant
            grant = grant.outer

    async def _leave_elsewhere(self, exc: BaseException | None) -> NoReturn:
        """Release at the end of a body that another task has entered.

        Raises:
            RuntimeError: Always: the scope of the body is that task's.
        """
        scope, self._scope = self._scope, None
        assert isinstance(scope, trio.CancelScope)
        assert self._task is not None
        abandon_scope(scope)
        await release_unusable(self)
        raise RuntimeError(
            f"{self!r} was entered by the task {self._task.name!r} and left by "
            f"{current_task().name!r}: its key has been released, but a body must end "
            "in the task that has begun it; close an async generator in the task that "
            "iterates over it (contextlib.aclosing)"
        ) from exc

    async def end_body_in_trio(self, *, late: bool) -> BaseException | None:
        """Release at the end of a body, as `end_body` does, in a trio task."""
        leave = self._leave_late if late else self._leave
        return await self.end_body(leave, late=late)

    async def _leave_late(self) -> LockResult | None:
        """Release a grant whose lease may have ended already.

        Nothing depends on the answer, so it is waited for no longer than the
        client's grace.
        """
        with trio.CancelScope() as scope:
            scope.cancel()
            return await self._leave()
        return None

    def _leave(self) -> Awaitable[LockResult | None]:
        """Release at the end of a body."""
        self._released = True
        return self._requester.release_prepared(self._prepared, self._attempt)


async def release_unusable(grant: Grant) -> None:
    """Release a grant that cannot be used, while the reason for that is raised.

    Cancellation:
        As for `Grant.release`.
    """
    try:
        await grant.release()
    except (SlockError, trio.ClosedResourceError):
        # Nothing more can be done: what is left ends with its lease.
        return
