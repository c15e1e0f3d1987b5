"""Parameters and responses of the endpoints that are not `/v1`, as they are described.

These APIs are given: their names and forms are those that existing front ends send and
expect. They are read and written in `poll` and `openresty`; the Structs here are for
the OpenAPI document only.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from ..core.poll_query import MAX_MESSAGE_ID

__all__ = [
    "GroupCreateParameters",
    "GroupPollParameters",
    "GroupSendParameters",
    "LiveResponse",
    "NotReadyReason",
    "NotReadyResponse",
    "OpenRestyResponse",
    "PollParameters",
    "PollResponse",
    "ReadyResponse",
    "SendParameters",
]

_GroupKey: TypeAlias = Annotated[
    str, Meta(min_length=1, description="Name of the group.")
]
_EventKey: TypeAlias = Annotated[
    str, Meta(min_length=1, description="Name of the event.")
]
_Timeout: TypeAlias = Annotated[
    float, Meta(ge=0, description="Seconds to wait; 0 looks without waiting.")
]
# Shorter leases are accepted, and made as long as this.
_Lease: TypeAlias = Annotated[
    float, Meta(ge=60, description="Seconds for which the change lasts.")
]
_MessageId: TypeAlias = Annotated[
    int, Meta(ge=0, le=MAX_MESSAGE_ID, description="Number of the message.")
]


class DescribedStruct(Struct, forbid_unknown_fields=True):
    """What all of these have in common: they have no other fields."""


# --- the poll API ---------------------------------------------------------------------


class PollParameters(DescribedStruct):
    """What to wait for."""

    event: Annotated[
        str,
        Meta(
            min_length=1,
            description="Name of the event, and of the list.",
            examples=["order-1042"],
        ),
    ]
    default_type: Annotated[
        Literal["", "clear", "set"],
        Meta(description="What an event is that has never been set or cleared."),
    ] = "clear"
    wait_type: Annotated[
        Literal["", "reset"],
        Meta(description="`reset`: a successful wait puts the event back."),
    ] = ""
    timeout: _Timeout = 60


class PollResponse(DescribedStruct):
    """What came of a poll; the HTTP status is 200."""

    err_code: Literal[0, 400, 401, 403, 409, 414, 429, 500, 502, 503, 504]
    err_message: str
    data: str | UnsetType | None = UNSET
    limit: str | UnsetType = UNSET


# --- the OpenResty API ----------------------------------------------------------------


class GroupPollParameters(DescribedStruct):
    """Which message of a group to wait for."""

    key: _GroupKey
    msg_id: _MessageId = 0
    timeout: _Timeout = 60
    # Twice the timeout by default.
    expried: _Lease | UnsetType = UNSET  # wire spelling
    keep_seted: Annotated[
        str, Meta(description="Any word but `false`: do not renew the group.")
    ] = "false"


class SendParameters(DescribedStruct):
    """Which event to set."""

    key: _EventKey
    default_seted: Annotated[
        str, Meta(description="Any word but `false`: the event is set by default.")
    ] = "false"
    expried: _Lease = 60  # wire spelling


class GroupCreateParameters(DescribedStruct):
    """Which group to create."""

    key: _GroupKey
    msg_id: _MessageId = 0
    expried: _Lease = 60  # wire spelling


class GroupSendParameters(DescribedStruct):
    """Which group to send to."""

    key: _GroupKey
    expried: _Lease = 60  # wire spelling


class OpenRestyResponse(DescribedStruct):
    """What came of a request; the HTTP status is 200."""

    code: Literal[0, 400, 401, 403, 404, 409, 413, 414, 429, 500, 502, 503, 504]
    msg: str
    data: Any


# --- for operators --------------------------------------------------------------------


class LiveResponse(DescribedStruct):
    """The process serves requests."""

    live: Annotated[bool, Meta(extra_json_schema={"const": True})]


class NotReadyReason(DescribedStruct):
    """Why no new clients should be sent here."""

    code: Literal["draining", "slock", "store", "waits"]
    message: str


class ReadyResponse(DescribedStruct):
    """New clients may be sent here."""

    ready: Annotated[bool, Meta(extra_json_schema={"const": True})]
    reasons: list[NotReadyReason]


class NotReadyResponse(DescribedStruct):
    """New clients should not be sent here."""

    ready: Annotated[bool, Meta(extra_json_schema={"const": False})]
    reasons: list[NotReadyReason]
