"""The Structs of /v1: what they accept is what their schemas say."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from triopoll.api.openapi import document
from triopoll.api.v1.operations import V1_OPERATIONS, V1_REFERENCED
from triopoll.api.v1.schemas import PUBLISH_ITEMS, WAIT_ITEMS
from triopoll.api.validation import decode_integer

SCHEMAS: dict[str, Any] = document(V1_OPERATIONS, "1", V1_REFERENCED)["components"][
    "schemas"
]


def test_bounds_are_described() -> None:
    """From the constraints that msgspec checks, or the type that a hook reads."""
    body = SCHEMAS["WaitBody"]
    assert body["required"] == ["items"]
    assert body["properties"]["max"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 1000,
        "default": 100,
        "description": "Messages of a key that are returned at most.",
    }
    items = body["properties"]["items"]
    assert (items["minItems"], items["maxItems"]) == (1, 50)
    assert items["items"] == {
        "anyOf": [
            {"$ref": f"#/components/schemas/{name}"}
            for name in ("WaitMessage", "WaitEvent", "WaitGroup")
        ]
    }
    version = SCHEMAS["WaitGroup"]["properties"]["version"]
    assert (version["minimum"], version["maximum"]) == (0, 2**64 - 1)


@pytest.mark.parametrize("kinds", [WAIT_ITEMS, PUBLISH_ITEMS])
def test_the_type_of_an_item(kinds: dict[str, type[msgspec.Struct]]) -> None:
    """It may be left out of a message only, and is what selects the Struct."""
    for name, kind in kinds.items():
        schema = SCHEMAS[kind.__name__]
        assert schema["properties"]["type"]["enum"] == [name]
        required = {"key"} if name == "message" else {"key", "type"}
        assert set(schema["required"]) == required
        decoded: Any = msgspec.json.decode(
            json.dumps({"key": "k", "type": name}), type=kind, dec_hook=decode_integer
        )
        assert decoded.type == name
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(b'{"key":"k","type":"other"}', type=kind)


def test_unknown_fields_are_refused_and_described_as_that() -> None:
    """By every Struct that a request is decoded into."""
    for name in ("WaitBody", "PublishBatch", *map(_name, PUBLISH_ITEMS.values())):
        assert SCHEMAS[name]["additionalProperties"] is False


def test_the_data_of_a_message_is_any_value_in_one_of_two_forms() -> None:
    """Exactly one of them, which is said where the Struct is referred to."""
    message = SCHEMAS["PublishMessage"]["properties"]
    assert message["data"] == {"description": "The message: any JSON value."}
    assert message["data_base64"]["type"] == "string"
    (reference, *_) = SCHEMAS["PublishBatch"]["properties"]["items"]["items"]["anyOf"]
    assert reference["oneOf"] == [
        {"required": ["data"]},
        {"required": ["data_base64"]},
    ]


def _name(kind: type) -> str:
    return kind.__name__
