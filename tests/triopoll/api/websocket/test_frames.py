"""Clients' frames: what is documented is read, everything else gets a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triopoll.api.validation import BadRequest
from triopoll.api.websocket.frames import (
    AckGroup,
    AckLog,
    FrameLimits,
    Ping,
    Pong,
    Subscribe,
    Unsubscribe,
    read_frame,
)
from triopoll.core.wait_items import EventItem, GroupItem, LogItem
from triopoll.store import BadCursor

LIMITS = FrameLimits(max_key_bytes=8, max_items=3)
CURSOR = "0badcafe.17.00ff"
WORDS = [
    *("type", "subscribe", "unsubscribe", "ack", "ping", "pong", "messages", "events"),
    *("groups", "group", "key", "cursor", "version", "max", "default_type", "new"),
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([*WORDS, CURSOR, "\ud800"])
    | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
    ),
    max_leaves=20,
)


def read(**shape: Any) -> object:
    return read_frame(json.dumps(shape), LIMITS)


def test_every_frame() -> None:
    """With everything that it may have, and with as little as it may have."""
    assert read(
        type="subscribe",
        messages=[{"key": "a", "cursor": CURSOR, "max": 7}, {"key": "b"}],
        events=[{"key": "a", "default_type": "set"}, {"key": "grüße"}],
        groups=[{"key": "a", "version": 2**62}, {"key": "b"}],
    ) == Subscribe(
        (
            LogItem("a", CURSOR, 7),
            LogItem("b", "new", 100),
            EventItem("a", "set"),
            EventItem("grüße", "clear"),
            GroupItem("a", 2**62),
            GroupItem("b"),
        )
    )
    assert read(type="unsubscribe", messages=["a"], events=["b"]) == Unsubscribe(
        ("a",), ("b",), ()
    )
    assert read(type="ack", key="a", cursor=CURSOR) == AckLog("a", CURSOR)
    assert read(type="ack", group="a", version=0) == AckGroup("a", 0)
    assert read(type="ping") == Ping()
    assert read(type="pong") == Pong()


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ({}, "type must be one of"),
        ({"type": ["ack"]}, "type must be one of"),
        ({"type": "ping", "x": 1}, "unknown field: 'x'"),
        ({"type": "subscribe"}, "nothing to subscribe to"),
        ({"type": "subscribe", "messages": {}}, "messages is not a list"),
        ({"type": "subscribe", "messages": ["a"]}, r"messages\[0\] is not an object"),
        ({"type": "subscribe", "messages": [{}]}, r"messages\[0\] lacks key"),
        ({"type": "subscribe", "messages": [{"key": "a"}] * 4}, "more than 3 items"),
        ({"type": "unsubscribe", "messages": ["a"] * 4}, "more than 3 items"),
        ({"type": "unsubscribe", "groups": ["123456789"]}, "groups is longer than 8"),
        ({"type": "ack", "key": "123456789", "cursor": CURSOR}, "key is longer than 8"),
        ({"type": "ack", "group": "123456789", "version": 1}, "group is longer than 8"),
        ({"type": "subscribe", "events": [{"key": "123456789"}]}, "longer than 8"),
        (
            {"type": "subscribe", "events": [{"key": "a", "max": 1}]},
            "unknown field: 'max'",
        ),
        (
            {"type": "subscribe", "events": [{"key": "\ud800"}]},
            r"events\[0\].key has a surr",
        ),
        (
            {"type": "subscribe", "events": [{"key": "a", "default_type": 1}]},
            "is not one of: clear, set",
        ),
        ({"type": "subscribe", "groups": [{"key": "a", "version": -1}]}, "from 0 to"),
        (
            {"type": "subscribe", "groups": [{"key": "a", "version": True}]},
            "version is not an integer",
        ),
        ({"type": "ack", "key": "a"}, "the frame lacks cursor"),
        ({"type": "ack", "key": "a", "cursor": "x"}, "the cursor must be"),
        ({"type": "ack", "key": "a", "cursor": 7}, "cursor is not a string"),
        (
            {"type": "subscribe", "messages": [{"key": "a", "max": 1001}]},
            "is above 1000",
        ),
        ({"type": "ack", "group": "a"}, "the frame lacks version"),
        ({"type": "unsubscribe", "messages": [""]}, r"messages\[0\] is empty"),
    ],
)
def test_what_is_wrong_is_said(shape: Any, sentence: str) -> None:
    """In one sentence that names the field."""
    with pytest.raises((BadRequest, BadCursor), match=sentence):
        read(**shape)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "1", "NaN", '{"type": NaN}', "[" * 50_000, "9" * 5000, "\ud800", "{"],
)
def test_what_is_no_object_is_no_frame(text: str) -> None:
    """However deep or long."""
    with pytest.raises(BadRequest):
        read_frame(text, LIMITS)


def test_a_name_may_not_come_twice() -> None:
    """As in a request over HTTP."""
    with pytest.raises(BadRequest, match=r"^the frame has 'type' twice$"):
        read_frame('{"type":"ping","type":"pong"}', LIMITS)


@pytest.mark.slow
@given(JSON)
def test_any_json_is_a_frame_or_a_sentence(shape: Any) -> None:
    """Nothing else is raised, and what is read keeps to the limits."""
    try:
        frame = read_frame(json.dumps(shape), LIMITS)
    except (BadRequest, BadCursor) as error:
        sentence = str(error)
    else:
        sentence = "."
    assert 0 < len(sentence) < 200
    if sentence != ".":
        return
    if isinstance(frame, Subscribe):
        assert 0 < len(frame.items) <= 9
        assert all(len(item.key.encode()) <= 8 for item in frame.items)


@pytest.mark.parametrize("list_name", ["messages", "events", "groups"])
def test_the_services_own_keys_are_reserved(list_name: str) -> None:
    """A websocket names no lock that senders to a group take."""
    key = "polling:group:message:g"
    for shape in (
        {"type": "subscribe", list_name: [{"key": key}]},
        {"type": "unsubscribe", list_name: [key]},
    ):
        with pytest.raises(BadRequest, match=f"{list_name} is a name that is reserved"):
            read_frame(json.dumps(shape), FrameLimits())
