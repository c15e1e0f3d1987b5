"""The headers of pages."""

from __future__ import annotations

import re

import pytest
from tests.triopoll.pages.asking import get, pages
from tests.triopoll.pages.test_routes import PATHS

POLICY = (
    "default-src 'none'; script-src 'self'{}; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@pytest.mark.parametrize("path", [*PATHS, "/pages/login.js", "/pages/pages.css"])
async def test_policy(path: str) -> None:
    """The policy allows files of this server, and one inline script by its nonce."""
    async with pages() as app:
        call = await get(app, path)
    headers = dict(call.headers)
    found = re.findall(r'nonce="([^"]+)"', call.body.decode())
    nonce = f" 'nonce-{found[0]}'" if found else ""
    assert headers[b"content-security-policy"].decode() == POLICY.format(nonce)
    assert headers[b"referrer-policy"] == b"no-referrer"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert b"style=" not in call.body.replace(b"&", b"")


async def test_nonces_differ() -> None:
    """A nonce that could be foreseen would protect nothing."""
    async with pages() as app:
        first, second = [(await get(app, "/demo/login")).headers for _ in range(2)]
    name = b"content-security-policy"
    assert dict(first)[name] != dict(second)[name]


async def test_files_are_asked_for_again() -> None:
    """A file is not used from a cache without a question, and pages are not stored."""
    async with pages() as app:
        file = dict((await get(app, "/pages/login.js")).headers)
        page = dict((await get(app, "/demo/login")).headers)
        match = [(b"if-none-match", file[b"etag"])]
        again = await get(app, "/pages/login.js", match)
    assert file[b"cache-control"] == b"no-cache"
    assert page[b"cache-control"] == b"no-store"
    assert again.status == 304
