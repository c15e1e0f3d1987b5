"""JSON as text: what is written, and what is passed on as it was written.

A message is only read, to know that it is JSON. Writing it anew would change it:
numbers lose digits, names that come twice are one.
"""

from __future__ import annotations

import json

__all__ = ["BadJson", "check_json", "plain_text", "to_json"]


class BadJson(ValueError):
    """These bytes are no JSON."""


def to_json(shape: object) -> str:
    """Write JSON as all our answers have it: short, and not all in ASCII."""
    return json.dumps(shape, ensure_ascii=False, separators=(",", ":"))


def check_json(data: bytes) -> str:
    """Return a JSON text, without the space around it.

    Args:
        data: Hostile: it may be anything, but its length is bounded.

    Raises:
        BadJson: It is no UTF-8, no JSON, or JSON that nobody means: too deep for
            a parser, with numbers of thousands of digits, or with the names that
            JavaScript has for what is no number.
    """
    try:
        text = data.decode()
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadJson from None
    return text.strip(" \t\r\n")


def plain_text(data: bytes) -> bytes:
    """Return what a JSON string says; anything else as it is."""
    try:
        value = json.loads(check_json(data))
        return value.encode() if isinstance(value, str) else data
    except (BadJson, UnicodeEncodeError):
        return data


def _refuse(constant: str) -> None:
    raise ValueError(constant)
