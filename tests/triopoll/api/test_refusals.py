"""How each API writes a refusal, and which API a request is for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.triopoll.access.asking import ask, header_of

from triopoll.access import Refusal
from triopoll.api.refusals import (
    format_openresty,
    format_poll,
    format_v1,
    refusal_format,
)

LIMIT = Refusal(
    429, "limit", "the limit waits_per_ip has been reached", "waits_per_ip", 3
)
NO_TICKET = Refusal(401, "ticket_missing", "a ticket is needed")


@pytest.mark.parametrize(
    ("refusal", "format_refusal", "status", "shape"),
    [
        (
            *(LIMIT, format_v1, 429),
            {
                "code": "limit",
                "message": "the limit waits_per_ip has been reached",
                "limit": "waits_per_ip",
                "retry_ms": 3000,
            },
        ),
        (
            *(LIMIT, format_poll, 200),
            {
                "err_code": 429,
                "err_message": "the limit waits_per_ip has been reached",
                "limit": "waits_per_ip",
            },
        ),
        (
            *(LIMIT, format_openresty, 200),
            {
                "code": 429,
                "msg": "the limit waits_per_ip has been reached",
                "data": None,
            },
        ),
        (
            *(NO_TICKET, format_v1, 401),
            {"code": "ticket_missing", "message": "a ticket is needed"},
        ),
        (
            *(NO_TICKET, format_poll, 200),
            {"err_code": 401, "err_message": "a ticket is needed"},
        ),
        (
            *(NO_TICKET, format_openresty, 200),
            {"code": 401, "msg": "a ticket is needed", "data": None},
        ),
    ],
)
def test_formats(
    refusal: Refusal, format_refusal: Any, status: int, shape: Any
) -> None:
    """The status of /v1, the codes of the others, and the headers of HTTP in all."""
    response = format_refusal(refusal)
    assert (response.status, json.loads(response.body)) == (status, shape)
    assert header_of(response, b"cache-control") == b"no-store"
    retry = None if refusal.retry_after is None else b"3"
    assert header_of(response, b"retry-after") == retry
    challenge = b'Bearer realm="triopoll"' if refusal.status == 401 else None
    assert header_of(response, b"www-authenticate") == challenge


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/v1/messages", b"key=k", format_v1),
        ("/nothing", b"", format_v1),
        ("/livez", b"", format_v1),
        ("/poll/event", b"event=k", format_poll),
        ("/poll/message", b"", format_poll),
        ("/poll/message", b"key=k", format_openresty),
        ("/poll/message", b"key=k&event=k", format_poll),
        ("/poll/message", b"&".join([b"key=k"] * 200), format_openresty),
        ("/poll/group/message", b"key=k", format_openresty),
        ("/poll/nothing", b"event=k", format_openresty),
    ],
)
def test_the_format_follows_the_request(path: str, query: bytes, expected: Any) -> None:
    """Also of a path that is not served, and of a query that cannot be parsed."""
    assert refusal_format(ask(path=path, query=query)) is expected
