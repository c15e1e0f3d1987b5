"""What ``/docs`` shows: the OpenAPI document in the order and words of a reader."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from markupsafe import Markup, escape

from ..api.openapi_document import describe

__all__ = ["Api", "Field", "Operation", "Schema", "api_description"]

_Json: TypeAlias = Mapping[str, Any]

_CREDENTIALS = {"ticket": "a ticket", "key": "an API key"}
# Keywords of JSON schema that limit a value, as they are shown behind its type.
_LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "pattern {}",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a member of an object.

    Attributes:
        name: Its name.
        type: Its type in HTML.
        is_required: Whether it must be given.
        description: A sentence, or "".
        default: Its default in JSON; None without one.
        place: Where a parameter is: ``query``, ``header``, ``path``; "" for a member.
    """

    name: str
    type: Markup
    is_required: bool
    description: str
    default: str | None
    place: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path.

    Attributes:
        id: Unique in the document.
        method: In capitals.
        path: With its parameters in braces.
        summary: A sentence.
        credentials: What a client may have to show; "" for nothing.
        parameters: In the order of the document.
        body: The type of the body in HTML, or None.
        responses: Status, description and type of each response.
    """

    id: str
    method: str
    path: str
    summary: str
    credentials: str
    parameters: list[Field]
    body: Markup | None
    responses: list[tuple[str, str, Markup]]


@dataclass(frozen=True, slots=True)
class Schema:
    """A named type.

    Attributes:
        name: Its name, and the anchor that types link to.
        description: A sentence, or "".
        type: The type in HTML.
        fields: The members of an object.
    """

    name: str
    description: str
    type: Markup
    fields: list[Field]


@dataclass(frozen=True, slots=True)
class Api:
    """The whole description.

    Attributes:
        title: Of the document.
        description: Of the document.
        groups: Operations by their tag.
        schemas: The named types.
    """

    title: str
    description: str
    groups: dict[str, list[Operation]]
    schemas: list[Schema]


@functools.cache
def api_description() -> Api:
    """Return the description of all endpoints, made at the first call."""
    return _read(json.loads(describe()))


def _read(document: _Json) -> Api:
    info = document["info"]
    api = Api(info["title"], info.get("description", ""), {}, [])
    for path, methods in document["paths"].items():
        for method, shape in methods.items():
            operation = _operation(method, path, shape)
            for tag in shape["tags"]:
                api.groups.setdefault(tag, []).append(operation)
    for name, shape in document["components"]["schemas"].items():
        text = shape.get("description", "")
        api.schemas.append(Schema(name, text, _type(shape), _fields(shape)))
    return api


def _operation(method: str, path: str, shape: _Json) -> Operation:
    body = shape.get("requestBody")
    return Operation(
        id=shape["operationId"],
        method=method.upper(),
        path=path,
        summary=shape["summary"],
        credentials=_credentials(shape.get("security", ())),
        parameters=[_parameter(one) for one in shape.get("parameters", ())],
        body=None if body is None else _content(body),
        responses=[
            (status, response["description"], _content(response))
            for status, response in sorted(shape["responses"].items())
        ],
    )


def _credentials(security: Iterable[_Json]) -> str:
    """Return what is shown once the operator asks for it, in words."""
    names = {name.partition("_")[0] for one in security for name in one}
    known = [text for name, text in _CREDENTIALS.items() if name in names]
    return " or ".join([*known, *sorted(names - _CREDENTIALS.keys())])


def _content(shape: _Json) -> Markup:
    types = [
        _type(one["schema"]) if "schema" in one else escape(kind)
        for kind, one in shape.get("content", {}).items()
    ]
    return Markup(" or ").join(types)


def _parameter(shape: _Json) -> Field:
    return _field(
        shape["name"],
        shape["schema"],
        is_required=shape.get("required", False),
        description=shape.get("description", ""),
        place=shape["in"],
    )


def _fields(shape: _Json) -> list[Field]:
    required = shape.get("required", ())
    return [
        _field(name, one, is_required=name in required)
        for name, one in shape.get("properties", {}).items()
    ]


def _field(
    name: str,
    shape: _Json,
    *,
    is_required: bool,
    description: str = "",
    place: str = "",
) -> Field:
    default = json.dumps(shape["default"]) if "default" in shape else None
    text = description or shape.get("description", "")
    return Field(name, _type(shape), is_required, text, default, place)


def _type(shape: _Json) -> Markup:
    """Return a type in HTML: its name, or what it consists of, with its limits."""
    if "$ref" in shape:
        name = shape["$ref"].rpartition("/")[2]
        return Markup('<a href="#schema-{0}">{0}</a>').format(name)
    limits = [text.format(shape[key]) for key, text in _LIMITS.items() if key in shape]
    return Markup(", ").join([_kind(shape), *map(escape, limits)])


def _kind(shape: _Json) -> Markup:
    if "const" in shape:
        return escape(json.dumps(shape["const"]))
    if "enum" in shape:
        return escape(" | ".join(map(json.dumps, shape["enum"])))
    for key in ("anyOf", "oneOf"):
        if key in shape and "type" not in shape:
            return Markup(" | ").join(map(_type, shape[key]))
    kind = shape.get("type", "any JSON")
    if kind == "array":
        return Markup("array of ") + _type(shape.get("items", {}))
    return escape(kind if isinstance(kind, str) else " | ".join(kind))
