"""An OpenAPI document is made of types."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from msgspec import UNSET, Meta, Struct, UnsetType

from triopoll.api.openapi import Either, Operation, document
from triopoll.api.validation import BoundedInteger


class Digit(BoundedInteger):
    low, high = 0, 9


class Inner(Struct, forbid_unknown_fields=True):
    """One of several."""

    word: Annotated[str, Meta(description="W.", examples=["a"])]


class Body(Struct, forbid_unknown_fields=True):
    """A request with a field of each kind."""

    items: list[Inner]
    count: Digit | UnsetType = UNSET
    flag: bool = False


class Silent(Struct):
    key: str


def describe(*referenced: type, **what: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the description of one operation, and the schemas."""
    one = Operation(
        path="/v1/x", method="POST", summary="", tag="", **{"responses": {}, **what}
    )
    made = document([one], "1", referenced)
    return made["paths"]["/v1/x"]["post"], made["components"]["schemas"]


def test_a_struct_becomes_a_component() -> None:
    """With its constraints, defaults, and the Structs within."""
    operation, schemas = describe(body=Body)
    content = operation["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/Body"}
    assert schemas == {
        "Body": {
            "title": "Body",
            "type": "object",
            "description": "A request with a field of each kind.",
            "properties": {
                "items": {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/Inner"},
                },
                "count": {"type": "integer", "minimum": 0, "maximum": 9},
                "flag": {"type": "boolean", "default": False},
            },
            "required": ["items"],
            "additionalProperties": False,
        },
        "Inner": {
            "title": "Inner",
            "type": "object",
            "description": "One of several.",
            "properties": {
                "word": {"type": "string", "description": "W.", "examples": ["a"]}
            },
            "required": ["word"],
            "additionalProperties": False,
        },
    }


def test_a_query_is_parameters() -> None:
    """Its Struct is not a component, since nothing refers to it."""
    operation, schemas = describe(query=Inner)
    assert operation["parameters"] == [
        {
            "in": "query",
            "name": "word",
            "required": True,
            "description": "W.",
            "schema": {"type": "string", "examples": ["a"]},
        }
    ]
    assert schemas == {}


def test_a_parameter_without_a_description_is_an_error() -> None:
    """It is found here, and not by a user."""
    with pytest.raises(KeyError, match="description"):
        describe(query=Silent)


def test_a_type_that_has_no_schema_is_an_error() -> None:
    """Custom types are described by hand."""

    class Custom:
        pass

    with pytest.raises(TypeError):
        describe(body=Custom)


def test_responses() -> None:
    """By status: a type of JSON, or the media type of something else."""
    operation, _ = describe(responses={200: Inner, 403: "text/plain", 503: Any})
    both, _ = describe(responses={200: Either(Inner, "text/event-stream")})
    assert both["responses"]["200"]["content"] == {
        "application/json": {"schema": {"$ref": "#/components/schemas/Inner"}},
        "text/event-stream": {"schema": {}},
    }
    assert operation["responses"] == {
        "200": {
            "description": "Success",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Inner"}}
            },
        },
        "403": {
            "description": "Refused",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        "503": {
            "description": "Not now",
            "content": {"application/json": {"schema": {}}},
        },
    }


def test_names_and_security() -> None:
    """An id from method and path; no security where nothing is needed."""
    operation, schemas = describe(Silent)
    assert operation["operationId"] == "post_v1_x"
    assert "security" not in operation
    assert "requestBody" not in operation
    assert schemas.keys() == {"Silent"}
    operation, _ = describe(admits="key")
    assert operation["security"] == [{}, {"key": []}]
