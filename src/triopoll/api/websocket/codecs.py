"""The two ways in which a websocket is spoken to: as `/v1`, and as the recipe's polls.

What is said is the same, with the same ids and cursors; only the words differ.
"""

from __future__ import annotations

from typing import Protocol

from ...asgi.json import to_json
from ...core.wait_items import ReadResult
from ...store import BadCursor, parse_cursor
from ..v1.serializers import encode_read_result, message_shape
from .frames import (
    AckLog,
    Alive,
    BadFrame,
    Frame,
    FrameLimits,
    read_frame,
)

__all__ = ["PollCodec", "V1Codec", "Codec"]

_SUCCESS = "succed"  # wire spelling
_NOTHING_YET, _GONE = 504, 410


class Codec(Protocol):
    """How to read a client's frames and to write the server's."""

    def read(self, text: str) -> Frame:
        """Read a frame, or raise `BadFrame`."""
        ...

    def hello(self, ping: float) -> str | None:
        """Greet, and say how often the server pings; None: without a greeting."""
        ...

    def subscribed(self, key: str, cursor: str) -> str:
        """Say that a log is followed, and from where."""
        ...

    def messages(self, key: str, after: str, look: ReadResult) -> str:
        """Write what came after a cursor."""
        ...

    def signal(self, shape: dict[str, object]) -> str:
        """Write news of an event or a group, or that something is as was asked."""
        ...

    def error(self, code: str, message: str, status: int) -> str:
        """Say what is wrong."""
        ...

    def ping(self) -> str:
        """Ask for a sign of life."""
        ...

    def pong(self) -> str:
        """Give one."""
        ...


class V1Codec:
    """JSON objects with a ``type``."""

    def __init__(self, limits: FrameLimits) -> None:
        self._limits = limits

    def read(self, text: str) -> Frame:
        """Read a frame, or raise `BadFrame`."""
        return read_frame(text, self._limits)

    def hello(self, ping: float) -> str:
        """Greet, and say how often the server pings."""
        return to_json({"type": "hello", "ping": ping})

    def subscribed(self, key: str, cursor: str) -> str:
        """Say that a log is followed, and from where."""
        return to_json({"type": "subscribed", "key": key, "cursor": cursor})

    def messages(self, key: str, after: str, look: ReadResult) -> str:
        """Write what came after a cursor."""
        head = to_json({"type": "messages", "key": key, "after": after})
        # What is the same for everybody has been encoded once.
        return f"{head[:-1]},{encode_read_result(look).decode()}}}"

    def signal(self, shape: dict[str, object]) -> str:
        """Write news of an event or a group, or that something is as was asked."""
        return to_json(shape)

    def error(self, code: str, message: str, status: int) -> str:
        """Say what is wrong."""
        return to_json({"type": "error", "code": code, "message": message})

    def ping(self) -> str:
        """Ask for a sign of life."""
        return to_json({"type": "ping"})

    def pong(self) -> str:
        """Give one."""
        return to_json({"type": "pong"})


class PollCodec:
    """One key, one message a frame, in the shape of the polls.

    A client answers each message with its id, as text, and then gets the next one.
    """

    def __init__(self, key: str) -> None:
        self._key = key

    def read(self, text: str) -> Frame:
        """Read an id; the empty text is a sign of life."""
        if not text:
            return Alive()
        try:
            parse_cursor(text)
        except BadCursor as error:
            raise BadFrame(str(error)) from None
        return AckLog(self._key, text)

    def hello(self, ping: float) -> None:
        """Greet by the answer to the subscription alone."""
        return

    def subscribed(self, key: str, cursor: str) -> str:
        """Say from where the key is followed."""
        return to_json({"err_code": 0, "err_message": "", "id": cursor})

    def messages(self, key: str, after: str, look: ReadResult) -> str:
        """Write the next message, and whether some before it are gone."""
        page = look.page
        shape: dict[str, object]
        if page.messages:
            shape = {"err_code": 0, "err_message": _SUCCESS}
            shape |= message_shape(page.messages[0])
        else:
            shape = {"err_code": _GONE, "err_message": "messages are gone"}
        shape["id"] = page.cursor
        if page.gap:
            shape |= {"gap": True, "lost": page.lost}
        return to_json(shape)

    def signal(self, shape: dict[str, object]) -> str:
        """Have nothing of that kind to say."""
        raise NotImplementedError

    def error(self, code: str, message: str, status: int) -> str:
        """Say what is wrong."""
        return to_json({"err_code": status, "err_message": message})

    def ping(self) -> str:
        """Say what a poll says when its time is over."""
        return to_json({"err_code": _NOTHING_YET, "err_message": "wait timeout"})

    def pong(self) -> str:
        """Give a sign of life."""
        return self.ping()
