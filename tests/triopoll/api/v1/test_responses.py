"""What is answered where `/v1` does not do what was asked."""

from __future__ import annotations

import json

import pytest

from triopoll.api.v1.responses import (
    error_response,
    failure_response,
    refusal_response,
    respond,
)
from triopoll.api.validation import BadRequest
from triopoll.asgi.query import BadQuery
from triopoll.core.outcomes import Failure
from triopoll.store import BadCursor


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadRequest("no"), "bad_request"),
        (BadQuery("no"), "bad_request"),
        (BadCursor("no"), "bad_cursor"),
    ],
)
def test_a_bad_request(error: BadRequest | BadCursor | BadQuery, code: str) -> None:
    response = refusal_response(error)
    assert response.status == 400
    assert json.loads(response.body) == {"code": code, "message": "no"}


@pytest.mark.parametrize("failure", Failure)
def test_a_failure_says_when_to_come_back(failure: Failure) -> None:
    """In the body and in the header, the same; not always the same time."""
    times = set()
    for _ in range(50):
        response = failure_response(failure)
        shape = json.loads(response.body)
        assert (response.status, shape["code"]) == (503, failure.value)
        seconds = int(dict(response.headers)[b"retry-after"])
        assert shape["retry_ms"] == 1000 * seconds
        times.add(seconds)
    assert times <= {1, 2, 3, 4}
    assert len(times) > 1


def test_no_response_is_kept_by_a_cache() -> None:
    response = respond(error_response(Failure.STORE_FAILED), 409, (b"a", b"b"))
    assert response.status == 409
    headers = dict(response.headers)
    assert (headers[b"cache-control"], headers[b"a"]) == (b"no-store", b"b")
