"""Replies, to the byte, as front ends of the OpenResty recipe expect them."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triopoll.api.poll.replies import (
    encode_event_reply,
    encode_message_reply,
    encode_rejection,
)
from triopoll.core.outcomes import (
    EventFired,
    Failure,
    NothingYet,
    Outcome,
    PoppedMessage,
)


@pytest.mark.parametrize(
    ("outcome", "body"),
    [
        (EventFired(), b'{"err_code":0,"err_message":"succed"}'),
        (NothingYet(), b'{"err_code":504,"err_message":"wait event timeout"}'),
    ],
)
def test_replies_of_poll_event(outcome: Outcome, body: bytes) -> None:
    """The table of /poll/event."""
    assert encode_event_reply(outcome) == body


@pytest.mark.parametrize(
    ("outcome", "body"),
    [
        (
            PoppedMessage(b"hello", waited=False),
            b'{"err_code":0,"err_message":"","data":"hello"}',
        ),
        (
            PoppedMessage(b"hello", waited=True),
            b'{"err_code":0,"err_message":"succed","data":"hello"}',
        ),
        (
            PoppedMessage(None, waited=True),
            b'{"err_code":0,"err_message":"succed","data":null}',
        ),
        (NothingYet(), b'{"err_code":504,"err_message":"wait timeout"}'),
        (
            Failure.STORE_UNREACHABLE,
            b'{"err_code":502,"err_message":"redis connect fail"}',
        ),
        (Failure.STORE_FAILED, b'{"err_code":500,"err_message":"redis lpop fail"}'),
    ],
)
def test_replies_of_poll_message(outcome: Outcome, body: bytes) -> None:
    """The table of /poll/message."""
    assert encode_message_reply(outcome) == body


@pytest.mark.parametrize("failure", Failure)
def test_a_failure_is_a_5xx_and_never_a_timeout(failure: Failure) -> None:
    """A client polls again at once after a 504, so an outage must not be one."""
    body = encode_event_reply(failure)
    assert body == encode_message_reply(failure)
    reply = json.loads(body)
    assert 500 <= reply["err_code"] < 600
    assert reply["err_code"] != 504
    assert reply["err_message"]


def test_a_refused_parameter_is_a_400() -> None:
    """The sentence is passed on."""
    body = encode_rejection("event key is empty")
    assert body == b'{"err_code":400,"err_message":"event key is empty"}'


def test_any_text_survives() -> None:
    """Quotes, control characters and every script come back as they were."""
    text = 'say "hi" \\ \x00\x1f\n\u2028 grüße 你好 🐘'
    body = encode_message_reply(PoppedMessage(text.encode(), waited=True))
    assert json.loads(body)["data"] == text


def test_bytes_that_are_no_text_are_passed_through() -> None:
    """As text with U+FFFD, which browsers made of the recipe's, and in base64."""
    data = b'a\xff"\xed\xa0\x80\0'
    body = encode_message_reply(PoppedMessage(data, waited=True))
    assert json.loads(body.decode()) == {
        "err_code": 0,
        "err_message": "succed",
        "data": 'a\ufffd"\ufffd\ufffd\ufffd\0',
        "data_base64": base64.b64encode(data).decode(),
    }


@given(st.binary())
def test_no_byte_of_a_message_is_lost(data: bytes) -> None:
    """Whatever the bytes are, the reply is JSON in UTF-8, from which they follow."""
    reply = json.loads(encode_message_reply(PoppedMessage(data, waited=False)).decode())
    if "data_base64" in reply:
        assert base64.b64decode(reply["data_base64"], validate=True) == data
        assert reply["data"] == data.decode(errors="replace")
    else:
        assert reply["data"].encode() == data
