"""The text that Prometheus reads, out of the snapshots of one worker or several."""

from __future__ import annotations

import re

from tests.triopoll.ops.exposition import filled, value, values

from triopoll.ops.metrics import Metrics
from triopoll.ops.prometheus import CONTENT_TYPE, expose, snapshot_of


def test_several_workers_are_kept_apart() -> None:
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


def test_a_snapshot_keeps_every_number() -> None:
    """What a worker sends to another one is exposed as its own numbers are."""
    metrics = filled()
    metrics.loop_lag.observe(0.3)
    text = expose({"7": snapshot_of(metrics)})
    assert value(text, "triopoll_loop_lag_seconds_sum", worker="7") == 0.3
    for le, count in (("0.25", 0), ("0.5", 1), ("+Inf", 1)):
        name = "triopoll_loop_lag_seconds_bucket"
        assert value(text, name, worker="7", le=le) == count
    # Those of the process are there too.
    assert value(text, "process_resident_memory_bytes", worker="7") > 0
    assert all(dict(labels)["worker"] == "7" for _, labels in values(text))


def test_workers_that_did_not_answer() -> None:
    """The answer says so, and has nothing else of them."""
    text = expose({"0": None})
    assert set(values(text).items()) == {
        (("triopoll_worker_answered", frozenset({("worker", "0")})), 0.0)
    }


def test_the_content_type_is_that_of_the_text_format() -> None:
    """Version 0.0.4, which every Prometheus reads."""
    assert CONTENT_TYPE.startswith(b"text/plain; version=0.0.4")
