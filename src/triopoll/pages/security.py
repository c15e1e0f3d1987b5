"""The headers of pages: nothing is loaded from, or sent to, another server."""

from __future__ import annotations

import secrets

from quart import Response, g

__all__ = ["add_security_headers", "script_nonce"]

# The nonce is for the import map, which cannot be a file of its own.
_POLICY = (
    "default-src 'none'; script-src 'self'{nonce}; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def script_nonce() -> str:
    """Return the nonce of the response that is being made."""
    if "script_nonce" not in g:
        g.script_nonce = secrets.token_urlsafe(16)
    nonce: str = g.script_nonce
    return nonce


async def add_security_headers(response: Response) -> Response:
    """Add the policy of pages, and keep pages out of caches."""
    nonce = f" 'nonce-{g.script_nonce}'" if "script_nonce" in g else ""
    response.headers["Content-Security-Policy"] = _POLICY.format(nonce=nonce)
    response.headers["Referrer-Policy"] = "no-referrer"
    # A file is asked for again each time, and is sent again only if it has changed.
    is_file = response.headers.pop("Expires", None) is not None
    response.headers["Cache-Control"] = "no-cache" if is_file else "no-store"
    return response
