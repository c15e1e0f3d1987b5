"""Read the requests of `/v1`: bytes to frozen dataclasses, or a sentence.

A request is hostile until it has been read here. Nothing is guessed, cut, or taken from
the first of two values: what is not as documented is refused, and so is a field that is
not known, since a misspelt one would be silently without effect. Each field says by
itself how it is read and how it is described, so the description of the API is made
from the same lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...asgi.query import Query, is_utf8, read_number
from ...settings import Settings
from .fields import (
    BadRequest,
    build,
    field,
    integer,
    items_of,
    one_of,
    read_base64,
    read_data,
    read_json,
    read_key,
    read_timeout,
    read_ttl,
    text_up_to,
)

__all__ = [
    "MAX_ITEMS",
    "BadRequest",
    "MessagesQuery",
    "PublishItem",
    "WAIT_FIELDS",
    "PUBLISH_FIELDS",
    "WaitItem",
    "WaitParameters",
    "WaitQuery",
    "read_messages_query",
    "read_publish",
    "read_wait",
    "read_wait_query",
]

MAX_ITEMS = 50
_MAX_DRAFTS = 100
_MAX_PAGE = 1000
_MAX_ID = 128
_MAX_CURSOR = 64
# Parameters that are read elsewhere: by the gate, or by nobody (front ends add
# ``_=<time>`` to get around caches).
_FOREIGN = frozenset({"_", "session", "ticket"})

# Fields that go with some types of item only.
WAIT_FIELDS = {"message": {"cursor"}, "event": {"default_type"}, "group": {"version"}}
PUBLISH_FIELDS = {
    "message": {"data", "data_base64", "id", "ttl"},
    "event": {"default_type", "ttl"},
    "clear": {"default_type", "ttl"},
    "group": set[str](),
}

_KEY: Mapping[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 256,
    "examples": ["orders.17"],
}
_PLACE = r"[0-9a-f]{8}\.[1-9][0-9]{0,15}\.[0-9a-f]{4}"
_BASE64 = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_CURSOR: Mapping[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": _MAX_CURSOR,
    "pattern": f"^(new|all|{_PLACE})$",
    "examples": ["new", "all"],
}
_CURSOR_TEXT = (
    "From an answer: what came after it is returned. `new`: from now on. `all`: all "
    "that is kept."
)
_TIMEOUT_TEXT = (
    "Seconds to wait; 0 looks without waiting; more than the maximum is the maximum. "
    "Up to a tenth is subtracted at random."
)
_MAX_TEXT = "Messages of a key that are returned at most."


def _repeated(head: str) -> dict[str, Any]:
    items = {"type": "string", "pattern": f"^{head}:.{{1,200}}$"}
    return {"type": "array", "items": items, "maxItems": MAX_ITEMS}


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesQuery:
    """The messages of a key after a cursor."""

    key: str = field(read_key, "Name of the log.", **_KEY)
    cursor: str = field(text_up_to(_MAX_CURSOR), _CURSOR_TEXT, "new", **_CURSOR)
    timeout: float | None = field(
        read_timeout, _TIMEOUT_TEXT, None, type="number", minimum=0, examples=[25]
    )
    max: int = field(
        integer(1, _MAX_PAGE),
        _MAX_TEXT,
        100,
        type="integer",
        minimum=1,
        maximum=_MAX_PAGE,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitItem:
    """Something to wait for: messages of a log, an event, or a group event."""

    key: str = field(read_key, "Name of the log, the event or the group.", **_KEY)
    type: Literal["message", "event", "group"] = field(
        one_of("message", "event", "group"),
        "What it is.",
        "message",
        type="string",
        enum=["message", "event", "group"],
    )
    cursor: str | None = field(
        text_up_to(_MAX_CURSOR),
        f"Of `message` only. {_CURSOR_TEXT} Default: `new`.",
        None,
        **_CURSOR,
    )
    default_type: Literal["clear", "set"] | None = field(
        one_of("clear", "set"),
        "Of `event` only: what an event is that nobody has touched. Default: `clear`.",
        None,
        type="string",
        enum=["clear", "set"],
    )
    version: int | None = field(
        integer(0, 2**64 - 1),
        "Of `group` only: the version that the client knows, from an answer. Without "
        "it, the next one from now on is waited for.",
        None,
        type="integer",
        minimum=0,
        maximum=2**64 - 1,
    )

    def check(self, name: str, given: frozenset[str]) -> None:
        """Refuse fields that do not go with the type."""
        _check_type(self.type, WAIT_FIELDS, name, given)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitQuery:
    """Any of several things to wait for."""

    items: tuple[WaitItem, ...] = field(
        items_of(WaitItem, MAX_ITEMS),
        "What to wait for; whatever is ready is returned.",
        type="array",
        minItems=1,
        maxItems=MAX_ITEMS,
        items=WaitItem,
    )
    timeout: float | None = field(
        read_timeout, _TIMEOUT_TEXT, None, type="number", minimum=0, examples=[25]
    )
    max: int = field(
        integer(1, _MAX_PAGE),
        _MAX_TEXT,
        100,
        type="integer",
        minimum=1,
        maximum=_MAX_PAGE,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitParameters:
    """A `WaitQuery` in the query string, where items are parameters."""

    message: tuple[str, ...] = field(
        read_key,
        "CURSOR:KEY, where CURSOR may be empty; may be repeated.",
        (),
        **_repeated(f"(new|all|{_PLACE})?"),
    )
    event: tuple[str, ...] = field(
        read_key,
        "DEFAULT_TYPE:KEY, where DEFAULT_TYPE may be empty; may be repeated.",
        (),
        **_repeated("(clear|set)?"),
    )
    group: tuple[str, ...] = field(
        read_key,
        "VERSION:KEY, where VERSION may be empty; may be repeated.",
        (),
        **_repeated("[0-9]{0,18}"),
    )
    timeout: float | None = field(
        read_timeout, _TIMEOUT_TEXT, None, type="number", minimum=0, examples=[25]
    )
    max: int = field(
        integer(1, _MAX_PAGE),
        _MAX_TEXT,
        100,
        type="integer",
        minimum=1,
        maximum=_MAX_PAGE,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishItem:
    """Something to publish."""

    key: str = field(read_key, "Name of the log, the event or the group.", **_KEY)
    type: Literal["message", "event", "clear", "group"] = field(
        one_of("message", "event", "clear", "group"),
        "`message`: store one, and wake those who wait for it. `event`, `clear`: set "
        "or clear an event. `group`: wake a group event.",
        "message",
        type="string",
        enum=["message", "event", "clear", "group"],
    )
    data: bytes | None = field(
        read_data, "Of `message` only: the message.", None, type="string"
    )
    data_base64: bytes | None = field(
        read_base64,
        "Of `message` only, instead of `data`: one that is not text.",
        None,
        type="string",
        pattern=_BASE64,
    )
    id: str | None = field(
        text_up_to(_MAX_ID),
        "Of `message` only: a name of the publisher's. Within 10 minutes a second "
        "message of the key with this name is not stored.",
        None,
        type="string",
        minLength=1,
        maxLength=_MAX_ID,
    )
    ttl: float | None = field(
        read_ttl,
        "Seconds, at most the maximum: for which a message is kept; for which an event "
        "stays as it is made.",
        None,
        type="number",
        exclusiveMinimum=0,
    )
    default_type: Literal["clear", "set"] | None = field(
        one_of("clear", "set"),
        "Of `event` and `clear` only: what an event is that nobody has touched. "
        "Default: `clear`.",
        None,
        type="string",
        enum=["clear", "set"],
    )

    def check(self, name: str, given: frozenset[str]) -> None:
        """Refuse fields that do not go with the type."""
        _check_type(self.type, PUBLISH_FIELDS, name, given)
        if self.type == "message" and ("data" in given) == ("data_base64" in given):
            raise BadRequest(f"{name} has not one of data and data_base64")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishQuery:
    """Several things to publish."""

    items: tuple[PublishItem, ...] = field(
        items_of(PublishItem, _MAX_DRAFTS),
        "What to publish. Messages of one key are stored in this order.",
        type="array",
        minItems=1,
        maxItems=_MAX_DRAFTS,
        items=PublishItem,
    )


def read_messages_query(query: Query, settings: Settings) -> MessagesQuery:
    """Read the query string of ``GET /v1/messages``.

    Raises:
        BadRequest: For anything that is not as documented.
    """
    given: dict[str, Any] = {}
    for name, value in _parameters(query):
        _add(given, name, value)
    _to_number(given, "timeout", "max")
    return build(MessagesQuery, given, "the query", settings)


def read_wait_query(query: Query, settings: Settings) -> WaitQuery:
    """Read the query string of ``GET /v1/wait``.

    Items are parameters that may be repeated: ``message=CURSOR:KEY``,
    ``event=DEFAULT_TYPE:KEY``, ``group=VERSION:KEY``; what stands before the colon may
    be empty, and is the default then.

    Raises:
        BadRequest: For anything that is not as documented.
    """
    given: dict[str, Any] = {}
    items: list[Any] = []
    for name, value in _parameters(query):
        if name in WAIT_FIELDS:
            items.append(_item(name, value))
        else:
            _add(given, name, value)
    _to_number(given, "timeout", "max")
    return build(WaitQuery, {**given, "items": items}, "the query", settings)


def read_wait(body: bytes, settings: Settings) -> WaitQuery:
    """Read the body of ``POST /v1/wait``.

    Raises:
        BadRequest: For anything that is not as documented.
    """
    return build(WaitQuery, read_json(body), "the body", settings)


def read_publish(body: bytes, settings: Settings) -> tuple[PublishItem, ...]:
    """Read the body of ``POST /v1/publish``: one item, or an object with several.

    Raises:
        BadRequest: For anything that is not as documented.
    """
    value = read_json(body)
    if _has_items(value):
        return build(PublishQuery, value, "the body", settings).items
    return (build(PublishItem, value, "the body", settings),)


# --- the way there --------------------------------------------------------------------


def _has_items(value: object) -> bool:
    return isinstance(value, dict) and "items" in value


def _check_type(
    kind: str, fields: Mapping[str, set[str]], name: str, given: frozenset[str]
) -> None:
    """Refuse what does not go with the type of an item."""
    for each in sorted(given - {"key", "type"} - fields[kind]):
        raise BadRequest(f"{name} of type {kind} has no {each}")


def _parameters(query: Query) -> Sequence[tuple[str, str]]:
    for name, value in query.pairs:
        if not (is_utf8(name) and is_utf8(value)):
            raise BadRequest("the query is not UTF-8")
    return [(name, value) for name, value in query.pairs if name not in _FOREIGN]


def _add(given: dict[str, Any], name: str, value: str) -> None:
    if name in given:
        raise BadRequest(f"{name[:40]} is given more than once")
    given[name] = value


def _to_number(given: dict[str, Any], *names: str) -> None:
    """Read numbers as JSON would; what is not a number stays text, to be refused."""
    for name in names:
        number = read_number(given.get(name, ""))
        if number is not None:
            given[name] = number


def _item(kind: str, value: str) -> dict[str, Any]:
    head, colon, key = value.partition(":")
    if not colon:
        raise BadRequest(f"{kind} has no colon before the key")
    item: dict[str, Any] = {"type": kind, "key": key}
    if head:
        (name,) = WAIT_FIELDS[kind]
        item[name] = head
        if kind == "group":
            _to_number(item, name)
    return item
