"""How long to wait before the next attempt: full jitter, from the first one on.

When a server restarts, all its clients come back in the same instant, so also the first
retry is spread; and the random part comes after the cap, or they would meet there.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

__all__ = ["Pause"]


@dataclass(slots=True)
class Pause:
    """Delays that grow from failure to failure.

    Attributes:
        first: Seconds that the first delay stays below.
        limit: Seconds that every delay stays below.
        source: Where the jitter comes from.
        failures: How many attempts have failed since the last that went well.
    """

    first: float = 0.5
    limit: float = 30.0
    source: random.Random = field(default_factory=random.Random, repr=False)
    failures: int = 0

    def next(self, at_least: float = 0.0) -> float:
        """Count a failure, and return for how long to wait now.

        Args:
            at_least: Seconds that the server has asked for. The jitter comes on top.
        """
        # Beyond 2 ** 30 it is the limit anyway.
        ceiling = min(self.limit, self.first * 2 ** min(self.failures, 30))
        self.failures += 1
        return at_least + self.source.uniform(0.0, ceiling)

    def reset(self) -> None:
        """Note that an attempt went well."""
        self.failures = 0
