"""From the requests of operators to typed values."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from msgspec import Meta

from ...asgi.messages import Request
from ...asgi.query import is_utf8
from ...settings import Settings
from ...store import BadCursor, parse_cursor
from ..validation import (
    MALFORMED,
    BadRequest,
    StrictStruct,
    check_key,
    check_length,
    decode,
    decoder_of,
    explain_malformed,
)

__all__ = [
    "KeyQuery",
    "MessagesQuery",
    "TestMessage",
    "WaitersQuery",
    "read_key_query",
    "read_messages_query",
    "read_test_message",
    "read_waiters_query",
]

# Waiters and messages of a page.
_MAX_WAITERS, _MAX_MESSAGES = 100, 20
_PAGE = re.compile(r"(?P<worker>[0-9]{1,9}):(?P<offset>[0-9]{1,9})", re.ASCII)


class KeyQuery(NamedTuple):
    """A question about one key."""

    key: str


class WaitersQuery(NamedTuple):
    """A question for a page of waiters.

    Attributes:
        key: What they wait for.
        worker: The worker to ask; "" for the first.
        offset: Its waiters that are left out.
        limit: How many are returned at most.
    """

    key: str
    worker: str
    offset: int
    limit: int


class MessagesQuery(NamedTuple):
    """A question for a page of messages.

    Attributes:
        key: The log.
        before: The number of a message: older ones are returned; None for the newest.
        limit: How many are returned at most.
    """

    key: str
    before: int | None
    limit: int


class TestMessage(StrictStruct):
    """A message that an operator publishes."""

    # It is no test of pytest.
    __test__ = False

    key: Annotated[str, Meta(min_length=1)]
    data: str


_TEST_MESSAGES = decoder_of(TestMessage)


def read_key_query(request: Request, settings: Settings) -> KeyQuery:
    """Read ``?key=``.

    Raises:
        BadRequest: The query has another shape.
    """
    return KeyQuery(_key(_fields(request, ("key",)), settings))


def read_waiters_query(request: Request, settings: Settings) -> WaitersQuery:
    """Read ``?key=&page=&limit=``.

    Raises:
        BadRequest: The query has another shape.
    """
    given = _fields(request, ("key", "page", "limit"))
    worker, offset = "", 0
    if text := given.get("page", ""):
        match = _PAGE.fullmatch(text)
        if match is None:
            raise BadRequest("page is not one from an answer")
        worker, offset = match["worker"], int(match["offset"])
    return WaitersQuery(
        _key(given, settings), worker, offset, _limit(given, _MAX_WAITERS)
    )


def read_messages_query(request: Request, settings: Settings) -> MessagesQuery:
    """Read ``?key=&before=&limit=``.

    Raises:
        BadRequest: The query has another shape.
    """
    given = _fields(request, ("key", "before", "limit"))
    before = None
    if text := given.get("before", ""):
        try:
            before = parse_cursor(text).n
        except BadCursor:
            raise BadRequest("before is not the id of a message") from None
    return MessagesQuery(_key(given, settings), before, _limit(given, _MAX_MESSAGES))


def read_test_message(body: bytes, settings: Settings) -> TestMessage:
    """Read the body of a test message.

    Raises:
        BadRequest: It has another shape.
    """
    try:
        message = decode(_TEST_MESSAGES, body, "the body")
    except MALFORMED:
        raise BadRequest(explain_malformed(body)) from None
    check_key(message.key, settings.max_key_bytes, "the body", "key")
    check_length(message.data, settings.max_message_bytes, "the body", "data")
    return message


def _fields(request: Request, names: tuple[str, ...]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in request.parameters.pairs:
        if name not in names:
            raise BadRequest(f"the query has an unknown field: {name[:40]!r}")
        if name in given:
            raise BadRequest(f"the query has {name} twice")
        if not is_utf8(value):
            raise BadRequest(f"{name} is not UTF-8")
        given[name] = value
    return given


def _key(given: dict[str, str], settings: Settings) -> str:
    key = given.get("key", "")
    if not key:
        raise BadRequest("key is empty")
    check_key(key, settings.max_key_bytes, "the query", "key")
    return key


def _limit(given: dict[str, str], most: int) -> int:
    text = given.get("limit", "") or str(most)
    if not (text.isascii() and text.isdecimal() and len(text) < 6):
        raise BadRequest("limit is not a whole number")
    if not 1 <= int(text) <= most:
        raise BadRequest(f"limit is not from 1 to {most}")
    return int(text)
