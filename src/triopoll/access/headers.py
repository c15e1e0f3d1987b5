"""Read single headers, cookies and parameters of a request, bounded and strict."""

from __future__ import annotations

from ..asgi.messages import Request
from ..asgi.query import BadQuery, is_utf8
from .refusals import AccessRefused, Refusal

__all__ = ["cookie_values", "header_values", "only_header", "parameter_values"]


def header_values(request: Request, name: bytes) -> list[bytes]:
    """Return all values of a header, in order; its name is in lower case."""
    return [value for given, value in request.headers if given == name]


def only_header(request: Request, name: bytes) -> str | None:
    """Return the value of a header that may be there once, or None.

    Raises:
        AccessRefused: It is there twice, and two readers could pick different ones.
    """
    values = header_values(request, name)
    if len(values) > 1:
        raise _bad(f"the header {name.decode()} is given more than once")
    return values[0].decode("latin-1").strip() if values else None


def cookie_values(request: Request, name: str) -> list[str]:
    """Return the values of all cookies of a name."""
    found: list[str] = []
    for value in header_values(request, b"cookie"):
        for part in value.decode("latin-1").split(";"):
            given, _, text = part.strip().partition("=")
            if given == name:
                found.append(text)
    return found


def parameter_values(request: Request, name: str) -> list[str]:
    """Return the values of all parameters of a name.

    Raises:
        AccessRefused: The query has too many fields, or a value is not UTF-8.
    """
    if name.encode() not in request.query and b"%" not in request.query:
        return []
    try:
        values = request.parameters.values(name)
    except BadQuery as error:
        raise _bad(str(error)) from None
    if not all(map(is_utf8, values)):
        raise _bad(f"{name} is not UTF-8")
    return values


def _bad(sentence: str) -> AccessRefused:
    return AccessRefused(Refusal(400, "bad_request", sentence))
