"""How a poll can end, and how that is written in the replies of the first endpoints.

The codes, keys and sentences are those of the OpenResty recipe which front ends have
tested against for years, so "succed" is spelt as they expect it (wire spelling). All
replies are HTTP 200: the code in the body is what clients look at. This is the only
list of codes; nothing else in the package knows one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from ...asgi.json import to_json

__all__ = [
    "EventFired",
    "Failure",
    "Message",
    "NothingYet",
    "Outcome",
    "Reply",
    "code_of",
    "encode_reply",
    "reject",
    "reply_to_event",
    "reply_to_message",
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
class Message:
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

    SLOCK_UNREACHABLE = "slock not reachable"
    SLOCK_REFUSED = "slock error"
    STORE_UNREACHABLE = "redis connect fail"
    STORE_FAILED = "redis lpop fail"
    TOO_MANY_WAITS = "too many waits"

    @property
    def word(self) -> str:
        """Return its name for programs: in metrics, in `/v1` and over websockets."""
        return self.name.lower()


Outcome: TypeAlias = EventFired | Message | NothingYet | Failure

_FAILURE_CODES = {
    Failure.SLOCK_UNREACHABLE: 503,
    Failure.SLOCK_REFUSED: 500,
    Failure.STORE_UNREACHABLE: 502,
    Failure.STORE_FAILED: 500,
    Failure.TOO_MANY_WAITS: 503,
}
_OK, _BAD_REQUEST, _NOTHING_YET = 0, 400, 504
_SUCCESS = "succed"  # wire spelling


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply in the shape of the recipe.

    Attributes:
        err_code: 0 or a number that reads like an HTTP status.
        err_message: One sentence.
        data: Only in replies that carry a message; None is written as null.
        has_data: Whether the reply has the key ``data``.
    """

    err_code: int
    err_message: str
    data: bytes | None = None
    has_data: bool = False


def reply_to_event(outcome: Outcome) -> Reply:
    """Write the outcome of ``/poll/event``."""
    if isinstance(outcome, NothingYet):
        return Reply(_NOTHING_YET, "wait event timeout")
    if isinstance(outcome, Failure):
        return _fail(outcome)
    return Reply(_OK, _SUCCESS)


def reply_to_message(outcome: Outcome) -> Reply:
    """Write the outcome of ``/poll/message``."""
    if isinstance(outcome, Message):
        message = _SUCCESS if outcome.waited else ""
        return Reply(_OK, message, outcome.data, has_data=True)
    if isinstance(outcome, Failure):
        return _fail(outcome)
    return Reply(_NOTHING_YET, "wait timeout")


def reject(sentence: str) -> Reply:
    """Write that a parameter cannot be used; `sentence` names it."""
    return Reply(_BAD_REQUEST, sentence)


def code_of(failure: Failure) -> int:
    """Return the number that reads like an HTTP status."""
    return _FAILURE_CODES[failure]


def encode_reply(reply: Reply) -> bytes:
    """Write a reply as JSON.

    Returns:
        The body. A message that is not UTF-8 is passed through byte for byte inside
        its string, as the recipe did; browsers show U+FFFD for such bytes.
    """
    return _encode(reply) if reply.has_data else _encode_once(reply)


def _encode(reply: Reply) -> bytes:
    shape: dict[str, object] = {
        "err_code": reply.err_code,
        "err_message": reply.err_message,
    }
    if reply.has_data:
        shape["data"] = _text(reply.data)
    return to_json(shape).encode("utf-8", "surrogateescape")


# Without a message there are only so many replies.
_encode_once = functools.lru_cache(maxsize=128)(_encode)


def _fail(failure: Failure) -> Reply:
    return Reply(code_of(failure), failure.value)


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "surrogateescape")
