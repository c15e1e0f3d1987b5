"""Why somebody gets nothing, and how each family of endpoints writes it.

A refusal is decided once, without a thought for its form. What differs is the writing:
`/v1` has HTTP statuses and a code in words, the endpoints for waiting that came from
the recipe answer HTTP 200 with an ``err_code``, those for publishing with ``code``.
Where HTTP has a header for it (`Retry-After`, `WWW-Authenticate`), all three carry it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ..asgi.messages import UNCACHED, Response, json_response

__all__ = [
    "Refusal",
    "Refused",
    "Shape",
    "refuse_manage",
    "refuse_poll",
    "refuse_v1",
]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served.

    Attributes:
        status: The HTTP status that fits.
        code: One word for programs.
        message: One sentence for people.
        limit: The name of the limit that has been reached.
        retry_after: Whole seconds after which to try again.
    """

    status: int
    code: str
    message: str
    limit: str | None = None
    retry_after: int | None = None


class Refused(Exception):
    """The request is not served; `refusal` says why. Never leaves this package."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


Shape: TypeAlias = Callable[[Refusal], Response]


def refuse_v1(refusal: Refusal) -> Response:
    """Write a refusal as ``/v1`` does: status, ``code``, ``message``."""
    shape: dict[str, object] = {"code": refusal.code, "message": refusal.message}
    if refusal.limit is not None:
        shape["limit"] = refusal.limit
    if refusal.retry_after is not None:
        shape["retry_ms"] = refusal.retry_after * 1000
    return _answer(refusal.status, shape, refusal)


def refuse_poll(refusal: Refusal) -> Response:
    """Write a refusal as the compatible waits do: HTTP 200, ``err_code``."""
    shape: dict[str, object] = {
        "err_code": refusal.status,
        "err_message": refusal.message,
    }
    if refusal.limit is not None:
        shape["limit"] = refusal.limit
    return _answer(200, shape, refusal)


def refuse_manage(refusal: Refusal) -> Response:
    """Write a refusal as the compatible publishing endpoints do: HTTP 200, ``code``."""
    shape: dict[str, object] = {
        "code": refusal.status,
        "msg": refusal.message,
        "data": None,
    }
    return _answer(200, shape, refusal)


def _answer(status: int, shape: dict[str, object], refusal: Refusal) -> Response:
    headers = list(UNCACHED)
    if refusal.retry_after is not None:
        headers.append((b"retry-after", b"%d" % refusal.retry_after))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="triopoll"'))
    return json_response(shape, status, headers)
