"""Read single headers, cookies and parameters of a request, bounded and strict."""

from __future__ import annotations

from urllib.parse import parse_qsl

from ..asgi.messages import Request
from .refusals import Refusal, Refused

__all__ = ["cookie_values", "header_values", "only_header", "parameter_values"]

# A wait may be on 50 keys, each with a few words about it.
_MAX_PARAMETERS = 512


def header_values(request: Request, name: bytes) -> list[bytes]:
    """Return all values of a header, in order; its name is in lower case."""
    return [value for given, value in request.headers if given == name]


def only_header(request: Request, name: bytes) -> str | None:
    """Return the value of a header that may be there once, or None.

    Raises:
        Refused: It is there twice, and two readers could pick different ones.
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


def parameter_values(request: Request, name: bytes) -> list[str]:
    """Return the values of all parameters of a name.

    Raises:
        Refused: The query has too many parameters to be read.
    """
    if name not in request.query and b"%" not in request.query:
        return []
    try:
        # Latin-1 keeps each byte as one character; bytes would have to be ASCII.
        pairs = parse_qsl(
            request.query.decode("latin-1"),
            keep_blank_values=True,
            encoding="latin-1",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError:
        raise _bad(f"query has more than {_MAX_PARAMETERS} fields") from None
    wanted = name.decode("latin-1")
    return [value for given, value in pairs if given == wanted]


def _bad(sentence: str) -> Refused:
    return Refused(Refusal(400, "bad_request", sentence))
