"""Delays for empty replies that a client would get again and again.

An event that stays set beside an empty list answers every poll for a message at once. A
client that polls in a loop would then send requests as fast as the network lets it, for
as long as the event stays set. So an empty reply is delayed if the same key had one a
moment ago, a little longer each time.
"""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["LONGEST_DELAY", "EmptyBackoff"]

LONGEST_DELAY = 1.0
_FIRST_DELAY = 0.02
# Seconds after an empty reply within which the next poll of the key counts as a loop.
_MEMORY = 1.0
# Keys that are remembered. A key that had to be forgotten starts again at no delay.
_MAX_KEYS = 4096


class EmptyBackoff:
    """Remember which keys had empty replies, and how long the next ones are delayed."""

    def __init__(self) -> None:
        # Delay of the next reply by key, and until when it applies; the key that was
        # replied to last is at the end.
        self._delays: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<EmptyBackoff: {len(self._delays)} keys>"

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._delays)

    def next_delay(self, key: str, now: float) -> float:
        """Return for how long an empty reply for a key is delayed, and remember it.

        Args:
            key: What the poll asked for.
            now: By trio's clock.

        Returns:
            Seconds: 0 for the first reply, then 0.02, doubled each time, at most 1.
        """
        delay, until = self._delays.pop(key, (0.0, now))
        if now > until:
            delay = 0.0
        longer = min(max(2 * delay, _FIRST_DELAY), LONGEST_DELAY)
        self._delays[key] = (longer, now + delay + _MEMORY)
        if len(self._delays) > _MAX_KEYS:
            self._delays.popitem(last=False)
        return delay

    def reset(self, key: str) -> None:
        """Forget a key, since a message has arrived for it."""
        self._delays.pop(key, None)
