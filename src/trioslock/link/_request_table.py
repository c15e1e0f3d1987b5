"""The requests of one connection that wait for a reply, and the grants held.

Replies are matched by command type and request id, so the LOCK and the UNLOCK of an
attempt may share one id. Beside the entries under way stands ``held``: the grants
with a listener, by the id of their attempt (the last two bytes are zero), so that a
notice under the id of a later UPDATE finds its grant as well.

`RequestTable` does the bookkeeping. `BaseLink` adds a connection. `Disconnected` is
the table between two connections: entries stand by in it until the next one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import cast

from trio.lowlevel import current_task, wait_task_rescheduled

from .._errors import ConnectionLost, LossReason
from ..protocol import (
    CallCommand,
    CallResult,
    Command,
    CommandType,
    InitCommand,
    InitResult,
    LeaderResult,
    LockCommand,
    LockFlag,
    LockResult,
    PreparedLock,
    Result,
    ResultCode,
    StateCommand,
    StateResult,
    SubscribeCommand,
    SubscribeResult,
    TimeoutFlag,
)
from ._entries import Owner, PendingCall, PendingLock, PendingQuery, StandbyEntry
from ._orphans import (
    GrantRenewal,
    OrphanRequest,
    OrphanUnlock,
    OrphanUpdate,
    Withdrawal,
    withdrawal,
)
from ._requester import SEQUENCE_BYTES, attempt_of

LOCK = int(CommandType.LOCK)
UNLOCK = int(CommandType.UNLOCK)
_OK = int(ResultCode.SUCCED)
_EXPIRED = int(ResultCode.EXPRIED)
_INIT = int(CommandType.INIT)
_PUBLISH = int(CommandType.PUBLISH)
_UPDATE = int(LockFlag.UPDATE)
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

Entry = StandbyEntry | OrphanRequest

CallSoon = Callable[[Callable[[], object]], object]
"""The ``call_soon`` of a loop whose guest trio is."""


class RequestTable(ABC):
    """Match replies with entries.

    Args:
        owner: The session that the table works for.
    """

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.new_id: Callable[[], bytes] = owner.new_id
        self.held: dict[bytes, PendingLock] = {}
        self.locks: dict[bytes, Entry] = {}
        self.unlocks: dict[bytes, Entry] = {}
        # Indexed by command type: LOCK is 1, UNLOCK is 2.
        self.tables: tuple[dict[bytes, Entry], dict[bytes, Entry]] = (
            self.locks,
            self.unlocks,
        )
        self.queries: dict[tuple[int, bytes], PendingQuery] = {}
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

    def post_lock(self, prepared: PreparedLock, attempt: bytes) -> None:
        """Send the LOCK of a prepared lock, as ``post`` does."""
        self.post(prepared.lock(attempt))

    def post_unlock(self, prepared: PreparedLock, attempt: bytes) -> None:
        """Send the UNLOCK of a prepared lock, as ``post`` does."""
        self.post(prepared.unlock(attempt))

    @abstractmethod
    def retract(self, command: Command) -> bool:
        """Drop a command that was not sent yet; return whether it was dropped."""

    @property
    def load(self) -> int:
        """Commands that are not sent or not withdrawn yet: what is bounded."""
        return self.withdrawing

    @property
    def in_flight(self) -> int:
        """Commands without a reply, waits on the server included."""
        locks, unlocks = self.tables
        return len(locks) + len(unlocks) + len(self.queries)

    # Entries.

    def register(self, command: LockCommand, entry: Entry) -> None:
        """Hand the reply to ``command`` to ``entry``."""
        self.tables[command.type - LOCK][command.request_id] = entry

    def unregister(self, command: Command) -> None:
        """Ignore the reply to ``command``."""
        if isinstance(command, LockCommand):
            self.tables[command.type - LOCK].pop(command.request_id, None)
        else:
            self.queries.pop(query_key(command), None)

    def has(self, command: LockCommand, entry: object) -> bool:
        """Return whether ``entry`` still waits for the reply to ``command``."""
        return self.tables[command.type - LOCK].get(command.request_id) is entry

    async def ask(self, command: Command) -> Result:
        """Send a command that is no LOCK or UNLOCK; return its reply.

        Raises:
            ConnectionLost: The connection broke before the reply.

        Cancellation:
            The reply is dropped when it comes.
        """
        query = PendingQuery(self, command, current_task())
        self.post(command)
        self.queries[query_key(command)] = query
        return cast(Result, await wait_task_rescheduled(query.abort))

    def withdraw(self, command: LockCommand) -> None:
        """Take back a LOCK that waits: drop it unsent, or send an UNLOCK behind it."""
        self.unregister(command)
        if self.retract(command):
            return
        unlock = withdrawal(command)
        # One entry for both replies: only their pair tells what has happened.
        entry = Withdrawal(self, command)
        self.register(command, entry)
        self.register(unlock, entry)
        self.withdrawing += 1
        self.post(unlock)

    def undo(self, command: LockCommand) -> None:
        """Send an UNLOCK, so that nothing waits or is held under a LOCK's lock id."""
        # A new request id: the attempt's own may be waiting for another reply.
        unlock = withdrawal(command)._replace(request_id=self.new_id())
        self.register(unlock, OrphanUnlock(self, command))
        self.withdrawing += 1
        self.post(unlock)

    def withdrawn(self) -> None:
        """Note that a withdrawal has its last reply."""
        self.withdrawing -= 1
        self.owner.load_reduced()

    def release_later(self, command: LockCommand) -> None:
        """Let an UNLOCK, sent or not, take effect without its caller."""
        self.register(command, OrphanUnlock(self, command))
        self.withdrawing += 1

    def abandon(self, command: LockCommand, *, update: bool = False) -> None:
        """Drop a command, or let it run without its caller if it was sent."""
        self.unregister(command)
        if not self.retract(command):
            kind = OrphanUpdate if update else OrphanRequest
            self.register(command, kind(self, command))

    # Grants.

    def holds(self, request_id: bytes) -> bool:
        """Return whether an attempt's grant has a listener."""
        return attempt_of(request_id) in self.held

    def attempts(self) -> list[LockCommand]:
        """Return the commands of what is held here and of what is under way."""
        commands = [held.command for held in self.held.values()]
        return commands + [entry.command for entry in self._entries()]

    def follow_up(self, request_id: bytes) -> bytes:
        """Return the next request id about a grant."""
        attempt = attempt_of(request_id)
        held = self.held.get(attempt)
        if held is None:
            return self.new_id()
        # 1 to 65,535, then 1 again: 0 is the attempt itself.
        held.sequence = held.sequence % (_SEQUENCE_LIMIT - 1) + 1
        sequence = held.sequence.to_bytes(SEQUENCE_BYTES, "big")
        return attempt[:-SEQUENCE_BYTES] + sequence

    def extended(self, update: LockCommand) -> None:
        """Note the lease that an UPDATE has given to a grant."""
        held = self.held.get(attempt_of(update.request_id))
        if held is not None:
            held.command = held.command._replace(
                expiry=update.expiry, expiry_flag=update.expiry_flag
            )

    def renew(self, held: PendingLock) -> None:
        """Ask whether a grant is still held; move its lease to this connection.

        A lease in seconds starts anew by it. A session lease needs two updates: the
        server drops one that ends like the present lease, so the first differs in the
        rcount, which means nothing for a holder. It must not end later instead: when a
        real server reads its log, it leaves out what has ended by then. A shorter end
        in the second update, and in the UNLOCK, would let the first one take the key.
        """
        command = held.command
        own = command.rcount
        for rcount in (own ^ 1, own) if held.in_session else (own,):
            update = command._replace(
                request_id=self.follow_up(command.request_id),
                flag=_UPDATE,
                timeout=0,
                timeout_flag=command.timeout_flag & _PRIORITY,
                rcount=rcount,
                data=None,
            )
            self.register(update, GrantRenewal(self, update, held))
            self.post(update)

    def lose_attempt(self, request_id: bytes, reason: LossReason) -> None:
        """Report the loss of an attempt's grant to its listener, once."""
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
            if result.result == _EXPIRED and self.holds(result.request_id):
                self.lose_attempt(result.request_id, "expired")
                return
            # No sound server answers a LOCK that waits with "expired". If one
            # does, the task gets it like any other result.
            entry = self.locks.pop(result.request_id, None)
        elif result.type == _PUBLISH:
            self.owner.published(result)
            return
        if entry is None:
            self.unmatched(result)
        else:
            entry.settle(result)

    def unmatched(self, result: Result) -> None:
        """Count a reply that matches no request under way."""
        if not self._is_second_answer(result):
            self.count_stray()

    def count_stray(self) -> None:
        """Count a reply that is not delivered."""
        self.strays += 1

    def _is_second_answer(self, result: Result) -> bool:
        """Return whether a result is about a LOCK that was answered before.

        The server answers a LOCK once more when its lease ends, and when it grants it
        again after an UNLOCK that put it back into the queue (a wake-up of a group;
        its lock id is not its request id). Without a listener both are of no interest.
        """
        return (
            type(result) is LockResult
            and result.type == LOCK
            and (
                result.result == _EXPIRED
                or (result.result == _OK and result.lock_id != result.request_id)
            )
            and self.owner.made(result.request_id)
        )

    def _receive_other(self, result: Result) -> None:
        query = self.queries.pop(query_key(result), None)
        if query is not None:
            query.settle(result)
        elif isinstance(result, InitResult):
            self.node_changed(result)
        else:
            self.unmatched(result)

    def node_changed(self, result: InitResult) -> None:
        """Note a pushed change of the node's role. An engine has none."""
        self.unmatched(result)

    # The end of a connection.

    def suspend_all(self, disconnected: Disconnected) -> None:
        """Let every entry decide what the broken connection means for it."""
        disconnected.held.update(self.held)
        self.held.clear()
        # Emptied first: entries register anew in the other table.
        for entry in self._drain():
            sent = not self.retract(entry.command)
            entry.suspend(disconnected, sent)
        # The reply to a query is about its connection, so none is asked again.
        for query in self._drain_queries():
            query.fail(ConnectionLost("the connection ended before the answer"))

    def close_all(self, error: Exception) -> None:
        """Release all grants and end all waits; fail every task that waits here.

        Withdrawals and releases under way go on.
        """
        for held in list(self.held.values()):
            self.lose_attempt(held.command.request_id, "disconnected")
            self.undo(held.command)
        for entry in self._entries():
            entry.close(error)
        for query in self._drain_queries():
            query.fail(error)

    def _drain_queries(self) -> list[PendingQuery]:
        queries = list(self.queries.values())
        self.queries.clear()
        return queries

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


class BaseLink(RequestTable):
    """A request table over a connection, as a connector makes it."""

    ended_by: Exception | None = None

    @abstractmethod
    async def run(self) -> None:
        """Serve the connection until it ends; ``ended_by`` gives the reason.

        Cancellation:
            The connection is closed.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close a connection that does not run."""

    def write_by(self, call_soon: CallSoon) -> None:
        """Write from the loop whose guest trio is, without a turn of trio.

        Args:
            call_soon: Calls a function in the next pass of that loop.
        """


class Disconnected(RequestTable):
    """No connection: entries stand by, and attempts to undo are kept."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner)
        self._to_undo: list[LockCommand] = []

    def __repr__(self) -> str:
        return (
            f"<Disconnected: {self.in_flight} standing by, {len(self.held)} held, "
            f"{len(self._to_undo)} to undo>"
        )

    @property
    def load(self) -> int:
        """Attempts to undo when there is a connection again."""
        return len(self._to_undo)

    def post(self, command: Command) -> None:
        """Do nothing: the command's entry stands by and sends it later."""

    def retract(self, command: Command) -> bool:
        """Return True: nothing is sent from here."""
        return True

    def withdraw(self, command: LockCommand) -> None:
        """End a wait that stands by, and undo what was sent of it before."""
        # The present attempt was not sent; the one before may have been.
        entry = self.locks.pop(command.request_id)
        if isinstance(entry, PendingLock) and entry.in_doubt:
            self.undo(command)

    def undo(self, command: LockCommand) -> None:
        """Keep the attempt, to be undone when there is a connection."""
        self._to_undo.append(command)

    def release_later(self, command: LockCommand) -> None:
        """Keep the grant, to be released when there is a connection."""
        self.unregister(command)
        self.undo(command)

    def resume_all(self, link: RequestTable) -> None:
        """Hand everything to a new connection: what to undo, grants, requests."""
        # In this order: a request that stands by may be for the key of an attempt
        # that is to be undone, and would wait for it.
        for command in self._to_undo:
            link.undo(command)
        self._to_undo.clear()
        link.held.update(self.held)
        self.held.clear()
        for held in list(link.held.values()):
            link.renew(held)
        for entry in self._drain():
            if isinstance(entry, StandbyEntry):
                entry.resume(link)

    def expire(self) -> None:
        """End what cannot outlive the session: its leases and their releases."""
        self.expired = True
        for held in list(self.held.values()):
            if held.in_session:
                self.lose_attempt(held.command.request_id, "disconnected")
                # The server may end it late, or may have read it back from its log
                # with a lease that starts anew.
                self.undo(held.command)
        for entry in self._entries():
            if isinstance(entry, PendingCall) and entry.bounded:
                self.unregister(entry.command)
                entry.expire()


def query_key(message: Command | Result) -> tuple[int, bytes]:
    """Return type and request id of a command or result, equal for both."""
    kind = getattr(message, "type", None)
    return (_TYPES[type(message)] if kind is None else kind, message.request_id)
