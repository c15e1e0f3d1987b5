"""How each family of endpoints writes a refusal.

`/v1` has HTTP statuses and a code in words. The poll API answers HTTP 200 with an
``err_code``, the OpenResty API HTTP 200 with a ``code``. Where HTTP has a header for
it (`Retry-After`, `WWW-Authenticate`), all three send it.
"""

from __future__ import annotations

from ..access import Refusal, RefusalFormat
from ..asgi.messages import UNCACHED, Request, Response, json_response
from ..asgi.query import BadQuery

__all__ = [
    "format_openresty",
    "format_poll",
    "format_v1",
    "is_openresty_poll",
    "refusal_format",
]

# The paths that the poll API and the OpenResty API share.
_SHARED = ("/poll/event", "/poll/message")


def refusal_format(request: Request) -> RefusalFormat:
    """Return the format of the API that a request is for."""
    if not request.path.startswith("/poll/"):
        return format_v1
    if request.path in _SHARED and not is_openresty_poll(request):
        return format_poll
    return format_openresty


def is_openresty_poll(request: Request) -> bool:
    """Return whether a poll names its event ``key``, as the OpenResty API does.

    A query that cannot be parsed says so only if it has no ``event=`` in its bytes.
    """
    if b"key=" not in request.query:
        return False
    try:
        pairs = request.parameters.pairs
    except BadQuery:
        return b"event=" not in request.query
    names = {name for name, _ in pairs}
    return "key" in names and "event" not in names


def format_v1(refusal: Refusal) -> Response:
    """Write a refusal as ``/v1`` does: status, ``code``, ``message``."""
    shape: dict[str, object] = {"code": refusal.code, "message": refusal.message}
    if refusal.limit is not None:
        shape["limit"] = refusal.limit
    if refusal.retry_after is not None:
        shape["retry_ms"] = refusal.retry_after * 1000
    return _respond(refusal.status, shape, refusal)


def format_poll(refusal: Refusal) -> Response:
    """Write a refusal as the poll API does: HTTP 200, ``err_code``."""
    shape: dict[str, object] = {
        "err_code": refusal.status,
        "err_message": refusal.message,
    }
    if refusal.limit is not None:
        shape["limit"] = refusal.limit
    return _respond(200, shape, refusal)


def format_openresty(refusal: Refusal) -> Response:
    """Write a refusal as the OpenResty API does: HTTP 200, ``code``."""
    shape: dict[str, object] = {
        "code": refusal.status,
        "msg": refusal.message,
        "data": None,
    }
    return _respond(200, shape, refusal)


def _respond(status: int, shape: dict[str, object], refusal: Refusal) -> Response:
    headers = list(UNCACHED)
    if refusal.retry_after is not None:
        headers.append((b"retry-after", b"%d" % refusal.retry_after))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="triopoll"'))
    return json_response(shape, status, headers)
