"""Find the credentials of a request: a ticket in one of three places, or an API key."""

from __future__ import annotations

from dataclasses import dataclass

from ..asgi.messages import Request
from .headers import cookie_values, only_header, parameter_values
from .refusals import AccessRefused, Refusal

__all__ = ["ShownTicket", "shown_key", "shown_ticket"]

_PARAMETER = "ticket"


@dataclass(frozen=True, slots=True)
class ShownTicket:
    """A ticket that came with a request.

    Attributes:
        text: The ticket, not checked yet.
        only_by_cookie: Whether only the browser has added it. Then the page that made
            the request may not know it.
    """

    text: str
    only_by_cookie: bool


def shown_ticket(request: Request, cookie: str) -> ShownTicket:
    """Return the ticket of a request.

    Args:
        request: With the ticket as ``Authorization: Bearer``, as a cookie, or as the
            parameter ``ticket``. The same ticket may be in several places.
        cookie: The cookie's name; "" for none.

    Raises:
        AccessRefused: There is no ticket, or there are two different ones.
    """
    written = parameter_values(request, _PARAMETER)
    if (token := _bearer(request)) is not None:
        written.append(token)
    cookies = cookie_values(request, cookie) if cookie else []
    texts = {text for text in (*written, *cookies) if text}
    if len(texts) > 1:
        raise _unauthorized("ticket_ambiguous", "there are two different tickets")
    if not texts:
        raise _unauthorized("ticket_missing", "a ticket is needed")
    return ShownTicket(texts.pop(), only_by_cookie=not any(written))


def shown_key(request: Request) -> str:
    """Return the API key of a request, ``Authorization: Bearer``.

    Raises:
        AccessRefused: There is no key, or there are two.
    """
    if key := _bearer(request):
        return key
    raise _unauthorized("key_missing", "an API key is needed")


def _bearer(request: Request) -> str | None:
    """Return the bearer token; other schemes are for a proxy in front."""
    scheme, _, token = (only_header(request, b"authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _unauthorized(code: str, message: str) -> AccessRefused:
    return AccessRefused(Refusal(401, code, message))
