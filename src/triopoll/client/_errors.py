"""What can go wrong for a user of the client, and what it recovers from by itself.

::

    PollClientError
    ├── Refused        the server will not serve this: ask for something else
    ├── Unreachable    a publish was tried for long and never answered
    └── MessagesLost   messages are gone that this subscription has not seen

    Interrupted        inside only: the next attempt may go well
    ├── NoConnection   nobody listens, or TLS fails
    ├── Cut            the connection ended, or fell silent, before the answer was whole
    ├── NotOurs        something on the way answered in the server's place
    └── Busy           the server asks for patience
"""

from __future__ import annotations

__all__ = [
    "Busy",
    "Cut",
    "Interrupted",
    "MessagesLost",
    "NoConnection",
    "NotOurs",
    "PollClientError",
    "Refused",
    "Unreachable",
]


class PollClientError(Exception):
    """The base of what the client raises on purpose."""


class Refused(PollClientError):
    """The server refuses the request, and would refuse it again.

    Attributes:
        status: HTTP status.
        code: The server's word for the reason.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{message} ({code}, HTTP {status})")
        self.status = status
        self.code = code


class Unreachable(PollClientError):
    """A publish was tried again and again and is not known to be stored."""


class MessagesLost(PollClientError):
    """There is a gap: the log no longer has all that came after the cursor.

    The subscription goes on behind the gap: iterate over it again.

    Attributes:
        key: The subscription's.
        lost: How many messages are gone; None where the server cannot know.
    """

    def __init__(self, key: str, lost: int | None) -> None:
        count = "an unknown number of" if lost is None else str(lost)
        super().__init__(f"{count} messages of {key!r} are gone")
        self.key = key
        self.lost = lost


class Interrupted(Exception):
    """An attempt has failed in a way that says nothing about the next one."""


class NoConnection(Interrupted):
    """There is no way to the server at the moment."""


class Cut(Interrupted):
    """The connection ended, or nothing came for too long.

    Attributes:
        answering: Whether the answer had begun.
    """

    def __init__(self, why: str, *, answering: bool = False) -> None:
        super().__init__(why)
        self.answering = answering


class NotOurs(Interrupted):
    """The answer is not one that the server gives: a proxy has its own opinion."""


class Busy(Interrupted):
    """The server cannot serve this now.

    Attributes:
        retry: Seconds for which it wants to be left alone.
    """

    def __init__(self, why: str, retry: float) -> None:
        super().__init__(why)
        self.retry = retry
