"""The newest wait of a session replaces the older one.

A page that is reloaded polls again while its old poll is still parked. Two polls of one
page would share its messages, and the share of the old one would be lost. So a poll may
name its ``session``, and the poll before it is answered at once. A session belongs to
the ticket's subject or to the address that opened it: a guessed name ends no polls of
others.

Sessions are known to one process. With several workers, two polls that reach two
workers both stay parked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Owned", "Sessions"]

# The owner of a session, and its name.
Owned: TypeAlias = tuple[str, str]


class Sessions:
    """The callback that ends the wait of each session."""

    def __init__(self) -> None:
        self._waiting: dict[Owned, Callable[[], None]] = {}

    def __repr__(self) -> str:
        return f"<Sessions: {len(self._waiting)}>"

    def __len__(self) -> int:
        return len(self._waiting)

    def replace(self, session: Owned) -> None:
        """End the parked wait of the session, if there is one."""
        if (end := self._waiting.pop(session, None)) is not None:
            end()

    def enter(self, session: Owned, end: Callable[[], None]) -> None:
        """Register the wait of a session; an older one ends.

        Args:
            session: Its owner and its name.
            end: Called when a newer wait arrives; must return at once.
        """
        self.replace(session)
        self._waiting[session] = end

    def leave(self, session: Owned, end: Callable[[], None]) -> None:
        """Remove the wait of a session, unless a newer one has replaced it."""
        if self._waiting.get(session) == end:
            del self._waiting[session]
