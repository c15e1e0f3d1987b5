"""The two formats of a websocket: that of `/v1`, and that of the poll API.

Both carry the same messages with the same ids and cursors.
"""

from __future__ import annotations

from typing import Any

from ...core.wait_items import ReadResult
from ...store import parse_cursor
from ..poll.replies import message_fields
from ..v1.serializers import encode, encode_messages
from .frames import AckLog, Frame, FrameLimits, Pong, read_frame

__all__ = ["Codec", "PollCodec", "V1Codec"]

_SUCCESS = "succed"  # wire spelling
_TIMEOUT, _GONE = 504, 410


class V1Codec:
    """JSON objects with a ``type``."""

    def __init__(self, limits: FrameLimits) -> None:
        self._limits = limits

    def read(self, text: str) -> Frame:
        """Read a frame, or raise `BadRequest` or `BadCursor`."""
        return read_frame(text, self._limits)

    def hello(self, ping: float) -> str:
        """Write the first frame, with the seconds from ping to ping."""
        return _text({"type": "hello", "ping": ping})

    def subscribed(self, key: str, cursor: str) -> str:
        """Write that a log is followed, and from which cursor."""
        return _text({"type": "subscribed", "key": key, "cursor": cursor})

    def messages(self, key: str, after: str, result: ReadResult) -> str:
        """Write what came after a cursor; the messages are encoded once for all."""
        page = result.page
        shape: dict[str, Any] = {
            "type": "messages",
            "key": key,
            "after": after,
            "messages": encode_messages(result),
            "cursor": page.cursor,
        }
        if page.gap:
            shape |= {"code": "gap", "lost": page.lost}
        return _text(shape)

    def signal(self, shape: dict[str, object]) -> str:
        """Write news of an event or a group, or that a frame was carried out."""
        return _text(shape)

    def error(self, code: str, message: str, status: int) -> str:
        """Write what is wrong."""
        return _text({"type": "error", "code": code, "message": message})

    def ping(self) -> str:
        """Ask for a pong."""
        return _text({"type": "ping"})

    def pong(self) -> str:
        """Answer a ping."""
        return _text({"type": "pong"})


class PollCodec:
    """One key and one message a frame, in the response format of the poll API.

    A client answers each message with its id, as text, and then gets the next one.
    """

    def __init__(self, key: str) -> None:
        self._key = key

    def read(self, text: str) -> Frame:
        """Read an id, or raise `BadCursor`; the empty text is a pong."""
        if not text:
            return Pong()
        parse_cursor(text)
        return AckLog(self._key, text)

    def hello(self, ping: float) -> None:
        """Write nothing: the answer to the subscription is the first frame."""
        return

    def subscribed(self, key: str, cursor: str) -> str:
        """Write from which cursor the key is followed."""
        return _text({"err_code": 0, "err_message": "", "id": cursor})

    def messages(self, key: str, after: str, result: ReadResult) -> str:
        """Write the next message, and whether some before it are gone.

        The poll API has strings only, so a JSON value is written as its text.
        """
        page = result.page
        shape: dict[str, Any] = {"err_code": _GONE, "err_message": "messages are gone"}
        if page.messages:
            message = page.messages[0]
            shape = {"err_code": 0, "err_message": _SUCCESS, "ts": message.ts}
            shape |= message_fields(message.data)
        shape["id"] = page.cursor
        if page.gap:
            shape |= {"gap": True, "lost": page.lost}
        return _text(shape)

    def signal(self, shape: dict[str, object]) -> str:
        """Fail: this format has neither events nor groups."""
        raise NotImplementedError

    def error(self, code: str, message: str, status: int) -> str:
        """Write what is wrong."""
        return _text({"err_code": status, "err_message": message})

    def ping(self) -> str:
        """Write what a poll is answered when its time is over."""
        return self.error("timeout", "wait timeout", _TIMEOUT)

    pong = ping


Codec = V1Codec | PollCodec


def _text(shape: dict[str, Any]) -> str:
    return encode(shape).decode()
