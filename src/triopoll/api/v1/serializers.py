"""The responses of `/v1`: one set of msgspec Structs that are encoded and described.

A page of messages is the same for every client that waited for it, and over HTTP as
over a websocket, so its messages are encoded once (`encode_messages`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, cast

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from ...core.wait_items import (
    EventState,
    GroupState,
    Item,
    ItemState,
    ReadResult,
)
from ...store import Page, StoredMessage
from .schemas import any_of

__all__ = [
    "ErrorResponse",
    "EventResult",
    "FailedResult",
    "GroupResult",
    "LogMessage",
    "MessageResult",
    "MessagesResponse",
    "PublishResponse",
    "PublishResult",
    "ResponseStruct",
    "SignalResult",
    "StoredResult",
    "WaitResponse",
    "encode",
    "encode_messages",
    "item_result",
    "log_message",
    "lost_of",
    "message_text",
]

Count: TypeAlias = Annotated[int, Meta(ge=0)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0)]
# What is the matter with a page: messages are lost; nothing came in the time; nothing
# came and the server is being replaced.
PageCode: TypeAlias = Literal["gap", "timeout", "draining"]

encode = msgspec.json.Encoder().encode


class ResponseStruct(Struct, forbid_unknown_fields=True):
    """What all responses have in common: they have no other fields."""


class ErrorResponse(ResponseStruct):
    """Why a request was refused."""

    code: str
    message: str
    limit: str | UnsetType = UNSET
    retry_ms: Count | UnsetType = UNSET


# --- reading --------------------------------------------------------------------------


class LogMessage(ResponseStruct, kw_only=True):
    """A message: text and JSON values in `data`, other bytes in `data_base64`."""

    id: str
    # Text is a str, a JSON value a Raw.
    data: Any = UNSET
    data_base64: bytes | UnsetType = UNSET
    ts: Seconds


class MessagesResponse(ResponseStruct, kw_only=True):
    """The messages of a key, and how long was waited for them."""

    messages: list[LogMessage]
    cursor: str
    code: PageCode | UnsetType = UNSET
    lost: Count | UnsetType | None = UNSET
    retry_ms: Count
    wait: Seconds
    waited: Seconds


class MessageResult(ResponseStruct, tag_field="type", tag="message"):
    """What was found of a log."""

    key: str
    ready: bool
    messages: list[LogMessage]
    cursor: str
    code: Literal["gap"] | UnsetType = UNSET
    lost: Count | UnsetType | None = UNSET


class EventResult(ResponseStruct, tag_field="type", tag="event"):
    """What was found of an event."""

    key: str
    ready: bool


class GroupResult(ResponseStruct, tag_field="type", tag="group"):
    """What was found of a group event."""

    key: str
    ready: bool
    version: Count


class WaitResponse(ResponseStruct, kw_only=True):
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
    data = Raw(message.data) if message.is_json else message_text(message)
    if data is None:
        return LogMessage(id=message.id, data_base64=message.data, ts=message.ts)
    return LogMessage(id=message.id, data=data, ts=message.ts)


def message_text(message: StoredMessage) -> str | None:
    """Return a text, or the JSON text of another value; None if it is not UTF-8."""
    try:
        return message.data.decode()
    except UnicodeDecodeError:
        return None


def lost_of(page: Page) -> int | UnsetType | None:
    """Return how many messages a gap has swallowed; UNSET without a gap."""
    return page.lost if page.gap else UNSET


def item_result(
    item: Item, state: ItemState
) -> MessageResult | EventResult | GroupResult:
    """Return what was found of an item."""
    match state:
        case ReadResult():
            return MessageResult(
                key=item.key,
                ready=state.ready,
                messages=encode_messages(state),
                cursor=state.page.cursor,
                code="gap" if state.page.gap else UNSET,
                lost=lost_of(state.page),
            )
        case EventState():
            return EventResult(key=item.key, ready=state.ready)
        case GroupState():
            return GroupResult(key=item.key, ready=state.ready, version=state.version)


# --- publishing -----------------------------------------------------------------------


class StoredResult(ResponseStruct):
    """A message is stored."""

    id: str
    duplicate: bool
    woken: bool
    waiting: Count | None


class SignalResult(ResponseStruct):
    """An event was set or cleared, or a group woken, which has a version then."""

    version: Count | UnsetType = UNSET


class FailedResult(ResponseStruct):
    """An item was not published."""

    code: str
    message: str


PublishResult: TypeAlias = StoredResult | SignalResult | FailedResult


class PublishResponse(ResponseStruct):
    """What became of each item, in the order given."""

    # The three are told apart by their fields; a union of Structs would need a tag.
    items: list[
        Annotated[
            Any,
            Meta(extra_json_schema=any_of(StoredResult, SignalResult, FailedResult)),
        ]
    ]
