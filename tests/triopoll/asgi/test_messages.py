"""Requests from ASGI scopes, and responses."""

from __future__ import annotations

from typing import Any

import pytest

from triopoll.asgi.messages import Request, Response, json_response, request_of


def scope(**more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": "/v1/publish",
        "query_string": b"a=1",
        "headers": [(b"host", b"h")],
        "client": ("192.0.2.1", 5),
        **more,
    }


def test_a_request_is_what_its_scope_says() -> None:
    """Its body is read later."""
    headers = [(b"host", b"h")]
    expected = Request("POST", "/v1/publish", b"a=1", headers, "192.0.2.1", b"")
    assert request_of(scope()) == expected


def test_a_unix_socket_and_a_websocket() -> None:
    """The one has no address, the other no method: its handshake is a GET."""
    handshake = scope(client=None)
    del handshake["method"]
    request = request_of(handshake)
    assert (request.peer, request.method) == (None, "GET")


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("", "/v1/wait", "/v1/wait"),
        ("/push", "/push/v1/wait", "/v1/wait"),
        ("/push", "/v1/wait", "/v1/wait"),
        ("/push", "/push", "/"),
        ("/push", "/push/push", "/push"),
    ],
)
def test_the_path_below_a_mount(root: str, path: str, expected: str) -> None:
    """`root_path` is removed where the path has it; some servers leave it out."""
    assert request_of(scope(root_path=root, path=path)).path == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("", "/"),
        ("*", "/*"),
        ("http://localhost:8000/v1/wait", "/v1/wait"),
        ("http://localhost", "/"),
        ("http://[/v1", "/http://[/v1"),
        ("v1/wait", "/v1/wait"),
    ],
)
def test_a_target_that_is_no_path(target: str, expected: str) -> None:
    """Granian passes on what stands in the request line; a path begins with `/`."""
    assert request_of(scope(path=target)).path == expected
    assert request_of(scope(path=target, root_path="/push")).path == expected


def test_parameters_are_parsed_once() -> None:
    """A second reader gets the same object."""
    request = request_of(scope(query_string=b"key=" + b"k" * 1000))
    assert request.parameters is request.parameters
    assert request.parameters.values("key") == ["k" * 1000]


def test_json() -> None:
    """It is short, and says what it is."""
    response = json_response({"a": ["ü", 1]}, 202, ((b"x", b"y"),))
    headers = ((b"content-type", b"application/json"), (b"x", b"y"))
    assert response == Response('{"a":["ü",1]}'.encode(), 202, headers)


def test_where_an_address_begins() -> None:
    """With the scheme of the connection, and the path of the mount."""
    request = request_of(scope(root_path="/push/", scheme="https"))
    assert (request.scheme, request.root) == ("https", "/push")
