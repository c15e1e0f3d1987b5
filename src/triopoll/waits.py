"""The polls that are parked in this process, and how to end them before their time.

A parked poll costs memory for as long as it waits, so there is a limit to their number,
and each of them is one cancel scope in one set: no timer task, no nursery of its own.
Whoever has to end them (slock is down, the server drains) cancels the scope and says
what the poll shall answer.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import trio

from ._drain import Drain
from .envelope import EventFired, Failure, NothingYet

__all__ = ["ParkedWait", "TooManyWaits", "Waits"]


class TooManyWaits(Exception):
    """As many polls are parked as this process may keep."""


class ParkedWait:
    """One parked poll: a context manager to wait in, for at most its time.

    The block sets the outcome when what it waits for has come; if it is ended from
    outside or by the time, the code after it runs.

    Raises:
        TooManyWaits: On entry, if the limit has been reached.

    Cancellation:
        The poll is no longer counted, however the block was left.

    Attributes:
        outcome: What the poll answers: that nothing came, unless it did, or unless
            somebody who ended the wait knows better.
    """

    # Written out, since a generator and its helper cost more than the rest of it.
    __slots__ = ("_scope", "_waits", "outcome")

    def __init__(self, waits: Waits, seconds: float) -> None:
        self._waits = waits
        self._scope = trio.CancelScope(deadline=trio.current_time() + seconds)
        self.outcome: EventFired | NothingYet | Failure = NothingYet()

    def __enter__(self) -> Self:
        self._waits.enter(self, self._scope.cancel)
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._waits.leave(self)
        return self._scope.__exit__(kind, error, traceback)

    def end(self, outcome: Failure) -> None:
        """Make the poll answer this now. The first to end it is the one who says."""
        if not self._scope.cancel_called:
            self.outcome = outcome
            self._scope.cancel()


class Waits:
    """Count the parked polls of this process, bound them, and end them."""

    def __init__(self, drain: Drain, *, limit: int) -> None:
        """Start without any.

        Args:
            drain: Ends waits when the server goes away: they answer that nothing
                came, which is what makes a client poll again, elsewhere.
            limit: How many may be parked at once.
        """
        self._drain = drain
        self._limit = limit
        self._parked: set[ParkedWait] = set()

    def __repr__(self) -> str:
        return f"<Waits: {len(self._parked)} of {self._limit}>"

    def __len__(self) -> int:
        return len(self._parked)

    def parked(self, seconds: float) -> ParkedWait:
        """Return a wait of at most so many seconds, to be entered."""
        return ParkedWait(self, seconds)

    def enter(self, wait: ParkedWait, cancel: Callable[[], None]) -> None:
        """Count a wait; `cancel` ends it when the server drains.

        Raises:
            TooManyWaits: The limit has been reached.
        """
        if len(self._parked) >= self._limit:
            raise TooManyWaits
        self._parked.add(wait)
        self._drain.enter(wait, cancel)

    def leave(self, wait: ParkedWait) -> None:
        """Count it no more."""
        self._parked.discard(wait)
        self._drain.leave(wait)

    def end_all(self, outcome: Failure) -> None:
        """End every parked poll with this outcome."""
        for wait in self._parked:
            wait.end(outcome)
