"""The ids of pending messages: a key and a publisher's id in a form for a path.

Each of the two is the base64url of its UTF-8, without padding, and a dot stands between
them. So the id of a message is the same as long as it is pending, whatever replaces it,
and a publisher that has not got it can write it. Both parts may have any characters,
slashes and dots included, which proxies change in a path.
"""

from __future__ import annotations

import base64
import re

from ..validation import BadRequest

__all__ = ["pending_id", "read_pending_id"]

_ID = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)


def pending_id(key: str, name: str) -> str:
    """Return the id of a pending message.

    Args:
        key: Of its log.
        name: The publisher's id.
    """
    return f"{_encode(key)}.{_encode(name)}"


def read_pending_id(text: str) -> tuple[str, str]:
    """Return key and name from an id.

    Raises:
        BadRequest: It is not one that `pending_id` returns.
    """
    match = _ID.fullmatch(text)
    try:
        parts = (_decode(match[1]), _decode(match[2])) if match else None
    except ValueError:
        parts = None
    # One message has one id: the last character of a part may have bits to spare.
    if parts is None or pending_id(*parts) != text:
        raise BadRequest("the id in the path is not that of a pending message")
    return parts


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(text: str) -> str:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
