"""A receiver of server-sent events: the algorithm of the specification, by characters.

Written from WHATWG HTML, section 9.2.6, and independent of what encodes them.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

__all__ = ["Event", "Receiver"]


@dataclass(frozen=True)
class Event:
    """One event that was dispatched."""

    type: str
    data: str
    id: str


class Receiver:
    """Turn the bytes of a stream, cut anywhere, into events.

    Attributes:
        last_id: What a browser would send as Last-Event-ID.
        retry_ms: What the stream has last asked for.
        comments: The comments, without their colon.
    """

    def __init__(self) -> None:
        self.last_id = ""
        self.retry_ms: int | None = None
        self.comments: list[str] = []
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._line = ""
        self._after_cr = False
        self._type, self._id = "", ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that are complete with this piece."""
        found: list[Event] = []
        for character in self._decoder.decode(piece):
            if character == "\n" and self._after_cr:
                self._after_cr = False
                continue
            self._after_cr = character == "\r"
            if character in "\r\n":
                line, self._line = self._line, ""
                found += self._take(line)
            else:
                self._line += character
        return found

    def _take(self, line: str) -> list[Event]:
        if not line:
            return self._dispatch()
        if line[0] == ":":
            self.comments.append(line[1:])
            return []
        name, _, value = line.partition(":")
        if value[:1] == " ":
            value = value[1:]
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value and set(value) <= set("0123456789"):
            self.retry_ms = int(value)
        return []

    def _dispatch(self) -> list[Event]:
        self.last_id = self._id
        data, self._data = self._data, []
        kind, self._type = self._type or "message", ""
        return [Event(kind, "\n".join(data), self.last_id)] if data else []
