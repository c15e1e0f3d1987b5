"""The exceptions of the client: those that it raises, and those that it recovers from.

::

    PollClientError
    ├── Refused        the server refuses the request, and would refuse it again
    ├── Unreachable    a publish was repeated for minutes and never answered
    └── MessagesLost   messages are gone that this subscription has not received

    TransientError             internal: the next attempt may succeed
    ├── ConnectFailed          there is no connection, or TLS fails
    ├── ConnectionBroken       it ended, or was silent, before the response was whole
    ├── UnexpectedResponse     a proxy or another server has answered, for now
    └── ServerBusy             the server asks to be called later
"""

from __future__ import annotations

__all__ = [
    "ConnectFailed",
    "ConnectionBroken",
    "MessagesLost",
    "PollClientError",
    "Refused",
    "ServerBusy",
    "TransientError",
    "UnexpectedResponse",
    "Unreachable",
    "reason_of",
]


class PollClientError(Exception):
    """The base of the client's own exceptions."""


class Refused(PollClientError):
    """The server refuses the request, and would refuse it again.

    Attributes:
        status: HTTP status: 200 for one message of a batch and for a wait that the
            server has ended, 101 over a websocket.
        code: The server's code for the reason. ``redirect`` for a redirect, and
            ``foreign_response`` if the response is not the service's: a proxy or
            another server has refused the request.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{message} ({code}, HTTP {status})")
        self.status = status
        self.code = code


class Unreachable(PollClientError):
    """A publish was repeated for minutes; it is not known whether it was stored."""


class MessagesLost(PollClientError):
    """There is a gap: the log no longer has all messages after the cursor.

    The subscription continues behind the gap: iterate over it again.

    Attributes:
        key: The subscription's.
        lost: How many messages are gone; None where the server cannot know.
    """

    def __init__(self, key: str, lost: int | None) -> None:
        count = "an unknown number of" if lost is None else str(lost)
        super().__init__(f"{count} messages of {key!r} are gone")
        self.key = key
        self.lost = lost


class TransientError(Exception):
    """An attempt has failed; the next one may succeed."""

    # Seconds after which the server asks to be called again.
    retry = 0.0


class ConnectFailed(TransientError):
    """There is no connection to the server."""


class ConnectionBroken(TransientError):
    """The connection ended, or was silent for too long.

    Attributes:
        answering: Whether a part of the response had arrived.
    """

    def __init__(self, why: str, *, answering: bool = False) -> None:
        super().__init__(why)
        self.answering = answering


class UnexpectedResponse(TransientError):
    """The response has not the form of the server's: a proxy or a portal sent it."""

    def __init__(self, why: str, retry: float = 0.0) -> None:
        super().__init__(why)
        self.retry = retry


class ServerBusy(TransientError):
    """The server cannot serve this now."""

    def __init__(self, why: str, retry: float) -> None:
        super().__init__(why)
        self.retry = retry


def reason_of(error: BaseException) -> str:
    """Return why it was raised, in words, from its cause if it has none itself."""
    # trio reports failed TLS with an exception without text.
    reasons = (str(each) for each in (error, error.__cause__) if each is not None)
    return next(filter(None, reasons), type(error).__name__)
