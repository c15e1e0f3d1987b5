"""The responses of `/v1`: one set of msgspec Structs that are encoded and described.

A page of messages is the same for every client that waited for it, and over HTTP as
over a websocket, so its messages are encoded once (`encode_messages`).
"""

# Msgspec's hooks and JSON are of any type until they are checked:
# pyright: reportArgumentType=false

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, cast

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from ...core.wait_items import EventState, GroupState, Item, ItemState, ReadResult
from ...store import Page, StoredMessage
from ..validation import StrictStruct
from .schemas import any_of

__all__ = [
    "Count",
    "CursorEvent",
    "EndEvent",
    "ErrorResponse",
    "FailedResult",
    "GapEvent",
    "CancelledResponse",
    "DeliveredResponse",
    "MessagesResponse",
    "PendingResult",
    "PresenceResponse",
    "PublishResponse",
    "PublishResult",
    "Seconds",
    "SignalResult",
    "StoredResult",
    "WaitResponse",
    "encode",
    "encode_messages",
    "item_result",
    "log_message",
    "message_text",
    "messages_response",
]

Count: TypeAlias = Annotated[int, Meta(ge=0)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0)]
# What is the matter with a page: messages are lost; nothing came in the time; nothing
# came and the server is being replaced.
PageCode: TypeAlias = Literal["gap", "timeout", "draining"]

encode = msgspec.json.Encoder().encode
_RAW = msgspec.json.Decoder(Raw)


class ErrorResponse(StrictStruct):
    """Why a request was refused."""

    code: str
    message: str
    limit: str | UnsetType = UNSET
    retry_ms: Count | UnsetType = UNSET


# --- reading --------------------------------------------------------------------------


class LogMessage(StrictStruct, kw_only=True):
    """A message: text and JSON values in `data`, other bytes in `data_base64`."""

    id: str
    # Text is a str, a JSON value a Raw.
    data: Any = UNSET
    data_base64: bytes | UnsetType = UNSET
    ts: Seconds


class MessagesResponse(StrictStruct, kw_only=True):
    """The messages of a key, and how long was waited for them."""

    messages: list[LogMessage]
    cursor: str
    code: PageCode | UnsetType = UNSET
    lost: Count | UnsetType | None = UNSET
    retry_ms: Count
    wait: Seconds
    waited: Seconds


class PresenceResponse(StrictStruct):
    """Who waits on a key: each subject counts once, and each wait without one."""

    key: str
    count: Count
    subjects: list[str]
    anonymous: Count


class CursorEvent(StrictStruct):
    """An event: there is nothing to send yet, and what comes is behind this cursor."""

    cursor: str


class GapEvent(StrictStruct):
    """An event: messages are lost, before those that follow."""

    code: Literal["gap"]
    lost: Count | None


class EndEvent(StrictStruct):
    """The last event; one that reports an error is an `ErrorResponse` instead."""

    code: Literal["timeout", "draining"]
    cursor: str
    retry_ms: Count


class MessageResult(StrictStruct, tag_field="type", tag="message"):
    """What was found of a log."""

    key: str
    ready: bool
    messages: list[LogMessage]
    cursor: str
    code: Literal["gap"] | UnsetType = UNSET
    lost: Count | UnsetType | None = UNSET


class EventResult(StrictStruct, tag_field="type", tag="event"):
    """What was found of an event."""

    key: str
    ready: bool


class GroupResult(StrictStruct, tag_field="type", tag="group"):
    """What was found of a group event."""

    key: str
    ready: bool
    version: Count


class WaitResponse(StrictStruct, kw_only=True):
    """What was found of each item, and how long was waited."""

    items: list[MessageResult | EventResult | GroupResult]
    code: PageCode | UnsetType = UNSET
    retry_ms: Count
    wait: Seconds
    waited: Seconds


def encode_messages(result: ReadResult) -> list[LogMessage]:
    """Return the messages of a page in JSON, encoded once for all who share the page.

    Returns:
        A `Raw`, which msgspec writes as it is where the messages would be.
    """
    if result.encoded is None:
        result.encoded = encode(list(map(log_message, result.page.messages)))
    return cast("list[LogMessage]", Raw(result.encoded))


def log_message(message: StoredMessage) -> LogMessage:
    """Return a message as `/v1` writes it."""
    data = _json_value(message) or message_text(message)
    if data is None:
        return LogMessage(id=message.id, data_base64=message.data, ts=message.ts)
    return LogMessage(id=message.id, data=data, ts=message.ts)


def _json_value(message: StoredMessage) -> Raw | None:
    """Return a JSON value as it was stored; None if it is none.

    What another program has written is checked, since it would spoil the response.
    """
    try:
        if message.is_json and message.data.decode():
            return _RAW.decode(message.data)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        pass
    return None


def message_text(message: StoredMessage) -> str | None:
    """Return a text, or the JSON text of another value; None if it is not UTF-8."""
    try:
        return message.data.decode()
    except UnicodeDecodeError:
        return None


def messages_response(result: ReadResult, timing: dict[str, Any]) -> MessagesResponse:
    """Return the messages of a key, and how long was waited for them."""
    fields = {"cursor": result.page.cursor, **timing, **_gap(result.page)}
    return MessagesResponse(messages=encode_messages(result), **fields)


def item_result(
    item: Item, state: ItemState
) -> MessageResult | EventResult | GroupResult:
    """Return what was found of an item."""
    match state:
        case ReadResult(page):
            return MessageResult(
                item.key, state.ready, encode_messages(state), page.cursor, **_gap(page)
            )
        case EventState():
            return EventResult(item.key, state.ready)
        case GroupState():
            return GroupResult(item.key, state.ready, state.version)


def _gap(page: Page) -> dict[str, Any]:
    """Return the fields that say how many messages a gap has swallowed, if any."""
    return {"code": "gap", "lost": page.lost} if page.gap else {}


# --- publishing -----------------------------------------------------------------------


class StoredResult(StrictStruct):
    """A message is stored."""

    id: str
    duplicate: bool
    woken: bool
    waiting: Count | None


class PendingResult(StrictStruct):
    """A message is stored, and will be in its log when it is due."""

    id: str
    pending: Annotated[bool, Meta(extra_json_schema={"const": True})]
    due: Seconds
    replaced: bool


class SignalResult(StrictStruct):
    """An event was set or cleared, or a group woken, which has a version then."""

    version: Count | UnsetType = UNSET


class FailedResult(StrictStruct):
    """An item was not published."""

    code: str
    message: str


PublishResult: TypeAlias = StoredResult | PendingResult | SignalResult | FailedResult


class PublishResponse(StrictStruct):
    """What became of each item, in the order given."""

    # They are told apart by their fields; a union of Structs would need a tag.
    items: list[
        Annotated[
            Any,
            Meta(
                extra_json_schema=any_of(
                    StoredResult, PendingResult, SignalResult, FailedResult
                )
            ),
        ]
    ]


class CancelledResponse(StrictStruct):
    """A pending message was cancelled."""

    id: str


class DeliveredResponse(StrictStruct, kw_only=True):
    """A message is in its log, under this id, and cannot be cancelled."""

    code: Literal["delivered"] = "delivered"
    message: str
    id: str
