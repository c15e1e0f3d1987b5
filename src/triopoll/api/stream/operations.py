"""The operations of `/v1/stream/`, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from ..openapi import ANY_TYPE, Operation
from ..v1.serializers import ErrorResponse
from ..validation import StrictStruct
from .endpoints import STREAM_ROUTE

__all__ = ["STREAM_OPERATIONS"]

_TAG = "Durable Streams"
_REFUSALS: Mapping[int, type] = dict.fromkeys(
    (400, 401, 403, 404, 408, 409, 410, 413, 414, 429, 503), ErrorResponse
)
_NUMBER = r"^(0|[1-9][0-9]{0,9})$"

_Path: TypeAlias = Annotated[
    str,
    Meta(
        description="The path of a stream; it may have slashes.",
        extra_json_schema={"pattern": r"^[A-Za-z0-9_:-][A-Za-z0-9_:.-]*$"},
    ),
]
_Text: TypeAlias = Annotated[
    str, Meta(description="See the protocol.", extra_json_schema={"maxLength": 256})
]
_Closed: TypeAlias = Annotated[
    Literal["true"], Meta(description="Nothing is appended to the stream afterwards.")
]
_Ttl: TypeAlias = Annotated[
    str,
    Meta(
        description="Seconds after the last read or append.",
        extra_json_schema={"pattern": _NUMBER},
    ),
]


class StreamParameters(StrictStruct):
    """Where to read a stream, and how to wait for more."""

    offset: (
        Annotated[
            str,
            Meta(
                description="From an answer; `-1`: the beginning; `now`: the end.",
                extra_json_schema={"pattern": r"^(-1|now|[0-9]{16}_[0-9]{16})$"},
            ),
        ]
        | UnsetType
    ) = UNSET
    live: (
        Annotated[
            Literal["long-poll", "sse"],
            Meta(description="How to wait; it needs an offset."),
        ]
        | UnsetType
    ) = UNSET
    cursor: (
        Annotated[
            str,
            Meta(
                description="From the last live answer, for caches.",
                extra_json_schema={"pattern": r"^[0-9]{1,16}$"},
            ),
        ]
        | UnsetType
    ) = UNSET


def _operation(
    method: str, summary: str, responses: Mapping[int, Any], **more: Any
) -> Operation:
    return Operation(
        method,
        STREAM_ROUTE,
        summary,
        {**responses, **_REFUSALS},
        _TAG,
        path_parameters={"path": _Path},
        admits="ticket" if method == "GET" else "key",
        **more,
    )


STREAM_OPERATIONS: Sequence[Operation] = (
    _operation(
        "GET",
        "Read a stream from an offset, or wait for more of it",
        {200: ANY_TYPE, 204: None, 304: None},
        query=StreamParameters,
        headers={"If-None-Match": _Text},
    ),
    _operation(
        "PUT",
        "Create a stream, or fork one",
        {200: None, 201: None},
        headers={"Stream-TTL": _Ttl, "Stream-Closed": _Closed},
    ),
    _operation(
        "POST",
        "Append to a stream, close it, or both",
        {200: None, 204: None},
        headers={"Stream-Closed": _Closed, "Stream-Seq": _Text},
    ),
    _operation("DELETE", "Delete a stream", {204: None}),
)
