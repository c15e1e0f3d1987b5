"""The interpretation of answers, malicious ones included."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triopoll.client._errors import Refused, ServerBusy, UnexpectedResponse
from triopoll.client._responses import (
    Gap,
    HttpResponse,
    Message,
    MessagePage,
    page_from,
    read_response,
    retry_after,
    shorten,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "cursor",
                    "code",
                    "lost",
                    "retry_ms",
                    "wait",
                    "id",
                    "data",
                    "data_base64",
                    "ts",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


def test_a_page_with_everything() -> None:
    """Text, bytes, a gap, and the time of the next request."""
    shape = {
        "messages": [
            {"id": "a", "data": "grüße", "ts": 1},
            {"id": "b", "data_base64": "/wA=", "ts": 2.5},
        ],
        "cursor": "b",
        "code": "gap",
        "lost": 3,
        "retry_ms": 1500,
        "wait": 24.5,
        "waited": 1,
    }
    messages = (Message("a", "grüße".encode(), 1.0), Message("b", b"\xff\0", 2.5))
    assert page_from(shape) == MessagePage(messages, "b", Gap(3), 1.5, 24.5)
    assert messages[0].text == "grüße"
    with pytest.raises(UnicodeDecodeError):
        _ = messages[1].text


def test_what_was_published() -> None:
    """A string is a str, other bytes are bytes, any other value is that value."""
    shape = {
        "messages": [
            {"id": "a", "data": "[1]", "ts": 1},
            {"id": "b", "data_base64": "/wA=", "ts": 1},
            {"id": "c", "data": {"b": 1.5, "a": ["grüße", None]}, "ts": 1},
            {"id": "d", "data": None, "ts": 1},
        ],
        "cursor": "d",
    }
    messages = page_from(shape).messages
    assert [message.value for message in messages] == [
        "[1]",
        b"\xff\0",
        {"b": 1.5, "a": ["grüße", None]},
        None,
    ]
    assert [message.is_json for message in messages] == [False, False, True, True]
    # The text and the bytes of a value are its JSON.
    assert messages[2].text == '{"b":1.5,"a":["grüße",null]}'
    assert (messages[3].data, messages[0].data) == (b"null", b"[1]")


@pytest.mark.parametrize("data", [float("nan"), [float("inf")], {"a": "\ud800"}])
def test_a_value_that_the_server_does_not_send(data: Any) -> None:
    """The server refuses such values, so the response is not the server's."""
    shape = {"messages": [{"id": "a", "data": data, "ts": 1}], "cursor": "a"}
    with pytest.raises(UnexpectedResponse):
        page_from(shape)


@pytest.mark.slow
@given(JSON)
def test_any_json_is_a_page_or_not_ours(shape: Any) -> None:
    """Any JSON is a valid page or UnexpectedResponse; no other error is raised."""
    body = json.dumps(shape).encode()
    try:
        page = page_from(read_response(HttpResponse(200, {}, body)))
    except UnexpectedResponse:
        return
    assert 0 <= page.retry <= 3600
    assert page.end_code != "timeout"


@given(st.binary(max_size=50), st.integers(100, 999))
def test_any_answer_of_a_stranger_is_not_ours(body: bytes, status: int) -> None:
    """Bytes that are no page are final by their status, or may be temporary."""
    is_final = 300 <= status < 500 and status not in (408, 425, 429)
    with pytest.raises(Refused if is_final else UnexpectedResponse):
        page_from(read_response(HttpResponse(status, {}, body)))


@pytest.mark.parametrize(
    ("status", "kind", "foreign"),
    [
        (302, Refused, Refused),
        (400, Refused, Refused),
        (403, Refused, Refused),
        (408, ServerBusy, UnexpectedResponse),
        (425, ServerBusy, UnexpectedResponse),
        (429, ServerBusy, UnexpectedResponse),
        (500, ServerBusy, UnexpectedResponse),
        (501, Refused, UnexpectedResponse),
        (511, Refused, UnexpectedResponse),
    ],
)
def test_what_a_status_means(
    status: int, kind: type[Exception], foreign: type[Exception]
) -> None:
    """Errors have the server's format; others come from another program."""
    body = json.dumps({"code": "c", "message": "m"}).encode()
    with pytest.raises(kind):
        read_response(HttpResponse(status, {}, body))
    with pytest.raises(foreign):
        read_response(HttpResponse(status, {}, b"{}"))


def test_a_proxy_may_say_when_to_ask_again() -> None:
    """Its Retry-After counts as the server's does."""
    with pytest.raises(UnexpectedResponse) as caught:
        read_response(HttpResponse(503, {b"retry-after": b"7"}, b"<h1>503</h1>"))
    assert caught.value.retry == 7


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("", ""),
        (" a\r\n\tb ", "a b"),
        ("\x1b[2J\0", "\ufffd[2J\ufffd"),
        ("x" * 10**6, "x" * 200 + "..."),
    ],
)
def test_a_text_of_the_network_is_a_short_part_of_one_line(
    text: str, short: str
) -> None:
    """It writes no line of its own into a log, and no commands to a terminal."""
    assert shorten(text) == short


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        (b"7", 7),
        (b"-7", 0),
        (b"999999999999999999999", 3600),
        (b"nan", 0),
        (b"soon", 0),
        (b"Thu, 01 Jan 1970 00:02:00 GMT", 20),
        (b"Thu, 99 Jan 1970 00:02:00 GMT", 0),
    ],
)
def test_retry_after(value: bytes | None, seconds: float) -> None:
    """Seconds or a date, within bounds."""
    assert retry_after(value, 100.0) == seconds


def test_a_date_needs_a_clock() -> None:
    """Without a Date header a date is ignored."""
    assert retry_after(b"Thu, 01 Jan 1970 00:02:00 GMT") == 0
