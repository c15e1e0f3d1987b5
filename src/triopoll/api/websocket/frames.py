"""The frames that a client sends over ``/v1/ws``, decoded and checked.

Pure. A frame is hostile until it has been read here; one that is not in the documented
shape is a `BadRequest` with a sentence for the client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from ...core.wait_items import EventItem, GroupItem, Item, LogItem
from ...store import ALL, NEW, parse_cursor
from ..v1.schemas import GroupVersion
from ..validation import (
    MALFORMED,
    BadRequest,
    DefaultType,
    StrictStruct,
    check_key,
    decode,
    decoder_of,
    explain_malformed,
    split_members,
)

__all__ = [
    "AckGroup",
    "AckLog",
    "Frame",
    "FrameLimits",
    "Ping",
    "Pong",
    "Subscribe",
    "Unsubscribe",
    "read_frame",
]

_PLACE = "the frame"
_LISTS = ("messages", "events", "groups")
_Key: TypeAlias = Annotated[str, Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """What a frame may hold.

    Attributes:
        max_key_bytes: Longest key in bytes of UTF-8.
        max_frame_bytes: Longest frame.
        max_items: Subscriptions of one websocket.
    """

    max_key_bytes: int = 256
    max_frame_bytes: int = 2**16
    max_items: int = 50


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Follow these logs, wait for these events and groups."""

    items: tuple[Item, ...]


class Unsubscribe(StrictStruct, tag="unsubscribe"):
    """Stop following these logs, events and groups."""

    messages: tuple[_Key, ...] = ()
    events: tuple[_Key, ...] = ()
    groups: tuple[_Key, ...] = ()


class AckLog(StrictStruct, tag="ack"):
    """Everything up to the cursor has arrived; the client wants what comes after it."""

    key: _Key
    cursor: str


class AckGroup(StrictStruct, tag="ack"):
    """The version has arrived; the client wants the next one."""

    group: _Key
    version: GroupVersion


class Ping(StrictStruct, tag="ping"):
    """The client asks for a pong."""


class Pong(StrictStruct, tag="pong"):
    """The client answers a ping of the server."""


Frame: TypeAlias = Subscribe | Unsubscribe | AckLog | AckGroup | Ping | Pong


# --- the JSON of a subscription -------------------------------------------------------


class _LogEntry(StrictStruct):
    key: _Key
    cursor: str = NEW
    max: Annotated[int, Meta(ge=0, le=1000)] = 100


class _EventEntry(StrictStruct):
    key: _Key
    default_type: DefaultType = "clear"


class _GroupEntry(StrictStruct):
    key: _Key
    version: GroupVersion | None = None


class _SubscribeEntries(StrictStruct, tag="subscribe"):
    messages: tuple[_LogEntry, ...] = ()
    events: tuple[_EventEntry, ...] = ()
    groups: tuple[_GroupEntry, ...] = ()


_Decoded: TypeAlias = _SubscribeEntries | Unsubscribe | AckLog | AckGroup | Ping | Pong
_KINDS: Mapping[str, type[_Decoded]] = {
    "subscribe": _SubscribeEntries,
    "unsubscribe": Unsubscribe,
    "ack": AckLog,
    "ping": Ping,
    "pong": Pong,
}
_DECODERS = {kind: decoder_of(kind) for kind in (*_KINDS.values(), AckGroup)}


# --- reading --------------------------------------------------------------------------


def read_frame(text: str, limits: FrameLimits) -> Frame:
    """Read a client's frame.

    Raises:
        BadRequest: It is not in the documented shape, or exceeds a limit.
        BadCursor: It has a cursor that was never given out.
    """
    try:
        members = split_members(text, _PLACE)
        word = msgspec.json.decode(members["type"]) if "type" in members else None
        if not isinstance(word, str) or word not in _KINDS:
            raise BadRequest(f"type must be one of {', '.join(_KINDS)}")
        # An ack of a group differs from one of a log by its fields only.
        kind = AckGroup if word == "ack" and "group" in members else _KINDS[word]
        return _checked(decode(_DECODERS[kind], text, _PLACE), limits)
    except MALFORMED:
        raise BadRequest(explain_malformed(text, _PLACE)) from None


def _checked(decoded: _Decoded, limits: FrameLimits) -> Frame:
    """Return a frame whose keys, cursors and number of items are within the limits."""
    match decoded:
        case _SubscribeEntries():
            return Subscribe(_items(decoded, limits))
        case Unsubscribe():
            for name in _LISTS:
                _check_keys(name, getattr(decoded, name), limits)
        case AckLog(key, cursor):
            _check_keys("key", [key], limits)
            _check_cursor(cursor)
        case AckGroup(group, _):
            _check_keys("group", [group], limits)
        case Ping() | Pong():
            pass
    return decoded


def _items(decoded: _SubscribeEntries, limits: FrameLimits) -> tuple[Item, ...]:
    for name in _LISTS:
        _check_keys(name, [entry.key for entry in getattr(decoded, name)], limits)
    for log in decoded.messages:
        _check_cursor(log.cursor)
    items: tuple[Item, ...] = (
        *(LogItem(log.key, log.cursor, max(1, log.max)) for log in decoded.messages),
        *(EventItem(event.key, event.default_type) for event in decoded.events),
        *(GroupItem(group.key, group.version) for group in decoded.groups),
    )
    if not items:
        raise BadRequest("there is nothing to subscribe to")
    return items


def _check_keys(name: str, keys: Sequence[str], limits: FrameLimits) -> None:
    if len(keys) > limits.max_items:
        raise BadRequest(f"{name} has more than {limits.max_items} items")
    for key in keys:
        check_key(key, limits.max_key_bytes, _PLACE, name)


def _check_cursor(cursor: str) -> None:
    if cursor not in (NEW, ALL):
        parse_cursor(cursor)
