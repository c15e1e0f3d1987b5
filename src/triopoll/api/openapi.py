"""The OpenAPI document, made of the types that requests and responses are made of.

msgspec writes a type as JSON Schema (`msgspec.json.schema_components`): a Struct with
the constraints and descriptions of its fields, anything else in place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from .event_stream import MEDIA_TYPE
from .validation import BoundedInteger

__all__ = ["ANY_TYPE", "Either", "Operation", "Schema", "document"]

Schema: TypeAlias = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"

_SCHEMES: Mapping[str, Schema] = {
    "ticket": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A subscriber's ticket.",
    },
    "ticket_parameter": {
        "type": "apiKey",
        "in": "query",
        "name": "ticket",
        "description": "A subscriber's ticket, where no header can be set.",
    },
    "ticket_cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "triopoll_ticket",
        "description": "A subscriber's ticket; the cookie's name can be configured.",
    },
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A publisher's key.",
    },
}
# One of them, or none where the service is configured to ask for none.
_SECURITY: Mapping[str, Sequence[Schema]] = {
    "ticket": [{}, {"ticket": []}, {"ticket_parameter": []}, {"ticket_cookie": []}],
    "key": [{}, {"key": []}],
}


class Either(NamedTuple):
    """A body in JSON, or one of another media type."""

    json: Any
    media_type: str


# The media type of a body that may be of any.
ANY_TYPE = "*/*"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        method: In capitals.
        path: As it is routed.
        summary: One line.
        responses: The type of the JSON body for each status; a text is the media type
            of a body that is not JSON, `Either` stands for one of two bodies, None
            for no body.
        tag: The API that it belongs to.
        query: The Struct that has the parameters.
        path_parameters: The type of each parameter of the path, by name.
        headers: The type of each header that the endpoint reads, by name.
        body: The type of the JSON body; None: a request has none.
        admits: What a request needs where the service is configured to ask for it.
    """

    method: str
    path: str
    summary: str
    responses: Mapping[int, Any]
    tag: str
    _: KW_ONLY
    query: type[msgspec.Struct] | None = None
    path_parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    body: Any = None
    admits: Literal["ticket", "key"] | None = None


def document(
    operations: Sequence[Operation], version: str, referenced: Sequence[type] = ()
) -> Schema:
    """Return the OpenAPI document of some operations.

    Args:
        operations: What it describes.
        version: Of the API.
        referenced: Structs that a schema refers to by name only.
    """
    schemas: dict[str, Schema] = {}
    for kind in referenced:
        _schema(kind, schemas)
    paths: dict[str, Schema] = {}
    for operation in operations:
        shape = _operation(operation, schemas)
        paths.setdefault(operation.path, {})[operation.method.lower()] = shape
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "triopoll",
            "version": version,
            "description": "Long polling on slock events and messages.",
        },
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SCHEMES},
    }


def _schema(kind: Any, schemas: dict[str, Schema]) -> Schema:
    """Return the schema of a type; a Struct's is a reference to one of `schemas`."""
    (schema,), components = msgspec.json.schema_components(
        [kind], schema_hook=_custom_schema, ref_template=_REFERENCE
    )
    schemas.update(components)
    return schema


def _parameters(kind: type[msgspec.Struct], schemas: dict[str, Schema]) -> list[Schema]:
    """Return the fields of a Struct as the parameters of a query string."""
    _schema(kind, schemas)
    # Its fields are written out, so nothing refers to the Struct itself.
    whole = schemas.pop(kind.__name__)
    return [
        {
            "in": "query",
            "name": name,
            "required": name in whole["required"],
            "description": schema.pop("description"),
            "schema": schema,
        }
        for name, schema in whole["properties"].items()
    ]


def _named(
    place: Literal["path", "header"],
    kinds: Mapping[str, Any],
    schemas: dict[str, Schema],
) -> list[Schema]:
    """Return the parameters of a path, which it always has; or headers."""
    return [
        {
            "in": place,
            "name": name,
            "required": place == "path",
            "description": (schema := _schema(kind, schemas)).pop("description"),
            "schema": schema,
        }
        for name, kind in kinds.items()
    ]


def _custom_schema(kind: type) -> Schema:
    if issubclass(kind, BoundedInteger):
        return {"type": "integer", "minimum": kind.low, "maximum": kind.high}
    raise NotImplementedError


def _operation(operation: Operation, schemas: dict[str, Schema]) -> Schema:
    words = re.findall(r"\w+", operation.path)
    shape: Schema = {
        "operationId": "_".join([operation.method.lower(), *words]),
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": {
            str(status): _response(status, kind, schemas)
            for status, kind in operation.responses.items()
        },
    }
    if operation.admits is not None:
        shape["security"] = _SECURITY[operation.admits]
    parameters = [
        *_named("path", operation.path_parameters, schemas),
        *_named("header", operation.headers, schemas),
    ]
    if operation.query is not None:
        parameters += _parameters(operation.query, schemas)
    if parameters:
        shape["parameters"] = parameters
    if operation.body is not None:
        content = {"application/json": {"schema": _schema(operation.body, schemas)}}
        shape["requestBody"] = {"required": True, "content": content}
    return shape


def _response(status: int, kind: Any, schemas: dict[str, Schema]) -> Schema:
    if kind is None:
        return {"description": "Success"}
    if isinstance(kind, Either):
        content = {**_content(kind.json, schemas), **_content(kind.media_type, schemas)}
    else:
        content = _content(kind, schemas)
    meaning = "Success" if status < 400 else "Refused" if status < 500 else "Not now"
    return {"description": meaning, "content": content}


def _content(kind: Any, schemas: dict[str, Schema]) -> Schema:
    if not isinstance(kind, str):
        return {"application/json": {"schema": _schema(kind, schemas)}}
    # Readers of a schema take a stream event by event, and an event is no text. What is
    # of any type may be one.
    is_text = kind not in (MEDIA_TYPE, ANY_TYPE)
    return {kind: {"schema": {"type": "string"} if is_text else {}}}
