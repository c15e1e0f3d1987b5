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
        path="/v1/messages",
        admits="ticket",
        method="GET",
        summary="Read the messages of a key after a cursor, or wait for the first",
        tag=_TAG,
        query=MessagesQuery,
        responses={200: MessagesResponse, **_REFUSALS},
    ),
    Operation(
        path="/v1/wait",
        admits="ticket",
        method="GET",
        summary="Wait for any of several things",
        tag=_TAG,
        query=WaitParameters,
        responses={200: WaitResponse, **_REFUSALS},
    ),
    Operation(
        path="/v1/wait",
        admits="ticket",
        method="POST",
        summary="Wait for any of several things",
        tag=_TAG,
        body=WaitBody,
        responses={200: WaitResponse, **_REFUSALS},
    ),
    Operation(
        path="/v1/publish",
        admits="key",
        method="POST",
        summary="Store messages, set events, wake groups",
        tag=_TAG,
        body=PublishBody,
        responses={200: PublishResponse, 202: PublishResponse, **_REFUSALS},
    ),
)
