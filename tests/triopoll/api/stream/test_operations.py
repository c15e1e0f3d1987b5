"""The operations of /v1/stream/ are those that are served."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from triopoll.api.stream.endpoints import stream_routes
from triopoll.api.stream.operations import STREAM_OPERATIONS


def test_every_route_is_described_and_no_other() -> None:
    """Each method; where there is GET, HEAD needs no words."""
    access = SimpleNamespace(rules=SimpleNamespace(tickets=None))
    metrics = SimpleNamespace(metrics=None)
    services: Any = SimpleNamespace(streams=metrics, access=access, reader=None)
    routes = stream_routes(services)
    served = {(path, method) for path in routes for method in routes[path]}
    told = {(each.path, each.method) for each in STREAM_OPERATIONS}
    assert told == {each for each in served if each[1] != "HEAD"}


def test_what_each_needs_and_answers() -> None:
    """Readers have tickets, and all others keys; all may be refused."""
    for operation in STREAM_OPERATIONS:
        is_read = operation.method == "GET"
        assert operation.admits == ("ticket" if is_read else "key")
        assert {400, 401, 403, 404, 409, 410, 413, 503} < operation.responses.keys()
