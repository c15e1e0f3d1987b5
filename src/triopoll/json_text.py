"""JSON that is passed on as it was written, once it is known to be JSON.

Reading a message and writing it anew would change it: numbers lose digits, names that
come twice are one. So it is only read.
"""

from __future__ import annotations

import json

__all__ = ["BadJson", "check_json", "plain_text"]


class BadJson(ValueError):
    """These bytes are no JSON."""


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
