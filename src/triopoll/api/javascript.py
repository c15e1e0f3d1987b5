"""``/js/VERSION/triopoll.js``: the browser client, for pages of any origin.

The path has the version in it, so a cache may keep what it has got for ever.
"""

from __future__ import annotations

import functools
import hashlib
from functools import partial
from importlib.metadata import version
from pathlib import Path

from ..access.headers import header_values
from ..asgi.messages import Headers, Request, Response, Routes

__all__ = ["javascript_routes", "module_path", "module_source"]

_PACKAGE = Path(__file__).parent.parent
# In a wheel it is a file of the package, in a checkout the source in `js/`.
_PLACES = (
    _PACKAGE / "static" / "triopoll.js",
    _PACKAGE.parent.parent / "js" / "triopoll.js",
)
_NOT_MODIFIED = 304


def module_path() -> str:
    """Return the path that the module is served at."""
    return f"/js/{version('trioslock')}/triopoll.js"


@functools.cache
def module_source() -> bytes:
    """Return the module, read at the first call.

    Raises:
        FileNotFoundError: The installation lacks it.
    """
    for place in _PLACES:
        if place.is_file():
            return place.read_bytes()
    raise FileNotFoundError(f"triopoll.js is at none of {[*map(str, _PLACES)]}")


def javascript_routes() -> Routes:
    """Return the endpoint of the module.

    Raises:
        FileNotFoundError: The installation lacks the module.
    """
    source = module_source()
    etag = b'"%b"' % hashlib.sha256(source).hexdigest()[:32].encode()
    send = partial(_send, source, etag)
    return {module_path(): {"GET": send, "HEAD": send}}


async def _send(source: bytes, etag: bytes, request: Request) -> Response:
    headers = _headers(etag)
    if _has_current(request, etag):
        return Response(b"", _NOT_MODIFIED, headers)
    kind = (b"content-type", b"text/javascript; charset=utf-8")
    return Response(source, 200, (kind, *headers))


def _headers(etag: bytes) -> Headers:
    return (
        (b"etag", etag),
        (b"cache-control", b"public, max-age=31536000, immutable"),
        # Pages of all origins may import it: there is nothing of a visitor in it.
        (b"access-control-allow-origin", b"*"),
        (b"cross-origin-resource-policy", b"cross-origin"),
    )


def _has_current(request: Request, etag: bytes) -> bool:
    """Return whether the client has the module already.

    Source: RFC 9110, 13.1.2: the comparison is the weak one.
    """
    given = b",".join(header_values(request, b"if-none-match"))
    tags = {tag.strip().removeprefix(b"W/") for tag in given.split(b",")}
    return etag in tags or b"*" in tags
