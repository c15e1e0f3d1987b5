"""What is counted, and that the reference says the same as the exposition."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from triopoll.ops.metrics import Histogram, Metrics, monotonic
from triopoll.ops.prometheus import expose, snapshot_of

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


def values(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return all samples of an exposition."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(text: bytes, name: str, **labels: str) -> float:
    return values(text)[name, frozenset(labels.items())]


def filled() -> Metrics:
    """Metrics in which each family has a sample."""
    metrics = Metrics()
    metrics.backend_error("slock", "unreachable")
    metrics.answers["/livez", 200] += 1
    metrics.published["message"] = 1
    metrics.refusals = {"limit": 1}
    metrics.waits["event"].end("fired")
    metrics.readings |= dict.fromkeys(
        ("connections", "draining", "slock_up", "waits_limit"), lambda: 1
    )
    return metrics


def test_a_histogram_counts_by_upper_bounds() -> None:
    """A bound is inclusive; what a clock that was set back yields is 0."""
    histogram = Histogram((1, 2))
    for number in (-5, 0.5, 1, 1.5, 2, 99):
        histogram.observe(number)
    assert histogram.buckets() == [("1", 3), ("2", 5), ("+Inf", 6)]
    assert histogram.total == 104
    assert repr(histogram) == "<Histogram: 6 values>"


def test_a_gap_counts_what_is_known_to_be_lost() -> None:
    """How many are lost is not always known."""
    metrics = Metrics()
    metrics.gap(7)
    metrics.gap(None)
    assert (metrics.gaps, metrics.lost) == (2, 7)


def test_an_answer_that_was_sent() -> None:
    """Only one that ends a wait has a latency."""
    metrics = Metrics()
    metrics.sent(monotonic() - 1)
    assert sum(metrics.wake_to_sent.counts) == 1
    assert metrics.wake_to_sent.total == pytest.approx(1, abs=0.5)


def test_several_workers_are_told_apart() -> None:
    """Each sample says whose it is; one that did not answer is named."""
    one, other = filled(), Metrics()
    other.waits["log"].parked = 3
    text = expose({"0": snapshot_of(one), "1": snapshot_of(other), "2": None})
    assert value(text, "triopoll_waits_parked", kind="log", worker="0") == 0
    assert value(text, "triopoll_waits_parked", kind="log", worker="1") == 3
    answered = [
        value(text, "triopoll_worker_answered", worker=worker) for worker in "012"
    ]
    assert answered == [1, 1, 0]
    # A family that is described twice is refused by Prometheus.
    described = re.findall(r"^# TYPE (\S+)", text.decode(), flags=re.MULTILINE)
    assert len(described) == len(set(described))


def test_the_reference_lists_what_there_is() -> None:
    """Names, types and labels of the table are those of the exposition."""
    row = re.compile(r"^\| `(triopoll_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
    table = {
        (name, kind, frozenset(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in row.findall(REFERENCE.read_text())
    }
    text = expose({"0": snapshot_of(filled())}).decode()
    told = set[tuple[str, str, frozenset[str]]]()
    for family in text_string_to_metric_families(text):
        if family.name.startswith("triopoll_"):
            suffix = "_total" if family.type == "counter" else ""
            labels = {name for sample in family.samples for name in sample.labels}
            names = frozenset(labels - {"worker", "le"})
            told.add((family.name + suffix, family.type, names))
    assert table == told


def test_the_reference_lists_the_reasons() -> None:
    """Each word that a wait can end with is explained."""
    from triopoll.api.poll.replies import Failure

    text = REFERENCE.read_text()
    words = {"fired", "timeout", "drained", "disconnect", "failed"}
    words |= {"replaced", "ticket_expired"}
    words |= {failure.name.lower() for failure in Failure}
    assert {word for word in words if f"`{word}`" not in text} == set()


def test_representations() -> None:
    """They show counts."""
    assert repr(Metrics()) == "<Metrics: 0 parked>"
    assert repr(Metrics().waits["log"]) == "<WaitMeter: 0 parked, 0 wakes>"
