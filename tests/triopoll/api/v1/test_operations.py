"""The operations of /v1 are those that are served."""

from __future__ import annotations

from typing import Any

from triopoll.api.v1.endpoints import v1_routes
from triopoll.api.v1.operations import V1_OPERATIONS


def test_every_route_is_described_and_no_other() -> None:
    """Each method of each path."""
    services: Any = None
    routes = v1_routes(services)
    served = {(path, method) for path in routes for method in routes[path]}
    assert {(each.path, each.method) for each in V1_OPERATIONS} == served


def test_what_each_needs_and_answers() -> None:
    """Readers have tickets, publishers keys; all may be refused."""
    for operation in V1_OPERATIONS:
        is_publish = operation.path == "/v1/publish"
        assert operation.admits == ("key" if is_publish else "ticket")
        assert {400, 401, 403, 429, 503} < operation.responses.keys()
        assert (202 in operation.responses) is is_publish
        assert (operation.body is None) is (operation.method == "GET")
