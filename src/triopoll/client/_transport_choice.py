"""Which transport a subscription uses next, decided by how the last ones ended.

Long polls come first: they pass wherever HTTP passes. But some proxies do not let a
request wait: they cut it after a few seconds, answer themselves, or hold the response
back. After several cut polls in a row a websocket is tried; a single one may be due to
a deploy.

An accepted upgrade does not prove that a websocket works: some middleboxes cut it right
afterwards. It works once the server has sent something over it; one that ends soon
after that counts as failed too. After a failure websockets are blocked for a while,
longer each time, and the polls are made shorter than those that were cut.

A websocket that worked and was lost is followed by a poll. If that is cut, one cut is
enough to return to a websocket. So neither transport is kept for ever, and a try costs
one poll.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["TransportChoice", "TransportKind"]

# Polls in a row that are cut before a websocket is tried.
_MAX_CUTS = 3
# Seconds that a websocket must live to have worked.
_MIN_LIFE = 5.0
# Seconds for which websockets are blocked after a failure: at first, and at most.
_FIRST_BLOCK, _LONGEST_BLOCK = 30.0, 3600.0
# Polls are shortened to this part of what was cut, but not below this many seconds,
# and for this many seconds.
_SHORTER, _SHORTEST, _SHORT_FOR = 0.7, 1.0, 3600.0


class TransportKind(Enum):
    """How messages are received."""

    POLL = "poll"
    WEBSOCKET = "websocket"


@dataclass(slots=True)
class TransportChoice:
    """Choose the next transport of one subscription.

    Times are seconds of one monotonic clock.

    Attributes:
        longest_wait: Seconds that a poll asks for where nothing cuts it.
        allowed: The transports that may be used.
        cuts: Polls in a row that were cut.
    """

    longest_wait: float
    allowed: frozenset[TransportKind] = frozenset(TransportKind)
    cuts: int = 0
    _blocked_until: float = 0.0
    _block: float = _FIRST_BLOCK
    _short_wait: float | None = None
    _short_until: float = 0.0

    def transport(self, now: float) -> TransportKind:
        """Return the transport to use now."""
        if len(self.allowed) == 1:
            return next(iter(self.allowed))
        if self.cuts >= _MAX_CUTS and now >= self._blocked_until:
            return TransportKind.WEBSOCKET
        return TransportKind.POLL

    def wait(self, now: float) -> float:
        """Return the seconds that a poll should wait."""
        if self._short_wait is None or now >= self._short_until:
            return self.longest_wait
        return min(self._short_wait, self.longest_wait)

    def poll_served(self) -> None:
        """Note that a poll was answered."""
        self.cuts = 0

    def poll_cut(self, now: float, lasted: float) -> None:
        """Note that a poll was cut after `lasted` seconds, or answered by a proxy."""
        self.cuts += 1
        shortens = self.cuts > 1 and now < self._blocked_until
        if shortens or TransportKind.WEBSOCKET not in self.allowed:
            self._short_wait = max(_SHORTEST, lasted * _SHORTER)
            self._short_until = now + _SHORT_FOR

    def websocket_ended(self, now: float, lived: float | None) -> None:
        """Note that a websocket could not be opened, or has ended.

        It `lived` seconds since the server's first message; None if there was none.
        """
        if lived is not None and lived >= _MIN_LIFE:
            self._block = _FIRST_BLOCK
            self.cuts = _MAX_CUTS - 1
            return
        self._blocked_until = now + self._block
        self._block = min(2 * self._block, _LONGEST_BLOCK)
