"""What every response of the pipeline gets."""

from __future__ import annotations

import json

import pytest

from triopoll.api.finishing import SECURITY, add_headers, internal_error

ORIGIN = (b"access-control-allow-origin", b"https://a.example")
ANY_ORIGIN = (b"access-control-allow-origin", b"*")


def test_headers_are_added() -> None:
    plain = (b"content-type", b"text/plain")
    assert add_headers([plain], (*SECURITY, ORIGIN)) == (plain, *SECURITY, ORIGIN)


def test_what_an_endpoint_has_decided_for_itself_stays() -> None:
    assert add_headers([ANY_ORIGIN], (*SECURITY, ORIGIN)) == (ANY_ORIGIN, *SECURITY)


def test_an_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the traceback, the client none of it."""
    try:
        raise RuntimeError("secret")
    except RuntimeError:
        response = internal_error("GET", "/path")
    assert response.status == 500
    assert json.loads(response.body) == {
        "code": "internal",
        "message": "internal error",
    }
    assert "GET /path failed" in caplog.text
    assert "RuntimeError: secret" in caplog.text
