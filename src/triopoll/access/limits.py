"""Limits on one client: parked waits at the same time, and requests a second.

Both tables are bounded. Waits are counted only while they are parked, and the process
has a limit on those. The token buckets are kept for the addresses seen last. An address
that was evicted starts with a full bucket again; a flood from many addresses can cause
that but gains nothing, since it needs a new address for every few requests anyway.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from typing import TypeAlias

__all__ = ["Claim", "ConcurrencyLimits", "RateLimiter"]

# Which limit, and of whom.
Claim: TypeAlias = tuple[str, str]


class ConcurrencyLimits:
    """Count parked waits, and limit those of each key, subject and address."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        """Set the limits.

        Args:
            limits: The greatest number of waits by name of limit.
        """
        self._limits = limits
        self._taken: Counter[Claim] = Counter()

    def __repr__(self) -> str:
        return f"<ConcurrencyLimits: {len(self._taken)} claims>"

    def __len__(self) -> int:
        return len(self._taken)

    def full(self, claims: Iterable[Claim]) -> str | None:
        """Return the name of a limit that has been reached, or None."""
        for claim in claims:
            if self._taken[claim] >= self._limits[claim[0]]:
                return claim[0]
        return None

    def take(self, claims: Iterable[Claim]) -> None:
        """Count one more for each claim."""
        for claim in claims:
            self._taken[claim] += 1

    def leave(self, claims: Iterable[Claim]) -> None:
        """Count one less for each claim; a count of 0 takes no memory."""
        for claim in claims:
            self._taken[claim] -= 1
            if not self._taken[claim]:
                del self._taken[claim]


class RateLimiter:
    """A token bucket for each address: so many requests a second, and a burst."""

    def __init__(self, rate: float, burst: int, *, table: int = 65536) -> None:
        """Start with full buckets.

        Args:
            rate: Requests a second, in the long run; 0 is no limit.
            burst: Requests at once.
            table: How many addresses are kept.
        """
        self._rate = rate
        self._burst = burst
        self._table = table
        # Address to (tokens, time of that count); the address seen last is at the end.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<RateLimiter: {self._rate:g}/s, {len(self._buckets)} addresses>"

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, address: str, now: float) -> int:
        """Take a token.

        Args:
            address: Of the client.
            now: Seconds of a monotonic clock.

        Returns:
            0, or the whole seconds until a token is available.
        """
        if not self._rate:
            return 0
        tokens, since = self._buckets.get(address, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        allowed = tokens >= 1
        self._buckets[address] = (tokens - allowed, now)
        self._buckets.move_to_end(address)
        if len(self._buckets) > self._table:
            self._buckets.popitem(last=False)
        return 0 if allowed else max(1, math.ceil((1 - tokens) / self._rate))
