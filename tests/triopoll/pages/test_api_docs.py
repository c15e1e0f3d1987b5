"""What `/docs` shows of the OpenAPI document."""

from __future__ import annotations

import json
import re

from tests.triopoll.pages.asking import get, pages

from triopoll.api.openapi_document import describe
from triopoll.pages.api_docs import api_description


def test_all_of_the_document_is_there() -> None:
    """Each operation, parameter, response and type of the document is described."""
    document = json.loads(describe())
    api = api_description()
    shown = {one.id: one for group in api.groups.values() for one in group}
    for path, methods in document["paths"].items():
        for method, shape in methods.items():
            one = shown.pop(shape["operationId"])
            assert (one.method, one.path) == (method.upper(), path)
            names = [given["name"] for given in shape.get("parameters", ())]
            assert [field.name for field in one.parameters] == names
            assert [status for status, _, _ in one.responses] == sorted(
                shape["responses"]
            )
    assert shown == {}
    assert [one.name for one in api.schemas] == [*document["components"]["schemas"]]


async def test_links_lead_to_types() -> None:
    """Each link within the page has its target, and each id stands there once."""
    async with pages() as app:
        page = (await get(app, "/docs")).body.decode()
    targets = re.findall(r'\bid="([^"]+)"', page)
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert len(targets) == len(set(targets))
    assert len(links) > 20
    assert links <= set(targets)


def test_limits_are_shown_behind_the_type() -> None:
    """A reader sees what a field accepts."""
    (messages,) = [
        one
        for group in api_description().groups.values()
        for one in group
        if one.path == "/v1/messages"
    ]
    key, cursor, *_ = messages.parameters
    assert key.type == "string, at least 1 characters, at most 256 characters"
    assert (key.is_required, key.place) == (True, "query")
    assert cursor.default == '"new"'
    assert messages.credentials == "a ticket"
