"""Rates of the last minutes: a bounded ring of samples of what is counted anyway."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import trio

from .metrics import Metrics

__all__ = ["PERIOD", "RATES", "SAMPLES", "RateRing"]

# Seconds from one sample to the next, and how many are kept: ten minutes.
PERIOD = 5.0
SAMPLES = 120
# What rates are kept of, a second each; `parked` is a number of waits instead.
RATES = ("answers", "wakes", "published", "refusals", "errors", "parked")


class _Sample(NamedTuple):
    at: float
    numbers: Mapping[str, float]


class RateRing:
    """The rates of one process."""

    def __init__(self, metrics: Metrics) -> None:
        """Start without samples.

        Args:
            metrics: Where things are counted.
        """
        self._metrics = metrics
        self._last = self._sample()
        self._rates: deque[Mapping[str, float]] = deque(maxlen=SAMPLES)

    def __repr__(self) -> str:
        return f"<RateRing: {len(self._rates)} of {SAMPLES} samples>"

    def take(self) -> None:
        """Take a sample; the caller does so once a `PERIOD`."""
        last, self._last = self._last, self._sample()
        seconds = max(self._last.at - last.at, 1e-3)
        rates = {
            name: round((number - last.numbers[name]) / seconds, 2)
            for name, number in self._last.numbers.items()
        }
        waits = self._metrics.waits.values()
        self._rates.append(rates | {"parked": sum(meter.parked for meter in waits)})

    def rates(self) -> dict[str, list[float]]:
        """Return what was sampled, by name, the oldest first."""
        return {name: [rates[name] for rates in self._rates] for name in RATES}

    def _sample(self) -> _Sample:
        metrics = self._metrics
        return _Sample(
            trio.current_time(),
            {
                "answers": metrics.answers.total(),
                "wakes": sum(meter.wakes for meter in metrics.waits.values()),
                "published": sum(metrics.published.values()),
                "refusals": sum(metrics.refusals.values()),
                "errors": sum(metrics.backend_errors.values()),
            },
        )
