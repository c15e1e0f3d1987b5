"""How a poll can end, and how that is written in the replies of the first endpoints.

The codes, keys and sentences are those of the OpenResty recipe which front ends have
tested against for years, so "succed" is spelt as they expect it (wire spelling). All
replies are HTTP 200: the code in the body is what clients look at. This is the only
list of codes; nothing else in the package knows one.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ...asgi.json import to_json
from ...core.outcomes import Failure, NothingYet, Outcome, PoppedMessage

__all__ = [
    "PollReply",
    "code_of",
    "encode_reply",
    "reject",
    "reply_to_event",
    "reply_to_message",
]


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
class PollReply:
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


def reply_to_event(outcome: Outcome) -> PollReply:
    """Write the outcome of ``/poll/event``."""
    if isinstance(outcome, NothingYet):
        return PollReply(_NOTHING_YET, "wait event timeout")
    if isinstance(outcome, Failure):
        return _fail(outcome)
    return PollReply(_OK, _SUCCESS)


def reply_to_message(outcome: Outcome) -> PollReply:
    """Write the outcome of ``/poll/message``."""
    if isinstance(outcome, PoppedMessage):
        message = _SUCCESS if outcome.waited else ""
        return PollReply(_OK, message, outcome.data, has_data=True)
    if isinstance(outcome, Failure):
        return _fail(outcome)
    return PollReply(_NOTHING_YET, "wait timeout")


def reject(sentence: str) -> PollReply:
    """Write that a parameter cannot be used; `sentence` names it."""
    return PollReply(_BAD_REQUEST, sentence)


def code_of(failure: Failure) -> int:
    """Return the number that reads like an HTTP status."""
    return _FAILURE_CODES[failure]


def encode_reply(reply: PollReply) -> bytes:
    """Write a reply as JSON.

    Returns:
        The body. A message that is not UTF-8 is passed through byte for byte inside
        its string, as the recipe did; browsers show U+FFFD for such bytes.
    """
    return _encode(reply) if reply.has_data else _encode_once(reply)


def _encode(reply: PollReply) -> bytes:
    shape: dict[str, object] = {
        "err_code": reply.err_code,
        "err_message": reply.err_message,
    }
    if reply.has_data:
        shape["data"] = _text(reply.data)
    return to_json(shape).encode("utf-8", "surrogateescape")


# Without a message there are only so many replies.
_encode_once = functools.lru_cache(maxsize=128)(_encode)


def _fail(failure: Failure) -> PollReply:
    return PollReply(code_of(failure), failure.value)


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "surrogateescape")
