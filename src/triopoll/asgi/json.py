"""JSON as text: what is written, and what is passed on as it was written.

A message is parsed only to check that it is JSON, and is passed on as it came. Encoding
it again would change it: numbers lose digits, and of a repeated name one value is left.
"""

from __future__ import annotations

import json

__all__ = ["BadJson", "check_json", "plain_text", "to_json"]


class BadJson(ValueError):
    """These bytes are not JSON."""


def to_json(shape: object) -> str:
    """Write JSON as all responses have it: without spaces, and not escaped to ASCII."""
    return json.dumps(shape, ensure_ascii=False, separators=(",", ":"))


def check_json(data: bytes) -> str:
    """Return a JSON text, without the space around it.

    Args:
        data: Hostile: it may be anything, but its length is bounded.

    Raises:
        BadJson: It is not UTF-8, not JSON, nested too deep for the parser, has numbers
            of thousands of digits, or has NaN or Infinity.
    """
    try:
        text = data.decode()
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadJson from None
    return text.strip(" \t\r\n")


def plain_text(data: bytes) -> bytes:
    """Return the text of a JSON string; any other data unchanged."""
    try:
        value = json.loads(check_json(data))
        return value.encode() if isinstance(value, str) else data
    except (BadJson, UnicodeEncodeError):
        return data


def _refuse(constant: str) -> None:
    raise ValueError(constant)
