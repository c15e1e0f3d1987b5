"""The server's JSON to the client's types, and what an HTTP answer means.

Pure, and strict: whatever is not in the shape of an answer of ours was not made by the
server, but by something on the way (a captive portal answers 200 to everything).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, cast

from ._errors import Busy, NotOurs, Refused

__all__ = [
    "Gap",
    "Message",
    "Page",
    "Response",
    "list_from",
    "object_from",
    "page_from",
    "read_answer",
    "retry_after",
]

# Nobody is told to come back later than this.
_LONGEST_RETRY = 3600.0
_BUSY_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
# Codes of an answer that is a page all the same.
_PAGE_CODES = frozenset({None, "timeout", "gap", "draining"})


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        id: The same for everyone who reads it, and the cursor behind it.
        data: As published.
        ts: When it was stored, in Unix seconds.
    """

    id: str
    data: bytes
    ts: float

    @property
    def text(self) -> str:
        """Return the data as text; raises `UnicodeDecodeError` if it is none."""
        return self.data.decode()


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages are gone that the subscription has not seen.

    Attributes:
        lost: How many; None where the server cannot know.
    """

    lost: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """What came after a cursor.

    Attributes:
        messages: In order.
        cursor: Behind all of them.
        gap: Lies before the messages; None if there is none.
        retry: Seconds to wait before the next question.
        wait: Seconds for which the server would have waited, if it says so.
        draining: The server is going away, so it did not wait.
        why: The code of an answer that no page goes with, such as
            ``ticket_expired``.
    """

    messages: tuple[Message, ...]
    cursor: str
    gap: Gap | None = None
    retry: float = 0.0
    wait: float | None = None
    draining: bool = False
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response, whole."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


def read_answer(response: Response) -> Mapping[str, Any]:
    """Return the JSON object of a successful answer.

    Raises:
        Refused: The server will not serve it.
        Busy: The server cannot serve it now.
        NotOurs: The answer is none of the server's.
    """
    try:
        shape = object_from(json.loads(response.body))
    except (TypeError, ValueError, RecursionError):
        raise NotOurs(f"HTTP {response.status}, and no JSON object") from None
    if 200 <= response.status < 300:
        return shape
    code, message = shape.get("code"), shape.get("message")
    if response.status < 400 or not isinstance(code, str):
        raise NotOurs(f"HTTP {response.status}")
    sentence = f"{message} ({code})"
    if response.status in _BUSY_STATUSES:
        raise Busy(sentence, retry_after(response.headers.get(b"retry-after")))
    raise Refused(response.status, code, str(message))


def page_from(shape: Mapping[str, Any]) -> Page:
    """Read a page.

    Raises:
        NotOurs: It is none.
    """
    try:
        return _page(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise NotOurs(f"no page of messages: {error!r}") from error


def retry_after(value: bytes | None, now: float | None = None) -> float:
    """Read a Retry-After header.

    Args:
        value: The header; None and what cannot be read are 0.
        now: Unix seconds, for a header that names a date; None: the date is ignored.

    Returns:
        Seconds, never negative, an hour at most.
    """
    text = (value or b"").decode("latin-1").strip()
    try:
        seconds = float(int(text))
    except ValueError:
        seconds = _until(text, now)
    return min(max(seconds, 0.0), _LONGEST_RETRY)


def _until(date: str, now: float | None) -> float:
    if now is None:
        return 0.0
    try:
        return parsedate_to_datetime(date).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0


def object_from(value: Any) -> dict[str, Any]:
    """Return a JSON value that is an object, or raise `TypeError`."""
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.100} is no object")
    return cast("dict[str, Any]", value)


def _page(shape: Mapping[str, Any]) -> Page:
    code = shape.get("code")
    messages = tuple(_message(each) for each in list_from(shape["messages"]))
    gap = Gap(_count_or_none(shape.get("lost"))) if code == "gap" else None
    retry = min(max(_number(shape.get("retry_ms", 0)) / 1000, 0.0), _LONGEST_RETRY)
    wait = _number(shape["wait"]) if "wait" in shape else None
    why = None if code in _PAGE_CODES else _string(code)
    cursor = _string(shape["cursor"])
    return Page(messages, cursor, gap, retry, wait, code == "draining", why)


def _message(shape: Any) -> Message:
    if "data_base64" in shape:
        try:
            data = base64.b64decode(_string(shape["data_base64"]), validate=True)
        except binascii.Error as error:
            raise ValueError(str(error)) from error
    else:
        data = _string(shape["data"]).encode()
    return Message(_string(shape["id"]), data, _number(shape["ts"]))


def list_from(value: Any) -> list[Any]:
    """Return a JSON value that is a list, or raise `TypeError`."""
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return [*cast("Sequence[Any]", value)]


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no string")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    if not math.isfinite(value):
        raise ValueError(f"{value!r} is not finite")
    return float(value)


def _count_or_none(value: Any) -> int | None:
    return None if value is None else int(_number(value))
