"""Requests of /v1: read as documented, or refused with a sentence; never an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triopoll.api.openapi import schema_of
from triopoll.api.v1.schemas import (
    BadRequest,
    MessagesQuery,
    PublishItem,
    PublishQuery,
    WaitItem,
    WaitQuery,
    read_messages_query,
    read_publish,
    read_wait,
    read_wait_query,
)
from triopoll.asgi.query import BadQuery, parse_query
from triopoll.settings import Settings

SETTINGS = Settings(max_key_bytes=16, max_message_bytes=32)


def messages(query: str | bytes) -> MessagesQuery:
    raw = query.encode() if isinstance(query, str) else query
    return read_messages_query(parse_query(raw), SETTINGS)


def wait(shape: object) -> WaitQuery:
    return read_wait(json.dumps(shape).encode(), SETTINGS)


def publish(shape: object) -> tuple[PublishItem, ...]:
    return read_publish(json.dumps(shape).encode(), SETTINGS)


def test_messages() -> None:
    """Each parameter, and what it is if left out."""
    assert messages("key=k") == MessagesQuery(
        key="k", cursor="new", timeout=None, max=100
    )
    assert messages("key=%C3%A9+1&cursor=all&timeout=2.5&max=7") == MessagesQuery(
        key="é 1", cursor="all", timeout=2.5, max=7
    )
    assert messages("key=k&timeout=9000").timeout == SETTINGS.v1_max_timeout
    assert messages("key=k&timeout=1e3").timeout == SETTINGS.v1_max_timeout
    assert messages("key=k&timeout=0").timeout == 0
    assert messages("key=k&max=2.0").max == 2
    assert messages("_=17&_=18&ticket=a&session=b&key=k").key == "k"


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
        ("key=k&timeout=%D9%A3", "timeout is not a number"),
        ("key=k&timeout=" + "1" * 33, "timeout is not a number"),
        ("key=k&timeout=", "timeout is not a number"),
        ("key=k&max=0", "max is not an integer from 1 to 1000"),
        ("key=k&max=1001", "max is not an integer from 1 to 1000"),
        ("key=k&max=2.5", "max is not an integer from 1 to 1000"),
        ("key=k&max=1e3x", "max is not an integer from 1 to 1000"),
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
    expected = WaitQuery(
        items=(
            WaitItem(key="k"),
            WaitItem(key="k:2", cursor="all"),
            WaitItem(key="e", type="event"),
            WaitItem(key="f", type="event", default_type="set"),
            WaitItem(key="g", type="group"),
            WaitItem(key="h", type="group", version=2**64 - 1),
        ),
        timeout=3,
        max=5,
    )
    assert wait({"items": items, "timeout": 3, "max": 5}) == expected
    query = (
        "message=:k&message=all:k:2&event=:e&event=set:f&group=:g"
        f"&group={2**64 - 1}:h&timeout=3&max=5"
    )
    assert read_wait_query(parse_query(query.encode()), SETTINGS) == expected


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ([], "the body is not an object"),
        ({}, "the body lacks items"),
        ({"items": {}}, "items is not a list"),
        ({"items": []}, "items has not 1 to 50 items"),
        ({"items": [{"key": "k"}] * 51}, "items has not 1 to 50 items"),
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
        ("timeout=3", "items has not 1 to 50 items"),
        ("group=x:k", f"items[0].version is not an integer from 0 to {2**64 - 1}"),
        ("event=maybe:k", "items[0].default_type is not one of: clear, set"),
        ("message=all:", "items[0].key is empty"),
        ("key=k", "the query has an unknown field: 'key'"),
        ("&".join(["event=:k"] * 51), "items has not 1 to 50 items"),
    ],
)
def test_wait_queries_that_are_refused(query: str, sentence: str) -> None:
    """The sentence names the item and the field."""
    with pytest.raises(BadRequest) as caught:
        read_wait_query(parse_query(query.encode()), SETTINGS)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"\xff", "the body is not UTF-8"),
        ("\ufeff{}".encode(), "the body is not JSON"),
        (b"[" * 100_000, "the body is nested too deep"),
        (b'{"a":' * 100_000, "the body is nested too deep"),
        (b"9" * 100_000, "the body is not JSON"),
        (b'{"timeout":NaN}', "the body has NaN, which is not JSON"),
        (b'{"timeout":-Infinity}', "the body has -Infinity, which is not JSON"),
        (b'{"key":"a","key":"b"}', "an object in the body has a name twice"),
        (b'{"items":[{"key":"a"}],"timeout":1e999}', "timeout is not a number"),
    ],
)
def test_bodies_that_are_refused(body: bytes, sentence: str) -> None:
    """Whatever it is, it is a sentence, and takes no time."""
    with pytest.raises(BadRequest) as caught:
        read_wait(body, SETTINGS)
    assert str(caught.value) == sentence


def test_publish() -> None:
    """One item, or several; text, or bytes."""
    assert publish({"key": "k", "data": "é"}) == (
        PublishItem(key="k", data="é".encode()),
    )
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
    ) == (
        PublishItem(key="k", data_base64=b"\xff", id="7", ttl=60),
        PublishItem(key="e", type="event", ttl=0.5, default_type="set"),
        PublishItem(key="e", type="clear"),
        PublishItem(key="g", type="group"),
        PublishItem(key="k", data=b"", ttl=SETTINGS.log_max_ttl),
    )


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ("hello", "the body is not an object"),
        ({"key": "k"}, "the body has not one of data and data_base64"),
        (
            {"key": "k", "data": "", "data_base64": ""},
            "the body has not one of data and data_base64",
        ),
        ({"key": "k", "data": {"a": 1}}, "data is not a string"),
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
        ({"items": [{"key": "k"}] * 101}, "items has not 1 to 100 items"),
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


def test_schemas() -> None:
    """They are made from the fields."""
    schema = schema_of(WaitQuery)
    assert schema["required"] == ["items"]
    assert schema["properties"]["max"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 1000,
        "default": 100,
        "description": "Messages of a key that are returned at most.",
    }
    assert schema["properties"]["items"]["items"]["required"] == ["key"]
    json.dumps([schema, schema_of(PublishQuery), schema_of(MessagesQuery)])
