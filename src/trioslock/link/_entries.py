"""Requests that a task waits for: one entry for each command under way.

An entry stands in a request table under command type and request id. Its life ends
in one of four ways:

- ``settle(result)``: the reply has arrived.
- ``suspend(table, sent)``: the connection broke. The entry decides: fail its task,
  stand by in ``table`` (which has no connection), or leave there what is to be undone.
- ``close(error)``: the client closes.
- its task's ``abort``: the caller was cancelled.

Each of these takes the entry out of the tables before it reschedules the task, so a
task is rescheduled once even if a reply and a cancellation cross. An entry that stands
by is given a new connection by ``resume(table)``.

Entries for which no task waits are in ``_orphans``. Those of this module stay together,
as each is a variant of another, and the Protocols at the head name all of them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from typing import NoReturn, Protocol, TypeVar

import outcome
import trio
from trio.lowlevel import (
    Abort,
    Task,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

from .._errors import ConnectionLost, LossReason
from ..protocol import (
    Command,
    CommandType,
    ExpiryFlag,
    LockCommand,
    LockResult,
    PreparedLock,
    Result,
    ResultCode,
    describe_key,
)
from ._requester import LossListener, PreparedEnded, WaitEnded, attempt_of

_T = TypeVar("_T")

_OK = int(ResultCode.SUCCED)
_HELD = int(ResultCode.LOCKED_ERROR)
_NOT_HELD = (int(ResultCode.UNLOCK_ERROR), int(ResultCode.UNOWN_ERROR))
_KEEPALIVE = int(ExpiryFlag.KEEPALIVE)


class Owner(Protocol):
    """The session of a request table, as the table and its entries use it."""

    def new_id(self) -> bytes:
        """Return a request id that was never used."""
        ...

    def made(self, request_id: bytes) -> bool:
        """Return whether ``new_id`` has made this id, or the id that it follows up."""
        ...

    def linger(self, call: PendingCall) -> None:
        """Call ``call.give_up()`` when the client's grace has passed."""

    def load_reduced(self) -> None:
        """Admit tasks that wait for ``RequestTable.load`` to fall."""

    def published(self, result: LockResult) -> None:
        """Receive an event of a subscription."""


class EntryTable(Protocol):
    """A request table, as its entries use it."""

    owner: Owner
    new_id: Callable[[], bytes]
    held: dict[bytes, PendingLock]

    def post(self, command: Command) -> None:
        """Send a command as soon as possible, in order."""

    def retract(self, command: Command) -> bool:
        """Drop a command that was not sent; return whether it was dropped."""
        ...

    def register(self, command: LockCommand, entry: StandbyEntry) -> None:
        """Hand the reply to ``command`` to ``entry``."""

    def unregister(self, command: Command) -> None:
        """Ignore the reply to ``command``."""

    def has(self, command: LockCommand, entry: object) -> bool:
        """Return whether ``entry`` stands for ``command``."""
        ...

    def withdraw(self, command: LockCommand) -> None:
        """Take back a LOCK that waits."""

    def undo(self, command: LockCommand) -> None:
        """Release whatever an attempt has got, and end its wait."""

    def withdrawn(self) -> None:
        """Note that a withdrawal has its last reply."""

    def release_later(self, command: LockCommand) -> None:
        """Let an UNLOCK take effect without its caller."""

    def abandon(self, command: LockCommand, *, update: bool = False) -> None:
        """Drop a command, or let it run without its caller if it was sent."""

    def extended(self, update: LockCommand) -> None:
        """Note the lease that an UPDATE has given to a grant."""

    def holds(self, request_id: bytes) -> bool:
        """Return whether an attempt's grant has a listener."""
        ...

    def lose_attempt(self, request_id: bytes, reason: LossReason) -> None:
        """Report the loss of an attempt's grant to its listener, once."""


class PendingRequest(outcome.Outcome["LockResult | None"]):
    """A command, the task that waits for its reply, and what the task wakes with.

    The entry is itself the outcome that trio hands to the task: making an
    ``outcome.Value`` for each reply takes longer than matching the reply.
    """

    __slots__ = ("_command", "result", "table", "task")

    table: EntryTable
    task: Task
    result: LockResult | None
    _command: LockCommand | None

    # Outcomes compare by value and are not hashable. The tables need identity.

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:  # type: ignore[override]  # None there
        return id(self)

    @property
    def command(self) -> LockCommand:
        """The command; built on first use where it comes from a prepared lock."""
        command = self._command
        if command is None:
            command = self._command = self._make()
        return command

    @command.setter
    def command(self, command: LockCommand) -> None:
        self._command = command

    def _make(self) -> LockCommand:
        raise NotImplementedError(f"{self!r} has no prepared lock")

    def wake(self, result: LockResult | None) -> None:
        """Wake the task with a reply; None is a success without further content."""
        self.result = result
        reschedule(self.task, self)

    def fail(self, error: Exception) -> None:
        """Wake the task with an error."""
        reschedule(self.task, outcome.Error(error))

    # The interface of an outcome. Trio calls `send` alone.

    def unwrap(self) -> LockResult | None:
        """Return the reply."""
        return self.result

    def send(self, gen: Generator[_T, LockResult | None, object]) -> _T:
        """Send the reply into a generator."""
        return gen.send(self.result)

    async def asend(self, agen: AsyncGenerator[_T, LockResult | None]) -> _T:
        """Send the reply into an async generator."""
        return await agen.asend(self.result)


class PendingLock(PendingRequest):
    """A LOCK that may wait. After its grant: the record of what is held."""

    __slots__ = ("in_doubt", "listener", "replay", "sequence")

    def __init__(
        self,
        table: EntryTable,
        command: LockCommand,
        listener: LossListener | None,
        task: Task,
        replay: bool,
    ) -> None:
        self.table: EntryTable = table
        self._command = command
        self.listener: LossListener | None = listener
        self.task = task
        self.replay: bool = replay
        self.sequence: int = 0
        self.in_doubt: bool = False

    def settle(self, result: LockResult) -> None:
        """Wake the task; keep the grant on record if it has a listener."""
        # The record is made here and not by the task: the notice of a loss may
        # arrive in the same read, before the task runs.
        if self.listener is not None and result.result == _OK:
            self.table.held[attempt_of(result.request_id)] = self
        self.wake(result)

    def abort(self, _raise_cancel: Callable[[], NoReturn]) -> Abort:
        """Withdraw; the task leaves at once, whatever the network does."""
        self.table.withdraw(self.command)
        return Abort.SUCCEEDED

    def close(self, error: Exception) -> None:
        """Withdraw, and fail the task."""
        self.table.withdraw(self.command)
        self.fail(error)

    def suspend(self, table: EntryTable, sent: bool) -> None:
        """Stand by to be sent again; an attempt that was sent is in doubt."""
        if sent and not self.replay:
            # It may be granted: the task does not learn of it, so it is undone.
            table.undo(self.command)
            self.fail(connection_lost(self.command))
            return
        self.table = table
        self.in_doubt = sent
        table.register(self.command, self)

    def resume(self, table: EntryTable) -> None:
        """Undo the attempt in doubt and send a new one, in this order."""
        self.table = table
        if self.in_doubt:
            # The new attempt needs an id of its own: under the old one the UNLOCK
            # sent here could end it too.
            self.in_doubt = False
            table.undo(self.command)
            self.command = self._with_new_id(table.new_id())
        table.register(self.command, self)
        table.post(self.command)

    def _with_new_id(self, new_id: bytes) -> LockCommand:
        old = self.command
        own = old.lock_id == old.request_id
        return old._replace(request_id=new_id, lock_id=new_id if own else old.lock_id)

    @property
    def in_session(self) -> bool:
        """Whether the lease follows the connection."""
        return bool(self.command.expiry_flag & _KEEPALIVE)

    def lost(self, reason: LossReason) -> None:
        """Report the loss to the listener."""
        if self.listener is not None:
            self.listener.lost(reason)


class PendingCallback(PendingLock):
    """A LOCK that waits for no task: its reply is given to a function."""

    __slots__ = ("_ended",)

    def __init__(
        self, table: EntryTable, command: LockCommand, ended: WaitEnded
    ) -> None:
        self.table: EntryTable = table
        self._command = command
        self.result: LockResult | None = None
        self.listener: LossListener | None = None
        self.replay: bool = True
        self.sequence: int = 0
        self.in_doubt: bool = False
        self._ended = ended

    def settle(self, result: LockResult) -> None:
        """Give the reply to the function."""
        self._ended(outcome.Value(result))

    def fail(self, error: Exception) -> None:
        """Give an error to the function."""
        self._ended(outcome.Error(error))

    def withdraw(self) -> None:
        """End the wait here and on the server: see `BegunWait.withdraw`."""
        if self.table.has(self.command, self):
            self.table.withdraw(self.command)


class PendingPreparedLock(PendingLock):
    """The LOCK of a prepared lock, whose grant has a listener.

    Woken with None, the task has a grant under ``attempt``: see `Link.succeed`.
    """

    __slots__ = ("_prepared", "attempt")

    def __init__(
        self,
        table: EntryTable,
        prepared: PreparedLock,
        attempt: bytes,
        listener: LossListener,
        task: Task,
    ) -> None:
        # super().__init__() would be a tenth of the cost of a grant.
        self.table = table
        self._command = None
        self.result = None
        self._prepared = prepared
        self.attempt = attempt
        self.listener = listener
        self.task = task
        self.replay = True
        self.sequence = 0
        self.in_doubt = False

    def _make(self) -> LockCommand:
        return self._prepared.lock(self.attempt)


class _WithoutTask:
    """What requests share that give their reply to a function and wake no task."""

    __slots__ = ()

    _ended: PreparedEnded

    def wake(self, result: LockResult | None) -> None:
        """Give the reply to the function."""
        self._ended(outcome.Value(result))

    def fail(self, error: Exception) -> None:
        """Give an error to the function."""
        self._ended(outcome.Error(error))


class BegunLock(_WithoutTask, PendingPreparedLock):
    """The LOCK of a prepared lock for which no task waits."""

    __slots__ = ("_ended",)

    def __init__(
        self,
        table: EntryTable,
        prepared: PreparedLock,
        attempt: bytes,
        listener: LossListener,
        ended: PreparedEnded,
    ) -> None:
        # Without super().__init__(), as in PendingPreparedLock.
        self.table = table
        self._command = None
        self._prepared = prepared
        self.attempt = attempt
        self.listener = listener
        self.replay = True
        self.sequence = 0
        self.in_doubt = False
        self._ended = ended

    def withdraw(self) -> None:
        """End the wait here and on the server; do nothing after its end."""
        if self.table.has(self.command, self):
            self.table.withdraw(self.command)


class PendingCall(PendingRequest):
    """A command that the server answers at once.

    Attributes:
        bounded: Whether it fails when there was no connection for ``session_ttl``.
    """

    __slots__ = ("linger", "raise_cancel", "replay")
    bounded = False

    def __init__(
        self,
        table: EntryTable,
        command: LockCommand,
        task: Task,
        replay: bool,
        linger: bool,
    ) -> None:
        self.table: EntryTable = table
        self._command = command
        self.task = task
        self.replay: bool = replay
        self.linger: bool = linger
        self.raise_cancel: Callable[[], NoReturn] | None = None

    def settle(self, result: LockResult) -> None:
        """Wake the task."""
        self.wake(result)

    def abort(self, raise_cancel: Callable[[], NoReturn]) -> Abort:
        """Leave at once; one that lingers leaves after the reply or the grace."""
        if self.linger:
            # FAILED keeps the task asleep. It wakes by the reply, and is cancelled at
            # its next checkpoint, or by `give_up`.
            self.raise_cancel = raise_cancel
            self.table.owner.linger(self)
            return Abort.FAILED
        self._leave()
        return Abort.SUCCEEDED

    def give_up(self) -> None:
        """End a lingering whose grace has passed: raise the cancellation now."""
        # Without this check a call that was answered meanwhile, or that the client
        # closed, would be rescheduled twice.
        if self.raise_cancel is None or not self.table.has(self.command, self):
            return
        self._leave()
        reschedule(self.task, outcome.capture(self.raise_cancel))

    def _leave(self) -> None:
        self.table.abandon(self.command)

    def close(self, error: Exception) -> None:
        """Let the command go on, but fail the task."""
        self._leave()
        self.fail(error)

    def expire(self) -> None:
        """Fail: the session has ended, and with it what the command was about."""
        self.fail(connection_lost(self.command))

    def suspend(self, table: EntryTable, sent: bool) -> None:
        """Stand by if sending it again is safe, else fail."""
        if sent and not self.replay:
            self.fail(connection_lost(self.command))
            return
        self.table = table
        table.register(self.command, self)

    def resume(self, table: EntryTable) -> None:
        """Send it (again)."""
        self.table = table
        table.register(self.command, self)
        table.post(self.command)


class PendingUnlock(PendingCall):
    """The UNLOCK of a grant: may be sent twice, and must take effect."""

    __slots__ = ("repeated",)
    bounded = True

    def __init__(self, table: EntryTable, command: LockCommand, task: Task) -> None:
        super().__init__(table, command, task, replay=True, linger=True)
        self.repeated: bool = False

    def settle(self, result: LockResult) -> None:
        """Wake the task; after a replay "not held" is success."""
        if self.repeated and result.result in _NOT_HELD:
            result = result._replace(result=_OK)
        self.wake(result)

    def suspend(self, table: EntryTable, sent: bool) -> None:
        """Stand by; remember whether the server may have executed it."""
        self.repeated = self.repeated or sent
        super().suspend(table, sent)

    def expire(self) -> None:
        """Fail the task; the UNLOCK stays due, as the lease may outlive the session."""
        self._leave()
        super().expire()

    def _leave(self) -> None:
        # Not `abandon`, which may drop it unsent: the key would stay held.
        self.table.release_later(self.command)


class PendingPreparedUnlock(PendingUnlock):
    """The UNLOCK of a prepared lock. Woken with None, the task has released it."""

    __slots__ = ("_attempt", "_prepared")

    def __init__(
        self, table: EntryTable, prepared: PreparedLock, attempt: bytes, task: Task
    ) -> None:
        # Without super().__init__(), as in PendingPreparedLock.
        self.table = table
        self._command = None
        self.result = None
        self._prepared = prepared
        self._attempt = attempt
        self.task = task
        self.replay = True
        self.linger = True
        self.raise_cancel = None
        self.repeated = False

    def _make(self) -> LockCommand:
        return self._prepared.unlock(self._attempt)


class BegunUnlock(_WithoutTask, PendingPreparedUnlock):
    """The UNLOCK of a prepared lock for which no task waits."""

    __slots__ = ("_ended",)

    def __init__(
        self,
        table: EntryTable,
        prepared: PreparedLock,
        attempt: bytes,
        ended: PreparedEnded,
    ) -> None:
        # Without super().__init__(), as in PendingPreparedLock.
        self.table = table
        self._command = None
        self._prepared = prepared
        self._attempt = attempt
        self.replay = True
        self.linger = True
        self.raise_cancel = None
        self.repeated = False
        self._ended = ended

    def leave(self) -> None:
        """Wait no longer for the reply; the UNLOCK takes effect all the same."""
        if self.table.has(self.command, self):
            self._leave()


class PendingUpdate(PendingCall):
    """An UPDATE of a grant. Result 0 means that it has taken the key anew."""

    __slots__ = ()
    bounded = True

    def __init__(self, table: EntryTable, command: LockCommand, task: Task) -> None:
        super().__init__(table, command, task, replay=True, linger=True)

    def settle(self, result: LockResult) -> None:
        """Wake the task; keep the new lease on record for renewals."""
        if result.result == _HELD:
            self.table.extended(self.command)
        super().settle(result)

    def _leave(self) -> None:
        self.table.abandon(self.command, update=True)


class PendingQuery:
    """A command that is no LOCK or UNLOCK, such as PING."""

    __slots__ = ("command", "table", "task")

    def __init__(self, table: EntryTable, command: Command, task: Task) -> None:
        self.table = table
        self.command = command
        self.task = task

    def settle(self, result: Result) -> None:
        """Wake the task."""
        reschedule(self.task, outcome.Value(result))

    def abort(self, _raise_cancel: Callable[[], NoReturn]) -> Abort:
        """Leave at once; a reply that still comes is ignored."""
        # Sent or not: a query changes nothing on the server.
        self.table.unregister(self.command)
        self.table.retract(self.command)
        return Abort.SUCCEEDED

    def fail(self, error: Exception) -> None:
        """Wake the task with an error."""
        reschedule(self.task, outcome.Error(error))


class ExpectedReply:
    """The reply to a command that another command brings along (EXECUTE).

    Nothing is sent for it. It is registered before the command that brings it,
    and its reply comes at any time after that.
    """

    __slots__ = ("_outcome", "_task", "command", "table")

    def __init__(self, table: EntryTable, command: LockCommand) -> None:
        self.table: EntryTable = table
        self.command: LockCommand = command
        self._outcome: outcome.Outcome[LockResult] | None = None
        self._task: Task | None = None

    async def wait(self) -> LockResult:
        """Wait for the reply: see `Requester.expect`."""
        if self._outcome is not None:
            await trio.lowlevel.checkpoint()
            return self._outcome.unwrap()
        self._task = current_task()
        result: LockResult = await wait_task_rescheduled(self._abort)
        return result

    def forget(self) -> None:
        """Expect the reply no longer."""
        if self.table.has(self.command, self):
            self.table.unregister(self.command)

    def settle(self, result: LockResult) -> None:
        """Keep the reply, and wake the task if it waits."""
        self._end(outcome.Value(result))

    def close(self, error: Exception) -> None:
        """Fail."""
        self.table.unregister(self.command)
        self._end(outcome.Error(error))

    def suspend(self, table: EntryTable, sent: bool) -> None:
        """Fail: the command may have been executed, and its reply is lost."""
        self._end(outcome.Error(connection_lost(self.command)))

    def resume(self, table: EntryTable) -> None:
        """Expect the reply on the new connection; there was none before."""
        self.table = table
        table.register(self.command, self)

    def _abort(self, _raise_cancel: Callable[[], NoReturn]) -> Abort:
        self._task = None
        self.forget()
        return Abort.SUCCEEDED

    def _end(self, end: outcome.Outcome[LockResult]) -> None:
        self._outcome = end
        if self._task is not None:
            reschedule(self._task, end)
            self._task = None


StandbyEntry = PendingLock | PendingCall | ExpectedReply
"""The entries that can wait for a new connection."""


def connection_lost(command: LockCommand) -> ConnectionLost:
    """Return the error for a command whose outcome is unknown."""
    name = CommandType(command.type).name
    return ConnectionLost(
        f"the connection ended before the answer to {name} of key "
        f"{describe_key(command.key)}: whether it took effect is unknown"
    )
