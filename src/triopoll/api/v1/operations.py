"""The operations of `/v1`, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..event_stream import MEDIA_TYPE
from ..openapi import Either, Operation
from .schemas import (
    PUBLISH_ITEMS,
    WAIT_ITEMS,
    MessagesQuery,
    PageQuery,
    PendingId,
    PresenceQuery,
    PublishBatch,
    PublishBody,
    WaitBody,
    WaitParameters,
)
from .serializers import (
    CancelledResponse,
    DeliveredResponse,
    ErrorResponse,
    FailedResult,
    MessagesResponse,
    PendingResult,
    PresenceResponse,
    PublishResponse,
    SignalResult,
    StoredResult,
    WaitResponse,
)
from .state_schemas import (
    AckState,
    ChangedResponse,
    ChangeState,
    ConflictResponse,
    CreatedResponse,
    CreateState,
    OriginResponse,
    PollSecret,
    StateKey,
    StateResponse,
    WaitState,
)

__all__ = ["V1_OPERATIONS", "V1_REFERENCED"]

_TAG = "Messages, waits and publishing"
_REFUSALS: Mapping[int, type] = dict.fromkeys(
    (400, 401, 403, 408, 409, 413, 414, 429, 503), ErrorResponse
)

_PRESENCE_REFUSALS: Mapping[int, type] = {**_REFUSALS, 404: ErrorResponse}
_CANCEL_REFUSALS: Mapping[int, type] = {**_REFUSALS, 409: DeliveredResponse}

# Structs that the schemas of others refer to by name.
V1_REFERENCED: Sequence[type] = (
    *WAIT_ITEMS.values(),
    *PUBLISH_ITEMS.values(),
    PublishBatch,
    StoredResult,
    PendingResult,
    SignalResult,
    FailedResult,
)

_PRESENCE = "Presence"
_STATES = "States"
_SECRET: Mapping[str, Any] = {
    "Triopoll-Poll-Secret": PollSecret,
}
_STATE_REFUSALS: Mapping[int, type] = dict.fromkeys(
    (400, 401, 403, 404, 408, 413, 414, 429, 503), ErrorResponse
)
_STATE_OPERATIONS: Sequence[Operation] = (
    Operation(
        "POST",
        "/v1/states",
        "Create a state",
        {201: CreatedResponse, **_STATE_REFUSALS},
        _STATES,
        body=CreateState,
        admits="key",
    ),
    Operation(
        "POST",
        "/v1/states/wait",
        "Wait for the next version of a state",
        {200: StateResponse, 410: ErrorResponse, **_STATE_REFUSALS},
        _STATES,
        headers=_SECRET,
        body=WaitState,
    ),
    Operation(
        "POST",
        "/v1/states/ack",
        "Acknowledge a final state, whose data is deleted then",
        {204: None, 409: ConflictResponse, **_STATE_REFUSALS},
        _STATES,
        headers=_SECRET,
        body=AckState,
    ),
    Operation(
        "PUT",
        "/v1/states/{key}",
        "Change a state",
        {200: ChangedResponse, 409: ConflictResponse, **_STATE_REFUSALS},
        _STATES,
        path_parameters={"key": StateKey},
        body=ChangeState,
        admits="key",
    ),
    Operation(
        "GET",
        "/v1/states/{key}/origin",
        "Read who has created a state, to be shown before it is confirmed",
        {200: OriginResponse, **_STATE_REFUSALS},
        _STATES,
        path_parameters={"key": StateKey},
        admits="key",
    ),
)

V1_OPERATIONS: Sequence[Operation] = (
    Operation(
        "GET",
        "/v1/messages",
        "Read the messages of a key after a cursor, or wait for the first",
        {200: Either(MessagesResponse, MEDIA_TYPE), **_REFUSALS},
        _TAG,
        query=MessagesQuery,
        admits="ticket",
    ),
    *(
        Operation(
            method,
            "/v1/wait",
            "Wait for any of several things",
            {200: WaitResponse, **_REFUSALS},
            _TAG,
            query=query,
            body=body,
            admits="ticket",
        )
        for method, query, body in (
            ("GET", WaitParameters, None),
            ("POST", None, WaitBody),
        )
    ),
    Operation(
        "POST",
        "/v1/publish",
        "Store messages, set events, wake groups",
        {200: PublishResponse, 202: PublishResponse, **_REFUSALS},
        _TAG,
        body=PublishBody,
        admits="key",
    ),
    Operation(
        "DELETE",
        "/v1/publish/{id}",
        "Cancel a message that is not due yet",
        {200: CancelledResponse, 404: ErrorResponse, **_CANCEL_REFUSALS},
        _TAG,
        path_parameters={"id": PendingId},
        admits="key",
    ),
    Operation(
        "GET",
        "/v1/presence",
        "Read who waits on a key",
        {200: PresenceResponse, **_PRESENCE_REFUSALS},
        _PRESENCE,
        query=PresenceQuery,
        admits="key",
    ),
    Operation(
        "GET",
        "/v1/presence/changes",
        "Read who has come and gone on a key after a cursor, or wait for the first",
        {200: MessagesResponse, **_PRESENCE_REFUSALS},
        _PRESENCE,
        query=PageQuery,
        admits="key",
    ),
    *_STATE_OPERATIONS,
)
