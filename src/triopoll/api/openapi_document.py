"""``/openapi.json``: the description of all endpoints.

The endpoints of the poll API and the OpenResty API are given: their names and forms are
those that existing front ends send and expect. They are read and written in `poll` and
`openresty`; the Structs here are for the OpenAPI document only.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..asgi.messages import Request, Response, Routes
from ..core.poll_query import MAX_MESSAGE_ID
from .javascript import module_path
from .openapi import Operation, document
from .stream.operations import STREAM_OPERATIONS
from .v1.operations import V1_OPERATIONS, V1_REFERENCED
from .v1.schemas import any_of
from .v1.serializers import ErrorResponse
from .validation import StrictStruct

__all__ = [
    "OPERATIONS",
    "GroupCreateParameters",
    "GroupPollParameters",
    "GroupSendParameters",
    "PollParameters",
    "SendParameters",
    "describe",
    "openapi_routes",
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


# --- the poll API ---------------------------------------------------------------------


class PollParameters(StrictStruct):
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


class PollResponse(StrictStruct):
    """What came of a poll; the HTTP status is 200."""

    err_code: Literal[0, 400, 401, 403, 409, 414, 429, 500, 502, 503, 504]
    err_message: str
    data: str | UnsetType | None = UNSET
    data_base64: Annotated[
        str | UnsetType,
        Meta(description="The bytes of a message that is not UTF-8."),
    ] = UNSET
    limit: str | UnsetType = UNSET


# --- the OpenResty API ----------------------------------------------------------------


class GroupPollParameters(StrictStruct):
    """Which message of a group to wait for."""

    key: _GroupKey
    msg_id: _MessageId = 0
    timeout: _Timeout = 60
    # Twice the timeout by default.
    expried: _Lease | UnsetType = UNSET  # wire spelling
    keep_seted: Annotated[
        str, Meta(description="Any word but `false`: do not renew the group.")
    ] = "false"


class SendParameters(StrictStruct):
    """Which event to set."""

    key: _EventKey
    default_seted: Annotated[
        str, Meta(description="Any word but `false`: the event is set by default.")
    ] = "false"
    expried: _Lease = 60  # wire spelling


class GroupCreateParameters(StrictStruct):
    """Which group to create."""

    key: _GroupKey
    msg_id: _MessageId = 0
    expried: _Lease = 60  # wire spelling


class GroupSendParameters(StrictStruct):
    """Which group to send to."""

    key: _GroupKey
    expried: _Lease = 60  # wire spelling


class OpenRestyResponse(StrictStruct):
    """What came of a request; the HTTP status is 200."""

    code: Literal[0, 400, 401, 403, 404, 409, 413, 414, 429, 500, 502, 503, 504]
    msg: str
    data: Any


# --- for operators --------------------------------------------------------------------


class LiveResponse(StrictStruct):
    """The process serves requests."""

    live: Annotated[bool, Meta(extra_json_schema={"const": True})]


class NotReadyReason(StrictStruct):
    """Why no new clients should be sent here."""

    code: Literal["draining", "slock", "store", "waits"]
    message: str


class ReadyResponse(StrictStruct):
    """New clients may be sent here."""

    ready: Annotated[bool, Meta(extra_json_schema={"const": True})]
    reasons: list[NotReadyReason]


class NotReadyResponse(StrictStruct):
    """New clients should not be sent here."""

    ready: Annotated[bool, Meta(extra_json_schema={"const": False})]
    reasons: list[NotReadyReason]


# --- operations -----------------------------------------------------------------------

_POLL, _OPENRESTY, _OPERATORS = "Poll API", "OpenResty API", "For operators"
# Both APIs have these paths; the parameters say which of the two answers.
_EITHER = Annotated[
    Any, Meta(extra_json_schema=any_of(PollResponse, OpenRestyResponse))
]
_POLLS: Sequence[tuple[str, str, type[StrictStruct], Any, str]] = [
    ("/poll/event", "Wait for an event", PollParameters, _EITHER, _POLL),
    (
        "/poll/message",
        "Take the first message of a list, or wait for it",
        PollParameters,
        _EITHER,
        _POLL,
    ),
    (
        "/poll/group/message",
        "Wait for a message of a group",
        GroupPollParameters,
        OpenRestyResponse,
        _OPENRESTY,
    ),
]
_PUBLISHING: Sequence[tuple[str, str, type[StrictStruct]]] = (
    ("/poll/event/emit", "Set an event", SendParameters),
    ("/poll/message/send", "Keep a message and set its event", SendParameters),
    ("/poll/group/message/create", "Create a group", GroupCreateParameters),
    ("/poll/group/message/send", "Send a message to a group", GroupSendParameters),
)
_FOR_OPERATORS: Sequence[tuple[str, str, dict[int, Any]]] = (
    ("/livez", "Whether the process serves requests", {200: LiveResponse}),
    (
        "/readyz",
        "Whether new clients may be sent here",
        {200: ReadyResponse, 503: NotReadyResponse},
    ),
    ("/metrics", "Metrics for Prometheus", {200: "text/plain", 403: ErrorResponse}),
    ("/openapi.json", "This document", {200: dict[str, Any]}),
)
OPERATIONS: Sequence[Operation] = (
    *(
        Operation("GET", path, summary, {200: kind}, tag, query=query, admits="ticket")
        for path, summary, query, kind, tag in _POLLS
    ),
    *(
        Operation(
            method,
            path,
            summary,
            {200: OpenRestyResponse, 413: ErrorResponse},
            _OPENRESTY,
            query=query,
            # Any JSON; a request by GET need not have one.
            body=Any if path.endswith("/send") and method == "POST" else None,
            admits="key",
        )
        for path, summary, query in _PUBLISHING
        for method in ("GET", "POST")
    ),
    *V1_OPERATIONS,
    *STREAM_OPERATIONS,
    Operation(
        "GET",
        module_path(),
        "The browser client, an ES module",
        {200: "text/javascript"},
        "Browser client",
    ),
    *(
        Operation("GET", path, summary, responses, _OPERATORS)
        for path, summary, responses in _FOR_OPERATORS
    ),
)
_REFERENCED: Sequence[type] = (*V1_REFERENCED, PollResponse, OpenRestyResponse)


@functools.cache
def describe() -> bytes:
    """Return the OpenAPI document in JSON, made at the first call."""
    shape = document(OPERATIONS, version("trioslock"), _REFERENCED)
    return msgspec.json.encode(shape)


def openapi_routes() -> Routes:
    """Return the endpoint that describes all of them."""
    return {"/openapi.json": {"GET": _openapi}}


async def _openapi(request: Request) -> Response:
    return Response(describe())
