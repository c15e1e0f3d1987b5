"""The replies of the poll API, as JSON.

The codes, keys and sentences are those of the OpenResty recipe which front ends have
tested against for years, so "succed" is spelt as they expect it (wire spelling). All
replies are HTTP 200: the code in the body is what clients look at.
"""

from __future__ import annotations

import base64
import json

from ...asgi.json import to_json
from ...core.outcomes import Failure, NothingYet, Outcome, PoppedMessage

__all__ = [
    "FAILURES",
    "encode_event_reply",
    "encode_message_reply",
    "encode_rejection",
    "message_fields",
]

# Code and sentence of each failure (wire spelling). None of them is 504: a client polls
# again at once after a timeout, so an outage must never look like one.
FAILURES = {
    Failure.SLOCK_UNREACHABLE: (503, "slock not reachable"),
    Failure.SLOCK_REFUSED: (500, "slock error"),
    Failure.STORE_UNREACHABLE: (502, "redis connect fail"),
    Failure.STORE_FAILED: (500, "redis lpop fail"),
    Failure.TOO_MANY_WAITS: (503, "too many waits"),
    Failure.TOO_MANY_HELD_KEYS: (503, "too many held keys"),
    Failure.TOO_MANY_PENDING: (503, "too many pending messages"),
}
_SUCCESS = "succed"  # wire spelling
_TIMEOUT, _BAD_REQUEST = 504, 400


def encode_event_reply(outcome: Outcome) -> bytes:
    """Write the outcome of ``/poll/event``."""
    if isinstance(outcome, NothingYet):
        return _EVENT_TIMEOUT
    if isinstance(outcome, Failure):
        return _FAILED[outcome]
    return _FIRED


def encode_message_reply(outcome: Outcome) -> bytes:
    """Write the outcome of ``/poll/message``.

    Returns:
        The body. Of a message that is not UTF-8, ``data`` is what browsers made of
        the recipe's reply, with U+FFFD, and ``data_base64`` has its bytes.
    """
    if isinstance(outcome, NothingYet):
        return _MESSAGE_TIMEOUT
    if isinstance(outcome, Failure):
        return _FAILED[outcome]
    assert isinstance(outcome, PoppedMessage)
    head = _AFTER_WAIT if outcome.waited else _AT_ONCE
    if outcome.data is None:
        return head + b'"data":null}'
    try:
        text = outcome.data.decode()
    except UnicodeDecodeError:
        return head + to_json(message_fields(outcome.data))[1:].encode()
    return head + b'"data":' + _to_json(text).encode() + b"}"


def message_fields(data: bytes) -> dict[str, str]:
    """Return the fields of a message: its text, and its bytes if they are no text."""
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        text = data.decode(errors="replace")
        return {"data": text, "data_base64": base64.b64encode(data).decode()}


def encode_rejection(sentence: str) -> bytes:
    """Write that a parameter cannot be used; `sentence` names it."""
    return _encode(_BAD_REQUEST, sentence)


def _encode(code: int, sentence: str) -> bytes:
    return to_json({"err_code": code, "err_message": sentence}).encode()


_FIRED = _encode(0, _SUCCESS)
_EVENT_TIMEOUT = _encode(_TIMEOUT, "wait event timeout")
_MESSAGE_TIMEOUT = _encode(_TIMEOUT, "wait timeout")
_FAILED = {failure: _encode(*reply) for failure, reply in FAILURES.items()}
# What stands before the message: a found one has an empty sentence.
_to_json = json.JSONEncoder(ensure_ascii=False).encode
_AT_ONCE = _encode(0, "")[:-1] + b","
_AFTER_WAIT = _encode(0, _SUCCESS)[:-1] + b","
