"""Requests, tickets and access checks for the tests of access control."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from triopoll.access import AccessControl, Keyring, Rules, TicketReader, entry_for
from triopoll.access.tickets import issue_ticket, secret_verifier
from triopoll.asgi.messages import Request, Response

NOW = 1_800_000_000.0
SECRET = "the-secret-of-tests-which-is-long-enough"
KEY = "an-api-key-of-tests"


def ask(
    method: str = "GET",
    path: str = "/v1/messages",
    *,
    query: Mapping[str, str] | bytes = b"",
    headers: Mapping[str, str] | None = None,
    peer: str | None = "203.0.113.9",
    body: bytes = b"",
    bearer: str | None = None,
) -> Request:
    """Return a request as an ASGI adapter builds it."""
    raw = query if isinstance(query, bytes) else urlencode(query).encode()
    given = dict(headers or {})
    if bearer is not None:
        given["authorization"] = f"Bearer {bearer}"
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    return Request(method, path, raw, pairs, peer, body)


def ticket(*keys: str, secret: str = SECRET, lifetime: float = 60, **more: Any) -> str:
    """Return a ticket that is valid at NOW."""
    return issue_ticket(secret, keys, lifetime=lifetime, now=NOW, **more)


def reader(*revoked: str) -> TicketReader:
    return TicketReader([secret_verifier(SECRET)], revoked)


def keyring(*patterns: str, name: str = "shop", key: str = KEY) -> Keyring:
    return Keyring([entry_for(name, key, patterns or ("shop:*",))])


def access_control(**rules: Any) -> AccessControl:
    """Return an access check whose clock stands still."""
    return AccessControl(Rules(**rules), clock=lambda: NOW)


def code_of(answer: object) -> str:
    """Return the code of an answer in the format of /v1; fail for any other format."""
    assert isinstance(answer, Response), answer
    shape = json.loads(answer.body)
    assert "messages" not in shape
    code = shape["code"]
    assert isinstance(code, str)
    return code


def header_of(answer: Response, name: bytes) -> bytes | None:
    return dict(answer.headers).get(name)
