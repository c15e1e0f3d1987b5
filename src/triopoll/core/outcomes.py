"""The ways in which a wait can end.

The endpoints write each outcome in the format of their API.
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
    "Outcome",
    "PoppedMessage",
]


def _nothing_in_hand() -> None:
    pass


@dataclass(frozen=True, slots=True)
class EventFired:
    """The event fired during the wait, or was set already.

    Attributes:
        woken: When the wait ended, by `metrics.monotonic`; None without a wait.
    """

    woken: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class PoppedMessage:
    """A message was taken, or the event fired and the list was empty.

    Attributes:
        data: The message as it lay in the list; None where the list was empty.
        waited: False if it was there at the first look.
        confirm: Lets the message go. Call it when it was handed to its client.
        give_back: Puts the message back to the head of its list. Call it if the
            message could not be handed to its client. Both return at once, and the
            first one that is called counts.
        woken: As in `EventFired`.
    """

    data: bytes | None
    waited: bool
    confirm: Callable[[], None] = field(default=_nothing_in_hand, compare=False)
    give_back: Callable[[], None] = field(default=_nothing_in_hand, compare=False)
    woken: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class NothingYet:
    """Nothing came within the wait; the client should poll again."""


class Failure(Enum):
    """Why a poll could not be served. None of these is a timeout.

    A client polls again at once after a timeout, so a backend that is down must
    never look like one.
    """

    SLOCK_UNREACHABLE = "slock_unreachable"
    SLOCK_REFUSED = "slock_refused"
    STORE_UNREACHABLE = "store_unreachable"
    STORE_FAILED = "store_failed"
    TOO_MANY_WAITS = "too_many_waits"

    @property
    def word(self) -> str:
        """Return its name for programs: in metrics, in `/v1` and over websockets."""
        return self.value


Outcome: TypeAlias = EventFired | PoppedMessage | NothingYet | Failure


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message that is kept for all who ask for it.

    Attributes:
        data: As it was sent: JSON.
    """

    data: bytes


@dataclass(frozen=True, slots=True)
class MissingMessage:
    """There should be a message, and there is none, or none any more."""
