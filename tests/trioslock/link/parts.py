"""Parts of a link for tests: an owner, a table without a connection, a holder."""

from __future__ import annotations

from itertools import count

from trioslock._errors import LossReason
from trioslock.link import RequestTable
from trioslock.link._entries import PendingCall, PendingLock
from trioslock.protocol import Command, CommandType, LockCommand, LockResult

LOCK, UNLOCK = int(CommandType.LOCK), int(CommandType.UNLOCK)
KEY = bytes(15) + b"k"


class FakeOwner:
    """Makes ids, and records what it is called for.

    Attributes:
        knows_its_ids: Whether it recognises the ids that it has made.
    """

    def __init__(self, *, knows_its_ids: bool = False) -> None:
        self.knows_its_ids = knows_its_ids
        self.load_reductions = 0
        self.lingering: list[PendingCall] = []
        self.events: list[LockResult] = []
        self._numbers = count(1)

    def new_id(self) -> bytes:
        return b"fresh".ljust(8, b"-") + (next(self._numbers) << 16).to_bytes(8, "big")

    def made(self, request_id: bytes) -> bool:
        return self.knows_its_ids and request_id.startswith(b"fresh")

    def linger(self, call: PendingCall) -> None:
        self.lingering.append(call)

    def load_reduced(self) -> None:
        self.load_reductions += 1

    def published(self, result: LockResult) -> None:
        self.events.append(result)


class FakeTable(RequestTable):
    """A request table whose commands are kept, sent or unsent.

    Attributes:
        posted: All commands, in order.
        sent: Whether they count as sent.
    """

    def __init__(self, owner: FakeOwner | None = None) -> None:
        self.fake_owner = owner or FakeOwner()
        super().__init__(self.fake_owner)
        self.posted: list[Command] = []
        self.sent = True

    def post(self, command: Command) -> None:
        self.posted.append(command)

    def retract(self, command: Command) -> bool:
        return not self.sent


class Holder:
    """A listener that records the losses that are reported to it."""

    def __init__(self) -> None:
        self.losses: list[LossReason] = []

    def lost(self, reason: LossReason) -> None:
        self.losses.append(reason)


def lock(table: RequestTable, *, expiry: int = 10, rcount: int = 3) -> LockCommand:
    """Return a LOCK with a fresh id and a session lease."""
    attempt = table.new_id()
    return LockCommand(
        LOCK, attempt, 0, 0, attempt, KEY, 10, 0x8000, expiry, 0x8000, 0, rcount
    )


def answer(command: LockCommand, code: int) -> LockResult:
    """Return the result of a command, without data."""
    return LockResult(
        *(command.type, command.request_id, code, 0, 0, command.lock_id),
        *(command.key, 0, 0, 0, 0),
    )


def hold(table: RequestTable) -> tuple[LockCommand, Holder]:
    """Put a grant on record, as the answer to its LOCK does."""
    holder = Holder()
    command = lock(table)
    entry = PendingLock(table, command, holder, None, True)  # type: ignore[arg-type]
    table.held[command.request_id] = entry
    return command, holder
