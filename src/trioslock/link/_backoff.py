"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, fields

from .._arguments import check_seconds


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that grow, with jitter so that clients do not return in step.

    Attributes:
        first: Seconds before the second attempt.
        factor: What each delay is multiplied by.
        limit: Longest delay in seconds.
        jitter: Part of each delay that is random: 0.5 means that 50 to 100
            percent of it is waited.
    """

    first: float = 0.05
    factor: float = 2.0
    limit: float = 5.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            check_seconds(getattr(self, field.name), field.name, zero=True)
        if not (self.first > 0 and self.factor >= 1 and self.limit >= self.first):
            raise ValueError(
                "a backoff needs first > 0, factor >= 1 and limit >= first, "
                f"not {self!r}"
            )
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be 0 to 1, not {self.jitter!r}")

    def delays(self, source: random.Random) -> Iterator[float]:
        """Yield one delay after another, without end.

        Args:
            source: Gives the jitter.
        """
        delay = self.first
        while True:
            yield delay * (1 - self.jitter * source.random())
            delay = min(delay * self.factor, self.limit)


class Retries:
    """The delays between the attempts to hold one connection.

    Args:
        backoff: Their bounds.
        source: Gives the jitter.
    """

    def __init__(self, backoff: Backoff, source: random.Random | None = None) -> None:
        self._backoff = backoff
        self._source = source or random.SystemRandom()
        self._delays = backoff.delays(self._source)

    def delay_after(self, lasted: float) -> float:
        """Return the seconds to wait until the next attempt.

        Args:
            lasted: Seconds that the last connection lasted, 0 if none was made. The
                delays start again at the first one when it lasted longer than
                ``Backoff.limit``. A server that accepts connections and drops them
                at once so gets growing delays too.
        """
        if lasted > self._backoff.limit:
            self._delays = self._backoff.delays(self._source)
        return next(self._delays)
