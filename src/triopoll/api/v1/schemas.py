"""The requests of `/v1`: decoded, checked and described by one set of msgspec Structs.

A Struct's types say what a request may contain; msgspec decodes into it, and the
OpenAPI document is made from it (see `api.openapi`). What depends on the settings, or
cannot be said with types, is checked in `decoding`.

A field that a client may leave out and that has no default is UNSET without it. None
would not do: it is what JSON's null decodes to, which is refused.
"""

# Msgspec's hooks and JSON are of any type until they are checked:
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Raw, UnsetType, field

from ..validation import BoundedInteger, DefaultType, StrictStruct

__all__ = [
    "MAX_CURSOR_BYTES",
    "MAX_ID_BYTES",
    "MAX_WAIT_ITEMS",
    "PUBLISH_ITEMS",
    "WAIT_ITEMS",
    "GroupVersion",
    "MessagesQuery",
    "PageQuery",
    "PendingId",
    "PresenceQuery",
    "PublishBatch",
    "PublishBody",
    "PublishItem",
    "PublishMessage",
    "Timeout",
    "WaitBody",
    "WaitEvent",
    "WaitItem",
    "WaitMessage",
    "WaitParameters",
    "any_of",
    "reference",
]

MAX_WAIT_ITEMS = 50
MAX_CURSOR_BYTES = 64
MAX_ID_BYTES = 128
_MAX_PUBLISH_ITEMS = 100
# Seconds that an event stays as it is made if its publisher does not say.
_EVENT_TTL = 120.0
# msgspec describes defaults of built-in types only, so this is not a `PageSize`.
_DEFAULT_LIMIT: Any = 100

_PLACE = r"[0-9a-f]{8}\.[1-9][0-9]{0,15}\.[0-9a-f]{4}"
_BASE64 = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


def reference(kind: type | str) -> dict[str, str]:
    """Return the JSON Schema that refers to a Struct of the OpenAPI document."""
    name = kind if isinstance(kind, str) else kind.__name__
    return {"$ref": f"#/components/schemas/{name}"}


def any_of(*kinds: type | str) -> dict[str, Any]:
    """Return the JSON Schema of a value of one of some Structs."""
    return {"anyOf": [reference(kind) for kind in kinds]}


class PageSize(BoundedInteger):
    """How many messages of a key are returned."""

    low, high = 1, 1000


class GroupVersion(BoundedInteger):
    """The version of a group event."""

    low, high = 0, 2**64 - 1


Key: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        description="Name of the log, the event or the group.",
        examples=["orders.17"],
        # A setting bounds its bytes; this is the default.
        extra_json_schema={"maxLength": 256},
    ),
]
Cursor: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_CURSOR_BYTES,
        description="From an answer: what came after it is returned. `new`: from now "
        "on. `all`: all that is kept.",
        examples=["new", "all"],
        # A cursor of another form is refused as `bad_cursor` where it is used.
        extra_json_schema={"pattern": f"^(new|all|{_PLACE})$"},
    ),
]
Timeout: TypeAlias = Annotated[
    float,
    Meta(
        ge=0,
        description="Seconds to wait; 0 looks without waiting; more than the maximum "
        "is the maximum. Up to a tenth is subtracted at random.",
        examples=[25],
    ),
]
Limit: TypeAlias = Annotated[
    PageSize, Meta(description="Messages of a key that are returned at most.")
]
Live: TypeAlias = Annotated[
    Literal["sse"],
    Meta(
        description="Send each message when it comes, as a server-sent event, for as "
        "long as the timeout says. A browser that reconnects sends the id of the last "
        "event, a cursor, in the header Last-Event-ID; it counts instead of the cursor."
    ),
]
Ttl: TypeAlias = Annotated[
    float,
    Meta(
        gt=0,
        description="Seconds, at most the maximum: for which a message is kept; for "
        "which an event stays as it is made.",
    ),
]
EventDefault: TypeAlias = Annotated[
    DefaultType,
    Meta(description="What an event is that has never been set or cleared."),
]


# --- reading --------------------------------------------------------------------------


class PageQuery(StrictStruct):
    """What came after a cursor."""

    key: Key
    cursor: Cursor = "new"
    timeout: Timeout | UnsetType = UNSET
    max: Limit = _DEFAULT_LIMIT


class MessagesQuery(PageQuery):
    """The messages of a key after a cursor."""

    live: Live | UnsetType = UNSET


class PresenceQuery(StrictStruct):
    """Who waits on a key."""

    key: Key


class WaitMessage(StrictStruct):
    """Messages of a log to wait for."""

    key: Key
    type: Literal["message"] = "message"
    cursor: Cursor = "new"


class WaitEvent(StrictStruct):
    """An event to wait for."""

    key: Key
    type: Literal["event"]
    default_type: EventDefault = "clear"


_Version: TypeAlias = Annotated[
    GroupVersion,
    Meta(
        description="The version that the client knows, from an answer. Without it, "
        "the next one from now on is waited for."
    ),
]


class WaitGroup(StrictStruct):
    """A group event to wait for."""

    key: Key
    type: Literal["group"]
    version: _Version | UnsetType = UNSET


WaitItem: TypeAlias = WaitMessage | WaitEvent | WaitGroup
WAIT_ITEMS: dict[str, type[WaitItem]] = {
    "message": WaitMessage,
    "event": WaitEvent,
    "group": WaitGroup,
}


class WaitBody(StrictStruct):
    """Any of several things to wait for."""

    # Each is decoded by itself, by its `type`, which may be absent.
    items: Annotated[
        list[Annotated[Raw, Meta(extra_json_schema=any_of(*WAIT_ITEMS.values()))]],
        Meta(
            min_length=1,
            max_length=MAX_WAIT_ITEMS,
            description="What to wait for; what is ready is returned.",
        ),
    ]
    timeout: Timeout | UnsetType = UNSET
    max: Limit = _DEFAULT_LIMIT


def _parameter(head: str) -> Meta:
    text = f"{head}:KEY, where {head} may be empty; may be repeated."
    return Meta(description=text)


def _before_key(pattern: str) -> Meta:
    return Meta(extra_json_schema={"pattern": f"^{pattern}:.{{1,200}}$"})


_Message: TypeAlias = Annotated[str, _before_key(f"(new|all|{_PLACE})?")]
_Event: TypeAlias = Annotated[str, _before_key("(clear|set)?")]
_Group: TypeAlias = Annotated[str, _before_key("[0-9]{0,18}")]


class WaitParameters(StrictStruct):
    """A `WaitBody` in a query string, where each item is a parameter."""

    message: Annotated[list[_Message], _parameter("CURSOR")] = field(
        default_factory=list
    )
    event: Annotated[list[_Event], _parameter("DEFAULT_TYPE")] = field(
        default_factory=list
    )
    group: Annotated[list[_Group], _parameter("VERSION")] = field(default_factory=list)
    timeout: Timeout | UnsetType = UNSET
    max: Limit = _DEFAULT_LIMIT


# --- publishing -----------------------------------------------------------------------


_Data: TypeAlias = Annotated[Raw, Meta(description="The message: any JSON value.")]
_Bytes: TypeAlias = Annotated[
    bytes,
    Meta(
        description="Instead of `data`: bytes that are not text.",
        extra_json_schema={"pattern": _BASE64},
    ),
]
_Id: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_ID_BYTES,
        description="The publisher's name for the message. Within 10 minutes a second "
        "message of the key with this name is not stored.",
    ),
]


PendingId: TypeAlias = Annotated[
    str,
    Meta(
        description="Of a pending message, from the answer to its publish: the "
        "base64url of its key and of its publisher's id, with a dot between them.",
        extra_json_schema={"pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"},
    ),
]
# One time, or seconds from now.
_NotBefore: TypeAlias = (
    Annotated[float, Meta(ge=0, description="Seconds from now.", examples=[90])]
    | Annotated[
        datetime,
        Meta(
            tz=True,
            description="A time in ISO 8601, with its zone.",
            examples=["2027-01-01T09:00:00+01:00"],
        ),
    ]
)


class PublishMessage(StrictStruct):
    """A message to store."""

    key: Key
    type: Literal["message"] = "message"
    data: _Data | UnsetType = UNSET
    data_base64: _Bytes | UnsetType = UNSET
    id: _Id | UnsetType = UNSET
    ttl: Ttl | UnsetType = UNSET
    not_before: _NotBefore | UnsetType = UNSET


class PublishEvent(StrictStruct):
    """An event to set."""

    key: Key
    type: Literal["event"]
    default_type: EventDefault = "clear"
    ttl: Ttl = _EVENT_TTL


class PublishClear(StrictStruct):
    """An event to clear."""

    key: Key
    type: Literal["clear"]
    default_type: EventDefault = "clear"
    ttl: Ttl = _EVENT_TTL


class PublishGroup(StrictStruct):
    """A group event to wake."""

    key: Key
    type: Literal["group"]


PublishItem: TypeAlias = PublishMessage | PublishEvent | PublishClear | PublishGroup
PUBLISH_ITEMS: dict[str, type[PublishItem]] = {
    "message": PublishMessage,
    "event": PublishEvent,
    "clear": PublishClear,
    "group": PublishGroup,
}
# A message has its data in one of two forms, which the Struct alone does not say.
_ONE_FORM = {"oneOf": [{"required": ["data"]}, {"required": ["data_base64"]}]}
_PUBLISH_ITEM: dict[str, Any] = {
    "anyOf": [
        {**reference(PublishMessage), **_ONE_FORM},
        *map(reference, (PublishEvent, PublishClear, PublishGroup)),
    ]
}


class PublishBatch(StrictStruct):
    """Several things to publish."""

    # Each is decoded by itself, by its `type`, which may be absent.
    items: Annotated[
        list[Annotated[Raw, Meta(extra_json_schema=_PUBLISH_ITEM)]],
        Meta(
            min_length=1,
            max_length=_MAX_PUBLISH_ITEMS,
            description="What to publish; messages of one key in this order.",
        ),
    ]


# The body of a publish: one item, or several.
PublishBody: TypeAlias = Annotated[
    Any,
    Meta(
        extra_json_schema={
            "anyOf": [*_PUBLISH_ITEM["anyOf"], reference(PublishBatch)],
        }
    ),
]
