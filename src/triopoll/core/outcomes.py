"""The outcomes of the waits, and why an operation could not be carried out.

The outcomes are neutral: the endpoints in `triopoll.api` write each of them with the
codes and texts of their API.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

__all__ = [
    "EventFired",
    "Failure",
    "KeptMessage",
    "MissingMessage",
    "NothingYet",
    "OperationFailed",
    "Outcome",
    "PoppedMessage",
]


def _nothing_to_settle() -> None:
    pass


@dataclass(frozen=True, slots=True)
class EventFired:
    """The event fired during the wait, or was already set.

    Attributes:
        woken: When the wait ended, by `metrics.monotonic`; None without a wait.
    """

    woken: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class PoppedMessage:
    """A message was popped, or the event fired and the list was empty.

    Attributes:
        data: The message as it was in the list; None if the list was empty.
        waited: Whether the poll had to wait for it.
        ack: Deletes the message for good. Call it once the client has been sent it.
        nack: Returns the message to the head of its list. Call it if the client could
            not be sent it. Both return at once; only the first call has an effect.
        woken: As in `EventFired`.
    """

    data: bytes | None
    waited: bool
    ack: Callable[[], None] = field(default=_nothing_to_settle, compare=False)
    nack: Callable[[], None] = field(default=_nothing_to_settle, compare=False)
    woken: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class NothingYet:
    """The wait timed out, or the server drains; the client should poll again."""


class Failure(Enum):
    """Why an operation could not be carried out. None of these is a timeout.

    A client polls again at once after a timeout, so an unavailable backend must never
    look like one.

    The value is the name for programs: in metrics, in `/v1` and over websockets.
    """

    SLOCK_UNREACHABLE = "slock_unreachable"
    SLOCK_REFUSED = "slock_refused"
    STORE_UNREACHABLE = "store_unreachable"
    STORE_FAILED = "store_failed"
    TOO_MANY_WAITS = "too_many_waits"
    TOO_MANY_HELD_KEYS = "too_many_held_keys"
    TOO_MANY_PENDING = "too_many_pending"


class OperationFailed(Exception):
    """An operation could not be carried out.

    Attributes:
        failure: Why.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.value)
        self.failure = failure


Outcome: TypeAlias = EventFired | PoppedMessage | NothingYet | Failure


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message that stays stored for all who ask for it.

    Attributes:
        data: As it was sent: JSON.
    """

    data: bytes


@dataclass(frozen=True, slots=True)
class MissingMessage:
    """The expected message does not exist, or no longer."""
