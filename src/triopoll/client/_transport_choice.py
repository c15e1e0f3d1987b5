"""Which transport a subscription uses next, decided by how the last ones ended.

Long poll first: it passes everything that passes HTTP. Some things on the way do not
let a request wait, though: they cut it after a few seconds, answer in the server's
place, or hold the answer back. Several such ends in a row are the evidence on which a
websocket is tried. One end alone is not: a deploy looks like that.

A websocket that was let through is not yet one that works: some middleboxes cut it
right after the upgrade. It counts once the server has said something over it, and if it
then ends early all the same, it counts as failed. A failed one is left alone for a
while, longer each time, and what remains is to ask for shorter polls than those that
were cut.

A websocket that worked and was lost is followed by a poll. If that is cut as well, one
cut is evidence enough to return, so nothing sticks and little is lost by trying.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Choice", "Transport"]

# Polls in a row that are cut before a websocket is tried.
_EVIDENCE = 3
# A websocket that lives for less than this has not worked.
_TRIAL = 5.0
# For how long a failed one is left alone, the first and at most.
_BLOCK, _LONGEST_BLOCK = 30.0, 3600.0
# For how long shorter polls are asked for, and how much shorter than what was cut.
_SHORT_FOR, _SHORTER, _SHORTEST = 3600.0, 0.7, 1.0


class Transport(Enum):
    """How messages come."""

    POLL = "poll"
    WEBSOCKET = "websocket"


@dataclass(slots=True)
class Choice:
    """Choose the next transport of one subscription.

    Times are seconds of one monotonic clock.

    Attributes:
        longest_wait: Seconds that a poll asks for where nothing cuts it.
        allowed: The transports that may be used.
        cuts: How many polls in a row have been cut.
    """

    longest_wait: float
    allowed: frozenset[Transport] = frozenset(Transport)
    cuts: int = 0
    _blocked_until: float = 0.0
    _block: float = _BLOCK
    _short_wait: float | None = None
    _short_until: float = 0.0

    def transport(self, now: float) -> Transport:
        """Return what to use now."""
        if len(self.allowed) == 1:
            return next(iter(self.allowed))
        if self.cuts >= _EVIDENCE and now >= self._blocked_until:
            return Transport.WEBSOCKET
        return Transport.POLL

    def wait(self, now: float) -> float:
        """Return for how many seconds a poll should ask."""
        if self._short_wait is None or now >= self._short_until:
            return self.longest_wait
        return min(self._short_wait, self.longest_wait)

    def poll_served(self) -> None:
        """Note that a poll got its answer."""
        self.cuts = 0

    def poll_cut(self, now: float, lasted: float) -> None:
        """Note that a poll was cut, answered by a stranger, or far too early.

        Args:
            now: The time.
            lasted: Seconds that it had waited.
        """
        self.cuts += 1
        shortens = self.cuts > 1 and now < self._blocked_until
        if shortens or Transport.WEBSOCKET not in self.allowed:
            self._short_wait = max(_SHORTEST, lasted * _SHORTER)
            self._short_until = now + _SHORT_FOR

    def websocket_ended(self, now: float, lived: float | None) -> None:
        """Note that a websocket could not be had, or has ended.

        Args:
            now: The time.
            lived: Seconds since the server's first message; None if there was none.
        """
        if lived is not None and lived >= _TRIAL:
            self._block = _BLOCK
            self.cuts = _EVIDENCE - 1
            return
        self._blocked_until = now + self._block
        self._block = min(2 * self._block, _LONGEST_BLOCK)
