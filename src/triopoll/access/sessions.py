"""The newest wait of a session replaces the older one.

A page that is loaded again polls again while its old poll is still parked. Two polls of
one page would share its messages between them, and the old one's share is lost. So a
poll may name its ``session``, and the one before it is answered at once. Sessions
belong to whoever opened them, or a guessed name would end the polls of others.

This is known to one process. With several workers both polls stay, each in its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Owned", "Sessions"]

# Whose session, and its name.
Owned: TypeAlias = tuple[str, str]


class Sessions:
    """What to call to end the wait of each session."""

    def __init__(self) -> None:
        self._waiting: dict[Owned, Callable[[], None]] = {}

    def __repr__(self) -> str:
        return f"<Sessions: {len(self._waiting)}>"

    def __len__(self) -> int:
        return len(self._waiting)

    def replace(self, session: Owned) -> None:
        """End the wait of the session, if there is one."""
        if (end := self._waiting.pop(session, None)) is not None:
            end()

    def enter(self, session: Owned, end: Callable[[], None]) -> None:
        """Be the wait of the session from now on.

        Args:
            session: Whose, and its name.
            end: Called when a newer one comes; must not wait.
        """
        self.replace(session)
        self._waiting[session] = end

    def leave(self, session: Owned, end: Callable[[], None]) -> None:
        """Be it no longer, if no newer one has taken its place."""
        if self._waiting.get(session) == end:
            del self._waiting[session]
