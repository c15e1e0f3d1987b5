"""What is counted; the reference lists the families that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.triopoll.ops.exposition import filled

from triopoll.ops.metrics import Histogram, Metrics, monotonic
from triopoll.ops.prometheus import expose, snapshot_of

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


def test_a_histogram_counts_by_upper_bounds() -> None:
    """A bound is inclusive; a negative value, of a clock that was set back, is 0."""
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


def test_the_reference_lists_what_there_is() -> None:
    """Names, types and labels of the table are those of the exposition."""
    row = re.compile(r"^\| `(triopoll_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
    table = {
        (name, kind, frozenset(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in row.findall(REFERENCE.read_text())
    }
    text = expose({"0": snapshot_of(filled())}).decode()
    exposed = set[tuple[str, str, frozenset[str]]]()
    for family in text_string_to_metric_families(text):
        if family.name.startswith("triopoll_"):
            suffix = "_total" if family.type == "counter" else ""
            labels = {name for sample in family.samples for name in sample.labels}
            names = frozenset(labels - {"worker", "le"})
            exposed.add((family.name + suffix, family.type, names))
    assert table == exposed


def test_the_reference_lists_the_reasons() -> None:
    """Each word that a wait can end with is explained."""
    from triopoll.api.poll.replies import Failure

    text = REFERENCE.read_text()
    words = {"fired", "timeout", "drained", "disconnect", "failed"}
    words |= {"replaced", "ticket_expired"}
    words |= {failure.name.lower() for failure in Failure}
    # No wait is for a message that is pending.
    words.remove("too_many_pending")
    assert {word for word in words if f"`{word}`" not in text} == set()


def test_representations() -> None:
    """They show counts."""
    assert repr(Metrics()) == "<Metrics: 0 parked>"
    assert repr(Metrics().waits["log"]) == "<WaitMeter: 0 parked, 0 wakes>"


def test_a_gauge_that_no_part_of_the_process_provides() -> None:
    """It is described and has no sample; one that is provided is read each time."""
    metrics, readings = Metrics(), iter((1.0, 2.0))
    metrics.readings["connections"] = lambda: next(readings)
    for expected in (1.0, 2.0):
        samples = {family.name: family.samples for family in metrics.collect()}
        assert samples["triopoll_waits_limit"] == []
        assert [s.value for s in samples["triopoll_connections"]] == [expected]
