"""Metrics in which every family has a sample, and how their text is read."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from triopoll.ops.metrics import Metrics


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
    metrics.state("created")
    metrics.stream("created")
    metrics.delayed["scheduled"] += 1
    metrics.backend_error("slock", "unreachable")
    metrics.answers["/livez", 200] += 1
    metrics.published["message"] = 1
    metrics.refusals = {"limit": 1}
    metrics.reloads = {("publish_keys", "ok"): 1}
    metrics.waits["event"].end("fired")
    metrics.readings |= dict.fromkeys(
        ("connections", "draining", "reloads_failing", "slock_up", "waits_limit"),
        lambda: 1,
    )
    return metrics
