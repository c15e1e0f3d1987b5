"""What every response of the pipeline gets, and the response to an error of ours."""

from __future__ import annotations

import logging

from ..asgi.messages import Headers, Response, json_response

__all__ = ["SECURITY", "add_headers", "internal_error"]

_log = logging.getLogger("triopoll")

# A response is what its content type says, and no browser may guess otherwise.
SECURITY: Headers = ((b"x-content-type-options", b"nosniff"),)
_ALLOW_ORIGIN = b"access-control-allow-origin"
_FOR_ORIGINS = (b"access-control-", b"vary")


def add_headers(headers: Headers, more: Headers) -> Headers:
    """Return the headers of a response with those of the pipeline.

    Args:
        headers: Of the response.
        more: `SECURITY`, those of the route, and those for other origins. These are
            left out where the endpoint has decided for itself.
    """
    for name, _ in headers:
        if name == _ALLOW_ORIGIN:
            more = [each for each in more if not each[0].startswith(_FOR_ORIGINS)]
    return (*headers, *more)


def internal_error(method: str, path: str) -> Response:
    """Log the exception that is being handled; return what the client gets."""
    _log.exception("%s %s failed", method, path)
    return json_response({"code": "internal", "message": "internal error"}, 500)
