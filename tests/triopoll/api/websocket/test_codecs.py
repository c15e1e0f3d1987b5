"""What the two formats of a websocket make of the same messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from triopoll.api.validation import BadRequest
from triopoll.api.websocket.codecs import Codec, PollCodec, V1Codec
from triopoll.api.websocket.frames import AckLog, FrameLimits, Ping, Pong
from triopoll.core.wait_items import ReadResult
from triopoll.store import BadCursor, Page, StoredMessage

CURSOR = "0badcafe.17.00ff"
VALUE = b'{"b" : 1.50, "a":[12345678901234567890]}'


def v1() -> V1Codec:
    return V1Codec(FrameLimits())


def page(*data: bytes, is_json: bool = False, **more: Any) -> ReadResult:
    messages = (StoredMessage(CURSOR, each, 2.5, is_json) for each in data)
    return ReadResult(Page(tuple(messages), CURSOR, **more))


def messages(codec: Codec, result: ReadResult) -> Any:
    return json.loads(codec.messages("k", "all", result))


def test_a_page_in_the_format_of_v1() -> None:
    """The messages as over HTTP, between the cursors before and after them."""
    assert messages(v1(), page("é".encode(), b"\xff")) == {
        "type": "messages",
        "key": "k",
        "after": "all",
        "messages": [
            {"id": CURSOR, "data": "é", "ts": 2.5},
            {"id": CURSOR, "data_base64": "/w==", "ts": 2.5},
        ],
        "cursor": CURSOR,
    }
    gap = messages(v1(), page(gap=True, lost=3))
    assert (gap["messages"], gap["code"], gap["lost"]) == ([], "gap", 3)


def test_a_json_value_in_the_format_of_v1() -> None:
    """As it was sent, to the digit."""
    text = v1().messages("k", "all", page(VALUE, is_json=True))
    assert f'"data":{VALUE.decode()},"ts"' in text


def test_a_message_in_the_format_of_the_polls() -> None:
    """One a frame; a JSON value is a string there, its JSON text."""
    codec = PollCodec("k")
    head = {"err_code": 0, "err_message": "succed", "id": CURSOR, "ts": 2.5}
    assert messages(codec, page("é".encode())) == {**head, "data": "é"}
    foreign = {"data": "\ufffd", "data_base64": "/w=="}
    assert messages(codec, page(b"\xff")) == {**head, **foreign}
    assert messages(codec, page(b"\xff", is_json=True)) == {**head, **foreign}
    value = messages(codec, page(VALUE, is_json=True))
    assert value == {**head, "data": VALUE.decode()}
    lost = messages(codec, page(b"1", gap=True, lost=None))
    assert lost == {**head, "data": "1", "gap": True, "lost": None}
    assert messages(codec, page(gap=True, lost=2)) == {
        "err_code": 410,
        "err_message": "messages are gone",
        "id": CURSOR,
        "gap": True,
        "lost": 2,
    }


def test_frames_of_a_client() -> None:
    """JSON objects for the one, ids and empty texts for the other."""
    assert v1().read('{"type":"ping"}') == Ping()
    with pytest.raises(BadRequest):
        v1().read("")
    codec = PollCodec("k")
    assert codec.read("") == Pong()
    assert codec.read(CURSOR) == AckLog("k", CURSOR)
    for text in ("all", "{}", "nonsense"):
        with pytest.raises(BadCursor):
            codec.read(text)


def test_everything_else_that_is_written() -> None:
    """Greeting, subscription, pings, errors and signals."""
    codec = v1()
    assert json.loads(codec.hello(20)) == {"type": "hello", "ping": 20}
    assert json.loads(codec.subscribed("k", CURSOR))["cursor"] == CURSOR
    assert json.loads(codec.ping()) == {"type": "ping"}
    assert json.loads(codec.pong()) == {"type": "pong"}
    assert json.loads(codec.signal({"type": "event"})) == {"type": "event"}
    assert json.loads(codec.error("c", "m", 400)) == {
        "type": "error",
        "code": "c",
        "message": "m",
    }
    poll = PollCodec("k")
    poll.hello(20)
    assert json.loads(poll.subscribed("k", CURSOR)) == {
        "err_code": 0,
        "err_message": "",
        "id": CURSOR,
    }
    assert json.loads(poll.ping())["err_code"] == 504
    assert poll.pong() == poll.ping()
    assert json.loads(poll.error("c", "m", 403)) == {
        "err_code": 403,
        "err_message": "m",
    }
    with pytest.raises(NotImplementedError):
        poll.signal({})
