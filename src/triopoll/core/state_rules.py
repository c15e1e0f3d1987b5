"""The rules of states: what a change makes of a record. No I/O and no clock.

An age is in seconds since the creation of the state. A record whose time is over is
read as expired, whoever reads it first; nothing needs to be written for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from msgspec import Raw
from msgspec.structs import replace

from ..store import FoundState, StateRecord

__all__ = [
    "CONFIRMED",
    "EXPIRED",
    "REJECTED",
    "SCANNED",
    "TOMBSTONE",
    "BadChoice",
    "Change",
    "ChangeRefused",
    "Conflict",
    "NewState",
    "StateRefusal",
    "StateView",
    "acknowledge",
    "apply_change",
    "current",
    "new_record",
    "view",
]

SCANNED, CONFIRMED = "scanned", "confirmed"
EXPIRED, REJECTED = "expired", "rejected"
# Seconds for which a state can be read after its time is over.
TOMBSTONE = 900.0
_NULL = Raw(b"null")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewState:
    """A state to create.

    Attributes:
        state: Its first name.
        data: JSON text.
        ttl: Seconds until it expires.
        confirm_within: Seconds from the move to `scanned` until it expires.
        moves: The moves that are allowed, by state; None: all.
        numbers: Three numbers for the page, with number matching.
        number: The right one.
        address: From where it is created.
        user_agent: What its creator calls itself.
    """

    state: str
    data: Raw
    ttl: float
    confirm_within: float
    moves: Mapping[str, Sequence[str]] | None = None
    numbers: tuple[int, int, int] | None = None
    number: int | None = None
    address: str | None = None
    user_agent: str = ""

    def __repr__(self) -> str:
        return f"<NewState: {self.state!r}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a publisher makes of a state.

    Attributes:
        state: Its new name.
        data: JSON text, in place of what there was.
        if_version: Change only this version; None: any.
        is_final: Nothing may change it afterwards.
        ttl: Seconds from now until it expires; None: as before.
        choice: The number that the person has chosen; None without.
    """

    state: str
    data: Raw = field(default_factory=lambda: _NULL)
    if_version: int | None = None
    is_final: bool = False
    ttl: float | None = None
    choice: int | None = None

    def __repr__(self) -> str:
        return f"<Change: to {self.state!r}>"


@dataclass(frozen=True, slots=True)
class StateView:
    """A state as it is read.

    Attributes:
        record: With its version, state and data.
        expires_in: Seconds until it expires; of a final state: for which it can be
            read.
        number: The number for the side that has scanned; None for all others.
        woken: When the wait for it was woken, by `metrics.monotonic`.
    """

    record: StateRecord
    expires_in: float
    number: int | None = None
    woken: float | None = None


class StateRefusal(Enum):
    """Why a state is not read.

    Attributes:
        UNKNOWN: There is no such key, or the secret is another one.
        GONE: It was acknowledged.
    """

    UNKNOWN = "unknown"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A change is not made, since the state is another one than its publisher expects.

    Attributes:
        state: Its name.
        version: Its version.
        reason: A sentence.
        replacement: What is stored instead of the change; None: nothing.
    """

    state: str
    version: int
    reason: str
    replacement: StateRecord | None = None


class BadChoice(Enum):
    """A change whose `choice` does not fit the state; nothing is changed.

    Attributes:
        MISSING: The state is confirmed by a number.
        UNASKED: It is not, or this is not its confirmation.
    """

    MISSING = "the body lacks choice: this state is confirmed by a number"
    UNASKED = "choice is for the move to confirmed of a state with match"


ChangeRefused: TypeAlias = Conflict | BadChoice


def new_record(new: NewState) -> StateRecord:
    """Return the record of a state that is created now."""
    return StateRecord(
        version=1,
        state=new.state,
        data=new.data,
        expires=new.ttl,
        confirm_until=new.confirm_within if new.state == SCANNED else None,
        kept=new.ttl + TOMBSTONE,
        confirm_within=new.confirm_within,
        moves=new.moves,
        numbers=new.numbers,
        number=new.number,
        address=new.address,
        user_agent=new.user_agent,
    )


def current(found: FoundState) -> StateRecord:
    """Return a record as it is at its age: expired, if its time is over."""
    record = found.record
    if record.is_final or found.age < deadline(record):
        return record
    return replace(
        record,
        version=record.version + 1,
        state=EXPIRED,
        data=_NULL,
        is_final=True,
        confirm_until=None,
    )


def deadline(record: StateRecord) -> float:
    """Return the age at which a record that is not final expires."""
    if record.confirm_until is None:
        return record.expires
    return min(record.expires, record.confirm_until)


def view(record: StateRecord, age: float, number: int | None = None) -> StateView:
    """Return a current record as it is read at an age."""
    end = record.kept if record.is_final else deadline(record)
    return StateView(record, max(0.0, end - age), number)


def apply_change(
    record: StateRecord, age: float, change: Change
) -> StateRecord | ChangeRefused:
    """Return the record that a change makes of a current one, or why it does not.

    A wrong number is a `Conflict` with a replacement: there is one try.
    """
    if reason := _conflict(record, change):
        return Conflict(record.state, record.version, reason)
    is_matched = record.numbers is not None and change.state == CONFIRMED
    if is_matched is not (change.choice is not None):
        return BadChoice.MISSING if is_matched else BadChoice.UNASKED
    if is_matched and change.choice != record.number:
        rejected = _moved(record, age, Change(state=REJECTED, is_final=True))
        reason = "the choice is not the right number, and there is one try"
        return Conflict(REJECTED, rejected.version, reason, rejected)
    return _moved(record, age, change)


def _conflict(record: StateRecord, change: Change) -> str | None:
    if record.is_final:
        return f"the state is {record.state}, which is final"
    if change.if_version not in (None, record.version):
        return f"the state has version {record.version}"
    allowed = None if record.moves is None else record.moves.get(record.state, ())
    if allowed is not None and change.state not in allowed:
        return f"the move from {record.state} to {change.state} is not allowed"
    return None


def _moved(record: StateRecord, age: float, change: Change) -> StateRecord:
    expires = record.expires if change.ttl is None else age + change.ttl
    return replace(
        record,
        version=record.version + 1,
        state=change.state,
        data=change.data,
        is_final=change.is_final,
        expires=expires,
        kept=expires + TOMBSTONE,
        confirm_until=_confirm_until(record, age, change.state),
    )


def _confirm_until(record: StateRecord, age: float, state: str) -> float | None:
    if state != SCANNED:
        return None
    # A second scan does not give more time.
    if record.state == SCANNED and record.confirm_until is not None:
        return record.confirm_until
    return age + record.confirm_within


def acknowledge(record: StateRecord, version: int) -> StateRecord | Conflict:
    """Return the record that is left of a final one whose reader has it."""
    if not record.is_final:
        reason = f"the state is {record.state}, which is not final"
        return Conflict(record.state, record.version, reason)
    if record.version != version:
        reason = f"the state has version {record.version}"
        return Conflict(record.state, record.version, reason)
    return replace(record, is_acked=True, data=_NULL)
