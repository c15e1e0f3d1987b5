"""The server's JSON to the client's types, and what an HTTP response means.

Pure, and strict: a response that has not the documented shape was not sent by the
server but by something in between. Such a success may be temporary (a captive portal
answers 200 to everything); redirects and other statuses from 400 to 499 are final.
"""

# JSON from the network is of any type until it is checked:
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, TypeVar

from ._errors import Refused, ServerBusy, UnexpectedResponse

__all__ = [
    "Gap",
    "Message",
    "MessagePage",
    "HttpResponse",
    "checked",
    "json_text",
    "page_from",
    "read_response",
    "retry_after",
    "shorten",
]

_T = TypeVar("_T")
# Seconds; a longer Retry-After is cut to this.
_LONGEST_RETRY = 3600.0
_BUSY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_ERROR_FIELDS = ("code", "message")
# Characters of a text of the network in an error or a log line.
_MAX_TEXT = 200
# Codes of a response that has a page.
_PAGE_CODES = frozenset({None, "timeout", "gap", "draining"})


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        id: The same for every reader, and the cursor after the message.
        data: Of a text its UTF-8, of bytes those that were published, of another JSON
            value its JSON text: equal in value to what was published, and with the same
            order of members, but not with the same spaces, escapes and digits.
        ts: When it was stored, in Unix seconds.
        is_json: Whether a JSON value was published that is not a string.
    """

    id: str
    data: bytes
    ts: float
    is_json: bool = False

    @property
    def text(self) -> str:
        """Return the data as text; raises `UnicodeDecodeError` if it is not UTF-8."""
        return self.data.decode()

    @property
    def value(self) -> Any:
        """Return what was published.

        Returns:
            A str; bytes, if they are not UTF-8; or for another JSON value what the
            `json` module makes of it.
        """
        if self.is_json:
            return json.loads(self.data)
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            return self.data


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages are gone that the subscription has not received.

    Attributes:
        lost: How many; None where the server cannot know.
    """

    lost: int | None


@dataclass(frozen=True, slots=True)
class MessagePage:
    """What came after a cursor.

    Attributes:
        messages: In order.
        cursor: After all of them.
        gap: Messages that are gone, before these; None if there is no gap.
        retry: Seconds to wait before the next request.
        wait: Seconds for which the server would have waited, if it says so.
        draining: The server is being replaced, so it did not wait.
        end_code: Why the server has ended the wait for good, such as
            ``ticket_expired``; None if it has not.
    """

    messages: tuple[Message, ...]
    cursor: str
    gap: Gap | None = None
    retry: float = 0.0
    wait: float | None = None
    draining: bool = False
    end_code: str | None = None


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete HTTP response."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


def read_response(response: HttpResponse) -> Mapping[str, Any]:
    """Return the JSON object of a successful response.

    Raises:
        Refused: The server, or a proxy before it, refuses the request for good.
        ServerBusy: The server cannot serve it now.
        UnexpectedResponse: The response is not the server's, and may be temporary.
    """
    status, shape = response.status, _json_object(response.body)
    if 200 <= status < 300 and shape is not None:
        return shape
    code, message = (None, None) if shape is None else map(shape.get, _ERROR_FIELDS)
    if status >= 400 and isinstance(code, str):
        _raise_error(response, shorten(code), shorten(str(message)))
    why = f"HTTP {status} that is not the service's: {_excerpt(response)}"
    if 300 <= status < 400:
        raise Refused(status, "redirect", _redirect(response))
    if 400 <= status < 500 and status not in _BUSY_STATUSES:
        raise Refused(status, "foreign_response", why)
    raise UnexpectedResponse(why, _asked_delay(response))


def _raise_error(response: HttpResponse, code: str, message: str) -> NoReturn:
    if response.status in _BUSY_STATUSES:
        raise ServerBusy(f"{message} ({code})", _asked_delay(response))
    raise Refused(response.status, code, message)


def _json_object(body: bytes) -> Mapping[str, Any] | None:
    try:
        return checked(json.loads(body), dict)
    except (TypeError, ValueError, RecursionError):
        return None


def _asked_delay(response: HttpResponse) -> float:
    return retry_after(response.headers.get(b"retry-after"))


def _redirect(response: HttpResponse) -> str:
    # The query of a redirect to a login page may hold secrets, and is of no use.
    location = response.headers.get(b"location", b"").partition(b"?")[0]
    place = shorten(location.decode("latin-1")) or "nowhere"
    return f"redirects are not followed, and this one leads to {place}"


def _excerpt(response: HttpResponse) -> str:
    """Return the type and the beginning of a body, for an error or a log line."""
    kind, encoding = (
        response.headers.get(name, b"").decode("latin-1")
        for name in (b"content-type", b"content-encoding")
    )
    if encoding:
        return f"a body with Content-Encoding {shorten(encoding)}"
    text = shorten(response.body[: 4 * _MAX_TEXT].decode(errors="replace"))
    return f"{shorten(kind) or 'no Content-Type'}, {text or 'no body'}"


def shorten(text: str) -> str:
    """Return a text of the network as a short part of one line."""
    line = " ".join(text[: 4 * _MAX_TEXT].split())
    line = "".join(c if c.isprintable() else "\ufffd" for c in line)
    return line if len(line) <= _MAX_TEXT else line[:_MAX_TEXT] + "..."


def page_from(shape: Mapping[str, Any]) -> MessagePage:
    """Read a page, or raise `UnexpectedResponse` if it has another shape."""
    try:
        return _page(shape)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UnexpectedResponse(f"not a page of messages: {error!r}") from error


def retry_after(value: bytes | None, now: float | None = None) -> float:
    """Return the seconds of a Retry-After header, from 0 to an hour.

    None and what cannot be read are 0; a date needs `now` in Unix seconds.
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


def checked(value: Any, kind: type[_T]) -> _T:
    """Return a value decoded from JSON that has this type, or raise `TypeError`."""
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.100} is not a {kind.__name__}")
    return value


def json_text(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Return a value as compact JSON; `default` converts what JSON does not have."""
    return json.dumps(
        value,
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
        default=default,
    )


def retry_seconds(shape: Mapping[str, Any]) -> float:
    """Return after how long the server wants to be asked again, within bounds.

    Raises:
        TypeError: It is no number.
        ValueError: It is not finite.
    """
    return min(max(_number(shape.get("retry_ms", 0)) / 1000, 0.0), _LONGEST_RETRY)


def _page(shape: Mapping[str, Any]) -> MessagePage:
    code = shape.get("code")
    messages = tuple(_message(each) for each in checked(shape["messages"], list))
    gap = Gap(_count_or_none(shape.get("lost"))) if code == "gap" else None
    retry = retry_seconds(shape)
    wait = _number(shape["wait"]) if "wait" in shape else None
    end_code = None if code in _PAGE_CODES else checked(code, str)
    cursor = checked(shape["cursor"], str)
    return MessagePage(messages, cursor, gap, retry, wait, code == "draining", end_code)


def _message(shape: Any) -> Message:
    if "data_base64" in shape:
        data = base64.b64decode(checked(shape["data_base64"], str), validate=True)
    else:
        value = shape["data"]
        data = (value if isinstance(value, str) else json_text(value)).encode()
    is_json = not isinstance(shape.get("data", ""), str)
    return Message(checked(shape["id"], str), data, _number(shape["ts"]), is_json)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.100} is not a number")
    if not math.isfinite(value):
        raise ValueError(f"{value!r} is not finite")
    return float(value)


def _count_or_none(value: Any) -> int | None:
    return None if value is None else int(_number(value))
