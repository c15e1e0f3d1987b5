"""How long to wait before the next attempt: exponential backoff with full jitter.

When a server restarts, all its clients reconnect at the same moment, so even the first
delay is random. The jitter is applied after the limit; otherwise all delays would be
equal once they have reached it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

__all__ = ["RetryDelay"]


@dataclass(slots=True)
class RetryDelay:
    """Delays that grow from failure to failure.

    Attributes:
        first: Seconds that the first delay stays below.
        limit: Seconds that every delay stays below.
        source: Where the jitter comes from.
        failures: Failed attempts since the last one that succeeded.
    """

    first: float = 0.5
    limit: float = 30.0
    source: random.Random = field(default_factory=random.Random, repr=False)
    failures: int = 0

    def next(self, at_least: float = 0.0) -> float:
        """Count a failure, and return the seconds to wait now.

        Args:
            at_least: Seconds that the server has asked for. The jitter is added.
        """
        # The power is limited so that it stays a float; `limit` is far below it.
        ceiling = min(self.limit, self.first * 2 ** min(self.failures, 30))
        self.failures += 1
        return at_least + self.source.uniform(0.0, ceiling)

    def reset(self) -> None:
        """Note that an attempt has succeeded."""
        self.failures = 0
