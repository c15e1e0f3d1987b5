"""``/openapi.json``: what there is to ask, and how it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version

from ..asgi.messages import Request, Response, Routes, json_response
from .openapi import REFUSED, TEXT, Operation, Schema, document, object_of
from .openresty.query import (
    GROUP_CREATION_PARAMETERS,
    GROUP_POLL_PARAMETERS,
    GROUP_SENDING_PARAMETERS,
    SENDING_PARAMETERS,
)
from .poll.query import POLL_PARAMETERS
from .v1.operations import V1_OPERATIONS

__all__ = ["OPERATIONS", "openapi_routes"]


# What the waits of the recipe answer, always with status 200.
_RECIPE: Schema = {
    "type": "object",
    "properties": {
        "err_code": {"enum": [0, 400, 401, 403, 409, 414, 429, 500, 502, 503, 504]},
        "err_message": TEXT,
        "data": {"type": ["string", "null"]},
        "limit": TEXT,
    },
    "required": ["err_code", "err_message"],
    "additionalProperties": False,
}
# What the endpoints of the OpenResty image answer, always with status 200.
_IMAGE = object_of(
    code={"enum": [0, 400, 401, 403, 404, 409, 413, 414, 429, 500, 502, 503, 504]},
    msg=TEXT,
    data={},
)
# A poll of these paths may be either's.
_EITHER: Schema = {"anyOf": [_RECIPE, _IMAGE]}
_REASON = object_of(
    code={"enum": ["draining", "slock", "store", "waits"]}, message=TEXT
)

_WAITS, _OPERATING = "Waits of the recipe", "For operators"
_OF_IMAGE = "Of the OpenResty image"

_STATUS = [
    Operation(
        path="/livez",
        method="GET",
        summary="Whether the process lives",
        tag=_OPERATING,
        answers={200: object_of(live={"const": True})},
    ),
    Operation(
        path="/readyz",
        method="GET",
        summary="Whether new clients are welcome",
        tag=_OPERATING,
        answers={
            status: object_of(
                ready={"const": status == 200},
                reasons={"type": "array", "items": _REASON},
            )
            for status in (200, 503)
        },
    ),
    Operation(
        path="/metrics",
        method="GET",
        summary="Metrics for Prometheus",
        tag=_OPERATING,
        answers={200: "text/plain", 403: REFUSED},
    ),
    Operation(
        path="/openapi.json",
        method="GET",
        summary="This document",
        tag=_OPERATING,
        answers={200: {"type": "object"}},
    ),
]
_RECIPES = [
    Operation(
        path="/poll/event",
        admits="ticket",
        method="GET",
        summary="Wait for an event",
        tag=_WAITS,
        query=POLL_PARAMETERS,
        answers={200: _EITHER},
    ),
    Operation(
        path="/poll/message",
        admits="ticket",
        method="GET",
        summary="Take the first message of a list, or wait for it",
        tag=_WAITS,
        query=POLL_PARAMETERS,
        answers={200: _EITHER},
    ),
]
_IMAGES = [
    Operation(
        path="/poll/group/message",
        admits="ticket",
        method="GET",
        summary="Wait for a message of a group",
        tag=_OF_IMAGE,
        query=GROUP_POLL_PARAMETERS,
        answers={200: _IMAGE},
    ),
    *(
        Operation(
            path=path,
            admits="key",
            method=method,
            summary=summary,
            tag=_OF_IMAGE,
            query=query,
            # Of any kind; a request by GET need not have one.
            body={} if path.endswith("/send") and method == "POST" else None,
            answers={200: _IMAGE, 413: REFUSED},
        )
        for path, summary, query in (
            ("/poll/event/emit", "Set an event", SENDING_PARAMETERS),
            (
                "/poll/message/send",
                "Keep a message and set its event",
                SENDING_PARAMETERS,
            ),
            (
                "/poll/group/message/create",
                "Create a group",
                GROUP_CREATION_PARAMETERS,
            ),
            (
                "/poll/group/message/send",
                "Send a message to a group",
                GROUP_SENDING_PARAMETERS,
            ),
        )
        for method in ("GET", "POST")
    ),
]
OPERATIONS: Sequence[Operation] = (*_RECIPES, *_IMAGES, *V1_OPERATIONS, *_STATUS)


def openapi_routes() -> Routes:
    """Return the endpoint that describes all of them."""
    answer = json_response(document(OPERATIONS, version("trioslock")))
    return {"/openapi.json": {"GET": partial(_tell, answer)}}


async def _tell(answer: Response, request: Request) -> Response:
    return answer
