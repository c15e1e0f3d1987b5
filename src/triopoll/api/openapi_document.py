"""``/openapi.json``: the description of all endpoints."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ..asgi.messages import Request, Response, Routes
from .openapi import Operation, document
from .openapi_types import (
    GroupCreateParameters,
    GroupPollParameters,
    GroupSendParameters,
    LiveResponse,
    NotReadyResponse,
    OpenRestyResponse,
    PollParameters,
    PollResponse,
    ReadyResponse,
    SendParameters,
)
from .v1.operations import V1_OPERATIONS, V1_REFERENCED
from .v1.schemas import any_of
from .v1.serializers import ErrorResponse

__all__ = ["OPERATIONS", "describe", "openapi_routes"]

_POLL, _OPENRESTY, _OPERATORS = "Poll API", "OpenResty API", "For operators"

# Both APIs have these paths; the parameters say which of the two answers.
_EITHER = Annotated[
    Any, Meta(extra_json_schema=any_of(PollResponse, OpenRestyResponse))
]

_POLL_OPERATIONS = [
    Operation(
        path=path,
        admits="ticket",
        method="GET",
        summary=summary,
        tag=_POLL,
        query=PollParameters,
        responses={200: _EITHER},
    )
    for path, summary in (
        ("/poll/event", "Wait for an event"),
        ("/poll/message", "Take the first message of a list, or wait for it"),
    )
]
_PUBLISHING: Sequence[tuple[str, str, type[Struct]]] = (
    ("/poll/event/emit", "Set an event", SendParameters),
    ("/poll/message/send", "Keep a message and set its event", SendParameters),
    ("/poll/group/message/create", "Create a group", GroupCreateParameters),
    ("/poll/group/message/send", "Send a message to a group", GroupSendParameters),
)
_OPENRESTY_OPERATIONS = [
    Operation(
        path="/poll/group/message",
        admits="ticket",
        method="GET",
        summary="Wait for a message of a group",
        tag=_OPENRESTY,
        query=GroupPollParameters,
        responses={200: OpenRestyResponse},
    ),
    *(
        Operation(
            path=path,
            admits="key",
            method=method,
            summary=summary,
            tag=_OPENRESTY,
            query=query,
            # Any JSON; a request by GET need not have one.
            body=Any if path.endswith("/send") and method == "POST" else None,
            responses={200: OpenRestyResponse, 413: ErrorResponse},
        )
        for path, summary, query in _PUBLISHING
        for method in ("GET", "POST")
    ),
]
_OPERATORS_OPERATIONS = [
    Operation(
        path="/livez",
        method="GET",
        summary="Whether the process serves requests",
        tag=_OPERATORS,
        responses={200: LiveResponse},
    ),
    Operation(
        path="/readyz",
        method="GET",
        summary="Whether new clients may be sent here",
        tag=_OPERATORS,
        responses={200: ReadyResponse, 503: NotReadyResponse},
    ),
    Operation(
        path="/metrics",
        method="GET",
        summary="Metrics for Prometheus",
        tag=_OPERATORS,
        responses={200: "text/plain", 403: ErrorResponse},
    ),
    Operation(
        path="/openapi.json",
        method="GET",
        summary="This document",
        tag=_OPERATORS,
        responses={200: dict[str, Any]},
    ),
]
OPERATIONS: Sequence[Operation] = (
    *_POLL_OPERATIONS,
    *_OPENRESTY_OPERATIONS,
    *V1_OPERATIONS,
    *_OPERATORS_OPERATIONS,
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
