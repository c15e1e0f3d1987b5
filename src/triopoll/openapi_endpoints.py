"""``/openapi.json``: what there is to ask, and how it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version

from .http import Answer, Request, Table, json_answer
from .openapi import Operation, Schema, document
from .query import PollQuery

__all__ = ["OPERATIONS", "openapi_endpoints"]


def _object(**properties: Schema) -> Schema:
    """Return the schema of an object that has just these, and all of them."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_TEXT: Schema = {"type": "string"}
# What the waits of the recipe answer, always with status 200.
_RECIPE: Schema = {
    "type": "object",
    "properties": {
        "err_code": {"enum": [0, 400, 401, 403, 409, 414, 429, 500, 502, 503, 504]},
        "err_message": _TEXT,
        "data": {"type": ["string", "null"]},
        "limit": _TEXT,
    },
    "required": ["err_code", "err_message"],
    "additionalProperties": False,
}
# What everything else is refused with.
_REFUSED: Schema = {
    "type": "object",
    "properties": {
        "code": _TEXT,
        "message": _TEXT,
        "limit": _TEXT,
        "retry_ms": {"type": "integer", "minimum": 0},
    },
    "required": ["code", "message"],
    "additionalProperties": False,
}
_REASON = _object(code={"enum": ["draining", "slock", "store", "waits"]}, message=_TEXT)

_WAITS, _OPERATING = "Waits of the recipe", "For operators"

_STATUS = [
    Operation(
        path="/livez",
        method="GET",
        summary="Whether the process lives",
        tag=_OPERATING,
        answers={200: _object(live={"const": True})},
    ),
    Operation(
        path="/readyz",
        method="GET",
        summary="Whether new clients are welcome",
        tag=_OPERATING,
        answers={
            status: _object(
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
        answers={200: "text/plain", 403: _REFUSED},
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
        method="GET",
        summary="Wait for an event",
        tag=_WAITS,
        query=PollQuery,
        answers={200: _RECIPE},
    ),
    Operation(
        path="/poll/message",
        method="GET",
        summary="Take the first message of a list, or wait for it",
        tag=_WAITS,
        query=PollQuery,
        answers={200: _RECIPE},
    ),
]
OPERATIONS: Sequence[Operation] = (*_RECIPES, *_STATUS)


def openapi_endpoints() -> Table:
    """Return the endpoint that describes all of them."""
    answer = json_answer(document(OPERATIONS, version("trioslock")))
    return {"/openapi.json": {"GET": partial(_tell, answer)}}


async def _tell(answer: Answer, request: Request) -> Answer:
    return answer
