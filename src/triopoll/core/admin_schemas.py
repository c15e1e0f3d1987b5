"""What workers tell each other for the admin page, and how it is added up.

The same Structs are the JSON of `/admin/api`; docs/reference/admin.md describes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import TypeAlias

import msgspec

from ..store import BackendStatus
from .wait_census import AGES, TOP, KeyWaits, WaitCounts

__all__ = [
    "KeyQuestion",
    "Overview",
    "OverviewQuestion",
    "Question",
    "RedisReport",
    "SlockMember",
    "SlockReport",
    "StateStages",
    "WaitersQuestion",
    "WorkerReport",
    "WorkerSummary",
    "added_up",
    "joined",
]

_Counts: TypeAlias = dict[str, int]


class SlockMember(msgspec.Struct, kw_only=True):
    """One member of a replica set, as in `trioslock.MemberState`."""

    address: str
    role: str
    error: str | None


class SlockReport(msgspec.Struct, kw_only=True):
    """The link of one worker to slock.

    Attributes:
        up: Whether slock answered the last probe.
        refuses: Whether that answer was a refusal.
        address: Where slock is.
        leader: The leader of the replica set; None without one, or for one server.
        members: Of the replica set; none for one server.
        round_trip: Seconds that the latest heartbeat took; None before.
        connections: Connections made so far.
        error: Why there is no connection; None while there is one.
        leader_changed_at: When another leader was noticed last, in Unix seconds; None:
            never since this worker started.
    """

    up: bool
    refuses: bool
    address: str
    leader: str | None
    members: list[SlockMember]
    round_trip: float | None
    connections: int
    error: str | None
    leader_changed_at: float | None


class RedisReport(msgspec.Struct, kw_only=True):
    """What one worker knows of Redis.

    Attributes:
        servers: The primaries that it uses; none where messages are in memory.
        latency: Seconds that a command took; None without an answer.
    """

    servers: Sequence[BackendStatus]
    latency: float | None


class WorkerReport(msgspec.Struct, kw_only=True):
    """Everything that one worker knows.

    Attributes:
        waits: Its parked waits.
        waits_limit: How many may be parked in it.
        refusals: Refused requests, by code, since its start.
        ended: Ended waits, by reason, since its start.
        states: What became of states, by word, since its start.
        scan_seconds: The latest times from a scan to its confirmation.
        published: Published items, by type, since its start.
        rates: Of the last minutes, by name, the oldest first; see `rate_ring.RATES`.
        slock: Its link to slock.
        redis: What it knows of Redis.
        uptime: Seconds since its start.
    """

    waits: WaitCounts
    waits_limit: int
    refusals: _Counts
    ended: _Counts
    states: _Counts
    scan_seconds: list[float]
    published: _Counts
    rates: dict[str, list[float]]
    slock: SlockReport
    redis: RedisReport
    uptime: float


class WorkerSummary(msgspec.Struct, kw_only=True):
    """One worker in the overview; one that did not answer has its name only."""

    name: str
    answered: bool
    waits: int | None = None
    uptime: float | None = None
    slock_up: bool | None = None
    redis_fault: str | None = None


class StateStages(msgspec.Struct, kw_only=True):
    """State waits, and how long people take.

    Attributes:
        waiting: State waits by the name of the state that they know.
        events: What became of states, by word, since the start.
        confirm_median: Median of the latest times from scan to confirmation, seconds;
            None without any.
        confirmed: How many times that is the median of.
    """

    waiting: _Counts
    events: _Counts
    confirm_median: float | None
    confirmed: int


class Overview(msgspec.Struct, kw_only=True):
    """What all workers of a server know together.

    Attributes:
        worker: The worker that has answered; `slock` and `redis` are what it knows.
        workers: All of them.
        ages: Lower bounds of `waits.ages`, in seconds.
        waits: Of all workers.
        waits_limit: Of all workers.
        states: Of all workers.
        refusals: Of all workers.
        ended: Of all workers.
        published: Of all workers.
        rates: Of all workers.
        rate_seconds: Seconds between two of the rates.
        slock: Of the worker that has answered.
        redis: Of the worker that has answered.
    """

    worker: str
    workers: list[WorkerSummary]
    ages: Sequence[int]
    waits: WaitCounts
    waits_limit: int
    states: StateStages
    refusals: _Counts
    ended: _Counts
    published: _Counts
    rates: dict[str, list[float]]
    rate_seconds: float
    slock: SlockReport
    redis: RedisReport


# --- questions of one worker to another -----------------------------------------------


class OverviewQuestion(msgspec.Struct, tag="overview"):
    """Asks for a `WorkerReport`."""


class KeyQuestion(msgspec.Struct, tag="key"):
    """Asks for the `KeyWaits` of a key."""

    key: str


class WaitersQuestion(msgspec.Struct, tag="waiters"):
    """Asks for some of the waiters of a key."""

    key: str
    offset: int
    limit: int


Question: TypeAlias = OverviewQuestion | KeyQuestion | WaitersQuestion


# --- adding up ------------------------------------------------------------------------


def joined(
    worker: str, reports: Mapping[str, WorkerReport | None], rate_seconds: float
) -> Overview:
    """Return the overview.

    Args:
        worker: The worker that answers.
        reports: By worker, its own among them; None for one that did not answer.
        rate_seconds: Seconds between two of the rates.
    """
    known = [each for each in reports.values() if each is not None]
    own = reports[worker]
    assert own is not None
    return Overview(
        worker=worker,
        workers=[_summary(*each) for each in reports.items()],
        ages=AGES,
        waits=_waits([each.waits for each in known]),
        waits_limit=sum(each.waits_limit for each in known),
        states=_stages(known),
        refusals=_sum(each.refusals for each in known),
        ended=_sum(each.ended for each in known),
        published=_sum(each.published for each in known),
        rates=_rates([each.rates for each in known]),
        rate_seconds=rate_seconds,
        slock=own.slock,
        redis=own.redis,
    )


def added_up(found: Iterable[KeyWaits]) -> KeyWaits:
    """Return the waits of several workers on one key."""
    known = list(found)
    return KeyWaits(
        total=sum(each.total for each in known),
        positions=_sum(each.positions for each in known),
        oldest=max((each.oldest for each in known), default=0.0),
    )


def _summary(name: str, report: WorkerReport | None) -> WorkerSummary:
    if report is None:
        return WorkerSummary(name=name, answered=False)
    faults = (server.fault for server in report.redis.servers)
    return WorkerSummary(
        name=name,
        answered=True,
        waits=report.waits.total,
        uptime=report.uptime,
        slock_up=report.slock.up,
        redis_fault=next(filter(None, faults), ""),
    )


def _waits(counts: Sequence[WaitCounts]) -> WaitCounts:
    return WaitCounts(
        total=sum(each.total for each in counts),
        kinds=_sum(each.kinds for each in counts),
        ages=list(map(sum, zip(*(each.ages for each in counts), strict=True))),
        prefixes=_sum(each.prefixes for each in counts),
        keys=_sum(each.keys for each in counts),
        stages=_sum(each.stages for each in counts),
        # Workers may wait for the same keys.
        distinct_keys=max((each.distinct_keys for each in counts), default=0),
    )


def _stages(reports: Sequence[WorkerReport]) -> StateStages:
    seconds = [each for report in reports for each in report.scan_seconds]
    return StateStages(
        waiting=_sum(each.waits.stages for each in reports),
        events=_sum(each.states for each in reports),
        confirm_median=round(median(seconds), 3) if seconds else None,
        confirmed=len(seconds),
    )


def _sum(counts: Iterable[_Counts]) -> _Counts:
    """Return the sums by name, the greatest first and not too many of them."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total.most_common(TOP))


def _rates(rates: Sequence[Mapping[str, list[float]]]) -> dict[str, list[float]]:
    """Return the sums; the last samples of all workers are of the same moment."""
    return {name: _right_aligned([each[name] for each in rates]) for name in rates[0]}


def _right_aligned(rows: Sequence[Sequence[float]]) -> list[float]:
    longest = max(map(len, rows))
    padded = ([0.0] * (longest - len(row)) + list(row) for row in rows)
    return [round(sum(column), 2) for column in zip(*padded, strict=True)]
