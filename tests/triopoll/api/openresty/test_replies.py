"""The replies of the OpenResty API, to the byte."""

from __future__ import annotations

import json

import pytest

from triopoll.api.openresty.replies import (
    encode_openresty_reply,
    reject_openresty,
    reply_to_event,
    reply_to_group_creator,
    reply_to_group_sender,
    reply_to_message,
    reply_to_publisher,
)
from triopoll.core.outcomes import (
    EventFired,
    Failure,
    KeptMessage,
    MissingMessage,
    NothingYet,
)

SUCCEEDED = "succed"  # wire spelling


def test_events() -> None:
    """Fired, or not within the time."""
    fired = encode_openresty_reply(reply_to_event(EventFired()))
    assert fired == b'{"code":0,"msg":"succed","data":null}'
    late = encode_openresty_reply(reply_to_event(NothingYet()))
    assert late == b'{"code":504,"msg":"wait event timeout","data":null}'


@pytest.mark.parametrize("failure", Failure)
def test_failures(failure: Failure) -> None:
    """Each is a 5xx and none is a timeout, for readers and publishers alike."""
    replies = [
        reply_to_event(failure),
        reply_to_message(failure, timeout="late"),
        reply_to_publisher(failure),
        reply_to_group_creator(failure, 1),
        reply_to_group_sender(failure, "null"),
    ]
    assert len(set(replies)) == 1
    reply = json.loads(encode_openresty_reply(replies[0]))
    assert 500 <= reply["code"] < 600
    assert reply["code"] != 504
    assert reply["msg"]


def test_messages() -> None:
    """JSON is passed on as it was written; what is not JSON is an error."""
    kept = reply_to_message(KeptMessage(b' {"a":1.50} '), timeout="late")
    assert (kept.code, kept.msg, kept.data) == (0, SUCCEEDED, '{"a":1.50}')
    broken = reply_to_message(KeptMessage(b"{"), timeout="late")
    assert (broken.code, broken.msg, broken.data) == (500, "message error", "null")
    missing = reply_to_message(MissingMessage(), timeout="late")
    assert (missing.code, missing.msg) == (404, "redis get fail")
    late = reply_to_message(NothingYet(), timeout="late")
    assert (late.code, late.msg) == (504, "late")


def test_publishers() -> None:
    """A publisher gets its message back; a group's one also its number."""
    assert reply_to_publisher(None, '"x"').data == '"x"'
    assert reply_to_group_sender(7, "[1]").data == '{"msg_id":7,"message":[1]}'
    created = reply_to_group_creator(5, 5)
    assert (created.code, created.data) == (0, '{"msg_id":5}')
    exists = reply_to_group_creator(4, 5)
    assert (exists.code, exists.msg, exists.data) == (
        500,
        "already exists",
        '{"msg_id":4}',
    )


def test_a_sentence_is_escaped() -> None:
    """Whatever a refused parameter contained."""
    reply = json.loads(encode_openresty_reply(reject_openresty('not "é"\n')))
    assert reply == {"code": 400, "msg": 'not "é"\n', "data": None}
