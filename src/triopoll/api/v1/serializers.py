"""Messages as JSON: the same words over HTTP and over a websocket, written once."""

from __future__ import annotations

import base64
from typing import Any

from ...asgi.json import to_json
from ...core.wait_items import ReadResult
from ...store import StoredMessage

__all__ = ["encode_read_result", "message_shape"]


def encode_read_result(look: ReadResult) -> bytes:
    """Write messages and cursor, as the inside of a JSON object; once for a look."""
    if look.encoded is None:
        page = look.page
        shape: dict[str, Any] = {
            "messages": list(map(message_shape, page.messages)),
            "cursor": page.cursor,
        }
        if page.gap:
            shape |= {"code": "gap", "lost": page.lost}
        look.encoded = to_json(shape).encode()[1:-1]
    return look.encoded


def message_shape(message: StoredMessage) -> dict[str, Any]:
    """Return a message as `/v1` writes it: text as it is, other bytes in base64."""
    shape: dict[str, Any] = {"id": message.id}
    try:
        shape["data"] = message.data.decode()
    except UnicodeDecodeError:
        shape["data_base64"] = base64.b64encode(message.data).decode()
    shape["ts"] = message.ts
    return shape
