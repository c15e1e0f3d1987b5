"""The tables of one connection: who waits for which reply, what is held.

Replies are matched by command type and request id, so an attempt's LOCK and
UNLOCK may share one id. Kept apart from the entries under way is ``held``:
grants whose loss someone wants to hear of, by the id of their attempt (the last
two bytes are zero), so that a notice that carries the id of a later update finds
its grant as well.

`Exchange` does the bookkeeping; a subclass brings the way out (``post``,
``retract``). `Outage` is the one without a way out: entries stand by in it
until there is a connection again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, cast

from trio.lowlevel import current_task, wait_task_rescheduled

from .._errors import LossReason
from ..protocol import (
    CallCommand,
    CallResult,
    Command,
    CommandType,
    InitCommand,
    InitResult,
    LeaderResult,
    LockCommand,
    LockResult,
    Pattern,
    Result,
    ResultCode,
    StateCommand,
    StateResult,
    SubscribeCommand,
    SubscribeResult,
    TimeoutFlag,
)
from ._entries import (
    LOCK,
    RENEWAL_SHIFT,
    UNLOCK,
    UPDATE,
    Call,
    Disowned,
    Entry,
    OwedRelease,
    Question,
    Renewal,
    Standby,
    Wait,
    Withdrawal,
    withdrawal,
)
from ._requester import SEQUENCE_BYTES, attempt_of

_EXPIRED = int(ResultCode.EXPRIED)
_INIT = int(CommandType.INIT)
_PUBLISH = int(CommandType.PUBLISH)
_PRIORITY = int(TimeoutFlag.RCOUNT_IS_PRIORITY)
_SEQUENCE_LIMIT = 256**SEQUENCE_BYTES
_TYPES: dict[type, int] = {
    InitCommand: _INIT,
    InitResult: _INIT,
    StateCommand: int(CommandType.STATE),
    StateResult: int(CommandType.STATE),
    CallCommand: int(CommandType.CALL),
    CallResult: int(CommandType.CALL),
    LeaderResult: int(CommandType.LEADER),
    SubscribeCommand: int(CommandType.SUBSCRIBE),
    SubscribeResult: int(CommandType.SUBSCRIBE),
}


class Owner(Protocol):
    """What an exchange asks of the session that it works for."""

    def new_id(self) -> bytes:
        """Return a fresh request id."""
        ...

    def linger(self, call: Call) -> None:
        """Start the clock for a call that holds a cancellation back."""

    def room(self) -> None:
        """Note that ``load`` has gone down."""

    def published(self, result: LockResult) -> None:
        """Take what the server tells a subscriber."""


class Exchange(ABC):
    """Match replies with entries, over one connection.

    Args:
        owner: The session that the exchange works for.
    """

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.new_id: Callable[[], bytes] = owner.new_id
        self.held: dict[bytes, Wait] = {}
        self.locks: dict[bytes, Entry] = {}
        self.unlocks: dict[bytes, Entry] = {}
        self.tables: tuple[dict[bytes, Entry], dict[bytes, Entry]] = (
            self.locks,
            self.unlocks,
        )
        self.questions: dict[tuple[int, bytes], Question] = {}
        self.withdrawing: int = 0
        self.strays: int = 0
        self.expired = False
        self.round_trip: float | None = None

    @abstractmethod
    def post(self, command: Command) -> None:
        """Send a command as soon as possible, in order.

        Raises:
            LocalProtocolError: The protocol cannot carry it; nothing was sent.
        """

    def post_lock(self, pattern: Pattern, attempt: bytes) -> None:
        """Send the LOCK of a pattern, as ``post`` does."""
        self.post(pattern.lock(attempt))

    def post_unlock(self, pattern: Pattern, attempt: bytes) -> None:
        """Send the UNLOCK of a pattern, as ``post`` does."""
        self.post(pattern.unlock(attempt))

    @abstractmethod
    def retract(self, command: Command) -> bool:
        """Take a command back that was not sent yet; return whether it was."""

    @property
    def load(self) -> int:
        """Commands that are not sent or not withdrawn yet: what is bounded."""
        return self.withdrawing

    @property
    def in_flight(self) -> int:
        """Commands without a reply, parked waits included."""
        locks, unlocks = self.tables
        return len(locks) + len(unlocks) + len(self.questions)

    # Entries.

    def register(self, command: LockCommand, entry: Entry) -> None:
        """Expect the reply to ``command``."""
        self.tables[command.type - LOCK][command.request_id] = entry

    def unregister(self, command: Command) -> None:
        """Expect the reply to ``command`` no longer."""
        if isinstance(command, LockCommand):
            self.tables[command.type - LOCK].pop(command.request_id, None)
        else:
            self.questions.pop(question_key(command), None)

    async def ask(self, command: Command) -> Result:
        """Send a command that is no LOCK or UNLOCK; return its answer.

        Raises:
            ConnectionLost: The connection broke before the answer.

        Cancellation:
            Nobody sees the answer.
        """
        question = Question(self, command, current_task())
        self.post(command)
        self.questions[question_key(command)] = question
        return cast(Result, await wait_task_rescheduled(question.abort))

    def has(self, command: LockCommand, entry: Entry) -> bool:
        """Return whether ``entry`` still waits for the reply to ``command``."""
        return self.tables[command.type - LOCK].get(command.request_id) is entry

    def withdraw(self, command: LockCommand) -> None:
        """Take back a LOCK that waits: drop it unsent, or undo it behind it."""
        self.unregister(command)
        if self.retract(command):
            return
        undo = withdrawal(command)
        entry = Withdrawal(self, command)
        self.register(command, entry)
        self.register(undo, entry)
        self.withdrawing += 1
        self.post(undo)

    def disown(self, command: LockCommand) -> None:
        """Make sure that nothing waits or is held under an attempt's lock id."""
        undo = withdrawal(command)._replace(request_id=self.new_id())
        self.register(undo, Disowned(self, command))
        self.withdrawing += 1
        self.post(undo)

    def withdrawn(self) -> None:
        """Note that a withdrawal has been answered."""
        self.withdrawing -= 1
        self.owner.room()

    def owe(self, command: LockCommand) -> None:
        """Let a release, sent or not, take effect without its caller."""
        self.register(command, OwedRelease(self, command))
        self.withdrawing += 1

    def doubt(self, command: LockCommand) -> None:
        """Remember an attempt whose fate is unknown. Only an outage does."""
        raise NotImplementedError(f"{self!r} has a connection: nothing is in doubt")

    # Grants.

    def holds(self, request_id: bytes) -> bool:
        """Return whether a grant of this attempt has a holder to tell."""
        return attempt_of(request_id) in self.held

    def follow_up(self, request_id: bytes) -> bytes:
        """Return the next request id about a grant."""
        attempt = attempt_of(request_id)
        held = self.held.get(attempt)
        if held is None:
            return self.new_id()
        held.sequence = held.sequence % (_SEQUENCE_LIMIT - 1) + 1
        sequence = held.sequence.to_bytes(SEQUENCE_BYTES, "big")
        return attempt[:-SEQUENCE_BYTES] + sequence

    def extended(self, update: LockCommand) -> None:
        """Note the lease that an update has given to a grant."""
        held = self.held.get(attempt_of(update.request_id))
        if held is not None:
            held.command = held.command._replace(
                expiry=update.expiry, expiry_flag=update.expiry_flag
            )

    def renew(self, held: Wait) -> None:
        """Ask whether a grant is still held; move its lease to this connection.

        A lease in seconds starts anew by it. For a session lease one update is
        not enough: the server drops those that end like the present lease.
        """
        command = held.command
        for extra in (RENEWAL_SHIFT, 0) if held.in_session else (0,):
            update = command._replace(
                request_id=self.follow_up(command.request_id),
                flag=UPDATE,
                timeout=0,
                timeout_flag=command.timeout_flag & _PRIORITY,
                expiry=command.expiry + extra,
                data=None,
            )
            self.register(update, Renewal(self, update, held))
            self.post(update)

    def lose(self, held: Wait, reason: LossReason) -> None:
        """Tell a holder, once, that its grant has ended."""
        self.lose_attempt(held.command.request_id, reason)

    def lose_attempt(self, request_id: bytes, reason: LossReason) -> None:
        """Tell the holder of an attempt's grant, if there is one, of its end."""
        held = self.held.pop(attempt_of(request_id), None)
        if held is not None:
            held.lost(reason)

    # Replies.

    def receive(self, result: Result) -> None:
        """Hand a result to the entry that waits for it."""
        if type(result) is not LockResult:
            self._receive_other(result)
            return
        entry = None
        if result.type == UNLOCK:
            entry = self.unlocks.pop(result.request_id, None)
        elif result.type == LOCK:
            if result.result == _EXPIRED:
                self._notice(result)
                return
            entry = self.locks.pop(result.request_id, None)
        elif result.type == _PUBLISH:
            self.owner.published(result)
            return
        if entry is None:
            self.stray(result)
        else:
            entry.settle(result)

    def _notice(self, result: LockResult) -> None:
        if self.holds(result.request_id):
            self.lose_attempt(result.request_id, "expired")
            return
        entry = self.locks.pop(result.request_id, None)
        if entry is None:
            self.stray(result)
        else:
            # No sound server answers in this way; who waits must hear of it.
            entry.settle(result)

    def stray(self, result: LockResult) -> None:
        """Count a reply that nobody waits for."""
        self.strays += 1

    def _receive_other(self, result: Result) -> None:
        question = self.questions.pop(question_key(result), None)
        if question is not None:
            question.settle(result)
        elif isinstance(result, InitResult):
            self.node_changed(result)
        else:
            self.strays += 1

    def node_changed(self, result: InitResult) -> None:
        """Note a pushed change of the node's role. An engine has none."""
        self.strays += 1

    # The end of a connection.

    def hand_over(self, outage: Outage) -> None:
        """Let every entry decide what the broken connection means for it."""
        outage.held.update(self.held)
        self.held.clear()
        for entry in self._drain():
            sent = not self.retract(entry.command)
            entry.suspend(outage, sent)
        questions = list(self.questions.values())
        self.questions.clear()
        for question in questions:
            question.suspend(outage, sent=True)

    def give_back_all(self, error: Exception) -> None:
        """Give back all grants and waits, and fail every task that waits here.

        Withdrawals and releases under way go on.
        """
        for held in list(self.held.values()):
            self.lose(held, "disconnected")
            self.disown(held.command)
        for entry in self._entries():
            entry.close(error)
        questions = list(self.questions.values())
        self.questions.clear()
        for question in questions:
            question.fail(error)

    def _entries(self) -> list[Entry]:
        # A withdrawal stands in both tables; each entry comes out once.
        return list(
            dict.fromkeys(entry for table in self.tables for entry in table.values())
        )

    def _drain(self) -> list[Entry]:
        entries = self._entries()
        for table in self.tables:
            table.clear()
        return entries


class Connection(Exchange):
    """An exchange that has a way out, as a connector makes it."""

    ended_by: Exception | None = None

    @abstractmethod
    async def run(self) -> None:
        """Serve the connection until it ends; ``ended_by`` says of what.

        Cancellation:
            The connection is closed.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close a connection that does not run."""


class Outage(Exchange):
    """No connection: entries stand by, and doubts are noted, until the next."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner)
        self._doubts: list[LockCommand] = []

    def __repr__(self) -> str:
        return (
            f"<Outage: {self.in_flight} standing by, {len(self.held)} held, "
            f"{len(self._doubts)} in doubt>"
        )

    @property
    def load(self) -> int:
        """Attempts to be withdrawn when there is a connection again."""
        return len(self._doubts)

    def post(self, command: Command) -> None:
        """Do nothing: the command's entry stands by and sends it later."""

    def retract(self, command: Command) -> bool:
        """Return True: nothing leaves here."""
        return True

    def withdraw(self, command: LockCommand) -> None:
        """Take back a wait that stands by, and what was sent of it before."""
        entry = self.tables[0].pop(command.request_id)
        if isinstance(entry, Wait) and entry.in_doubt:
            self.doubt(command)

    def disown(self, command: LockCommand) -> None:
        """Note the attempt, to be undone when there is a connection."""
        self.doubt(command)

    def owe(self, command: LockCommand) -> None:
        """Note the grant, to be released when there is a connection."""
        self.unregister(command)
        self.doubt(command)

    def doubt(self, command: LockCommand) -> None:
        """Note an attempt of which the server may have heard."""
        self._doubts.append(command)

    def hand_on(self, exchange: Exchange) -> None:
        """Give everything to a new connection: doubts, grants, requests."""
        for command in self._doubts:
            exchange.disown(command)
        self._doubts.clear()
        exchange.held.update(self.held)
        self.held.clear()
        for held in list(exchange.held.values()):
            exchange.renew(held)
        for entry in self._drain():
            if isinstance(entry, Standby):
                entry.resume(exchange)

    def expire(self) -> None:
        """End what cannot outlive the session: its leases and their releases."""
        self.expired = True
        for held in list(self.held.values()):
            if held.in_session:
                self.lose(held, "disconnected")
                # The server may be late in ending it, or may have got it back
                # from a log with a lease that starts anew.
                self.doubt(held.command)
        for entry in self._bounded_calls():
            self.unregister(entry.command)
            entry.expire()

    def _bounded_calls(self) -> list[Call]:
        """Return the calls that do not wait longer than the session lives."""
        return [
            entry
            for table in self.tables
            for entry in table.values()
            if isinstance(entry, Call) and entry.bounded
        ]


def question_key(message: Command | Result) -> tuple[int, bytes]:
    """Return type and request id of a command or result, equal for both."""
    kind = getattr(message, "type", None)
    return (_TYPES[type(message)] if kind is None else kind, message.request_id)
