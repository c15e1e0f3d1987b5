"""The operations of /v1 are those that are served."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from triopoll.api.v1.endpoints import v1_routes
from triopoll.api.v1.operations import V1_OPERATIONS
from triopoll.api.v1.presence import presence_routes
from triopoll.api.v1.serializers import MessagesResponse
from triopoll.api.v1.state_endpoints import state_routes


def test_every_route_is_described_and_no_other() -> None:
    """Each method of each path."""
    services: Any = SimpleNamespace(states=None, access=None)
    routes = {
        **v1_routes(services),
        **presence_routes(services),
        **state_routes(services),
    }
    served = {(path, method) for path in routes for method in routes[path]}
    assert {(each.path, each.method) for each in V1_OPERATIONS} == served


def test_what_each_needs_and_answers() -> None:
    """Readers have tickets, publishers keys; all may be refused."""
    for operation in V1_OPERATIONS:
        if operation.path.startswith("/v1/states"):
            continue
        is_publish = operation.path == "/v1/publish"
        is_publisher = operation.path.startswith(("/v1/publish", "/v1/presence"))
        assert operation.admits == ("key" if is_publisher else "ticket")
        assert {400, 401, 403, 429, 503} < operation.responses.keys()
        assert (202 in operation.responses) is is_publish
        assert (operation.body is None) is (operation.method in ("GET", "DELETE"))


def test_messages_are_read_as_json_or_as_events() -> None:
    """Both with the status 200."""
    (operation,) = [each for each in V1_OPERATIONS if each.path == "/v1/messages"]
    assert operation.responses[200] == (MessagesResponse, "text/event-stream")


def test_what_states_need_and_answer() -> None:
    """Publishers have keys; a page has the secret of its state and no ticket."""
    for operation in V1_OPERATIONS:
        if operation.path.startswith("/v1/states"):
            is_page = operation.path.endswith(("/wait", "/ack"))
            assert operation.admits == (None if is_page else "key")
            assert bool(operation.headers) is is_page
            assert {400, 404, 413, 429, 503} < operation.responses.keys()
            assert bool(operation.path_parameters) is ("{key}" in operation.path)
