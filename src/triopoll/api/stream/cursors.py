"""The cursors of live reads, by which caches join many readers into one request.

A cursor is the number of an interval of time. It is a part of the URL that a client
asks next, so all clients at one offset ask the same URL for one interval, and a cache
never serves an old answer for longer.

Source: the Durable Streams protocol, "Cursor"; intervals of 20 s since 2024-10-09 UTC.
"""

from __future__ import annotations

import random

__all__ = ["next_cursor"]

_EPOCH = 1_728_432_000
_INTERVAL = 20
# A client that has the present cursor already gets a later one, by a random step of at
# most one hour.
_MAX_STEP = 3600 // _INTERVAL


def next_cursor(known: int | None, now: float) -> int:
    """Return the cursor of an answer.

    Args:
        known: The client's; None for none.
        now: Unix seconds.
    """
    current = int(now - _EPOCH) // _INTERVAL
    if known is None or known < current:
        return current
    return known + random.randint(1, _MAX_STEP)
