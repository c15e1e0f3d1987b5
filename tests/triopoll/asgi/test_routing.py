"""Paths find their routes, by text and by template."""

from __future__ import annotations

import pytest

from triopoll.asgi.messages import Request
from triopoll.asgi.routing import RouteTable

TABLE = RouteTable(
    [
        "/a",
        "/a/fixed",
        "/a/{key}",
        "/a/{key}/b.c",
        "/x/{one}/{two}",
        "/a/{other}",
        "/s/{path}",
    ]
)


@pytest.mark.parametrize(
    ("path", "route", "values"),
    [
        ("/a", "/a", {}),
        ("/a/fixed", "/a/fixed", {}),
        ("/a/1", "/a/{key}", {"key": "1"}),
        ("/a/é%2F", "/a/{key}", {"key": "é%2F"}),
        ("/a/{key}", "/a/{key}", {}),
        ("/a/1/b.c", "/a/{key}/b.c", {"key": "1"}),
        ("/x/1/2", "/x/{one}/{two}", {"one": "1", "two": "2"}),
        ("/s/1", "/s/{path}", {"path": "1"}),
        ("/s/1//2/é%2F.\n", "/s/{path}", {"path": "1//2/é%2F.\n"}),
        ("/s/", None, {}),
        ("/a/", None, {}),
        ("/a/1/", None, {}),
        ("/a/1/bxc", None, {}),
        ("/x/1", None, {}),
        ("/x/1/2/3", None, {}),
        ("/a/1/b.c\n", None, {}),
        ("/A", None, {}),
        ("", None, {}),
    ],
)
def test_a_path(path: str, route: str | None, values: dict[str, str]) -> None:
    """An exact path comes first; a parameter is one segment that is not empty."""
    request = Request("GET", path, b"", [])
    assert TABLE.resolve(request) == route
    if route is not None and path != "/a/{key}":
        assert request.path_values == values


def test_representation() -> None:
    """It counts the routes."""
    assert repr(TABLE) == "<RouteTable: 7 routes>"
