"""An overview as lines of text."""

from __future__ import annotations

import msgspec
from tests.triopoll.core.test_admin_schemas import report

from triopoll.cli.top_view import lines_of, spark
from triopoll.core.admin_schemas import SlockMember, joined
from triopoll.core.wait_census import WaitCounts
from triopoll.store import BackendStatus

HOSTILE = "\x1b[2Jkey\u202e"


def lines(*, rows: int = 10, leader: str | None = None) -> list[str]:
    worker = report(waits=WaitCounts(total=2, keys={HOSTILE: 2, "b": 1}))
    worker.rates = {"answers": [1.0, 4.0], "wakes": []}
    worker.slock.leader = leader
    if leader is not None:
        worker.slock.members = [SlockMember(address="h:2", role="down", error=HOSTILE)]
        worker.slock.leader_changed_at = 0.0
        worker.slock.refuses = True
        away = BackendStatus("r:1", "does not answer", "refused", 2, 0.0)
        worker.redis.servers = [away]
        worker.scan_seconds = []
    overview = joined("0", {"0": worker, "1": None}, 5.0)
    shape = msgspec.json.decode(msgspec.json.encode(overview))
    return list(lines_of(shape, "http://h", rows, 1.7e9))


def test_what_is_shown() -> None:
    """Totals first, then the backends, then tables."""
    shown = lines()
    assert shown[0].endswith("http://h: 2 of 10 waits")
    assert shown[1:5] == [
        "slock h:1 answers",
        "Redis r:1 serves in 10.0 ms",
        "worker 0 2 waits",
        "worker 1 does not answer",
    ]
    assert "answers       4/s  4/s      ▃█" in shown
    assert "median from scan to confirmation: 1.5 s" in shown
    assert "limit    1" in shown


def test_what_is_wrong() -> None:
    """A failover, a member that is away, and a Redis that does not answer."""
    shown = lines(leader="h:1")
    assert shown[1].startswith("slock h:1 refuses new keys, leader h:1 since 19")
    assert shown[2].startswith("slock h:2 down (")
    assert "Redis r:1 does not answer: refused, 2 changes, last 19" in shown[3]
    assert not any("median" in line for line in shown)


def test_nothing_moves_the_cursor() -> None:
    """Keys are the words of strangers."""
    shown = lines(leader="h:1")
    assert all(line.isprintable() for line in shown)
    assert any("\\x1b[2Jkey\\u202e" in line for line in shown)


def test_tables_have_a_bound() -> None:
    """The rest is left out."""
    assert any(line.startswith("b ") for line in lines())
    assert not any(line.startswith("b ") for line in lines(rows=1))


def test_spark_lines() -> None:
    """The highest number is a full bar; there may be none."""
    assert spark([]) == ""
    assert spark([0, 0]) == "▁▁"
    assert spark([0, 7]) == "▁█"
    assert len(spark([1.0] * 100)) == 24
