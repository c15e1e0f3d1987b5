"""Requests of /v1: read as documented, or refused with a sentence; never an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triopoll.api.v1.decoding import (
    WaitRequest,
    read_messages_query,
    read_publish,
    read_wait,
    read_wait_query,
)
from triopoll.api.validation import BadRequest
from triopoll.asgi.query import BadQuery, parse_query
from triopoll.core.publisher import ClearEvent, Draft, SetEvent, WakeGroup
from triopoll.core.wait_items import EventItem, GroupItem, LogItem
from triopoll.settings import Settings
from triopoll.store import DelayedMessage, NewMessage

SETTINGS = Settings(max_key_bytes=16, max_message_bytes=32)


def messages(query: str | bytes) -> WaitRequest:
    raw = query.encode() if isinstance(query, str) else query
    return read_messages_query(parse_query(raw), SETTINGS)


def wait(shape: object) -> WaitRequest:
    return read_wait(json.dumps(shape).encode(), SETTINGS)


def wait_query(query: str) -> WaitRequest:
    return read_wait_query(parse_query(query.encode()), SETTINGS)


def publish(shape: object) -> list[Draft]:
    return read_publish(json.dumps(shape).encode(), SETTINGS)


def publish_data(text: str, settings: Settings = SETTINGS) -> NewMessage:
    """Publish a message whose data is this JSON text."""
    body = b'{"key":"k","data":%b}' % text.encode()
    (draft,) = read_publish(body, settings)
    assert isinstance(draft, NewMessage)
    return draft


def test_messages() -> None:
    """Each parameter, and what it is if left out."""
    assert messages("key=k") == WaitRequest([LogItem("k", "new", 100)], timeout=None)
    query = "key=%C3%A9+1&cursor=all&timeout=2.5&max=7"
    assert messages(query) == WaitRequest([LogItem("é 1", "all", 7)], timeout=2.5)
    assert messages("key=k&timeout=9000").timeout == SETTINGS.v1_max_timeout
    assert messages("key=k&timeout=0").timeout == 0
    assert messages("key=k&timeout=.5").timeout == 0.5
    assert messages("key=k&timeout=1e-3").timeout == 0.001
    assert messages("key=k&timeout=1e3").timeout == SETTINGS.v1_max_timeout
    assert messages("key=k&max=2.0").items == [LogItem("k", "new", 2)]
    live = messages("key=k&live=sse&max=7")
    assert live == WaitRequest((LogItem("k", "new", 7),), timeout=None, is_live=True)
    assert messages("key=k&live=sse&timeout=9000").timeout == SETTINGS.sse_lifetime
    assert messages("_=17&_=18&ticket=a&session=b&key=k").items[0].key == "k"


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("", "the query lacks key"),
        ("key=", "key is empty"),
        ("key=12345678901234567", "key is longer than 16 bytes"),
        ("key=k&key=k", "key is given more than once"),
        (b"key=%ff", "the query is not UTF-8"),
        (b"key=\xff", "the query is not UTF-8"),
        ("key=k&limit=7", "the query has an unknown field: 'limit'"),
        ("key=k&cursor=", "cursor is empty"),
        ("key=k&cursor=" + "1" * 65, "cursor is longer than 64 bytes"),
        ("key=k&timeout=-1", "timeout is not a number"),
        ("key=k&timeout=nan", "timeout is not a number"),
        ("key=k&timeout=1_0", "timeout is not a number"),
        ("key=k&timeout=%2B1", "timeout is not a number"),
        ("key=k&timeout=%D9%A3", "timeout is not a number"),
        ("key=k&timeout=" + "1" * 33, "timeout is not a number"),
        ("key=k&timeout=", "timeout is not a number"),
        ("key=k&max=0", "max is not an integer from 1 to 1000"),
        ("key=k&max=1001", "max is not an integer from 1 to 1000"),
        ("key=k&max=2.5", "max is not an integer from 1 to 1000"),
        ("key=k&max=1e3x", "max is not an integer from 1 to 1000"),
        ("key=k&live=1", "live is not one of: sse"),
        ("key=k&timeout=1e999", "timeout is not a number"),
        ("&".join(["a"] * 200), "the query has more than 100 fields"),
    ],
)
def test_messages_that_are_refused(query: str | bytes, sentence: str) -> None:
    """The sentence names what is wrong."""
    with pytest.raises((BadRequest, BadQuery)) as caught:
        messages(query)
    assert str(caught.value) == sentence


def test_wait() -> None:
    """The same request as JSON and as a query."""
    items = [
        {"key": "k"},
        {"key": "k:2", "type": "message", "cursor": "all"},
        {"key": "e", "type": "event"},
        {"key": "f", "type": "event", "default_type": "set"},
        {"key": "g", "type": "group"},
        {"key": "h", "type": "group", "version": 2**64 - 1},
    ]
    expected = WaitRequest(
        items=[
            LogItem("k", "new", 5),
            LogItem("k:2", "all", 5),
            EventItem("e", "clear"),
            EventItem("f", "set"),
            GroupItem("g", None),
            GroupItem("h", 2**64 - 1),
        ],
        timeout=3,
    )
    assert wait({"items": items, "timeout": 3, "max": 5}) == expected
    query = (
        "message=:k&message=all:k:2&event=:e&event=set:f&group=:g"
        f"&group={2**64 - 1}:h&timeout=3&max=5"
    )
    assert wait_query(query) == expected


def test_the_order_of_items_in_a_query() -> None:
    """It is kept across types: results are returned in it."""
    items = wait_query("group=:g&message=:a&event=:e&message=:b").items
    assert [item.key for item in items] == ["g", "a", "e", "b"]


def test_integers_in_json() -> None:
    """JSON has one kind of number, so 2.0 is 2."""
    request = wait({"items": [{"key": "g", "type": "group", "version": 2.0}]})
    assert request.items == [GroupItem("g", 2)]
    request = wait({"items": [{"key": "k"}], "max": 7.0, "timeout": 0})
    assert request == WaitRequest([LogItem("k", "new", 7)], timeout=0)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ([], "the body is not an object"),
        ({}, "the body lacks items"),
        ({"items": {}}, "items is not a list"),
        ({"items": []}, "items is empty"),
        ({"items": [{"key": "k"}] * 51}, "items has more than 50 items"),
        ({"items": ["k"]}, "items[0] is not an object"),
        ({"items": [{"key": "k"}, {}]}, "items[1] lacks key"),
        ({"items": [{"key": 7}]}, "items[0].key is not a string"),
        ({"items": [{"key": None}]}, "items[0].key is not a string"),
        (
            {"items": [{"key": "\ud800"}]},
            "items[0].key has a surrogate that stands alone",
        ),
        (
            {"items": [{"key": "k", "type": "list"}]},
            "items[0].type is not one of: message, event, group",
        ),
        (
            {"items": [{"key": "k", "type": ["event"]}]},
            "items[0].type is not one of: message, event, group",
        ),
        (
            {"items": [{"key": "k", "version": 1}]},
            "items[0] of type message has no version",
        ),
        (
            {"items": [{"key": "k", "type": "event", "cursor": "new"}]},
            "items[0] of type event has no cursor",
        ),
        (
            {"items": [{"key": "k", "type": "group", "version": 2**64}]},
            f"items[0].version is not an integer from 0 to {2**64 - 1}",
        ),
        (
            {"items": [{"key": "k", "type": "group", "version": True}]},
            f"items[0].version is not an integer from 0 to {2**64 - 1}",
        ),
        (
            {"items": [{"key": "k", "type": "group", "version": 1.5}]},
            f"items[0].version is not an integer from 0 to {2**64 - 1}",
        ),
        (
            {"items": [{"key": "k", "kind": "x"}]},
            "items[0] has an unknown field: 'kind'",
        ),
        ({"items": [{"key": "k"}], "timeout": "3"}, "timeout is not a number"),
        ({"items": [{"key": "k"}], "timeout": True}, "timeout is not a number"),
        ({"items": [{"key": "k"}], "timeout": 10**400}, "timeout is not a number"),
        ({"items": [{"key": "k"}], "timeout": -0.5}, "timeout is below 0"),
        ({"items": [{"key": "k"}], "max": "7"}, "max is not an integer from 1 to 1000"),
        ({"items": [{"key": "k", "cursor": None}]}, "items[0].cursor is not a string"),
        (
            {"items": [{"key": "k", "cursor": "é" * 33}]},
            "items[0].cursor is longer than 64 bytes",
        ),
        ({"items": [{"key": "é" * 9}]}, "items[0].key is longer than 16 bytes"),
        (
            {"items": [{"key": "k"}], "max": None},
            "max is not an integer from 1 to 1000",
        ),
    ],
)
def test_waits_that_are_refused(shape: object, sentence: str) -> None:
    """The sentence names the item and the field."""
    with pytest.raises(BadRequest) as caught:
        wait(shape)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("message=k", "message has no colon before the key"),
        ("timeout=3", "the query lacks message, event or group"),
        ("group=x:k", f"items[0].version is not an integer from 0 to {2**64 - 1}"),
        ("event=maybe:k", "items[0].default_type is not one of: clear, set"),
        ("message=all:", "items[0].key is empty"),
        ("key=k", "the query has an unknown field: 'key'"),
        ("&".join(["event=:k"] * 51), "the query has more than 50 items"),
        ("group=1e-3:k", f"items[0].version is not an integer from 0 to {2**64 - 1}"),
    ],
)
def test_wait_queries_that_are_refused(query: str, sentence: str) -> None:
    """The sentence names the item and the field."""
    with pytest.raises(BadRequest) as caught:
        wait_query(query)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"\xff", "the body is not UTF-8"),
        ("\ufeff{}".encode(), "the body is not JSON"),
        (b"[" * 100_000, "the body is not an object"),
        (b'{"a":' * 100_000, "the body is nested too deep"),
        (b'{"items":' + b"[" * 100_000, "the body is nested too deep"),
        (b"9" * 100_000, "the body is not an object"),
        (b'{"timeout":NaN}', "the body has NaN, which is not JSON"),
        (b'{"timeout":-Infinity}', "the body has -Infinity, which is not JSON"),
        (b'{"key":"a","key":"b"}', "the body has 'key' twice"),
        (b'{"key":"a","\\u006bey":"b"}', "the body has 'key' twice"),
        (b'{"items":[{"key":"a","key":"a"}]}', "items[0] has 'key' twice"),
        (
            b'{"items":[{"key":"\\ud800"}]}',
            "items[0].key has a surrogate that stands alone",
        ),
        (b'{"items":[{"key":"\xff"}]}', "the body is not UTF-8"),
        (b'{"items":[{"key":"a"}]} {}', "the body is not JSON"),
        (b'{"items":[{"key":"a"}],"timeout":1e999}', "timeout is not a number"),
    ],
)
def test_bodies_that_are_refused(body: bytes, sentence: str) -> None:
    """Whatever it is, it is a sentence, and takes no time."""
    with pytest.raises(BadRequest) as caught:
        read_wait(body, SETTINGS)
    assert str(caught.value) == sentence


def test_messages_that_are_due_later() -> None:
    """By seconds or by a time with its zone; one that is due is not delayed."""
    for not_before, when, is_relative in (
        (0.5, 0.5, True),
        (604_800, 604_800, True),
        (f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:00:00Z}", None, False),
    ):
        shape = {"key": "k", "data": "x", "id": "a", "not_before": not_before}
        (draft,) = publish(shape)
        assert isinstance(draft, DelayedMessage)
        assert draft.message == NewMessage("k", b"x", "a")
        assert draft.is_relative is is_relative
        assert when is None or draft.not_before == when
    zone = {"key": "k", "data": "x", "not_before": "2099-01-01T01:00:00.5+01:00"}
    settings = replace(SETTINGS, max_delay=10**10)
    (draft,) = read_publish(json.dumps(zone).encode(), settings)
    assert isinstance(draft, DelayedMessage)
    assert draft.not_before == 4_070_908_800.5
    assert len(draft.name) == 16
    for due in (0, "2000-01-01T00:00:00Z"):
        assert publish({"key": "k", "data": "x", "not_before": due}) == [
            NewMessage("k", b"x")
        ]
    settings = replace(SETTINGS, max_delay=0)
    with pytest.raises(BadRequest, match="messages cannot be delayed here"):
        read_publish(b'{"key":"k","data":1,"not_before":1}', settings)


def test_publish() -> None:
    """One item, or several; text, or bytes."""
    assert publish({"key": "k", "data": "é"}) == [NewMessage("k", "é".encode())]
    assert publish(
        {
            "items": [
                {"key": "k", "data_base64": "/w==", "id": "7", "ttl": 60},
                {"key": "e", "type": "event", "ttl": 0.5, "default_type": "set"},
                {"key": "e", "type": "clear"},
                {"key": "g", "type": "group"},
                {"key": "k", "data": "", "ttl": 1e9},
            ]
        }
    ) == [
        NewMessage("k", b"\xff", id="7", ttl=60),
        SetEvent("e", "set", 0.5),
        ClearEvent("e", "clear", 120),
        WakeGroup("g"),
        NewMessage("k", b"", ttl=SETTINGS.log_max_ttl),
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("null", "true", "false", "0", "-0", "1.50", "1E5", "0.1e-400", "[]", "{}"),
        *(
            '[1, 2.0,\n "a"]',
            '{"b":1, "a":{"b":2}}',
            '{"a":1,"a":2}',
            "12345678901234567890",
        ),
        *('["\\u0000\\/"]', '["\\ud83d\\ude00"]', '{"é":"\\u00e9"}'),
    ],
)
def test_any_json_value_is_a_message(text: str) -> None:
    """It is kept as it was sent: digits, order, space and escapes."""
    message = publish_data(text)
    assert (message.data, message.is_json) == (text.encode(), True)


def test_strings_are_kept_as_their_characters() -> None:
    """Whatever their escapes, as before other values could be sent."""
    for text, data in (
        ('"a"', b"a"),
        ('"\\u00e9\\n\\/"', "é\n/".encode()),
        ('"\\ud83d\\ude00"', "😀".encode()),
        ('"[1]"', b"[1]"),
    ):
        message = publish_data(text)
        assert (message.data, message.is_json) == (data, False)


def test_space_around_a_value_is_no_part_of_it() -> None:
    """What follows the colon and comes before the comma is dropped."""
    assert publish_data(" \n [1 ]\t").data == b"[1 ]"


ROOMY = Settings(max_message_bytes=2**20)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('"\\udfff"', "data has a surrogate that stands alone"),
        ('{"a":["\\udfff"]}', "data.a[0] has a surrogate that stands alone"),
        ('{"\\udfff":1}', "data has a surrogate that stands alone"),
        ("1e999", "data has a number that is out of range"),
        ("[-1e999]", "data has a number that is out of range"),
        ("9" * 5000, "data has a number that is out of range"),
        ("[" * 129 + "]" * 129, "data is nested deeper than 128 levels"),
        ('{"a":' * 129 + "1" + "}" * 129, "data is nested deeper than 128 levels"),
        ("[" * 20_000 + "]" * 20_000, "the body is nested too deep"),
        ("NaN", "the body has NaN, which is not JSON"),
        ("[Infinity]", "the body has Infinity, which is not JSON"),
        ("01", "the body is not JSON"),
        ("tru", "the body is not JSON"),
        ("'a'", "the body is not JSON"),
        ("[1,]", "the body is not JSON"),
        ('"a\nb"', "the body is not JSON"),
        ("", "the body is not JSON"),
    ],
)
def test_values_that_some_parsers_refuse(text: str, sentence: str) -> None:
    """They are refused: a message must be JSON for every reader."""
    with pytest.raises(BadRequest) as caught:
        publish_data(text, ROOMY)
    assert str(caught.value) == sentence


def test_values_at_the_limits() -> None:
    """Depth, digits, and brackets that are only text."""
    for text in (
        "[" * 128 + "]" * 128,
        "9" * 4300,
        json.dumps(["[{" * 200, '\\"[' * 200]),
        json.dumps([[1]] * 200),
    ):
        assert publish_data(text, ROOMY).data == text.encode()
        json.loads(text)


def test_a_value_is_bounded_by_the_bytes_of_its_text() -> None:
    """A string by its characters in UTF-8, another value as it was sent."""
    assert publish_data('"' + "x" * 32 + '"').data == b"x" * 32
    assert publish_data("[" + " " * 30 + "]").data == b"[" + b" " * 30 + b"]"
    with pytest.raises(BadRequest, match=r"^data is longer than 32 bytes$"):
        publish_data("[" + " " * 31 + "]")


JSON_TEXTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@pytest.mark.slow
@given(JSON_TEXTS, st.booleans(), st.sampled_from([None, 1]))
def test_values_come_back_equal(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    """For Python's reader, however they were written."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    message = publish_data(text, ROOMY)
    read = json.loads(message.data) if message.is_json else message.data.decode()
    assert read == value
    assert message.is_json is not isinstance(value, str)


@pytest.mark.slow
@given(st.text(alphabet='[]{}",:0123456789.eE+-\\ud80aftrnlsNI \n\x00é', max_size=40))
def test_what_is_stored_is_json_for_python(text: str) -> None:
    """msgspec and Python's json agree on what JSON is, where a value is accepted."""
    try:
        message = publish_data(text, ROOMY)
    except BadRequest:
        return
    if message.is_json:
        json.loads(message.data)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ("hello", "the body is not an object"),
        ({"key": "k"}, "the body has not one of data and data_base64"),
        (
            {"key": "k", "data": "", "data_base64": ""},
            "the body has not one of data and data_base64",
        ),
        ({"key": "k", "data_base64": {"a": 1}}, "data_base64 is not a string"),
        ({"key": "k", "data": "x" * 33}, "data is longer than 32 bytes"),
        ({"key": "k", "data": "\udfff"}, "data has a surrogate that stands alone"),
        ({"key": "k", "data_base64": "/w="}, "data_base64 is not base64"),
        ({"key": "k", "data_base64": "é"}, "data_base64 is not base64"),
        ({"key": "k", "data": "", "id": ""}, "id is empty"),
        ({"key": "k", "data": "", "id": "x" * 129}, "id is longer than 128 bytes"),
        ({"key": "k", "data": "", "ttl": 0}, "ttl is not above 0"),
        ({"key": "k", "data": "", "ttl": -1e9}, "ttl is not above 0"),
        (
            {"key": "k", "type": "event", "data": ""},
            "the body of type event has no data",
        ),
        ({"key": "k", "type": "group", "ttl": 1}, "the body of type group has no ttl"),
        ({"items": [], "key": "k"}, "the body has an unknown field: 'key'"),
        *(
            (
                {"key": "k", "data": "", "not_before": value},
                "not_before is neither seconds nor a time in ISO 8601 with its zone",
            )
            for value in ("x", "2027-01-01T09:00:00", None, True, "20270101T090000Z")
        ),
        ({"key": "k", "data": "", "not_before": -1}, "not_before is below 0"),
        (
            {"key": "k", "data": "", "not_before": 604_801},
            "not_before is more than 604800 seconds from now",
        ),
        (
            {"items": [{"key": "k", "data": "", "not_before": "2999-01-01T00:00:00Z"}]},
            "items[0].not_before is more than 604800 seconds from now",
        ),
        (
            {"key": "k", "type": "event", "not_before": 1},
            "the body of type event has no not_before",
        ),
        ({"items": [{"key": "k"}] * 101}, "items has more than 100 items"),
        ({"items": [{"key": "k"}]}, "items[0] has not one of data and data_base64"),
    ],
)
def test_publishes_that_are_refused(shape: object, sentence: str) -> None:
    """The sentence names the item and the field."""
    with pytest.raises(BadRequest) as caught:
        publish(shape)
    assert str(caught.value) == sentence


READERS: list[Callable[[bytes, Settings], object]] = [
    lambda raw, settings: read_messages_query(parse_query(raw), settings),
    lambda raw, settings: read_wait_query(parse_query(raw), settings),
    read_wait,
    read_publish,
]


@pytest.mark.slow
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: quote(t).encode()))
def test_any_bytes(raw: bytes) -> None:
    """They are read, or refused with a sentence."""
    for read in READERS:
        try:
            read(raw, SETTINGS)
        except (BadRequest, BadQuery) as error:
            str(error).encode()


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["items", "key", "type", "data", "id", "cursor", "max"])
            | st.text(),
            inner,
        )
    ),
    max_leaves=12,
)


@pytest.mark.slow
@given(JSON)
def test_any_json(shape: Any) -> None:
    """It is read, or refused with a sentence."""
    for read in (wait, publish):
        try:
            read(shape)
        except (BadRequest, BadQuery) as error:
            str(error).encode()
