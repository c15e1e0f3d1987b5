"""What counts a wait for presence, as the access check sees it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol, TypeAlias

__all__ = ["Attend", "Attendance"]


class Attendance(Protocol):
    """Counts one wait, or a websocket."""

    def begin(self) -> None:
        """Count the wait."""

    def follow(self, keys: Collection[str]) -> None:
        """Count on these keys from now on, and on no other."""

    def finish(self) -> None:
        """Count it no longer; may be called again."""


# Returns what counts a wait on some keys, of a ticket's subject.
Attend: TypeAlias = Callable[[Collection[str], str | None], Attendance]
