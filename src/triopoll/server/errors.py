"""What a client can do wrong, as exceptions."""

from __future__ import annotations

__all__ = ["HttpError", "PeerGone"]


class HttpError(Exception):
    """The client broke the protocol or a limit; the message goes into the answer.

    Attributes:
        status: HTTP status to answer with before the connection is closed.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class PeerGone(OSError):
    """The client left, or did not read what it was sent in time.

    It is an OSError because ASGI specifies that ``send`` raises one then.
    """
