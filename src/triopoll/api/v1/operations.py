"""The operations of `/v1`, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..openapi import Operation
from .schemas import (
    PUBLISH_ITEMS,
    WAIT_ITEMS,
    MessagesQuery,
    PublishBatch,
    PublishBody,
    WaitBody,
    WaitParameters,
)
from .serializers import (
    ErrorResponse,
    FailedResult,
    MessagesResponse,
    PublishResponse,
    SignalResult,
    StoredResult,
    WaitResponse,
)

__all__ = ["V1_OPERATIONS", "V1_REFERENCED"]

_TAG = "Messages, waits and publishing"
_REFUSALS: Mapping[int, type] = dict.fromkeys(
    (400, 401, 403, 408, 409, 413, 414, 429, 503), ErrorResponse
)

# Structs that the schemas of others refer to by name.
V1_REFERENCED: Sequence[type] = (
    *WAIT_ITEMS.values(),
    *PUBLISH_ITEMS.values(),
    PublishBatch,
    StoredResult,
    SignalResult,
    FailedResult,
)

V1_OPERATIONS: Sequence[Operation] = (
    Operation(
        "GET",
        "/v1/messages",
        "Read the messages of a key after a cursor, or wait for the first",
        {200: MessagesResponse, **_REFUSALS},
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
)
