"""What the service counts, and the metric families that Prometheus gets.

The numbers are plain integers in slotted objects, read at a scrape: counting happens
thousands of times between two scrapes, and an ``inc()`` of prometheus-client costs ten
times as much as one here, thirty times with its files for several processes
(docs/decisions/0020). prometheus-client describes the families and writes the text.

Only the trio thread reads and writes the numbers, so there are no locks.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

__all__ = ["Backend", "Histogram", "Kind", "Metrics", "WaitMeter", "monotonic"]

Kind: TypeAlias = Literal[
    "event", "message", "log", "sse", "group", "state", "stream", "websocket"
]
Backend: TypeAlias = Literal["slock", "store"]

# The clock of `Response.woken`. Its values are compared with each other only: trio's
# clock has another zero.
monotonic = time.perf_counter

_LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# The last ones are for what was due while no worker could deliver it.
_LATE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)
# Gauges that are read at a scrape, with their help text. The name of each is
# `triopoll_` and the key; one that no part of the process provides has no sample.
_READINGS = {
    "connections": "Client connections that are open (under `triopoll serve`).",
    "delayed_pending": "Delayed messages that are pending; 0 in all workers but one.",
    "presence_waits": "Waits that presence counts, those that linger included.",
    "draining": "1 once the server is stopping, else 0.",
    "reloads_failing": "Settings whose file cannot be used; older values stay.",
    "slock_up": "1 if slock answered the last request, else 0.",
    "waits_limit": "Waits that may be parked at once.",
}


class Histogram:
    """Count values by upper bounds.

    Attributes:
        bounds: Inclusive upper bounds, ascending; above the last there is one more.
        counts: How many values lie between each bound and the one before.
        total: Sum of all values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = _LATENCIES) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def __repr__(self) -> str:
        return f"<Histogram: {sum(self.counts)} values>"

    def observe(self, value: float) -> None:
        """Count one value; one below 0, by a clock that was set back, counts as 0."""
        value = max(value, 0.0)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return the bounds as text, each with how many values lie at or below it."""
        below, buckets = 0, list[tuple[str, float]]()
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), below))
        return buckets


class WaitMeter:
    """The waits of one kind.

    Attributes:
        parked: How many wait now.
        wakes: How often one was woken.
        empty_wakes: How often there was nothing for it then.
        ended: How many have ended, by reason.
    """

    __slots__ = ("empty_wakes", "ended", "parked", "wakes")

    def __init__(self) -> None:
        self.parked = 0
        self.wakes = 0
        self.empty_wakes = 0
        self.ended: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<WaitMeter: {self.parked} parked, {self.wakes} wakes>"

    def end(self, reason: str) -> None:
        """Count the end of a wait; `reason` is one of a fixed set of words."""
        self.ended[reason] = self.ended.get(reason, 0) + 1


class Metrics:
    """Count what happens in this process.

    Attributes:
        waits: A meter for each kind of wait.
        publish_to_wake: Seconds from the moment a message was stored until a wait
            for it was over, by the wall clocks of both sides.
        wake_to_sent: Seconds from the end of a wait that was woken until its answer
            was handed to the connection.
        loop_lag: Seconds by which a sleeping task ran later than it had asked for.
        gaps: How many gaps were reported to readers.
        lost: How many messages these reported as lost, where that is known.
        published: How many items were published, by their type.
        states: What became of states, by word: how many were created, and so on.
        streams: What became of Durable Streams, by word.
        delayed: What became of delayed messages, by word.
        delayed_late: Seconds after its time at which one was delivered.
        answers: How often a path was answered, by path and HTTP status.
        refusals: How often a request was refused, by its code.
        backend_errors: Calls that a backend failed, by backend and error.
        reloads: How often files of keys were read again, by setting and by result.
        readings: What is read at a scrape, by the name of the gauge.
    """

    def __init__(self) -> None:
        self.waits: dict[Kind, WaitMeter] = {k: WaitMeter() for k in get_args(Kind)}
        self.publish_to_wake = Histogram()
        self.wake_to_sent = Histogram()
        self.loop_lag = Histogram()
        self.gaps = 0
        self.lost = 0
        self.published: dict[str, int] = {}
        self.states: Counter[str] = Counter()
        self.streams: Counter[str] = Counter()
        self.delayed: Counter[str] = Counter()
        self.delayed_late = Histogram(_LATE)
        self.refusals: Mapping[str, int] = {}
        self.reloads: Mapping[tuple[str, str], int] = {}
        self.readings: dict[str, Callable[[], float]] = {}
        self.backend_errors: dict[tuple[Backend, str], int] = {}
        self.answers: Counter[tuple[str, int]] = Counter()

    def __repr__(self) -> str:
        parked = sum(meter.parked for meter in self.waits.values())
        return f"<Metrics: {parked} parked>"

    def backend_error(self, backend: Backend, error: str) -> None:
        """Count a call that a backend failed; `error` is one of a few words."""
        key = backend, error
        self.backend_errors[key] = self.backend_errors.get(key, 0) + 1

    def state(self, event: str) -> None:
        """Count what became of a state; `event` is one of a few words."""
        self.states[event] += 1

    def stream(self, event: str) -> None:
        """Count what became of a stream; `event` is one of a few words."""
        self.streams[event] += 1

    def gap(self, lost: int | None) -> None:
        """Count a gap that was reported, with its number of messages if known."""
        self.gaps += 1
        self.lost += lost or 0

    def sent(self, woken: float) -> None:
        """Note that an answer was handed to the connection.

        Args:
            woken: When its wait was woken, by `monotonic`.
        """
        self.wake_to_sent.observe(monotonic() - woken)

    def collect(self) -> Iterator[Metric]:
        """Return all metric families; docs/reference/metrics.md lists the same."""
        yield from self._collect_waits()
        yield from self._collect_latencies()
        yield from self._collect_counts()
        for name, meaning in _READINGS.items():
            family = GaugeMetricFamily(f"triopoll_{name}", meaning, labels=[])
            if (read := self.readings.get(name)) is not None:
                family.add_metric([], read())
            yield family

    def _collect_counts(self) -> Iterator[Metric]:
        yield _counter(
            "gaps", "Gaps that were reported to readers.", [], [([], self.gaps)]
        )
        yield _counter(
            "lost_messages",
            "Messages that these gaps reported as lost, where known.",
            [],
            [([], self.lost)],
        )
        yield _counter(
            "published",
            "Items that were published, by type.",
            ["type"],
            [([kind], count) for kind, count in self.published.items()],
        )
        yield _counter(
            "states",
            "States that were created, changed and acknowledged, and requests for "
            "states that were refused.",
            ["event"],
            [([event], count) for event, count in self.states.items()],
        )
        yield _counter(
            "streams",
            "Durable Streams that were created, appended to, closed and deleted, and "
            "requests for them that were refused.",
            ["event"],
            [([event], count) for event, count in self.streams.items()],
        )
        yield _counter(
            "delayed",
            "Delayed messages that were scheduled, replaced, cancelled and delivered.",
            ["event"],
            [([event], count) for event, count in self.delayed.items()],
        )
        yield _counter(
            "refusals",
            "Requests that the access check or a limit refused, by code.",
            ["code"],
            [([code], count) for code, count in self.refusals.items()],
        )
        yield _counter(
            "reloads",
            "How often the files of a setting were read again, or could not be used.",
            ["setting", "result"],
            self.reloads.items(),
        )
        yield _counter(
            "backend_errors",
            "Calls that a backend failed: unreachable, or answered with an error.",
            ["backend", "error"],
            self.backend_errors.items(),
        )
        yield _counter(
            "answers",
            "HTTP answers.",
            ["path", "status"],
            [((path, str(code)), n) for (path, code), n in self.answers.items()],
        )

    def _collect_waits(self) -> Iterator[Metric]:
        parked = GaugeMetricFamily(
            "triopoll_waits_parked", "Waits that are parked.", labels=["kind"]
        )
        for kind, meter in self.waits.items():
            parked.add_metric([kind], meter.parked)
        yield parked
        waits = self.waits.items()
        yield _counter(
            "wakes",
            "How often a parked wait was woken.",
            ["kind"],
            [([kind], meter.wakes) for kind, meter in waits],
        )
        yield _counter(
            "empty_wakes",
            "How often there was nothing for a wait that was woken.",
            ["kind"],
            [([kind], meter.empty_wakes) for kind, meter in waits],
        )
        yield _counter(
            "waits_ended",
            "Waits that have ended, by reason.",
            ["kind", "reason"],
            [((k, why), n) for k, meter in waits for why, n in meter.ended.items()],
        )

    def _collect_latencies(self) -> Iterator[Metric]:
        yield _histogram(
            "publish_to_wake_seconds",
            "From storing a message to the end of a wait for it.",
            self.publish_to_wake,
        )
        yield _histogram(
            "wake_to_sent_seconds",
            "From the end of a wait that was woken to its answer being sent.",
            self.wake_to_sent,
        )
        yield _histogram(
            "loop_lag_seconds",
            "How much later than it had asked for a task of the loop woke.",
            self.loop_lag,
        )
        yield _histogram(
            "delayed_late_seconds",
            "From the time of a delayed message to its delivery.",
            self.delayed_late,
        )


def _counter(
    name: str,
    meaning: str,
    labels: Sequence[str],
    values: Iterable[tuple[Sequence[str], float]],
) -> Metric:
    family = CounterMetricFamily(f"triopoll_{name}", meaning, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def _histogram(name: str, meaning: str, histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(f"triopoll_{name}", meaning, labels=[])
    family.add_metric([], histogram.buckets(), histogram.total)
    return family
