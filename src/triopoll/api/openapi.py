"""OpenAPI of the endpoints, made of the dataclasses that requests are parsed into.

What a field may be stands in its metadata, beside the code that reads it: ``schema``,
its JSON Schema with a description, in which ``items`` may be a dataclass; ``name``,
where a request calls it otherwise; ``derived`` instead of all that for what no request
has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict

__all__ = [
    "REFUSED",
    "TEXT",
    "Operation",
    "Parameter",
    "Schema",
    "document",
    "object_of",
    "schema_of",
]

Schema: TypeAlias = Mapping[str, Any]


class Parameter(TypedDict):
    """The description of a query parameter. The parsers' modules have tables of them.

    Attributes:
        description: One sentence.
        required: Whether a request must have it.
        schema: Its JSON Schema.
    """

    description: str
    required: bool
    schema: Schema


TEXT: Schema = {"type": "string"}
# What requests are refused with, but by the waits of the recipe.
REFUSED: Schema = {
    "type": "object",
    "properties": {
        "code": TEXT,
        "message": TEXT,
        "limit": TEXT,
        "retry_ms": {"type": "integer", "minimum": 0},
    },
    "required": ["code", "message"],
    "additionalProperties": False,
}


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
# One of them, or none where the service asks for none.
_SECURITY: Mapping[str, Sequence[Schema]] = {
    "ticket": [{}, {"ticket": []}, {"ticket_parameter": []}, {"ticket_cookie": []}],
    "key": [{}, {"key": []}],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Attributes:
        path: As it is routed.
        method: In capitals.
        summary: One line.
        tag: The family it belongs to.
        query: Its parameters by name, or the dataclass that its query is parsed into.
        body: The dataclass that its JSON body is parsed into, or a schema.
        answers: A schema for each status; a text is the type of a body that is not
            JSON.
        admits: What a request needs where the service is configured to ask for it.
    """

    path: str
    method: str
    summary: str
    tag: str
    answers: Mapping[int, Schema | str]
    query: type | Mapping[str, Parameter] | None = None
    body: type | Schema | None = None
    admits: Literal["ticket", "key"] | None = None


def object_of(**properties: Schema) -> Schema:
    """Return the schema of an object that has just these, and all of them."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """Return the OpenAPI document of some operations."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        shape = _operation(operation)
        paths.setdefault(operation.path, {})[operation.method.lower()] = shape
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "triopoll",
            "version": version,
            "description": "Long polling on slock events and messages.",
        },
        "paths": paths,
        "components": {"securitySchemes": _SCHEMES},
    }


def schema_of(kind: type) -> dict[str, Any]:
    """Return the JSON Schema of a dataclass.

    Raises:
        TypeError: A field has neither a schema nor is derived.
    """
    properties: dict[str, dict[str, Any]] = {}
    required: list[str] = []
    for field in dataclasses.fields(kind):
        if field.metadata.get("derived"):
            continue
        schema = _schema_of_field(kind, field)
        name = field.metadata.get("name", field.name)
        properties[name] = schema
        if field.default is dataclasses.MISSING and "default" not in schema:
            required.append(name)
    return {
        "type": "object",
        "description": (kind.__doc__ or "").partition("\n")[0],
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _schema_of_field(kind: type, field: dataclasses.Field[Any]) -> dict[str, Any]:
    if "schema" not in field.metadata:
        raise TypeError(f"{kind.__name__}.{field.name} has no schema")
    schema = dict(field.metadata["schema"])
    if isinstance(items := schema.get("items"), type):
        schema["items"] = schema_of(items)
    if field.default is not dataclasses.MISSING and field.default is not None:
        schema.setdefault("default", field.default)
    return schema


def _operation(operation: Operation) -> dict[str, Any]:
    words = operation.path.strip("/").replace(".", "/").split("/")
    shape: dict[str, Any] = {
        "operationId": "_".join([operation.method.lower(), *words]),
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": {
            str(status): _answer(status, schema)
            for status, schema in operation.answers.items()
        },
    }
    if operation.admits is not None:
        shape["security"] = _SECURITY[operation.admits]
    if operation.query is not None:
        shape["parameters"] = _parameters(operation.query)
    if operation.body is not None:
        body = operation.body
        schema = schema_of(body) if isinstance(body, type) else body
        content = {"application/json": {"schema": schema}}
        shape["requestBody"] = {"required": True, "content": content}
    return shape


def _parameters(query: type | Mapping[str, Parameter]) -> list[Schema]:
    if not isinstance(query, type):
        return [{"in": "query", "name": name, **each} for name, each in query.items()]
    schema = schema_of(query)
    return [
        {
            "in": "query",
            "name": name,
            "required": name in schema["required"],
            "description": each.pop("description"),
            "schema": each,
        }
        for name, each in schema["properties"].items()
    ]


def _answer(status: int, schema: Schema | str) -> dict[str, Any]:
    if isinstance(schema, str):
        content: dict[str, Any] = {schema: {"schema": {"type": "string"}}}
    else:
        content = {"application/json": {"schema": schema}}
    meaning = "Success" if status < 400 else "Refused" if status < 500 else "Not now"
    return {"description": meaning, "content": content}
