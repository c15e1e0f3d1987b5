"""Read the requests of `/v1`: bytes to what the core is asked for, or a sentence.

A request is hostile until it has been read here. What is not as documented is refused,
and so is a field that is not known, since a misspelt one would have no effect. The
Structs of `schemas` say what is accepted; this module decodes into them and checks what
they cannot say: the limits that are settings, and names that are given twice. Every
`read_` function raises `BadRequest` for what is not as documented.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.json import Decoder

from ...asgi.query import Query, is_utf8, read_number
from ...core.publisher import ClearEvent, Draft, SetEvent, WakeGroup
from ...core.wait_items import EventItem, GroupItem, Item, LogItem
from ...settings import Settings
from ...store import DelayedMessage, NewMessage
from ..validation import (
    MALFORMED,
    BadRequest,
    StrictStruct,
    check_json_value,
    check_key,
    check_length,
    check_names,
    decode,
    decode_integer,
    decoder_of,
    explain,
    explain_malformed,
    field_at,
    split_members,
    value_or_none,
)
from .schemas import (
    MAX_CURSOR_BYTES,
    MAX_ID_BYTES,
    MAX_WAIT_ITEMS,
    PUBLISH_ITEMS,
    WAIT_ITEMS,
    MessagesQuery,
    PageQuery,
    PresenceQuery,
    PublishBatch,
    PublishItem,
    PublishMessage,
    WaitBody,
    WaitEvent,
    WaitGroup,
    WaitItem,
    WaitParameters,
)

__all__ = [
    "WaitRequest",
    "read_changes_query",
    "read_messages_query",
    "read_presence_query",
    "read_publish",
    "read_wait",
    "read_wait_query",
]

_T = TypeVar("_T")
_Struct = TypeVar("_Struct", bound=StrictStruct)

# Parameters that are read elsewhere: by the access check, or not at all (front ends add
# ``_=<time>`` to get around caches).
_FOREIGN = frozenset({"_", "session", "ticket"})
_BODY = "the body"
# Of the name of a delayed message that its publisher has not named.
_RANDOM_ID_BYTES = 12
_NUMBERS = ("timeout", "max")
# What stands before the colon of an item in a query string.
_HEADS = {"message": "cursor", "event": "default_type", "group": "version"}


@dataclass(frozen=True, slots=True)
class WaitRequest:
    """Any of several things to wait for.

    Attributes:
        items: In the order given.
        timeout: Seconds to wait, at most the maximum; None: the default.
        is_live: Send what comes as server-sent events, for so many seconds.
    """

    items: Sequence[Item]
    timeout: float | None
    is_live: bool = False


# --- query strings --------------------------------------------------------------------


def read_messages_query(parameters: Query, settings: Settings) -> WaitRequest:
    """Read the parameters of ``GET /v1/messages``: a wait for one log."""
    given, _ = _read_query(parameters, ())
    query = _convert(given, MessagesQuery, "the query")
    if query.live is UNSET:
        return _wait_request([("the query", query)], query, settings)
    item = _wait_item(query, "the query", query.max, settings)
    return WaitRequest((item,), _at_most(query.timeout, settings.sse_lifetime), True)


def read_presence_query(parameters: Query, settings: Settings) -> str:
    """Read the parameters of ``GET /v1/presence``; return the key."""
    given, _ = _read_query(parameters, ())
    key = _convert(given, PresenceQuery, "the query").key
    check_key(key, settings.max_key_bytes, "the query", "key")
    return key


def read_changes_query(parameters: Query, settings: Settings) -> WaitRequest:
    """Read the parameters of ``GET /v1/presence/changes``: a wait for one key."""
    given, _ = _read_query(parameters, ())
    query = _convert(given, PageQuery, "the query")
    return _wait_request([("the query", query)], query, settings)


def read_wait_query(parameters: Query, settings: Settings) -> WaitRequest:
    """Read the parameters of ``GET /v1/wait``.

    Items are parameters that may be repeated: ``message=CURSOR:KEY``,
    ``event=DEFAULT_TYPE:KEY``, ``group=VERSION:KEY``; what stands before the colon may
    be empty, and is the default then.
    """
    given, shapes = _read_query(parameters, WAIT_ITEMS)
    query = _convert(given, WaitParameters, "the query")
    if not shapes:
        raise BadRequest("the query lacks message, event or group")
    if len(shapes) > MAX_WAIT_ITEMS:
        raise BadRequest(f"the query has more than {MAX_WAIT_ITEMS} items")
    items = [
        (place, _convert(shape, WAIT_ITEMS[shape["type"]], place))
        for place, shape in _places(shapes)
    ]
    return _wait_request(items, query, settings)


def _read_query(
    parameters: Query, items: Collection[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the parameters that are given once, and the items, as JSON has them."""
    given: dict[str, Any] = {}
    shapes: list[dict[str, Any]] = []
    for name, value in parameters.pairs:
        if not (is_utf8(name) and is_utf8(value)):
            raise BadRequest("the query is not UTF-8")
        if name in items:
            shapes.append(_item_shape(name, value))
        elif name in given:
            raise BadRequest(f"{name[:40]} is given more than once")
        elif name not in _FOREIGN:
            given[name] = _number(value) if name in _NUMBERS else value
    return given, shapes


def _number(text: str) -> int | float | str:
    """Return the number that a text spells, or the text, which is refused then."""
    return text if (number := read_number(text)) is None else number


def _item_shape(kind: str, value: str) -> dict[str, Any]:
    head, colon, key = value.partition(":")
    if not colon:
        raise BadRequest(f"{kind} has no colon before the key")
    shape: dict[str, Any] = {"type": kind, "key": key}
    if head:
        shape[_HEADS[kind]] = _number(head) if kind == "group" else head
    return shape


def _convert(given: Mapping[str, Any], kind: type[_Struct], place: str) -> _Struct:
    try:
        return msgspec.convert(given, kind, dec_hook=decode_integer)
    except msgspec.ValidationError as error:
        raise BadRequest(explain(error, place)) from None


# --- bodies ---------------------------------------------------------------------------


def read_wait(body: bytes, settings: Settings) -> WaitRequest:
    """Read the body of ``POST /v1/wait``."""
    try:
        check_names(split_members(body, _BODY), WaitBody, _BODY)
        wait = decode(_WAIT, body, _BODY)
        items = list(_decode_items(_WAIT_DECODERS, wait.items))
    except MALFORMED:
        raise BadRequest(explain_malformed(body)) from None
    return _wait_request(items, wait, settings)


def read_publish(body: bytes, settings: Settings) -> list[Draft]:
    """Read the body of ``POST /v1/publish``: one item, or an object with several."""
    try:
        members = split_members(body, _BODY)
        if "items" not in members:
            item = _decode_item(_PUBLISH_DECODERS, body, members, _BODY)
            return [_draft(item, _BODY, settings)]
        check_names(members, PublishBatch, _BODY)
        items = _decode_items(_PUBLISH_DECODERS, decode(_BATCH, body, _BODY).items)
        return [_draft(item, place, settings) for place, item in items]
    except MALFORMED:
        raise BadRequest(explain_malformed(body)) from None


def _decode_items(
    decoders: Mapping[str, Decoder[_Struct]], items: Iterable[Raw]
) -> Iterator[tuple[str, _Struct]]:
    """Decode each item; yield it with what it is called in a sentence."""
    for place, text in _places(items):
        yield place, _decode_item(decoders, text, split_members(text, place), place)


def _places(items: Iterable[_T]) -> Iterator[tuple[str, _T]]:
    return ((f"items[{index}]", item) for index, item in enumerate(items))


def _decode_item(
    decoders: Mapping[str, Decoder[_Struct]],
    text: bytes | Raw,
    members: Mapping[str, Raw],
    place: str,
) -> _Struct:
    """Decode an item by its `type`; one without is a message."""
    kind: Any = "message"
    if "type" in members:
        kind = msgspec.json.decode(members["type"])
    if not isinstance(kind, str) or kind not in decoders:
        words = ", ".join(decoders)
        raise BadRequest(f"{field_at(place, 'type')} is not one of: {words}")
    decoder = decoders[kind]
    check_names(members, decoder.type, place, kind, _ITEM_FIELDS)
    return decode(decoder, text, place)


# --- what the Structs do not say ------------------------------------------------------


def _wait_request(
    items: Iterable[tuple[str, WaitItem | PageQuery]],
    wait: WaitBody | WaitParameters | PageQuery,
    settings: Settings,
) -> WaitRequest:
    wait_items = [_wait_item(item, place, wait.max, settings) for place, item in items]
    return WaitRequest(wait_items, _at_most(wait.timeout, settings.v1_max_timeout))


def _at_most(timeout: float | UnsetType, maximum: float) -> float | None:
    given = value_or_none(timeout)
    return None if given is None else min(given, maximum)


def _wait_item(
    item: WaitItem | PageQuery, place: str, limit: int, settings: Settings
) -> Item:
    check_key(item.key, settings.max_key_bytes, place, "key")
    match item:
        case WaitEvent():
            return EventItem(item.key, item.default_type)
        case WaitGroup():
            return GroupItem(item.key, value_or_none(item.version))
        case _:
            check_length(item.cursor, MAX_CURSOR_BYTES, place, "cursor")
            return LogItem(item.key, item.cursor, limit)


def _draft(item: PublishItem, place: str, settings: Settings) -> Draft:
    check_key(item.key, settings.max_key_bytes, place, "key")
    if item.type == "message":
        return _message(item, place, settings)
    if item.type == "group":
        return WakeGroup(item.key)
    kind = SetEvent if item.type == "event" else ClearEvent
    return kind(item.key, item.default_type, min(item.ttl, settings.log_max_ttl))


def _message(
    item: PublishMessage, place: str, settings: Settings
) -> NewMessage | DelayedMessage:
    if (item.data is UNSET) is (item.data_base64 is UNSET):
        raise BadRequest(f"{place} has not one of data and data_base64")
    name, ttl = value_or_none(item.id), value_or_none(item.ttl)
    check_length(name or "", MAX_ID_BYTES, place, "id")
    if ttl is not None:
        ttl = min(ttl, settings.log_max_ttl)
    data, is_json = _data(item, place, settings)
    message = NewMessage(item.key, data, name, ttl, is_json)
    if isinstance(item.not_before, UnsetType):
        return message
    return _delayed(message, item.not_before, field_at(place, "not_before"), settings)


def _delayed(
    message: NewMessage, not_before: float | datetime, at: str, settings: Settings
) -> NewMessage | DelayedMessage:
    """Return a message that is due later; one that is due already is not delayed."""
    is_relative = not isinstance(not_before, datetime)
    when = not_before.timestamp() if isinstance(not_before, datetime) else not_before
    seconds = when if is_relative else when - time.time()
    if seconds > 0 and not settings.max_delay:
        raise BadRequest(f"{at}: messages cannot be delayed here")
    if seconds > settings.max_delay:
        raise BadRequest(f"{at} is more than {settings.max_delay} seconds from now")
    if seconds <= 0:
        return message
    if message.id is None:
        message = replace(message, id=secrets.token_urlsafe(_RANDOM_ID_BYTES))
    return DelayedMessage(message, when, is_relative)


def _data(item: PublishMessage, place: str, settings: Settings) -> tuple[bytes, bool]:
    """Return what is stored of a message, and whether it is the text of a JSON value.

    A string is stored as its characters in UTF-8. Any other value is stored as it was
    sent, so that readers get its numbers with the same digits, and its members in the
    same order.
    """
    limit = settings.max_message_bytes
    if not isinstance(item.data_base64, UnsetType):
        check_length(item.data_base64, limit, place, "data_base64")
        return item.data_base64, False
    text = bytes(cast("Raw", item.data))
    is_json = not text.startswith(b'"')
    data = text if is_json else _STRING.decode(text).encode()
    check_length(data, limit, place, "data")
    if is_json:
        check_json_value(text, field_at(place, "data"))
    return data, is_json


_STRING = Decoder(str)
_WAIT, _BATCH = decoder_of(WaitBody), decoder_of(PublishBatch)
_WAIT_DECODERS = {name: decoder_of(kind) for name, kind in WAIT_ITEMS.items()}
_PUBLISH_DECODERS = {name: decoder_of(kind) for name, kind in PUBLISH_ITEMS.items()}
# The fields of any type of item.
_ITEM_FIELDS = {
    field
    for kind in (*WAIT_ITEMS.values(), *PUBLISH_ITEMS.values())
    for field in kind.__struct_fields__
}
