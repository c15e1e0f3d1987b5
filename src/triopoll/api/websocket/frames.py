"""The frames that a client sends over ``/v1/ws``, decoded and checked.

Pure. A frame is hostile until it has been read here; one that is not in the documented
shape is a `BadRequest` with a sentence for the client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from ...core.wait_items import EventItem, GroupItem, Item, LogItem
from ...store import ALL, NEW, parse_cursor
from ..v1.schemas import GroupVersion
from ..validation import (
    MALFORMED,
    BadRequest,
    DefaultType,
    check_length,
    decode_integer,
    explain,
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


class Unsubscribe(Struct, tag="unsubscribe", forbid_unknown_fields=True):
    """Stop following these logs, events and groups."""

    messages: tuple[_Key, ...] = ()
    events: tuple[_Key, ...] = ()
    groups: tuple[_Key, ...] = ()


class AckLog(Struct, tag="ack", forbid_unknown_fields=True):
    """Everything up to the cursor has arrived; the client wants what comes after it."""

    key: _Key
    cursor: str


class AckGroup(Struct, tag="ack", forbid_unknown_fields=True):
    """The version has arrived; the client wants the next one."""

    group: _Key
    version: GroupVersion


class Ping(Struct, tag="ping", forbid_unknown_fields=True):
    """The client asks for a pong."""


class Pong(Struct, tag="pong", forbid_unknown_fields=True):
    """The client answers a ping of the server."""


Frame: TypeAlias = Subscribe | Unsubscribe | AckLog | AckGroup | Ping | Pong


# --- the JSON of a subscription -------------------------------------------------------


class _LogEntry(Struct, forbid_unknown_fields=True):
    key: _Key
    cursor: str = NEW
    max: Annotated[int, Meta(ge=0, le=1000)] = 100

    def item(self) -> LogItem:
        if self.cursor not in (NEW, ALL):
            parse_cursor(self.cursor)
        return LogItem(self.key, self.cursor, max(1, self.max))


class _EventEntry(Struct, forbid_unknown_fields=True):
    key: _Key
    default_type: DefaultType = "clear"

    def item(self) -> EventItem:
        return EventItem(self.key, self.default_type)


class _GroupEntry(Struct, forbid_unknown_fields=True):
    key: _Key
    version: GroupVersion | None = None

    def item(self) -> GroupItem:
        return GroupItem(self.key, self.version)


class _SubscribeEntries(Struct, tag="subscribe", forbid_unknown_fields=True):
    messages: tuple[_LogEntry, ...] = ()
    events: tuple[_EventEntry, ...] = ()
    groups: tuple[_GroupEntry, ...] = ()


_Decoded: TypeAlias = _SubscribeEntries | Unsubscribe | AckLog | AckGroup | Ping | Pong


def _decoder(kind: type[_Decoded]) -> Decoder[_Decoded]:
    return Decoder(kind, dec_hook=decode_integer)


_DECODERS: Mapping[str, Decoder[_Decoded]] = {
    "subscribe": _decoder(_SubscribeEntries),
    "unsubscribe": _decoder(Unsubscribe),
    "ack": _decoder(AckLog),
    "ping": _decoder(Ping),
    "pong": _decoder(Pong),
}
_ACK_GROUP = _decoder(AckGroup)


# --- reading --------------------------------------------------------------------------


def read_frame(text: str, limits: FrameLimits) -> Frame:
    """Read a client's frame.

    Raises:
        BadRequest: It is not in the documented shape, or exceeds a limit.
        BadCursor: It has a cursor that was never given out.
    """
    try:
        decoder = _decoder_of(split_members(text, _PLACE))
        return _checked(decoder.decode(text), limits)
    except msgspec.ValidationError as error:
        raise BadRequest(explain(error, _PLACE)) from None
    except MALFORMED:
        raise BadRequest(explain_malformed(text, _PLACE)) from None


def _decoder_of(members: Mapping[str, Raw]) -> Decoder[_Decoded]:
    kind = msgspec.json.decode(members["type"]) if "type" in members else None
    if not isinstance(kind, str) or kind not in _DECODERS:
        raise BadRequest(f"type must be one of {', '.join(_DECODERS)}")
    # An ack of a group differs from one of a log by its fields only.
    return _ACK_GROUP if kind == "ack" and "group" in members else _DECODERS[kind]


def _checked(decoded: _Decoded, limits: FrameLimits) -> Frame:
    """Return a frame whose keys, cursors and number of items are within the limits."""
    match decoded:
        case _SubscribeEntries(logs, events, groups):
            items: list[Item] = []
            for name, entries in (
                ("messages", logs),
                ("events", events),
                ("groups", groups),
            ):
                _check_keys(name, [entry.key for entry in entries], limits)
                items += [entry.item() for entry in entries]
            if not items:
                raise BadRequest("there is nothing to subscribe to")
            return Subscribe(tuple(items))
        case Unsubscribe():
            for name in ("messages", "events", "groups"):
                _check_keys(name, getattr(decoded, name), limits)
        case AckLog(key, cursor):
            _check_keys("key", [key], limits)
            if cursor not in (NEW, ALL):
                parse_cursor(cursor)
        case AckGroup(group, _):
            _check_keys("group", [group], limits)
        case Ping() | Pong():
            pass
    return decoded


def _check_keys(name: str, keys: Sequence[str], limits: FrameLimits) -> None:
    if len(keys) > limits.max_items:
        raise BadRequest(f"{name} has more than {limits.max_items} items")
    for key in keys:
        check_length(key, limits.max_key_bytes, _PLACE, name)
