"""The polls that are parked in this process, and how to end them before their time.

A parked poll costs memory for as long as it waits, so there is a limit to their number,
and each of them is one cancel scope in one set: no timer task, no nursery of its own.
Whoever has to end them (slock is down, the server drains) cancels the scope and says
what the poll shall answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import trio

from ._drain import Drain
from .envelope import EventFired, Failure, NothingYet

__all__ = ["ParkedWait", "TooManyWaits", "Waits"]


class TooManyWaits(Exception):
    """As many polls are parked as this process may keep."""


class ParkedWait:
    """One parked poll.

    Attributes:
        outcome: What the poll answers: that nothing came, unless it did, or unless
            somebody who ended the wait knows better.
    """

    __slots__ = ("_scope", "outcome")

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope
        self.outcome: EventFired | NothingYet | Failure = NothingYet()

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

    @contextlib.contextmanager
    def parked(self, seconds: float) -> Generator[ParkedWait, None, None]:
        """Wait inside of this block, for at most so many seconds.

        Returns:
            The wait. The block sets its outcome when what it waits for has come; if
            it is ended from outside or by the time, the code after it runs.

        Raises:
            TooManyWaits: The limit has been reached.

        Cancellation:
            The poll is no longer counted, however the block was left.
        """
        if len(self._parked) >= self._limit:
            raise TooManyWaits
        with trio.CancelScope(deadline=trio.current_time() + seconds) as scope:
            wait = ParkedWait(scope)
            self._parked.add(wait)
            try:
                with self._drain.calling(scope.cancel):
                    yield wait
            finally:
                self._parked.discard(wait)

    def end_all(self, outcome: Failure) -> None:
        """End every parked poll with this outcome."""
        for wait in self._parked:
            wait.end(outcome)
