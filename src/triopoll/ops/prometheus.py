"""The metrics of one worker or of several, written as text by prometheus-client.

A worker sends its numbers to another one as a snapshot in JSON. In the text each sample
has the label ``worker``. Numbers of two processes are not added up: the sum would fall
when one of them starts anew, and Prometheus would take that for a restart of all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from .metrics import Metrics

__all__ = ["CONTENT_TYPE", "expose", "snapshot_of"]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4.encode()


def snapshot_of(metrics: Metrics) -> bytes:
    """Return all numbers of this process at this moment, in JSON."""
    process = ProcessCollector(registry=None)
    families = [*metrics.collect(), *process.collect()]
    return json.dumps(
        [
            {
                "name": family.name,
                "meaning": family.documentation,
                "type": family.type,
                "samples": [[s.name, s.labels, s.value] for s in family.samples],
            }
            for family in families
        ]
    ).encode()


def expose(snapshots: Mapping[str, bytes | None]) -> bytes:
    """Return snapshots in the text format of Prometheus.

    Args:
        snapshots: By worker; None for one that did not answer in time.
    """
    registry = CollectorRegistry()
    registry.register(_Snapshots(snapshots))
    return generate_latest(registry)


class _Snapshots(Collector):
    def __init__(self, snapshots: Mapping[str, bytes | None]) -> None:
        self._snapshots = snapshots

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for worker, snapshot in self._snapshots.items():
            for shape in _families(snapshot):
                family = families.setdefault(
                    shape["name"],
                    Metric(shape["name"], shape["meaning"], shape["type"]),
                )
                for name, labels, value in shape["samples"]:
                    family.add_sample(name, {"worker": worker, **labels}, value)
        yield from families.values()
        yield self._answered()

    def _answered(self) -> Metric:
        meaning = "1 for each worker whose numbers are here, 0 if it did not answer."
        family = GaugeMetricFamily(
            "triopoll_worker_answered", meaning, labels=["worker"]
        )
        for worker, snapshot in self._snapshots.items():
            family.add_metric([worker], snapshot is not None)
        return family


def _families(snapshot: bytes | None) -> Iterator[dict[str, Any]]:
    if snapshot is not None:
        yield from json.loads(snapshot)
