"""The replies of the OpenResty API: ``{"code", "msg", "data"}``.

Codes are those of the poll API, and the HTTP status is always 200.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from ...asgi.json import BadJson, check_json
from ...core.outcomes import Failure, KeptMessage, MissingMessage, NothingYet, Outcome
from ..poll.replies import FAILURES

__all__ = [
    "OpenRestyReply",
    "encode_openresty_reply",
    "reject_openresty",
    "reply_to_group_creator",
    "reply_to_group_sender",
    "reply_to_event",
    "reply_to_message",
    "reply_to_publisher",
]

_SUCCESS = "succed"  # wire spelling
_OK, _BAD_REQUEST, _NOT_THERE, _BROKEN, _NOTHING_YET = 0, 400, 404, 500, 504


@dataclass(frozen=True, slots=True)
class OpenRestyReply:
    """One reply.

    Attributes:
        code: 0 or a number that reads like an HTTP status.
        msg: One sentence.
        data: A JSON text.
    """

    code: int
    msg: str
    data: str = "null"


def encode_openresty_reply(reply: OpenRestyReply) -> bytes:
    """Write a reply as JSON."""
    text = f'{{"code":{reply.code},"msg":{json.dumps(reply.msg)},"data":{reply.data}}}'
    return text.encode()


def reject_openresty(sentence: str) -> OpenRestyReply:
    """Write that a parameter or a body cannot be used; `sentence` says which."""
    return OpenRestyReply(_BAD_REQUEST, sentence)


def reply_to_event(outcome: Outcome) -> OpenRestyReply:
    """Write the outcome of a wait for an event."""
    if isinstance(outcome, Failure):
        return _fail(outcome)
    if isinstance(outcome, NothingYet):
        return OpenRestyReply(_NOTHING_YET, "wait event timeout")
    return OpenRestyReply(_OK, _SUCCESS)


def reply_to_message(
    outcome: KeptMessage | MissingMessage | NothingYet | Failure, timeout: str
) -> OpenRestyReply:
    """Write the outcome of a wait for a message.

    Args:
        outcome: How it ended.
        timeout: The sentence for nothing within the time.
    """
    if isinstance(outcome, Failure):
        return _fail(outcome)
    if isinstance(outcome, NothingYet):
        return OpenRestyReply(_NOTHING_YET, timeout)
    if isinstance(outcome, MissingMessage):
        return OpenRestyReply(_NOT_THERE, "redis get fail")
    try:
        return OpenRestyReply(_OK, _SUCCESS, check_json(outcome.data))
    except BadJson:
        # Another program has written this value.
        return OpenRestyReply(_BROKEN, "message error")


def reply_to_publisher(failure: Failure | None, data: str = "null") -> OpenRestyReply:
    """Write what has become of a publisher's request.

    Args:
        failure: None if all of it was done.
        data: What the publisher gets then, a JSON text.
    """
    return OpenRestyReply(_OK, _SUCCESS, data) if failure is None else _fail(failure)


def reply_to_group_creator(number: int | Failure, wanted: int) -> OpenRestyReply:
    """Write what has become of a group's creation.

    Args:
        number: What the next message will be called; or what went wrong.
        wanted: What it should be called at least.
    """
    if isinstance(number, Failure):
        return _fail(number)
    data = f'{{"msg_id":{number}}}'
    if number < wanted:
        return OpenRestyReply(_BROKEN, "already exists", data)
    return OpenRestyReply(_OK, _SUCCESS, data)


def reply_to_group_sender(number: int | Failure, message: str) -> OpenRestyReply:
    """Write what a message to a group is called, or why it was not sent."""
    if isinstance(number, Failure):
        return _fail(number)
    return OpenRestyReply(_OK, _SUCCESS, f'{{"msg_id":{number},"message":{message}}}')


def _fail(failure: Failure) -> OpenRestyReply:
    code, sentence = FAILURES[failure]
    if failure is Failure.STORE_FAILED:
        sentence = "redis get fail"  # wire spelling, of writing as well
    return OpenRestyReply(code, sentence)
