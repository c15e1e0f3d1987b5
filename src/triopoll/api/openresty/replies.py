"""How the OpenResty image's endpoints answer: ``{"code", "msg", "data"}``.

Codes are those of the other replies (`envelope`); and the HTTP status is 200, always.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from ...asgi.json import BadJson, check_json
from ..poll.replies import Failure, NothingYet, Outcome, code_of

__all__ = [
    "ImageReply",
    "Kept",
    "Missing",
    "encode_image_reply",
    "refuse_image",
    "reply_to_group_creator",
    "reply_to_group_sender",
    "reply_to_image_event",
    "reply_to_image_message",
    "reply_to_image_publisher",
]

_SUCCESS = "succed"  # wire spelling
_OK, _BAD_REQUEST, _NOT_THERE, _BROKEN, _NOTHING_YET = 0, 400, 404, 500, 504


@dataclass(frozen=True, slots=True)
class Kept:
    """A message that is kept for all who ask for it.

    Attributes:
        data: As it was sent: JSON.
    """

    data: bytes


@dataclass(frozen=True, slots=True)
class Missing:
    """There should be a message, and there is none, or none any more."""


@dataclass(frozen=True, slots=True)
class ImageReply:
    """One reply in the shape of the image.

    Attributes:
        code: 0 or a number that reads like an HTTP status.
        msg: One sentence.
        data: A JSON text.
    """

    code: int
    msg: str
    data: str = "null"


def encode_image_reply(reply: ImageReply) -> bytes:
    """Write a reply as JSON."""
    text = f'{{"code":{reply.code},"msg":{json.dumps(reply.msg)},"data":{reply.data}}}'
    return text.encode()


def refuse_image(sentence: str) -> ImageReply:
    """Write that a parameter or a body cannot be used; `sentence` says which."""
    return ImageReply(_BAD_REQUEST, sentence)


def reply_to_image_event(outcome: Outcome) -> ImageReply:
    """Write the outcome of a wait for an event."""
    if isinstance(outcome, Failure):
        return _fail(outcome)
    if isinstance(outcome, NothingYet):
        return ImageReply(_NOTHING_YET, "wait event timeout")
    return ImageReply(_OK, _SUCCESS)


def reply_to_image_message(
    outcome: Kept | Missing | NothingYet | Failure, timeout: str
) -> ImageReply:
    """Write the outcome of a wait for a message.

    Args:
        outcome: How it ended.
        timeout: The sentence for nothing within the time.
    """
    if isinstance(outcome, Failure):
        return _fail(outcome)
    if isinstance(outcome, NothingYet):
        return ImageReply(_NOTHING_YET, timeout)
    if isinstance(outcome, Missing):
        return ImageReply(_NOT_THERE, "redis get fail")
    try:
        return ImageReply(_OK, _SUCCESS, check_json(outcome.data))
    except BadJson:
        # Somebody else has put it there.
        return ImageReply(_BROKEN, "message error")


def reply_to_image_publisher(failure: Failure | None, data: str = "null") -> ImageReply:
    """Write what has become of a publisher's request.

    Args:
        failure: None if all of it was done.
        data: What he gets then, a JSON text.
    """
    return ImageReply(_OK, _SUCCESS, data) if failure is None else _fail(failure)


def reply_to_group_creator(number: int | Failure, wanted: int) -> ImageReply:
    """Write what has become of a group's creation.

    Args:
        number: What the next message will be called; or what went wrong.
        wanted: What it should be called at least.
    """
    if isinstance(number, Failure):
        return _fail(number)
    data = f'{{"msg_id":{number}}}'
    if number < wanted:
        return ImageReply(_BROKEN, "already exists", data)
    return ImageReply(_OK, _SUCCESS, data)


def reply_to_group_sender(number: int | Failure, message: str) -> ImageReply:
    """Write what a message to a group is called, or why it was not sent."""
    if isinstance(number, Failure):
        return _fail(number)
    return ImageReply(_OK, _SUCCESS, f'{{"msg_id":{number},"message":{message}}}')


def _fail(failure: Failure) -> ImageReply:
    sentence = failure.value
    if failure is Failure.STORE_FAILED:
        sentence = "redis get fail"  # wire spelling, of writing as well
    return ImageReply(code_of(failure), sentence)
