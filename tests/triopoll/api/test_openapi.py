"""The description of the endpoints: generated, complete, and true."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.triopoll.asgi_calls import serving

from triopoll.api.openapi import Operation, document, schema_of
from triopoll.api.openapi_document import OPERATIONS
from triopoll.app import Triopoll
from triopoll.settings import Settings


@dataclass
class Inner:
    """One of several."""

    word: str = field(metadata={"schema": {"enum": ["a", "b"], "description": "W."}})


@dataclass
class Body:
    """A request with a field of each kind.

    The rest is not told.
    """

    inner: list[Inner] = field(
        metadata={"name": "items", "schema": {"type": "array", "items": Inner}}
    )
    count: int | None = field(default=None, metadata={"schema": {"type": "integer"}})
    flag: bool = field(default=False, metadata={"schema": {"type": "boolean"}})
    ours: float = field(default=0, metadata={"derived": True})


def test_a_dataclass_becomes_a_schema() -> None:
    """Names, defaults, and dataclasses within; what is derived is not told."""
    inner = {
        "type": "object",
        "description": "One of several.",
        "properties": {"word": {"enum": ["a", "b"], "description": "W."}},
        "required": ["word"],
        "additionalProperties": False,
    }
    assert schema_of(Body) == {
        "type": "object",
        "description": "A request with a field of each kind.",
        "properties": {
            "items": {"type": "array", "items": inner},
            "count": {"type": "integer"},
            "flag": {"type": "boolean", "default": False},
        },
        "required": ["items"],
        "additionalProperties": False,
    }


def test_what_nobody_described() -> None:
    """A field without a word fails here, not at a user's."""

    @dataclass
    class Silent:
        key: str

    with pytest.raises(TypeError, match=r"Silent\.key has no schema"):
        schema_of(Silent)


def test_a_body_and_a_query() -> None:
    """A query is parameters, a body a schema, which may be written out."""

    def operation(**what: Any) -> dict[str, Any]:
        one = Operation(
            path="/v1/x", method="POST", summary="", tag="", answers={}, **what
        )
        operations = document([one], "1")["paths"]["/v1/x"]
        found: dict[str, Any] = operations["post"]
        return found

    (word,) = operation(query=Inner)["parameters"]
    assert (word["in"], word["name"], word["required"]) == ("query", "word", True)
    assert word["schema"] == {"enum": ["a", "b"]}
    content = operation(body=Body)["requestBody"]["content"]
    assert content["application/json"]["schema"] == schema_of(Body)
    content = operation(body={"type": "array"})["requestBody"]["content"]
    assert content["application/json"]["schema"] == {"type": "array"}
    assert operation()["operationId"] == "post_v1_x"
    assert "security" not in operation()


def test_what_a_request_needs_is_described() -> None:
    """Each way to give a ticket or a key, and none, which suffices by default."""
    told = document(OPERATIONS, "1")
    schemes = told["components"]["securitySchemes"]
    needed = {
        path: {name for way in each["security"] for name in way}
        for path, methods in told["paths"].items()
        for each in methods.values()
        if {} in each.get("security", ())
    }
    assert needed["/poll/event"] == {"ticket", "ticket_parameter", "ticket_cookie"}
    assert needed["/v1/publish"] == {"key"}
    assert set().union(*needed.values()) == schemes.keys()
    assert "/readyz" not in needed


async def test_each_endpoint_is_described(free_port: int) -> None:
    """Every path and method that the application serves, and no other."""
    settings = Settings(slock_url=f"embedded://127.0.0.1:{free_port}")
    async with serving(Triopoll(settings)) as app:
        routes = app._pipeline.routes  # type: ignore[union-attr]
    served = {(path, method) for path in routes for method in routes[path]}
    told = {(operation.path, operation.method) for operation in OPERATIONS}
    # Where there is GET, HEAD needs no words.
    assert told == {(path, method) for path, method in served if method != "HEAD"}
