"""What operators may ask."""

from __future__ import annotations

from typing import Any

import pytest
from tests.triopoll.access.asking import ask

from triopoll.api.admin.decoding import (
    read_key_query,
    read_messages_query,
    read_test_message,
    read_waiters_query,
)
from triopoll.api.validation import BadRequest
from triopoll.settings import Settings

SETTINGS = Settings(max_key_bytes=8, max_message_bytes=4)


def test_queries() -> None:
    """With and without what may be left out."""
    asked: Any = ask(query={"key": "ключ"})
    assert read_key_query(asked, SETTINGS) == ("ключ",)
    assert read_waiters_query(asked, SETTINGS) == ("ключ", "", 0, 100)
    assert read_messages_query(asked, SETTINGS) == ("ключ", None, 20)
    asked = ask(query={"key": "k", "page": "3:200", "limit": "7"})
    assert read_waiters_query(asked, SETTINGS) == ("k", "3", 200, 7)
    asked = ask(query={"key": "k", "before": "0123abcd.17.00ff", "limit": "1"})
    assert read_messages_query(asked, SETTINGS) == ("k", 17, 1)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (b"", "key is empty"),
        (b"key=", "key is empty"),
        (b"key=a&key=b", "the query has key twice"),
        (b"key=%ff", "key is not UTF-8"),
        (b"key=123456789", "key is longer than 8 bytes"),
        (b"key=a&other=b", "the query has an unknown field: 'other'"),
        (b"key=a&page=x", "page is not one from an answer"),
        (b"key=a&page=-1:2", "page is not one from an answer"),
        (b"key=a&limit=0", "limit is not from 1 to 100"),
        (b"key=a&limit=101", "limit is not from 1 to 100"),
        (b"key=a&limit=many", "limit is not a whole number"),
        (b"key=a&limit=999999999999", "limit is not a whole number"),
    ],
)
def test_queries_that_are_refused(query: bytes, message: str) -> None:
    """With a sentence that names what is wrong."""
    with pytest.raises(BadRequest) as caught:
        read_waiters_query(ask(query=query), SETTINGS)
    assert str(caught.value) == message


def test_a_message_to_begin_before() -> None:
    """It is named by its id."""
    with pytest.raises(BadRequest, match="before is not the id of a message"):
        read_messages_query(ask(query=b"key=a&before=7"), SETTINGS)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the body is not JSON"),
        (b"{}", "the body lacks key"),
        (b'{"key":"","data":""}', "key is empty"),
        (b'{"key":"a","data":1}', "data is not a string"),
        (b'{"key":"a","data":"","x":1}', "the body has an unknown field: 'x'"),
        (b'{"key":"123456789","data":""}', "key is longer than 8 bytes"),
        (b'{"key":"a","data":"12345"}', "data is longer than 4 bytes"),
    ],
)
def test_messages_that_are_refused(body: bytes, message: str) -> None:
    """With a sentence that names what is wrong."""
    with pytest.raises(BadRequest) as caught:
        read_test_message(body, SETTINGS)
    assert str(caught.value) == message


def test_a_message() -> None:
    """Text for a key."""
    message = read_test_message(b'{"key":"a","data":"hi"}', SETTINGS)
    assert (message.key, message.data) == ("a", "hi")
