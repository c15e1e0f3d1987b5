"""What `/v1` is asked and how it answers, for the description of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..openapi import REFUSED, TEXT, Operation, Schema, object_of, schema_of
from .schemas import (
    PUBLISH_FIELDS,
    WAIT_FIELDS,
    MessagesQuery,
    PublishItem,
    PublishQuery,
    WaitItem,
    WaitParameters,
    WaitQuery,
)

__all__ = ["V1_OPERATIONS"]

_TAG = "Messages, waits and publishing"
_REFUSALS: Mapping[int, Schema] = dict.fromkeys(
    (400, 401, 403, 408, 409, 413, 414, 429, 503), REFUSED
)
_SECONDS: Schema = {"type": "number", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}
_VERSION: Schema = {"type": "integer", "minimum": 0}


def _with(schema: Schema, **optional: Schema) -> Schema:
    """Return the schema of an object that may have more."""
    return {**schema, "properties": {**schema["properties"], **optional}}


_MESSAGE = _with(object_of(id=TEXT, ts=_SECONDS), data=TEXT, data_base64=TEXT)
_PAGE = {"messages": {"type": "array", "items": _MESSAGE}, "cursor": TEXT}
_WAITED = {
    "retry_ms": {"type": "integer", "minimum": 0},
    "wait": _SECONDS,
    "waited": _SECONDS,
}
_CODE: Schema = {"enum": ["gap", "timeout", "draining"]}
_SEEN = _with(
    object_of(type={"enum": list(WAIT_FIELDS)}, key=TEXT, ready=_FLAG),
    **_PAGE,
    code=_CODE,
    lost=_COUNT,
    version=_VERSION,
)
_STORED = object_of(id=TEXT, duplicate=_FLAG, woken=_FLAG, waiting=_COUNT)
_RESULT: Schema = {
    "anyOf": [
        _STORED,
        object_of(),
        object_of(version=_VERSION),
        object_of(code=TEXT, message=TEXT),
    ]
}
_RESULTS = object_of(items={"type": "array", "items": _RESULT})


def _variants(kind: type, by_type: Mapping[str, set[str]]) -> list[Schema]:
    """Return a schema for each type of an item: not every field goes with each."""
    whole = schema_of(kind)
    found: list[Schema] = []
    for name, fields in by_type.items():
        properties = {
            each: schema
            for each, schema in whole["properties"].items()
            if each == "key" or each in fields
        }
        variant = {**whole, "properties": {**properties, "type": {"const": name}}}
        if name != "message":
            # What an item is that does not say.
            variant["required"] = ["key", "type"]
        found.append(variant)
    return found


def _without(schema: Schema, field: str, required: str) -> Schema:
    properties = {k: v for k, v in schema["properties"].items() if k != field}
    return {**schema, "properties": properties, "required": ["key", required]}


def _publish_item() -> Schema:
    message, *others = _variants(PublishItem, PUBLISH_FIELDS)
    text = _without(message, "data_base64", "data")
    encoded = _without(message, "data", "data_base64")
    return {"anyOf": [text, encoded, *others]}


def _listing(kind: type, item: Schema) -> Schema:
    """Return the schema of a dataclass with a list of items."""
    whole = schema_of(kind)
    items = {**whole["properties"]["items"], "items": item}
    return {**whole, "properties": {**whole["properties"], "items": items}}


_WAIT_ITEM = {"anyOf": _variants(WaitItem, WAIT_FIELDS)}
_WAIT_ANSWERS = {
    200: _with(
        object_of(items={"type": "array", "items": _SEEN}, **_WAITED), code=_CODE
    ),
    **_REFUSALS,
}

V1_OPERATIONS: Sequence[Operation] = (
    Operation(
        path="/v1/messages",
        admits="ticket",
        method="GET",
        summary="Read the messages of a key after a cursor, or wait for the first",
        tag=_TAG,
        query=MessagesQuery,
        answers={
            200: _with(object_of(**_PAGE, **_WAITED), code=_CODE, lost=_COUNT),
            **_REFUSALS,
        },
    ),
    Operation(
        path="/v1/wait",
        admits="ticket",
        method="GET",
        summary="Wait for any of several things",
        tag=_TAG,
        query=WaitParameters,
        answers=_WAIT_ANSWERS,
    ),
    Operation(
        path="/v1/wait",
        admits="ticket",
        method="POST",
        summary="Wait for any of several things",
        tag=_TAG,
        body=_listing(WaitQuery, _WAIT_ITEM),
        answers=_WAIT_ANSWERS,
    ),
    Operation(
        path="/v1/publish",
        admits="key",
        method="POST",
        summary="Store messages, set events, wake groups",
        tag=_TAG,
        body={"anyOf": [_publish_item(), _listing(PublishQuery, _publish_item())]},
        answers={200: _RESULTS, 202: _RESULTS, **_REFUSALS},
    ),
)
