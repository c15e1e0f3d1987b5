"""Rates of the last minutes."""

from __future__ import annotations

import trio
import trio.testing

from triopoll.ops.metrics import Metrics
from triopoll.ops.rate_ring import RATES, SAMPLES, RateRing


async def test_rates_are_by_second(autojump_clock: trio.testing.MockClock) -> None:
    """What was counted between two samples, and how many waits there were."""
    metrics = Metrics()
    metrics.answers["/", 200] = 7
    ring = RateRing(metrics)
    metrics.answers["/", 200] += 10
    metrics.waits["log"].wakes += 5
    metrics.waits["log"].parked = 3
    metrics.refusals = {"limit": 20}
    metrics.published["message"] = 15
    metrics.backend_error("slock", "failed")
    await trio.sleep(5)
    ring.take()
    await trio.sleep(5)
    ring.take()
    assert ring.rates() == {
        "answers": [2, 0],
        "wakes": [1, 0],
        "published": [3, 0],
        "refusals": [4, 0],
        "errors": [0.2, 0],
        "parked": [3, 3],
    }
    assert tuple(ring.rates()) == RATES


async def test_only_so_many_samples_are_kept() -> None:
    """However long the process runs."""
    ring = RateRing(Metrics())
    for _ in range(SAMPLES + 5):
        ring.take()
    assert {len(row) for row in ring.rates().values()} == {SAMPLES}
    assert repr(ring) == f"<RateRing: {SAMPLES} of {SAMPLES} samples>"
