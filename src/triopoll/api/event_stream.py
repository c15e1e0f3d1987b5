"""Server-sent events to bytes: pure functions, for all endpoints that stream events.

A stream is lines that end with LF, CR or CRLF; an empty line ends an event. So data is
written line by line, or a line of it could pose as the end of its event and as the
beginning of another one. The receiver joins the lines with LF.

Source: WHATWG HTML, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import re

from ..asgi.messages import UNCACHED, Headers

__all__ = ["EVENT_STREAM", "MEDIA_TYPE", "encode_comment", "encode_event"]

MEDIA_TYPE = "text/event-stream"
# The headers of a stream. No cache may keep it, and nginx must not buffer it.
EVENT_STREAM: Headers = ((b"content-type", MEDIA_TYPE.encode()), *UNCACHED)

_LINE_END = re.compile(rb"\r\n|\r|\n")
# An id with NUL is ignored by receivers.
_FORBIDDEN = re.compile(r"[\r\n\0]")


def encode_event(
    data: bytes | None,
    *,
    event: str = "",
    event_id: str = "",
    retry_ms: int | None = None,
) -> bytes:
    r"""Return the lines of one event.

    Args:
        data: UTF-8. Its line ends arrive as ``\n``. None: without data the receiver
            takes id and retry, and dispatches no event.
        event: The event's type; "": the default, which is "message".
        event_id: What a client comes back with in ``Last-Event-ID``; "": no change.
        retry_ms: Milliseconds after which the client reconnects; None: no change.

    Raises:
        ValueError: A type or an id has a line end or NUL in it.
    """
    lines: list[bytes] = []
    if retry_ms is not None:
        lines.append(b"retry: %d" % retry_ms)
    if event_id:
        lines.append(b"id: " + _one_line(event_id))
    if event:
        lines.append(b"event: " + _one_line(event))
    if data is not None:
        lines += map(_data_line, _LINE_END.split(data))
    return b"\n".join([*lines, b"", b""])


def encode_comment(text: str = "") -> bytes:
    """Return a comment, which receivers ignore: it shows that the connection lives.

    Raises:
        ValueError: It has a line end or NUL in it.
    """
    return b":%b\n\n" % _one_line(text)


def _data_line(line: bytes) -> bytes:
    # The receiver strips one space: only a line that begins with one needs another.
    return b"data: " + line if line.startswith(b" ") else b"data:" + line


def _one_line(text: str) -> bytes:
    if _FORBIDDEN.search(text):
        raise ValueError(f"{text[:40]!r} has a line end or NUL in it")
    return text.encode()
