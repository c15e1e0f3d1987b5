"""The description of all endpoints: complete, consistent, and served.

That of the poll API and the OpenResty API agrees with what they read.
"""

from __future__ import annotations

import json
import re
from urllib.parse import urlencode

import msgspec
import pytest
from tests.triopoll.asgi_calls import serving

from triopoll.api.openapi_document import (
    OPERATIONS,
    GroupCreateParameters,
    GroupPollParameters,
    GroupSendParameters,
    PollParameters,
    SendParameters,
    describe,
    openapi_routes,
)
from triopoll.api.openresty.query import (
    parse_group_creation,
    parse_group_poll,
    parse_group_sending,
    parse_sending,
)
from triopoll.api.poll.query import parse_poll
from triopoll.app import Triopoll
from triopoll.asgi.messages import Request
from triopoll.asgi.query import Query, parse_query
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


SETTINGS = Settings(default_timeout=60)


def query(parameters: dict[str, object]) -> Query:
    return parse_query(urlencode(parameters).encode())


@pytest.mark.parametrize(
    ("parse", "kind"),
    [
        (parse_poll, PollParameters),
        (parse_group_poll, GroupPollParameters),
        (parse_sending, SendParameters),
        (parse_group_creation, GroupCreateParameters),
        (parse_group_sending, GroupSendParameters),
    ],
)
def test_names_and_defaults(parse: object, kind: type[msgspec.Struct]) -> None:
    """A query with every default written out means the same as one without."""
    assert callable(parse)
    key = next(iter(kind.__struct_fields__))
    shape = msgspec.convert({key: "k"}, kind)
    given = msgspec.structs.asdict(shape)
    full = {name: each for name, each in given.items() if each is not msgspec.UNSET}
    short = parse(query({key: "k"}), SETTINGS)
    assert parse(query(full), SETTINGS) == short
    # A name that the parser does not know would have no effect; these have one.
    for name in full.keys() & {"timeout", "expried", "msg_id"}:
        other = query({**full, name: 77})
        assert parse(other, SETTINGS) != short
