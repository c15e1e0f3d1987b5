"""Adding up what several workers know."""

from __future__ import annotations

from typing import Any

import msgspec

from triopoll.core.admin_schemas import (
    RedisReport,
    SlockReport,
    WorkerReport,
    added_up,
    joined,
)
from triopoll.core.wait_census import KeyWaits, WaitCounts
from triopoll.store import BackendStatus


def report(**changes: Any) -> WorkerReport:
    fields: dict[str, Any] = {
        "waits": WaitCounts(
            total=2,
            kinds={"log": 2},
            ages=[1, 1, 0, 0, 0, 0],
            keys={"k": 2},
            prefixes={"": 2},
            stages={"pending": 1},
            distinct_keys=1,
        ),
        "waits_limit": 10,
        "refusals": {"limit": 1},
        "ended": {"fired": 5},
        "states": {"created": 3},
        "scan_seconds": [1.0, 2.0],
        "published": {"message": 4},
        "rates": {"answers": [1.0, 2.0]},
        "slock": SlockReport(
            up=True,
            refuses=False,
            address="h:1",
            leader=None,
            members=[],
            round_trip=0.001,
            connections=1,
            error=None,
            leader_changed_at=None,
        ),
        "redis": RedisReport(
            servers=[BackendStatus("r:1", "", "", 0, None)], latency=0.01
        ),
        "uptime": 12.0,
    }
    return WorkerReport(**(fields | changes))


def test_numbers_are_added_up() -> None:
    """Those of the backends are of the worker that answers."""
    away = RedisReport(
        servers=[BackendStatus("r:1", "hangs", "x", 0, None)], latency=None
    )
    other = report(scan_seconds=[9.0], rates={"answers": [5.0]}, redis=away)
    overview = joined("0", {"0": report(), "1": other, "2": None}, 5.0)
    assert overview.waits == WaitCounts(
        total=4,
        kinds={"log": 4},
        ages=[2, 2, 0, 0, 0, 0],
        keys={"k": 4},
        prefixes={"": 4},
        stages={"pending": 2},
        distinct_keys=1,
    )
    assert overview.waits_limit == 20
    assert overview.rates == {"answers": [1.0, 7.0]}
    assert (overview.states.confirm_median, overview.states.confirmed) == (2.0, 3)
    assert overview.states.waiting == {"pending": 2}
    assert overview.refusals == {"limit": 2}
    assert overview.redis.latency == 0.01
    assert [each.redis_fault for each in overview.workers] == ["", "hangs", None]
    assert [each.answered for each in overview.workers] == [True, True, False]


def test_without_confirmations_there_is_no_median() -> None:
    """None, and not a number that would be taken for one."""
    overview = joined("0", {"0": report(scan_seconds=[])}, 5.0)
    assert overview.states.confirm_median is None


def test_waits_on_one_key() -> None:
    """By position; the oldest is the oldest of all."""
    found = added_up(
        [
            KeyWaits(total=2, positions={"a": 2}, oldest=3.0),
            KeyWaits(total=2, positions={"a": 1, "b": 1}, oldest=5.0),
        ]
    )
    assert found == KeyWaits(total=4, positions={"a": 3, "b": 1}, oldest=5.0)
    assert added_up([]) == KeyWaits()


def test_reports_survive_the_way_to_another_worker() -> None:
    """As JSON."""
    sent = report()
    assert msgspec.json.decode(msgspec.json.encode(sent), type=WorkerReport) == sent
