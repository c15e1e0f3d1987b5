"""What waits for a reply: one object for each command under way.

An entry stands in its exchange's table under command type and request id. It
is told one of four things:

- ``settle(result)``: here is the reply.
- ``suspend(exchange, sent)``: the connection broke. The entry decides by
  itself: fail its task, stand by in ``exchange`` (which has no connection), or
  leave only a note that something is to be withdrawn.
- ``resume(exchange)``: there is a connection again.
- its task's ``abort``: the caller was cancelled.

Each call that ends an entry's life takes it out of the tables first; so a task
is rescheduled once, whatever crosses on the wire.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, NoReturn, TypeVar

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
    LockFlag,
    LockResult,
    Pattern,
    Result,
    ResultCode,
    UnlockFlag,
)
from ._requester import attempt_of

if TYPE_CHECKING:
    from ._request_table import Exchange
    from ._requester import LossListener

_log = logging.getLogger("trioslock.link")
_T = TypeVar("_T")

LOCK = int(CommandType.LOCK)
UNLOCK = int(CommandType.UNLOCK)
_OK = int(ResultCode.SUCCED)
_HELD = int(ResultCode.LOCKED_ERROR)
_NOT_LOCKED = int(ResultCode.UNLOCK_ERROR)
_NOT_OWN = int(ResultCode.UNOWN_ERROR)
_TIMEOUT = int(ResultCode.TIMEOUT)
_KEEPALIVE = int(ExpiryFlag.KEEPALIVE)
UPDATE = int(LockFlag.UPDATE)
_CANCEL_WAIT = int(UnlockFlag.CANCEL_WAIT)

RENEWAL_SHIFT = 2
"""Seconds by which a renewed lease must end later than the old one can: the
server drops an update whose end is within one second of the present end."""


def withdrawal(command: LockCommand) -> LockCommand:
    """Return the UNLOCK that takes back a LOCK, waiting or granted.

    It keeps the rcount: with 0 a re-entrant holder would lose all levels.
    """
    return command._replace(
        type=UNLOCK, flag=_CANCEL_WAIT, timeout=0, expiry=0, data=None
    )


class Parked(outcome.Outcome["LockResult | None"]):
    """A command, the task that waits for its answer, and what the task wakes with.

    It is itself the outcome that trio hands to the task: to make an
    ``outcome.Value`` for each answer takes longer than to match it.
    """

    __slots__ = ("_command", "exchange", "result", "task")

    exchange: Exchange
    task: Task
    result: LockResult | None
    _command: LockCommand | None

    # Outcomes are equal by value, and not hashable; an entry is one of a kind.

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:  # type: ignore[override]  # None there
        return id(self)

    @property
    def command(self) -> LockCommand:
        """The command; made where somebody wants it, if it comes of a pattern."""
        command = self._command
        if command is None:
            command = self._command = self._make()
        return command

    @command.setter
    def command(self, command: LockCommand) -> None:
        self._command = command

    def _make(self) -> LockCommand:
        raise NotImplementedError(f"{self!r} is of no pattern")

    def wake(self, result: LockResult | None) -> None:
        """Wake the task with an answer; None is a success with nothing to add."""
        self.result = result
        reschedule(self.task, self)

    def fail(self, error: Exception) -> None:
        """Wake the task with an error."""
        reschedule(self.task, outcome.Error(error))

    # What an outcome is asked for; trio asks for the first alone.

    def unwrap(self) -> LockResult | None:
        """Return the answer."""
        return self.result

    def send(self, gen: Generator[_T, LockResult | None, object]) -> _T:
        """Send the answer into a generator."""
        return gen.send(self.result)

    async def asend(self, agen: AsyncGenerator[_T, LockResult | None]) -> _T:
        """Send the answer into an async generator."""
        return await agen.asend(self.result)


class Wait(Parked):
    """A LOCK that may wait. After its grant: the record of what is held."""

    __slots__ = ("in_doubt", "listener", "replay", "sequence")

    def __init__(
        self,
        exchange: Exchange,
        command: LockCommand,
        listener: LossListener | None,
        task: Task,
        replay: bool,
    ) -> None:
        self.exchange: Exchange = exchange
        self._command = command
        self.listener: LossListener | None = listener
        self.task = task
        self.replay: bool = replay
        self.sequence: int = 0
        self.in_doubt: bool = False

    def settle(self, result: LockResult) -> None:
        """Wake the task; remember the grant if there is a listener."""
        if self.listener is not None and result.result == _OK:
            self.exchange.held[attempt_of(result.request_id)] = self
        self.wake(result)

    def abort(self, _raise_cancel: Callable[[], NoReturn]) -> Abort:
        """Withdraw; the task leaves at once, whatever the network does."""
        self.exchange.withdraw(self.command)
        return Abort.SUCCEEDED

    def close(self, error: Exception) -> None:
        """Withdraw, and fail the task: the client closes."""
        self.exchange.withdraw(self.command)
        self.fail(error)

    def suspend(self, exchange: Exchange, sent: bool) -> None:
        """Stand by, to be asked again; the attempt that was sent is in doubt."""
        if sent and not self.replay:
            exchange.doubt(self.command)
            self.fail(connection_lost(self.command))
            return
        self.exchange = exchange
        self.in_doubt = sent
        exchange.register(self.command, self)

    def resume(self, exchange: Exchange) -> None:
        """Withdraw the attempt in doubt and ask again, in this order."""
        self.exchange = exchange
        if self.in_doubt:
            self.in_doubt = False
            exchange.disown(self.command)
            self.command = self._renewed(exchange.new_id())
        exchange.register(self.command, self)
        exchange.post(self.command)

    def _renewed(self, new_id: bytes) -> LockCommand:
        old = self.command
        own = old.lock_id == old.request_id
        return old._replace(request_id=new_id, lock_id=new_id if own else old.lock_id)

    @property
    def in_session(self) -> bool:
        """Whether the lease follows the connection."""
        return bool(self.command.expiry_flag & _KEEPALIVE)

    def lost(self, reason: LossReason) -> None:
        """Tell the holder."""
        if self.listener is not None:
            self.listener.lost(reason)


class Taking(Wait):
    """The LOCK of a pattern: its grant has a holder, who has the pattern too.

    Woken with no result, it was granted under its own id: see `Link.succeed`.
    """

    __slots__ = ("_pattern", "attempt")

    def __init__(
        self,
        exchange: Exchange,
        pattern: Pattern,
        attempt: bytes,
        listener: LossListener,
        task: Task,
    ) -> None:
        # Without super(): one of these is made for each grant.
        self.exchange = exchange
        self._command = None
        self.result = None
        self._pattern = pattern
        self.attempt = attempt
        self.listener = listener
        self.task = task
        self.replay = True
        self.sequence = 0
        self.in_doubt = False

    def _make(self) -> LockCommand:
        return self._pattern.lock(self.attempt)


class Call(Parked):
    """A command that is answered at once."""

    __slots__ = ("linger", "raise_cancel", "replay")
    bounded = False

    def __init__(
        self,
        exchange: Exchange,
        command: LockCommand,
        task: Task,
        replay: bool,
        linger: bool,
    ) -> None:
        self.exchange: Exchange = exchange
        self._command = command
        self.task = task
        self.replay: bool = replay
        self.linger: bool = linger
        self.raise_cancel: Callable[[], NoReturn] | None = None

    def settle(self, result: LockResult) -> None:
        """Wake the task."""
        self.wake(result)

    def abort(self, raise_cancel: Callable[[], NoReturn]) -> Abort:
        """Leave at once, or after the answer for one that lingers."""
        if self.linger:
            self.raise_cancel = raise_cancel
            self.exchange.owner.linger(self)
            return Abort.FAILED
        self._leave()
        return Abort.SUCCEEDED

    def give_up(self) -> None:
        """End a lingering that took too long: the caller is cancelled now."""
        if self.raise_cancel is None or not self.exchange.has(self.command, self):
            return
        self._leave()
        reschedule(self.task, outcome.capture(self.raise_cancel))

    def _leave(self) -> None:
        exchange, command = self.exchange, self.command
        exchange.unregister(command)
        if not exchange.retract(command):
            exchange.register(command, Forgotten(exchange, command))

    def close(self, error: Exception) -> None:
        """Let the command go on, but fail the task: the client closes."""
        self._leave()
        self.fail(error)

    def expire(self) -> None:
        """Fail: the session, and with it what this was about, has ended."""
        self.fail(connection_lost(self.command))

    def suspend(self, exchange: Exchange, sent: bool) -> None:
        """Stand by if sending it again is safe, else fail."""
        if sent and not self.replay:
            self.fail(connection_lost(self.command))
            return
        self.exchange = exchange
        exchange.register(self.command, self)

    def resume(self, exchange: Exchange) -> None:
        """Send it (again)."""
        self.exchange = exchange
        exchange.register(self.command, self)
        exchange.post(self.command)


class Release(Call):
    """The UNLOCK of a grant: may be sent twice, but not wait for ever."""

    __slots__ = ("repeated",)
    bounded = True

    def __init__(self, exchange: Exchange, command: LockCommand, task: Task) -> None:
        super().__init__(exchange, command, task, replay=True, linger=True)
        self.repeated: bool = False

    def settle(self, result: LockResult) -> None:
        """Wake the task; after a replay "not held" is success."""
        if self.repeated and result.result in (_NOT_LOCKED, _NOT_OWN):
            result = result._replace(result=_OK)
        self.wake(result)

    def suspend(self, exchange: Exchange, sent: bool) -> None:
        """Stand by; remember whether the server may have seen it."""
        self.repeated = self.repeated or sent
        super().suspend(exchange, sent)

    def expire(self) -> None:
        """Fail, but leave a note: the lease may be longer than the session."""
        self.exchange.owe(self.command)
        super().expire()

    def _leave(self) -> None:
        # Never retracted: what is to be released must be.
        self.exchange.owe(self.command)


class GivingBack(Release):
    """The UNLOCK of a pattern. Woken with no result, it is done."""

    __slots__ = ("_attempt", "_pattern")

    def __init__(
        self, exchange: Exchange, pattern: Pattern, attempt: bytes, task: Task
    ) -> None:
        # Without super(): one of these is made for each grant.
        self.exchange = exchange
        self._command = None
        self.result = None
        self._pattern = pattern
        self._attempt = attempt
        self.task = task
        self.replay = True
        self.linger = True
        self.raise_cancel = None
        self.repeated = False

    def _make(self) -> LockCommand:
        return self._pattern.unlock(self._attempt)


class Update(Call):
    """An UPDATE of a grant: an answer of 0 has taken the key anew."""

    __slots__ = ()
    bounded = True

    def __init__(self, exchange: Exchange, command: LockCommand, task: Task) -> None:
        super().__init__(exchange, command, task, replay=True, linger=True)

    def settle(self, result: LockResult) -> None:
        """Wake the task; remember the new lease for a renewal."""
        if result.result == _HELD:
            self.exchange.extended(self.command)
        super().settle(result)

    def _leave(self) -> None:
        exchange, command = self.exchange, self.command
        exchange.unregister(command)
        if not exchange.retract(command):
            exchange.register(command, ForgottenUpdate(exchange, command))


class Forgotten:
    """A command whose caller has gone; its reply is only cleaned up after."""

    __slots__ = ("command", "exchange")

    def __init__(self, exchange: Exchange, command: LockCommand) -> None:
        self.exchange: Exchange = exchange
        self.command: LockCommand = command

    def settle(self, result: LockResult) -> None:
        """Do nothing: whatever the answer, nothing is left by it."""

    def close(self, error: Exception) -> None:
        """Do nothing: nobody waits, and what is under way goes on."""

    def suspend(self, exchange: Exchange, sent: bool) -> None:
        """Do nothing: nobody asks for it again."""


class OwedRelease(Forgotten):
    """A release whose caller has gone; the server must hear of it."""

    __slots__ = ()

    def settle(self, result: LockResult) -> None:
        """Nothing is held any more, whatever the code."""
        self.exchange.withdrawn()

    def suspend(self, exchange: Exchange, sent: bool) -> None:
        """Leave a note: the server may not have heard of it."""
        exchange.owe(self.command)


class ForgottenUpdate(Forgotten):
    """An UPDATE whose caller has gone; it may have taken the key anew."""

    __slots__ = ()

    def settle(self, result: LockResult) -> None:
        """Give back what was taken anew, and tell the holder of the loss."""
        if result.result == _OK:
            self.exchange.lose_attempt(self.command.request_id, "expired")
            self.exchange.disown(self.command)

    def suspend(self, exchange: Exchange, sent: bool) -> None:
        """Leave a note, unless the grant still has a holder who will release."""
        if not exchange.holds(self.command.request_id):
            exchange.doubt(self.command)


class Withdrawal:
    """A LOCK and the UNLOCK that takes it back, until both are answered.

    Their result codes come in these pairs, in either order: (6, 5) the wait
    was withdrawn; (0, 0) it had been granted and is given back; (8, 6) it had
    been refused or timed out; (0, 6) a wait with lease 0 had been answered.
    Anything else is logged, and one more UNLOCK is sent.
    """

    __slots__ = ("_lock_code", "_unlock_code", "command", "exchange")

    def __init__(self, exchange: Exchange, command: LockCommand) -> None:
        self.exchange: Exchange = exchange
        self.command: LockCommand = command
        self._lock_code: int | None = None
        self._unlock_code: int | None = None

    def settle(self, result: LockResult) -> None:
        """Take one of the two replies."""
        if result.type == LOCK:
            self._lock_code = result.result
        else:
            self._unlock_code = result.result
        if self._lock_code is not None and self._unlock_code is not None:
            self.exchange.withdrawn()
            if not self._as_expected():
                self._complain()

    def _as_expected(self) -> bool:
        pair = (self._lock_code, self._unlock_code)
        if pair == (_OK, _NOT_LOCKED):
            return self.command.expiry == 0
        if pair in ((_NOT_LOCKED, _HELD), (_OK, _OK), (_TIMEOUT, _NOT_LOCKED)):
            return True
        # The server's trouble (database, state) leaves nothing behind.
        return self._lock_code == self._unlock_code

    def _complain(self) -> None:
        _log.warning(
            "withdrawing a wait for key %s was answered with %s and %s",
            self.command.key.hex(),
            self._lock_code,
            self._unlock_code,
        )
        self.exchange.disown(self.command)

    def close(self, error: Exception) -> None:
        """Do nothing: nobody waits, and what is under way goes on."""

    def suspend(self, exchange: Exchange, sent: bool) -> None:
        """Leave a note: the server may not have heard of the withdrawal."""
        exchange.doubt(self.command)


class Disowned:
    """An UNLOCK for an attempt whose fate is unknown; one reply, any code."""

    __slots__ = ("command", "exchange")

    def __init__(self, exchange: Exchange, command: LockCommand) -> None:
        self.exchange: Exchange = exchange
        self.command: LockCommand = command

    def settle(self, result: LockResult) -> None:
        """Nothing is held under this id any more, whatever the code."""
        self.exchange.withdrawn()

    def close(self, error: Exception) -> None:
        """Do nothing: nobody waits, and what is under way goes on."""

    def suspend(self, exchange: Exchange, sent: bool) -> None:
        """Leave a note: the server may not have heard of it."""
        exchange.doubt(self.command)


class Renewal:
    """An UPDATE that asks whether a grant has outlived its connection.

    For a session lease there are two, which move it to the new connection: the
    first ends later than the old lease can, which makes the server take it; the
    second brings the lease back to its length.
    """

    __slots__ = ("command", "exchange", "held")

    def __init__(self, exchange: Exchange, command: LockCommand, held: Wait) -> None:
        self.exchange: Exchange = exchange
        self.command: LockCommand = command
        self.held: Wait = held

    def settle(self, result: LockResult) -> None:
        """Keep the grant on 5; on anything else it is lost."""
        if result.result == _HELD:
            return
        if result.result == _OK:
            # Lost meanwhile, and taken anew by this very command.
            self.exchange.disown(self.held.command)
        reason: LossReason = "taken" if result.result == _TIMEOUT else "disconnected"
        self.exchange.lose(self.held, reason)

    def close(self, error: Exception) -> None:
        """Do nothing: the holder is told in another way."""

    def suspend(self, exchange: Exchange, sent: bool) -> None:
        """Do nothing: the grant is still in the table, and renewed again."""


class Question:
    """A command that is no LOCK or UNLOCK, such as PING."""

    __slots__ = ("command", "exchange", "task")

    def __init__(self, exchange: Exchange, command: Command, task: Task) -> None:
        self.exchange = exchange
        self.command = command
        self.task = task

    def settle(self, result: Result) -> None:
        """Wake the task."""
        reschedule(self.task, outcome.Value(result))

    def abort(self, _raise_cancel: Callable[[], NoReturn]) -> Abort:
        """Leave at once; the answer, if any, is ignored."""
        self.exchange.unregister(self.command)
        self.exchange.retract(self.command)
        return Abort.SUCCEEDED

    def fail(self, error: Exception) -> None:
        """Wake the task with an error."""
        reschedule(self.task, outcome.Error(error))

    def suspend(self, exchange: Exchange, sent: bool) -> None:
        """Fail: the answer would be about another connection."""
        self.fail(ConnectionLost("the connection ended before the answer"))


class Expected:
    """The answer to a command that another command brings along (EXECUTE).

    Nothing is sent for it. It is registered before the command that brings it,
    and its answer comes at any time after that.
    """

    __slots__ = ("_outcome", "_task", "command", "exchange")

    def __init__(self, exchange: Exchange, command: LockCommand) -> None:
        self.exchange: Exchange = exchange
        self.command: LockCommand = command
        self._outcome: outcome.Outcome[LockResult] | None = None
        self._task: Task | None = None

    async def wait(self) -> LockResult:
        """Wait for the answer: see `Requester.expect`."""
        if self._outcome is not None:
            await trio.lowlevel.checkpoint()
            return self._outcome.unwrap()
        self._task = current_task()
        result: LockResult = await wait_task_rescheduled(self._abort)
        return result

    def forget(self) -> None:
        """Expect the answer no longer."""
        if self.exchange.has(self.command, self):
            self.exchange.unregister(self.command)

    def settle(self, result: LockResult) -> None:
        """Keep the answer, and wake the task if it waits."""
        self._end(outcome.Value(result))

    def close(self, error: Exception) -> None:
        """Fail: the client closes."""
        self.exchange.unregister(self.command)
        self._end(outcome.Error(error))

    def suspend(self, exchange: Exchange, sent: bool) -> None:
        """Fail: what is brought along may have been done, and its answer is lost."""
        self._end(outcome.Error(connection_lost(self.command)))

    def resume(self, exchange: Exchange) -> None:
        """Expect the answer on the first connection there is."""
        self.exchange = exchange
        exchange.register(self.command, self)

    def _abort(self, _raise_cancel: Callable[[], NoReturn]) -> Abort:
        self._task = None
        self.forget()
        return Abort.SUCCEEDED

    def _end(self, end: outcome.Outcome[LockResult]) -> None:
        self._outcome = end
        if self._task is not None:
            reschedule(self._task, end)
            self._task = None


Entry = Wait | Call | Forgotten | Withdrawal | Disowned | Renewal | Expected
Standby = Wait | Call | Expected


def connection_lost(command: LockCommand) -> ConnectionLost:
    """Return the error for a command whose outcome is unknown."""
    name = CommandType(command.type).name
    return ConnectionLost(
        f"the connection ended before the answer to {name} of key "
        f"{command.key.hex()}: whether it took effect is unknown"
    )
