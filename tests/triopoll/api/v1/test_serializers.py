"""The JSON of responses: what is stored comes back as it was sent."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from triopoll.api.v1.serializers import (
    encode,
    encode_messages,
    item_result,
    log_message,
    message_text,
    messages_response,
)
from triopoll.core.wait_items import (
    EventItem,
    EventState,
    GroupItem,
    GroupState,
    LogItem,
    ReadResult,
)
from triopoll.store import Page, StoredMessage


def written(data: bytes, *, is_json: bool = False) -> bytes:
    return encode(log_message(StoredMessage("1", data, 2.5, is_json)))


def test_messages() -> None:
    """Text as a string, other bytes in base64, a JSON value as its own text."""
    assert json.loads(written("é\n".encode())) == {"id": "1", "data": "é\n", "ts": 2.5}
    assert json.loads(written(b"\xff")) == {
        "id": "1",
        "data_base64": "/w==",
        "ts": 2.5,
    }
    value = b'{"b" : 1.50,\n "a":[12345678901234567890, 1E5]}'
    assert written(value, is_json=True) == b'{"id":"1","data":%b,"ts":2.5}' % value
    assert json.loads(written(value)) == {"id": "1", "data": value.decode(), "ts": 2.5}


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b" ", b"{", b"nul", b"01", b"NaN", b"[1,,2]", b"{}x", b'"\\ud800"'),
        *(b'"\xff"', b'"\xed\xa0\x80"', b"[" * 10**5),
    ],
)
def test_a_value_that_is_no_json(data: bytes) -> None:
    """What another program has marked as JSON and is none is a text, or bytes."""
    shape = json.loads(written(data, is_json=True).decode())
    if "data" in shape:
        assert shape["data"].encode() == data
    else:
        assert base64.b64decode(shape["data_base64"]) == data


def test_texts() -> None:
    """A JSON value has one too, which is its JSON text."""
    assert message_text(StoredMessage("1", b"[1.0]", 2.5, is_json=True)) == "[1.0]"
    assert message_text(StoredMessage("1", "é".encode(), 2.5)) == "é"
    assert message_text(StoredMessage("1", b"\xff", 2.5)) is None


def test_a_page_is_encoded_once() -> None:
    """By the first that writes it; the others have the same bytes."""
    found = (
        StoredMessage("1", "é".encode(), 2.5),
        StoredMessage("2", b"\xff", 3.0),
        StoredMessage("3", b"[1.0]", 3.5, is_json=True),
    )
    result = ReadResult(Page(found, "c", gap=True, lost=4))
    timing = {"retry_ms": 0, "wait": 1, "waited": 0.5}
    response = messages_response(result, timing)
    encoded = result.encoded
    assert encoded is not None
    assert encoded in encode(response)
    assert json.loads(encode(response)) == {
        "messages": [
            {"id": "1", "data": "é", "ts": 2.5},
            {"id": "2", "data_base64": "/w==", "ts": 3.0},
            {"id": "3", "data": [1.0], "ts": 3.5},
        ],
        "cursor": "c",
        "code": "gap",
        "lost": 4,
        "retry_ms": 0,
        "wait": 1,
        "waited": 0.5,
    }
    encode_messages(result)
    assert result.encoded is encoded


def test_results_of_a_wait() -> None:
    """Each has its type, its key and whether it is ready; a gap is in it alone."""

    def shape(*args: Any) -> Any:
        return json.loads(encode(item_result(*args)))

    assert shape(EventItem("e"), EventState(ready=True)) == {
        "type": "event",
        "key": "e",
        "ready": True,
    }
    assert shape(GroupItem("g"), GroupState(ready=False, version=7)) == {
        "type": "group",
        "key": "g",
        "ready": False,
        "version": 7,
    }
    log = LogItem("k", "new", 1)
    nothing = {"type": "message", "key": "k", "ready": False, "messages": []}
    assert shape(log, ReadResult(Page((), "c"))) == {**nothing, "cursor": "c"}
    lost = ReadResult(Page((), "c", gap=True, lost=None))
    assert shape(log, lost) == {
        **nothing,
        "ready": True,
        "cursor": "c",
        "code": "gap",
        "lost": None,
    }
