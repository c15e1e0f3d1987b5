"""The description of all endpoints: complete, consistent, and served."""

from __future__ import annotations

import json
import re

from tests.triopoll.asgi_calls import serving

from triopoll.api.openapi_document import OPERATIONS, describe, openapi_routes
from triopoll.app import Triopoll
from triopoll.asgi.messages import Request
from triopoll.settings import Settings


def test_what_a_request_needs_is_described() -> None:
    """Each way to give a ticket or a key, and none, which suffices by default."""
    told = json.loads(describe())
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


def test_every_reference_has_its_component_and_every_component_a_reference() -> None:
    """None dangles, and none is left over."""
    text = describe().decode()
    referenced = set(re.findall(r'"\$ref":"#/components/schemas/(\w+)"', text))
    assert referenced == json.loads(text)["components"]["schemas"].keys()


async def test_it_is_served() -> None:
    """As JSON, made once."""
    endpoint = openapi_routes()["/openapi.json"]["GET"]
    response = await endpoint(Request("GET", "/openapi.json", b"", []))
    assert dict(response.headers)[b"content-type"] == b"application/json"
    assert response.body is describe()
    assert json.loads(response.body)["openapi"] == "3.1.0"
